//! The pictures of the documentation, from our own model and pictures.

use std::fs;

use anyhow::{Context, Result, bail};
use bnn::convert::{Conversion, ConvertOptions, convert};
use bnn::import::onnx::{self, ImportOptions};
use bnn::program::{ChannelOrder, Interpolation, Metadata, Preprocessing, ResizeRounding};
use bnn::{Isa, Model, SessionOptions, vision};
use bnn_tools::run::LayerTime;
use bnn_tools::{annotate, canvas};

use crate::root::root;
use crate::zoo;

/// Where they lie.
const FOLDER: &str = "docs/pictures";

/// Classes that are drawn.
const TOP: usize = 5;

/// Score of the boxes that are drawn.
const SCORE: f32 = 0.5;

/// Times differ from run to run, so the chart shows these: of the default model on an Emerald
/// Rapids processor, one thread, `bnn-run bench --seconds 3`. Name, whether it is binary, height, width and
/// channels of what it computes, microseconds, percent of the limit.
#[rustfmt::skip]
const PROFILE: [(&str, bool, [usize; 3], f64, f64); 21] = [
    ("input.order + stem.conv", false, [32, 32, 32], 22.7, 46.4),
    ("blocks.0.conv", true, [32, 32, 32], 28.6, 38.6),
    ("blocks.1.conv", true, [32, 32, 32], 28.1, 39.2),
    ("blocks.2.conv", true, [32, 32, 32], 28.3, 38.9),
    ("blocks.3.conv", true, [32, 32, 32], 28.1, 39.2),
    ("blocks.4.conv", true, [16, 16, 64], 15.6, 35.2),
    ("blocks.4.shortcut.pool + blocks.4.shortcut.conv", false, [16, 16, 64], 13.8, 45.3),
    ("blocks.5.conv", true, [16, 16, 64], 17.4, 63.2),
    ("blocks.6.conv", true, [16, 16, 64], 17.3, 63.5),
    ("blocks.7.conv", true, [16, 16, 64], 17.5, 62.9),
    ("blocks.8.conv", true, [8, 8, 128], 8.2, 67.1),
    ("blocks.8.shortcut.pool + blocks.8.shortcut.conv", false, [8, 8, 128], 9.8, 63.7),
    ("blocks.9.conv", true, [8, 8, 128], 14.4, 76.3),
    ("blocks.10.conv", true, [8, 8, 128], 14.3, 77.3),
    ("blocks.11.conv", true, [8, 8, 128], 14.2, 77.4),
    ("blocks.12.conv", true, [4, 4, 256], 6.9, 79.9),
    ("blocks.12.shortcut.pool + blocks.12.shortcut.conv", false, [4, 4, 256], 8.2, 76.3),
    ("blocks.13.conv", true, [4, 4, 256], 13.4, 82.4),
    ("blocks.14.conv", true, [4, 4, 256], 13.3, 83.1),
    ("blocks.15.conv + classifier.mean", true, [1, 1, 256], 13.4, 82.4),
    ("classifier", false, [1, 1, 10], 0.7, 4.6),
];

/// Paints all pictures, and replaces those that differ.
pub(crate) fn write() -> Result<()> {
    let folder = root().join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, bytes) in pictures()? {
        let path = folder.join(name);
        fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}: {} bytes", path.display(), bytes.len());
    }
    Ok(())
}

/// Fails if a picture is not what would be painted.
pub(crate) fn check() -> Result<()> {
    for (name, bytes) in pictures()? {
        let path = root().join(FOLDER).join(name);
        let found = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if found != bytes {
            bail!("{} is out of date: run `cargo xtask pictures`", path.display());
        }
    }
    Ok(())
}

