//! What is in an image, as JSON and for people.

use super::profile::LayerTime;
use crate::{
    annotate,
    exit::Result,
    output::Output,
    terminal::{self, Style, printable},
};
use bnn::{Detection, vision::Image};
use image::RgbImage;
use serde::Serialize;
use std::borrow::Cow;

/// Length of a bar for certainty.
const BAR: usize = 24;

/// The answer for one image.
#[derive(Debug, Serialize)]
pub(super) struct Answer<'a> {
    pub(super) image: &'a str,
    pub(super) model: &'a str,
    #[serde(flatten)]
    pub(super) found: Found<'a>,
    pub(super) milliseconds: Milliseconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) layers: Option<Vec<LayerTime>>,
    /// The file with the answer drawn beside the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotated: Option<String>,
}

/// What a network says about an image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Found<'a> {
    /// Classes, most probable first.
    Predictions(Vec<Prediction<'a>>),
    /// Objects, best first.
    Boxes(Vec<Detection>),
}

/// A class that the image may belong to.
#[derive(Debug, Serialize)]
pub(super) struct Prediction<'a> {
    pub(super) index: usize,
    pub(super) label: Option<&'a str>,
    pub(super) probability: f32,
}

/// Time that the parts of the work took.
#[derive(Debug, Serialize)]
pub(super) struct Milliseconds {
    pub(super) decode: f64,
    pub(super) preprocess: f64,
    pub(super) run: f64,
}

/// A line of the answer for people.
struct Line {
    label: String,
    probability: f32,
    place: String,
}

impl Line {
    fn new(label: Option<&str>, index: usize, probability: f32, place: String) -> Self {
        Self { label: name(label, index).into_owned(), probability, place }
    }
}

/// What a class is called.
fn name(label: Option<&str>, index: usize) -> Cow<'_, str> {
    match label {
        Some(label) => printable(label),
        None => Cow::Owned(format!("class {index}")),
    }
}

impl Answer<'_> {
    /// The image with the answer on it or beside it; of boxes those that have the given score at least.
    pub(super) fn drawn(&self, image: &Image, score: f32) -> RgbImage {
        match &self.found {
            Found::Predictions(predictions) => {
                let names: Vec<_> = predictions.iter().map(|p| name(p.label, p.index)).collect();
                let rows: Vec<annotate::Row<'_>> = names
                    .iter()
                    .zip(predictions)
                    .map(|(label, p)| annotate::Row { label, probability: p.probability })
                    .collect();
                annotate::with_classes(image, &rows)
            }
            Found::Boxes(boxes) => {
                annotate::with_boxes(image, boxes.iter().filter(|found| found.score >= score))
            }
        }
    }

    /// Writes the answer for people.
    ///
    /// # Errors
    /// If nobody reads, or it cannot be written.
    pub(super) fn write(&self, output: &mut Output, style: Style) -> Result<()> {
        output.line(style.bold(&printable(self.image)))?;
        let lines: Vec<Line> = match &self.found {
            Found::Predictions(predictions) => predictions
                .iter()
                .map(|p| Line::new(p.label, p.index, p.probability, String::new()))
                .collect(),
            Found::Boxes(boxes) => boxes
                .iter()
                .map(|b| {
                    let corners = [b.xmin, b.ymin, b.xmax, b.ymax];
                    let [xmin, ymin, xmax, ymax] = corners.map(|side| format!("{side:.0}"));
                    let place = format!("({xmin}, {ymin}) to ({xmax}, {ymax})");
                    Line::new(b.label.as_deref(), b.index, b.score, place)
                })
                .collect(),
        };
        if lines.is_empty() {
            output.line("  nothing found")?;
        }
        let widest = |text: fn(&Line) -> &str| {
            lines.iter().map(|line| text(line).chars().count()).max().unwrap_or(0)
        };
        let (labels, places) = (widest(|line| &line.label), widest(|line| &line.place));
        for Line { label, probability, place } in &lines {
            let probability = f64::from(*probability);
            let space = if places > 0 { "  " } else { "" };
            let line = format!(
                "  {label:<labels$}  {:5.1} %{space}{place:<places$}  {}",
                probability * 100.0,
                style.accent(&terminal::bar(probability, BAR))
            );
            output.line(line.trim_end())?;
        }
        let Milliseconds { decode, preprocess, run } = self.milliseconds;
        let times = format!(
            "  decode {}, preprocess {}, run {}",
            terminal::milliseconds(decode),
            terminal::milliseconds(preprocess),
            terminal::milliseconds(run)
        );
        output.line(style.dim(&times))
    }
}
