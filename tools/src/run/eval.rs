//! `bnn-run eval`: how often is it right?

use super::PROGRAM;
use crate::{
    accuracy::{Accuracy, ClassAccuracy},
    confusion,
    datasets::Dataset,
    engine::{self, EngineArguments, ModelArguments},
    exit::{self, Failure, Result, Status},
    output::Output,
    picture::PictureInput,
    progress::Progress,
    table::{Align, Table},
    terminal::{self, Style, printable},
};
use bnn::Session;
use serde::Serialize;
use std::{path::PathBuf, thread, time::Instant};

/// Most images that are decoded and run together.
const BATCH: usize = 16;

/// Most values of a batch: images are fewer where they are large.
const BATCH_VALUES: usize = 1 << 24;

/// Mistakes that are listed on a terminal.
const SHOWN_MISTAKES: usize = 5;

/// Wrong answers that are listed for a class on a terminal.
const SHOWN_ANSWERS: usize = 3;

/// Characters of a full bar.
const BAR: usize = 16;

/// Most classes that are listed one by one on a terminal.
const SHOWN_CLASSES: usize = 50;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Labelled images: folders named after labels, a folder with labels.csv (path,label-index),
    /// a safetensors file with images and labels, or idx files
    #[arg(value_name = "DATA")]
    data: PathBuf,
    #[command(flatten)]
    model: ModelArguments,
    /// A table of path,label-index lines for the images in the folder DATA
    #[arg(long, value_name = "FILE.csv")]
    labels: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Draw the confusion matrix
    #[arg(long, value_name = "OUT.png")]
    confusion: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArguments,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    model: &'a str,
    isa: &'static str,
    threads: usize,
    images: usize,
    top1: f64,
    top5: f64,
    correct: usize,
    /// Images that could not be read.
    skipped: usize,
    /// Decoding and preprocessing included.
    images_per_second: f64,
    per_class: Vec<ClassAccuracy>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let options = arguments.engine.options()?;
    let loaded = arguments.model.open()?;
    if loaded.model.detector().is_some() {
        let message = "finds objects; eval measures how often classes are right";
        return Err(Failure::new(Status::Unsupported, format_args!("{}: {message}", loaded.name)));
    }
    let input = PictureInput::new(&loaded.name, &loaded.model)?;
    let classes = loaded.model.outputs()[0].shape.iter().product();
    let labels = loaded.model.labels();
    let dataset = Dataset::open(&arguments.data, arguments.labels.as_deref(), labels, classes)?;
    let session =
        loaded.model.session(&options).map_err(|error| engine::failure(&loaded.name, error))?;

    let start = Instant::now();
    let mut evaluation = Evaluation::new(session, &input, classes);
    evaluation.run(&dataset)?;
    let seconds = start.elapsed().as_secs_f64();
    let Evaluation { session, accuracy, skipped, .. } = evaluation;
    let report = Report {
        model: &loaded.name,
        isa: session.isa().name(),
        threads: session.threads(),
        images: accuracy.images(),
        top1: accuracy.top1(),
        top5: accuracy.top5(),
        correct: accuracy.correct(),
        skipped,
        images_per_second: accuracy.images() as f64 / seconds,
        per_class: accuracy.per_class(labels),
    };
    let mut output = Output::new();
    if arguments.json {
        output.json(&report)?;
    } else {
        report.write(&accuracy, labels, &mut output, Style::of_standard_output())?;
    }
    output.flush()?;
    if let Some(path) = &arguments.confusion {
        confusion::save(&accuracy, labels, path)?;
    }
    if skipped > 0 { Err(Failure::Reported(Status::Input)) } else { Ok(()) }
}

/// Runs a data set in batches.
struct Evaluation<'a> {
    session: Session,
    input: &'a PictureInput,
    classes: usize,
    accuracy: Accuracy,
    skipped: usize,
}

impl<'a> Evaluation<'a> {
    fn new(session: Session, input: &'a PictureInput, classes: usize) -> Self {
        Self { session, input, classes, accuracy: Accuracy::new(classes), skipped: 0 }
    }

