//! Pictures and golden inputs of the shared data: decoding, resizing and normalising as the networks
//! were trained. Skipped where the data is missing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bnn::program::{ChannelOrder, Interpolation, Preprocessing, Resize, ResizeRounding};
use bnn::vision::{InputLayout, decode, decode_file, normalise, preprocess};
use safetensors::SafeTensors;
use serde_json::Value;

/// A folder of the shared data, if it is there.
fn shared(folder: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data")).join(folder);
    if !path.exists() {
        println!("skipped: {} is missing", path.display());
        return None;
    }
    Some(path)
}

fn preprocessing(interpolation: Interpolation) -> Preprocessing {
    Preprocessing {
        resize: None,
        crop: None,
        interpolation,
        rounding: ResizeRounding::Round,
        channels: ChannelOrder::Rgb,
        range: 255.0,
        mean: vec![0.0],
        std: vec![1.0],
    }
}

fn integers(file: &SafeTensors<'_>, name: &str) -> Vec<i64> {
    let bytes = file.tensor(name).unwrap().data();
    bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = file.tensor(name).unwrap().data();
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

#[test]
fn odd_pictures_come_out_or_are_refused() {
    let Some(folder) = shared("images/odd") else {
        return;
    };
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let mut wrong = Vec::new();
    let (mut decoded, mut refused) = (0, 0);
    for file in manifest["files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap();
        let result = decode_file(folder.join(path));
        match &result {
            Ok(_) => decoded += 1,
            Err(_) => refused += 1,
        }
        if file["must_decode"] == true {
            match result {
                Ok(image) if file["width"] == image.width() && file["height"] == image.height() => {
                }
                Ok(image) => {
                    let found = (image.width(), image.height());
                    wrong.push(format!("{path}: {found:?}, expected {file}"));
                }
                Err(error) => wrong.push(format!("refused: {error}")),
            }
        } else if file["must_refuse"] == true && result.is_ok() {
            wrong.push(format!("{path}: decoded, expected an error"));
        } else if let Err(error) = result {
            let line = error.to_string();
            assert!(line.contains(path) && !line.contains('\n'), "{line}");
        }
    }
    println!("{decoded} decoded, {refused} refused");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(decoded + refused >= 512);
}

#[test]
fn traffic_signs_are_resized_as_pillow_does() {
    let (Some(signs), Some(nets)) = (shared("images/gtsrb"), shared("nets")) else {
        return;
    };
    for side in [30, 48] {
        let bytes = std::fs::read(nets.join(format!("gtsrb-{side}/golden.safetensors"))).unwrap();
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        let expected = golden.tensor("input_u8").unwrap();
        let layout = InputLayout { channels: 3, height: side, width: side };
        let preprocessing = preprocessing(Interpolation::Bicubic);
        let rows = expected.data().chunks_exact(side * side * 3);
        let index = integers(&golden, "index");
        assert_eq!((index.len(), rows.len()), (64, 64));
        for (index, expected) in index.into_iter().zip(rows) {
            let image = decode_file(signs.join(format!("Test/{index:05}.png"))).unwrap();
            let pixels = preprocess(&image, &preprocessing, layout).unwrap();
            assert!(pixels == expected, "image {index} at {side} pixels");
        }
    }
}

#[test]
fn photos_are_decoded_and_resized_as_pillow_does() {
    let (Some(photos), Some(nets)) = (shared("images/imagenet"), shared("nets")) else {
        return;
    };
    let labels = std::fs::read_to_string(photos.join("labels.csv")).unwrap();
    let paths: HashMap<i64, &str> = labels
        .lines()
        .map(|line| line.rsplit_once(',').unwrap())
        .map(|(path, label)| (label.parse().unwrap(), path))
        .collect();
    let bytes = std::fs::read(nets.join("bmxnet-imagenet-resnet18/golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let preprocessing = Preprocessing {
        resize: Some(Resize::Shorter(256)),
        crop: Some([224, 224]),
        ..preprocessing(Interpolation::Bilinear)
    };
    let layout = InputLayout { channels: 3, height: 224, width: 224 };
    let rows = golden.tensor("input_u8").unwrap().data().chunks_exact(224 * 224 * 3);
    let mut compared = 0;
    for (index, expected) in integers(&golden, "index").into_iter().zip(rows) {
        let Some(path) = paths.get(&index) else {
            continue;
        };
        let image = decode_file(photos.join(path)).unwrap();
        let pixels = preprocess(&image, &preprocessing, layout).unwrap();
        let differences: Vec<u8> =
            pixels.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).collect();
        let largest = *differences.iter().max().unwrap();
        let sum: u32 = differences.iter().map(|&difference| u32::from(difference)).sum();
        let mean = f64::from(sum) / differences.len() as f64;
        println!("{path}: differs by at most {largest}, {mean:.4} on average");
        // Decoders may round the cosine transform and the colours as they like; resizing may not.
        assert!(largest <= 3 && mean < 0.25, "{path}: {largest}, {mean}");
        compared += 1;
    }
    assert_eq!(compared, 16);
}

#[test]
fn normalised_values_are_those_of_the_golden_files() {
    let Some(nets) = shared("nets") else { return };
    let imagenet = [vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]];
    let plain = [vec![0.0], vec![1.0]];
    let cases = [
        ("adabin-resnet20-cifar10", 1.0, imagenet, true),
        ("bmxnet-imagenet-resnet18", 255.0, [vec![123.68, 116.779, 103.939], vec![1.0]], true),
        ("bmxnet-mnist-lenet", 1.0, plain.clone(), true),
        ("finn-cnv-cifar10", 1.0, [vec![0.5], vec![0.5]], true),
        ("finn-lfc-mnist", 1.0, plain.clone(), true),
        ("tfc-mnist-qonnx", 1.0, plain.clone(), true),
        ("gtsrb-30", 255.0, plain.clone(), false),
        ("gtsrb-48", 255.0, plain, false),
    ];
    for (net, range, [mean, std], channels_first) in cases {
        let bytes = std::fs::read(nets.join(net).join("golden.safetensors")).unwrap();
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        let pixels = golden.tensor("input_u8").unwrap();
        let channels = match pixels.shape()[3] {
            1 => ChannelOrder::Gray,
            _ => ChannelOrder::Rgb,
        };
        let preprocessing =
            Preprocessing { channels, range, mean, std, ..preprocessing(Interpolation::Bilinear) };
        let expected = floats(&golden, "input_f32");
        let row = pixels.shape()[1..].iter().product();
        let mut out = vec![0.0; row];
        let mut different = 0;
        for (pixels, expected) in pixels.data().chunks_exact(row).zip(expected.chunks_exact(row)) {
            normalise(pixels, &preprocessing, channels_first, &mut out);
            for (value, expected) in out.iter().zip(expected) {
                different += usize::from(value.to_bits() != expected.to_bits());
            }
        }
        assert_eq!(different, 0, "{net}");
    }
}

#[test]
fn decoding_needs_no_file() {
    let Some(folder) = shared("images/odd/own") else {
        return;
    };
    let bytes = std::fs::read(folder.join("one_pixel.png")).unwrap();
    assert_eq!(decode(&bytes).unwrap(), decode_file(folder.join("one_pixel.png")).unwrap());
}