/// Names and contents of the files.
fn pictures() -> Result<[(&'static str, Vec<u8>); 5]> {
    Ok([
        ("airplane.png", answer("examples/airplane.png")?),
        ("shapes.png", boxes("examples/detector/shapes.png")?),
        ("network.svg", network()?.into_bytes()),
        ("profile.svg", profile().into_bytes()),
        ("zoo.svg", zoo::drawing()?.into_bytes()),
    ])
}

/// What `bnn-run PICTURE --annotate FILE` draws. All kernels say the same; the floats of the portable one
/// are the same on every machine.
fn answer(path: &str) -> Result<Vec<u8>> {
    let image = vision::decode_file(root().join(path))?;
    let model = Model::from_bytes(bnn_models::default_model())?;
    let mut session = model.session(&SessionOptions::default().isa(Isa::Scalar))?;
    let predictions = session.classify(&image, TOP)?;
    let rows: Vec<annotate::Row<'_>> = predictions
        .iter()
        .map(|prediction| annotate::Row {
            label: prediction.label.as_deref().unwrap_or_default(),
            probability: prediction.probability,
        })
        .collect();
    let picture = annotate::with_classes(&image, &rows);
    canvas::png(&picture).with_context(|| format!("cannot draw on {path}"))
}

/// What it draws with the detector of the examples, converted as their README says.
fn boxes(path: &str) -> Result<Vec<u8>> {
    let folder = root().join("examples/detector");
    let read = |name: &str| fs::read_to_string(folder.join(name));
    let preprocessing = Preprocessing {
        resize: None,
        crop: None,
        interpolation: Interpolation::Bilinear,
        rounding: ResizeRounding::Round,
        channels: ChannelOrder::Rgb,
        range: 1.0,
        mean: vec![0.5; 3],
        std: vec![0.5; 3],
    };
    let metadata = Metadata {
        preprocessing: Some(preprocessing),
        labels: read("labels.txt")?.lines().map(str::to_owned).collect(),
        detector: Some(serde_json::from_str(&read("boxes.json")?)?),
        ..Metadata::default()
    };
    let graph = onnx::read(&folder.join("find_shapes.onnx"), &ImportOptions::default())?;
    let converted = convert(graph, &ConvertOptions { metadata, ..ConvertOptions::default() })?;
    let model = Model::from_program(converted.program)?;
    let mut session = model.session(&SessionOptions::default().isa(Isa::Scalar))?;
    let image = vision::decode_file(root().join(path))?;
    let found = session.detect(&image)?;
    let likely = found.iter().filter(|found| found.score >= SCORE);
    let picture = annotate::with_boxes(&image, likely);
    canvas::png(&picture).with_context(|| format!("cannot draw on {path}"))
}

/// The drawing of `bnn-convert --report FILE.html` for the default model.
fn network() -> Result<String> {
    let options =
        ConvertOptions { metadata: bnn_models::default_metadata(), ..ConvertOptions::default() };
    let Conversion { program, report, .. } = convert(bnn_models::default_graph()?, &options)?;
    Ok(bnn_tools::convert::drawing(&program, &report.layers) + "\n")
}

/// What `bnn-run bench --profile-chart FILE.svg` drew once.
fn profile() -> String {
    let all: f64 = PROFILE.iter().map(|(.., microseconds, _)| microseconds).sum();
    let layers = PROFILE.map(|(name, binary, output_shape, microseconds, limit)| LayerTime {
        name: name.to_owned(),
        kind: if binary { "binary_conv" } else { "float_conv" },
        kernel: if binary { "bits" } else { "floats" },
        output_shape,
        macs: 0,
        ms: microseconds / 1e3,
        fraction: microseconds / all,
        gmacs: None,
        share_of_limit: Some(limit / 100.0),
    });
    bnn_tools::run::profile_chart(
        &format!("default on avx512vpopcnt: {:.2} ms", all / 1e3),
        &layers,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pictures_are_up_to_date_and_small() {
        check().unwrap();
        let files = fs::read_dir(root().join(FOLDER)).unwrap();
        let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(bytes < 130_000, "{bytes} bytes of pictures");
    }

    #[test]
    fn readers_find_them_in_the_documentation() {
        let readme = fs::read_to_string(root().join("README.md")).unwrap();
        let mut texts = readme;
        for entry in fs::read_dir(root().join("docs")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "md") {
                texts += &fs::read_to_string(path).unwrap();
            }
        }
        for (name, _) in pictures().unwrap() {
            assert!(texts.contains(&format!("pictures/{name})")), "{name} is shown nowhere");
        }
    }
}
