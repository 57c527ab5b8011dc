//! `bnn-run IMAGE...`: what is on the images.

use super::{
    PROGRAM,
    limits::Limits,
    profile::{self, LayerTime},
    profile_chart,
};
use crate::{
    annotate,
    engine::{self, EngineArguments, Loaded, ModelArguments},
    exit::{self, Failure, Result, Status},
    images::{self, Source},
    output::Output,
    picture::PictureInput,
    progress::Progress,
    terminal::{self, Style, printable},
};
use bnn::{
    Session,
    runtime::Profile,
    vision::{self, Image},
};
use image::RgbImage;
use serde::Serialize;
use std::{
    borrow::Cow,
    io::{IsTerminal, stdout},
    path::PathBuf,
    time::Instant,
};

/// Length of a bar for certainty.
const BAR: usize = 24;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Images: files, folders, or - for standard input
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    /// Number of classes to show for each image
    #[arg(long, value_name = "K", default_value = "5", value_parser = at_least_one)]
    top: usize,
    /// Print one JSON object a line, one for each image
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
    /// Show the time that each layer takes
    #[arg(long)]
    profile: bool,
    /// Draw the time that each layer takes, as an SVG or PNG by the name's ending
    #[arg(long, value_name = "FILE")]
    profile_chart: Option<PathBuf>,
    /// Draw the answer beside the image, as a PNG; for several images, name a folder
    #[arg(long, value_name = "OUT.png")]
    annotate: Option<PathBuf>,
}

/// A whole number from 1 on.
pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a number, 1 or more".to_owned())
}

/// The answer for one image.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    image: &'a str,
    model: &'a str,
    predictions: Vec<Prediction<'a>>,
    milliseconds: Milliseconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<LayerTime>>,
    /// The file with the answer drawn beside the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    annotated: Option<String>,
}

#[derive(Debug, Serialize)]
struct Prediction<'a> {
    index: usize,
    label: Option<&'a str>,
    probability: f32,
}

/// Time that the parts of the work took.
#[derive(Debug, Serialize)]
struct Milliseconds {
    decode: f64,
    preprocess: f64,
    run: f64,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let options = arguments.engine.options()?;
    if let Some(path) = &arguments.profile_chart {
        profile_chart::check(path)?;
    }
    let mut target = arguments.annotate.as_deref().map(annotate::Target::new).transpose()?;
    let mut broken = false;
    let sources = images::gather(&arguments.images, |failure| {
        broken = true;
        tell(&failure);
    })?;
    if let Some(target) = &mut target {
        target.expect(&sources)?;
    }
    let loaded = arguments.model.open()?;
    let input = PictureInput::new(&loaded.name, &loaded.model)?;
    let session =
        loaded.model.session(&options).map_err(|error| engine::failure(&loaded.name, error))?;
    let mut classifier = Classifier::new(&loaded, session, input, arguments)?;

    let style = Style::of_standard_output();
    let mut output = Output::new();
    // Where the answers go to a terminal they show the progress themselves.
    let mut progress = (!stdout().is_terminal()).then(|| Progress::new(sources.len(), "images"));
    for (index, source) in sources.iter().enumerate() {
        let name = source.name();
        let answer = match classifier.classify(source, &name) {
            Ok((mut answer, image)) => {
                if let Some(target) = &target {
                    let file = target.save(index, &answer.drawn(&image))?;
                    answer.annotated = Some(file.display().to_string());
                }
                Ok(answer)
            }
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(answer) if arguments.json => output.json(&answer)?,
            Ok(answer) => {
                if index > 0 {
                    output.line("")?;
                }
                answer.write(&mut output, style)?;
            }
            Err(failure) => {
                broken = true;
                match &progress {
                    Some(progress) => progress.suspend(|| tell(&failure)),
                    None => tell(&failure),
                }
            }
        }
        output.flush()?;
        if let Some(progress) = &mut progress {
            progress.advance(1);
        }
    }
    drop(progress);
    if let Some(limits) = classifier.limits.filter(|_| classifier.profile.images > 0) {
        let layers = profile::layer_times(&classifier.session, &classifier.profile, Some(limits));
        if arguments.profile && !arguments.json {
            output.line("")?;
            profile::write(&layers, limits, &mut output, style)?;
            output.flush()?;
        }
        if let Some(path) = &arguments.profile_chart {
            let ms = layers.iter().map(|layer| layer.ms).sum();
            let (name, isa) = (&loaded.name, classifier.session.isa().name());
            let title = format!("{name} on {isa}: {}", terminal::milliseconds(ms));
            profile_chart::save(&title, &layers, path)?;
        }
    }
    if broken { Err(Failure::Reported(Status::Input)) } else { Ok(()) }
}

