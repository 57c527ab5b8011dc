//! `bnn-run bench`: how fast is it?

use super::{
    as_floats::AsFloats,
    classify::at_least_one,
    limits::Limits,
    profile::{self, LayerTime},
    profile_chart,
};
use crate::{
    engine::{self, EngineArguments, ModelArguments},
    exit::{Failure, Result, Status},
    output::Output,
    statistics::Spread,
    terminal::{self, Style, milliseconds},
};
use bnn::{Session, runtime::Profile};
use serde::Serialize;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Most images of a batch: more than that is a slip of the finger, and memory is not without end.
const MAXIMUM_BATCH: usize = 1 << 16;

/// Runs that are measured even if they take longer than they should.
const FEWEST_RUNS: usize = 5;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    engine: EngineArguments,
    /// Images in one call
    #[arg(long, value_name = "B", default_value = "1", value_parser = at_least_one)]
    batch: usize,
    /// Time to measure for, in seconds
    #[arg(long, value_name = "S", default_value = "3", value_parser = seconds, allow_negative_numbers = true)]
    seconds: f64,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Draw the time that each layer takes, as an SVG or PNG by the name's ending
    #[arg(long, value_name = "FILE")]
    profile_chart: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let valid = |value: &f64| (0.0..=86400.0).contains(value);
    text.parse().ok().filter(valid).ok_or_else(|| "expected seconds, from 0 to 86400".to_owned())
}

/// The measurements. Times are for one call, that is for a whole batch.
#[derive(Debug, Serialize)]
struct Report<'a> {
    model: &'a str,
    isa: &'static str,
    threads: usize,
    batch: usize,
    runs: usize,
    median_ms: f64,
    min_ms: f64,
    p10_ms: f64,
    p90_ms: f64,
    images_per_second: f64,
    /// From the file to a session that can run.
    load_ms: f64,
    arena_bytes: usize,
    model_bytes: usize,
    layers: Vec<LayerTime>,
    limits: Limits,
    /// Absent without binary layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_floats: Option<AsFloats>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let options = arguments.engine.options()?;
    if arguments.batch > MAXIMUM_BATCH {
        return Err(Failure::usage(format_args!(
            "--batch {}, expected at most {MAXIMUM_BATCH}",
            arguments.batch
        )));
    }
    if let Some(path) = &arguments.profile_chart {
        profile_chart::check(path)?;
    }
    let loaded = arguments.model.open()?;
    let start = Instant::now();
    let mut session =
        loaded.model.session(&options).map_err(|error| engine::failure(&loaded.name, error))?;
    let load = loaded.time + start.elapsed();

    let mut measurement = Measurement::new(&session, arguments.batch)?;
    let fail = |error| engine::failure(&loaded.name, error);
    let budget = Duration::from_secs_f64(arguments.seconds);
    // The first runs find caches cold and clocks low.
    measurement.repeat(&mut session, budget / 10, 2).map_err(fail)?;
    let times = measurement.repeat(&mut session, budget, FEWEST_RUNS).map_err(fail)?;
    let profile = measurement.profile(&mut session, budget / 10, 2).map_err(fail)?;
    let limits = Limits::measure(&session).map_err(fail)?;
    let layers = profile::layer_times(&session, &profile, Some(limits));
    let as_floats = AsFloats::measure(&session, &layers, budget / 10).map_err(fail)?;
    let Some(spread) = Spread::of(&times) else {
        return Err(Failure::new(Status::Other, "nothing was measured"));
    };

    let report = Report {
        model: &loaded.name,
        isa: session.isa().name(),
        threads: session.threads(),
        batch: arguments.batch,
        runs: times.len(),
        median_ms: spread.median,
        min_ms: spread.minimum,
        p10_ms: spread.p10,
        p90_ms: spread.p90,
        images_per_second: arguments.batch as f64 * 1e3 / spread.median,
        load_ms: load.as_secs_f64() * 1e3,
        arena_bytes: session.arena_bytes(),
        model_bytes: loaded.model.file_bytes(),
        layers,
        limits,
        as_floats,
    };
    if let Some(path) = &arguments.profile_chart {
        let title = format!("{} on {}: {}", report.model, report.isa, milliseconds(spread.median));
        profile_chart::save(&title, &report.layers, path)?;
    }
    let mut output = Output::new();
    if arguments.json {
        output.json(&report)?;
    } else {
        report.write(&mut output, Style::of_standard_output())?;
    }
    output.flush()
}