    fn run(&mut self, dataset: &Dataset) -> Result<()> {
        let length = self.input.len();
        let batch = (BATCH_VALUES / length.max(self.classes)).clamp(1, BATCH).min(dataset.len());
        let mut values = vec![0.0; batch * length];
        let mut scores = vec![0.0; batch * self.classes];
        let mut progress = Progress::new(dataset.len(), "images");
        for first in (0..dataset.len()).step_by(batch) {
            let count = batch.min(dataset.len() - first);
            let results = self.prepare(dataset, first, &mut values[..count * length]);
            // Images that cannot be read leave gaps, which are closed before the run.
            let mut kept = Vec::with_capacity(count);
            for (offset, result) in results.into_iter().enumerate() {
                match result {
                    Ok(()) => {
                        let place = kept.len() * length;
                        values.copy_within(offset * length..(offset + 1) * length, place);
                        kept.push(first + offset);
                    }
                    Err(failure) => {
                        self.skipped += 1;
                        if let Failure::Error { message, .. } = failure {
                            progress.suspend(|| exit::complain(PROGRAM, &message));
                        }
                    }
                }
            }
            if !kept.is_empty() {
                let inputs = &values[..kept.len() * length];
                let outputs = &mut scores[..kept.len() * self.classes];
                self.session
                    .run_into(&[inputs], &mut [&mut *outputs])
                    .map_err(|error| engine::failure(&dataset.name(first), error))?;
                for (&index, scores) in kept.iter().zip(outputs.chunks_exact(self.classes)) {
                    self.accuracy.add(dataset.label(index), scores);
                }
            }
            progress.advance(count);
        }
        Ok(())
    }

    /// Decodes and preprocesses the images from `first` on, as many as there is room for, on as many
    /// threads as the session has.
    fn prepare(&self, dataset: &Dataset, first: usize, values: &mut [f32]) -> Vec<Result<()>> {
        let length = self.input.len();
        let share = (values.len() / length).div_ceil(self.session.threads()).max(1);
        let prepare_share = |first: usize, values: &mut [f32]| -> Vec<Result<()>> {
            let fill = |(offset, values): (usize, &mut [f32])| {
                let index = first + offset;
                let image = dataset.image(index)?;
                self.input.fill(&image, values).map_err(|error| {
                    Failure::new(Status::Input, format_args!("{}: {error}", dataset.name(index)))
                })
            };
            values.chunks_exact_mut(length).enumerate().map(fill).collect()
        };
        if self.session.threads() == 1 {
            return prepare_share(first, values);
        }
        thread::scope(|scope| {
            let workers: Vec<_> = values
                .chunks_mut(share * length)
                .enumerate()
                .map(|(worker, values)| {
                    scope.spawn(move || prepare_share(first + worker * share, values))
                })
                .collect();
            workers
                .into_iter()
                .flat_map(|worker| match worker.join() {
                    Ok(results) => results,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect()
        })
    }
}

impl Report<'_> {
    fn write(
        &self,
        accuracy: &Accuracy,
        labels: &[String],
        output: &mut Output,
        style: Style,
    ) -> Result<()> {
        let label = |index: usize| match labels.get(index) {
            Some(label) => printable(label).into_owned(),
            None => format!("class {index}"),
        };
        if self.per_class.len() <= SHOWN_CLASSES {
            use Align::{Left, Right};
            let mut table = Table::new([
                ("class", Left),
                ("images", Right),
                ("correct", Right),
                ("%", Right),
                ("", Left),
                ("taken for", Left),
            ]);
            for class in &self.per_class {
                // A class is short of room on a line for everything that it was ever taken for.
                let taken: Vec<String> = accuracy
                    .taken_for(class.index)
                    .iter()
                    .take(SHOWN_ANSWERS)
                    .map(|&(answer, count)| format!("{} {count}", label(answer)))
                    .collect();
                table.row([
                    label(class.index),
                    class.images.to_string(),
                    class.correct.to_string(),
                    format!("{:.1}", 100.0 * class.top1),
                    format!("{:<BAR$}", terminal::bar(class.top1, BAR)),
                    taken.join(", "),
                ]);
            }
            table.write(output, style)?;
            output.line("")?;
        }
        let mistakes = accuracy.mistakes();
        if !mistakes.is_empty() {
            output.line(style.bold("most frequent mistakes"))?;
            for &(class, answer, count) in mistakes.iter().take(SHOWN_MISTAKES) {
                output.line(format_args!(
                    "  {count} times {} for {}",
                    label(answer),
                    label(class)
                ))?;
            }
            output.line("")?;
        }
        let top1 = format!("top-1 {:.2} %", 100.0 * self.top1);
        output.line(format_args!(
            "{}, top-5 {:.2} % ({} of {} images right, {} skipped), {:.1} images a second on {}",
            style.bold(&top1),
            100.0 * self.top5,
            self.correct,
            self.images,
            self.skipped,
            self.images_per_second,
            self.isa
        ))
    }
}