fn tell(failure: &Failure) {
    if let Failure::Error { message, .. } = failure {
        exit::complain(PROGRAM, message);
    }
}

/// A session and everything that goes with it.
struct Classifier<'a> {
    loaded: &'a Loaded,
    session: Session,
    input: PictureInput,
    values: Vec<f32>,
    scores: Vec<f32>,
    top: usize,
    json: bool,
    /// Times by layer, summed over the images.
    profile: Profile,
    /// Present if times by layer are wanted.
    limits: Option<Limits>,
}

impl<'a> Classifier<'a> {
    fn new(
        loaded: &'a Loaded,
        session: Session,
        input: PictureInput,
        arguments: &Arguments,
    ) -> Result<Self> {
        let profiled = arguments.profile || arguments.profile_chart.is_some();
        let limits = profiled
            .then(|| Limits::measure(&session))
            .transpose()
            .map_err(|error| engine::failure(&loaded.name, error))?;
        let classes = loaded.model.outputs()[0].shape.iter().product();
        Ok(Self {
            loaded,
            session,
            values: vec![0.0; input.len()],
            input,
            scores: vec![0.0; classes],
            top: arguments.top,
            json: arguments.json,
            profile: Profile::default(),
            limits,
        })
    }

    fn classify<'n>(&mut self, source: &Source, name: &'n str) -> Result<(Answer<'n>, Image)>
    where
        'a: 'n,
    {
        let mut clock = Instant::now();
        let mut lap = || {
            let time = clock.elapsed();
            clock = Instant::now();
            time.as_secs_f64() * 1e3
        };
        let image = source.decode()?;
        let decode = lap();
        self.input
            .fill(&image, &mut self.values)
            .map_err(|error| Failure::new(Status::Input, format_args!("{name}: {error}")))?;
        let preprocess = lap();
        let (inputs, outputs) = (&[&self.values[..]], &mut [&mut self.scores[..]]);
        let result = if self.limits.is_some() {
            self.session.run_profiled(inputs, outputs).map(Some)
        } else {
            self.session.run_into(inputs, outputs).map(|()| None)
        };
        let profile = result.map_err(|error| engine::failure(name, error))?;
        let run = lap();

        let layers = profile.filter(|profile| {
            profile::add(&mut self.profile, profile);
            self.json
        });
        let layers =
            layers.map(|profile| profile::layer_times(&self.session, &profile, self.limits));
        let program = self.loaded.model.program();
        // The order is that of the scores: rounding may make two probabilities equal.
        let best = vision::top_k(&self.scores, self.top);
        if !program.metadata.outputs_are_probabilities {
            self.scores = vision::softmax(&self.scores);
        }
        let predictions = best
            .into_iter()
            .map(|(index, _)| Prediction {
                index,
                label: program.metadata.labels.get(index).map(String::as_str),
                probability: self.scores[index],
            })
            .collect();
        let answer = Answer {
            image: name,
            model: &self.loaded.name,
            predictions,
            milliseconds: Milliseconds { decode, preprocess, run },
            layers,
            annotated: None,
        };
        Ok((answer, image))
    }
}

impl Prediction<'_> {
    fn name(&self) -> Cow<'_, str> {
        match self.label {
            Some(label) => printable(label),
            None => Cow::Owned(format!("class {}", self.index)),
        }
    }
}

impl Answer<'_> {
    /// The image with the answer beside it.
    fn drawn(&self, image: &Image) -> RgbImage {
        let names: Vec<Cow<'_, str>> = self.predictions.iter().map(Prediction::name).collect();
        let rows: Vec<annotate::Row<'_>> = names
            .iter()
            .zip(&self.predictions)
            .map(|(label, &Prediction { probability, .. })| annotate::Row { label, probability })
            .collect();
        annotate::with_classes(image, &rows)
    }

    fn write(&self, output: &mut Output, style: Style) -> Result<()> {
        output.line(style.bold(&printable(self.image)))?;
        let labels: Vec<Cow<'_, str>> = self.predictions.iter().map(Prediction::name).collect();
        let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        for (label, prediction) in labels.iter().zip(&self.predictions) {
            let probability = f64::from(prediction.probability);
            let line = format!(
                "  {label:<width$}  {:5.1} %  {}",
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