/// Inputs and room for outputs.
struct Measurement {
    inputs: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
}

impl Measurement {
    fn new(session: &Session, batch: usize) -> Result<Self> {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let room = |shape: &[usize], next: &mut dyn FnMut() -> f32| {
            let length = shape.iter().product::<usize>().checked_mul(batch);
            let mut values = Vec::new();
            match length {
                Some(length) if values.try_reserve_exact(length).is_ok() => {
                    values.extend((0..length).map(|_| next()));
                    Ok(values)
                }
                _ => Err(Failure::usage(format_args!("--batch {batch} needs too much memory"))),
            }
        };
        let model = session.model();
        let inputs = model.inputs().iter().map(|port| room(&port.shape, &mut || random.next()));
        let outputs = model.outputs().iter().map(|port| room(&port.shape, &mut || 0.0));
        Ok(Self {
            inputs: inputs.collect::<Result<_>>()?,
            outputs: outputs.collect::<Result<_>>()?,
        })
    }

    /// Milliseconds of each run, for the given time and number of runs at least.
    fn repeat(
        &mut self,
        session: &mut Session,
        time: Duration,
        runs: usize,
    ) -> Result<Vec<f64>, bnn::Error> {
        let inputs: Vec<&[f32]> = self.inputs.iter().map(Vec::as_slice).collect();
        let mut outputs: Vec<&mut [f32]> = self.outputs.iter_mut().map(Vec::as_mut_slice).collect();
        let mut times = Vec::new();
        let start = Instant::now();
        while times.len() < runs || start.elapsed() < time {
            let run = Instant::now();
            session.run_into(&inputs, &mut outputs)?;
            times.push(run.elapsed().as_secs_f64() * 1e3);
        }
        Ok(times)
    }

    /// Times by layer, for the given time and number of runs at least.
    fn profile(
        &mut self,
        session: &mut Session,
        time: Duration,
        runs: usize,
    ) -> Result<Profile, bnn::Error> {
        let inputs: Vec<&[f32]> = self.inputs.iter().map(Vec::as_slice).collect();
        let mut outputs: Vec<&mut [f32]> = self.outputs.iter_mut().map(Vec::as_mut_slice).collect();
        let mut sum = Profile::default();
        let start = Instant::now();
        let mut done = 0;
        while done < runs || start.elapsed() < time {
            profile::add(&mut sum, &session.run_profiled(&inputs, &mut outputs)?);
            done += 1;
        }
        Ok(sum)
    }
}

/// Numbers between -1 and 1 by xorshift: the same ones in every run, so that runs compare.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    }
}

impl Report<'_> {
    fn write(&self, output: &mut Output, style: Style) -> Result<()> {
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        output.line(format_args!(
            "{} on {}, {} {threads}, batch {}",
            style.bold(&terminal::printable(self.model)),
            self.isa,
            self.threads,
            self.batch
        ))?;
        output.line(format_args!(
            "  median {}, min {}, p10 {}, p90 {} over {} runs",
            style.bold(&terminal::milliseconds(self.median_ms)),
            terminal::milliseconds(self.min_ms),
            terminal::milliseconds(self.p10_ms),
            terminal::milliseconds(self.p90_ms),
            self.runs
        ))?;
        output.line(format_args!(
            "  {:.1} images a second, loaded in {}, arena {}, model {}",
            self.images_per_second,
            terminal::milliseconds(self.load_ms),
            terminal::bytes(self.arena_bytes as u64),
            terminal::bytes(self.model_bytes as u64)
        ))?;
        if let Some(as_floats) = &self.as_floats {
            output.line(format_args!("  {}", as_floats.line()))?;
        }
        output.line("")?;
        profile::write(&self.layers, self.limits, output, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_vary_and_stay_small() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let values: Vec<f32> = (0..1000).map(|_| random.next()).collect();
        assert!(values.iter().all(|value| value.abs() <= 1.0));
        let mean = values.iter().sum::<f32>() / 1000.0;
        assert!(mean.abs() < 0.1, "{mean}");
    }

    #[test]
    fn durations_are_checked() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for bad in ["-1", "nan", "1e9", "x"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
