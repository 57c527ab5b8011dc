//! `bnn-run IMAGE...`: what is on the images, classes or objects.

use super::{
    PROGRAM,
    answer::{Answer, Found, Milliseconds, Prediction},
    limits::Limits,
    profile, profile_chart,
};
use crate::{
    annotate,
    engine::{self, EngineArguments, Loaded, ModelArguments},
    exit::{self, Failure, Result, Status},
    images::{self, Source},
    output::Output,
    picture::PictureInput,
    progress::Progress,
    terminal::{self, Style},
};
use bnn::{
    Error, Session,
    runtime::Profile,
    vision::{self, Image},
};
use std::{
    io::{IsTerminal, stdout},
    path::PathBuf,
    time::Instant,
};

/// Classes that are shown where nobody says how many.
const SHOWN_CLASSES: usize = 5;

/// Smallest score of boxes that are shown to people, as text and on pictures; programs get all.
const SHOWN_SCORE: f32 = 0.5;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Images: files, folders, or - for standard input
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    /// Number of classes to show for each image, or of boxes at most [default: 5 classes, all boxes]
    #[arg(long, value_name = "K", value_parser = at_least_one)]
    top: Option<usize>,
    /// Smallest score of boxes to show, 0 to 1 [default: 0.5; with --json the model's own]
    #[arg(long, value_name = "SCORE", value_parser = score)]
    min_score: Option<f32>,
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
    /// Draw the answer beside the image, or boxes on it, as a PNG; for several images, name a folder
    #[arg(long, value_name = "OUT.png")]
    annotate: Option<PathBuf>,
}

/// A whole number from 1 on.
pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a number, 1 or more".to_owned())
}

/// A number from 0 to 1.
fn score(text: &str) -> Result<f32, String> {
    let score = text.parse().ok().filter(|score| (0.0..=1.0).contains(score));
    score.ok_or_else(|| "expected a score, 0 to 1".to_owned())
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
                    let file = target.save(index, &answer.drawn(&image, classifier.drawn_score))?;
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
    outputs: Vec<Vec<f32>>,
    top: Option<usize>,
    /// Boxes of smaller scores are left out.
    min_score: f32,
    /// And these on pictures.
    drawn_score: f32,
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
        let outputs = loaded.model.outputs().iter().map(|port| vec![0.0; port.elements()]);
        Ok(Self {
            loaded,
            session,
            values: vec![0.0; input.len()],
            input,
            outputs: outputs.collect(),
            top: arguments.top,
            min_score: match arguments.min_score {
                Some(score) => score,
                None if arguments.json => 0.0,
                None => SHOWN_SCORE,
            },
            drawn_score: arguments.min_score.unwrap_or(SHOWN_SCORE),
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
        let inputs = &[&self.values[..]];
        let mut outputs: Vec<&mut [f32]> = self.outputs.iter_mut().map(Vec::as_mut_slice).collect();
        let result = if self.limits.is_some() {
            self.session.run_profiled(inputs, &mut outputs).map(Some)
        } else {
            self.session.run_into(inputs, &mut outputs).map(|()| None)
        };
        let profile = result.map_err(|error| engine::failure(name, error))?;
        let found = if self.loaded.model.detector().is_some() {
            self.boxes(&image).map_err(|error| engine::failure(name, error))?
        } else {
            self.predictions()
        };
        let run = lap();

        let layers = profile.filter(|profile| {
            profile::add(&mut self.profile, profile);
            self.json
        });
        let layers =
            layers.map(|profile| profile::layer_times(&self.session, &profile, self.limits));
        let answer = Answer {
            image: name,
            model: &self.loaded.name,
            found,
            milliseconds: Milliseconds { decode, preprocess, run },
            layers,
            annotated: None,
        };
        Ok((answer, image))
    }

    /// The classes that the scores speak for.
    fn predictions(&self) -> Found<'a> {
        let metadata = &self.loaded.model.program().metadata;
        let scores = &self.outputs[0];
        // The order is that of the scores: rounding may make two probabilities equal.
        let best = vision::top_k(scores, self.top.unwrap_or(SHOWN_CLASSES));
        let softened;
        let probabilities = if metadata.outputs_are_probabilities {
            scores
        } else {
            softened = vision::softmax(scores);
            &softened
        };
        let prediction = |(index, _)| Prediction {
            index,
            label: metadata.labels.get(index).map(String::as_str),
            probability: probabilities[index],
        };
        Found::Predictions(best.into_iter().map(prediction).collect())
    }

    /// The boxes that the outputs stand for.
    fn boxes(&self, image: &Image) -> Result<Found<'a>, Error> {
        let model = &self.loaded.model;
        let outputs: Vec<&[f32]> = self.outputs.iter().map(Vec::as_slice).collect();
        let detections = model.detections(&outputs, image.width(), image.height())?;
        let shown = detections.into_iter().filter(|found| found.score >= self.min_score);
        Ok(Found::Boxes(shown.take(self.top.unwrap_or(usize::MAX)).collect()))
    }
}
