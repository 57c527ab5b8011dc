//! Resizing against pixels that Pillow made (`tools/make_resize_fixtures.py`), and the steps from a
//! picture to an input.

use bnn::program::{ChannelOrder, Interpolation, Preprocessing, Resize, ResizeRounding};
use bnn::vision::{Image, InputLayout, PreprocessError, normalise, preprocess, resize};
use serde_json::Value;

/// The generator of `tools/make_resize_fixtures.py`.
fn picture(seed: u64, width: u32, height: u32) -> Image {
    let mut state = seed;
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for channel in 0..3 {
                state = (state * 1_103_515_245 + 12_345) % (1 << 31);
                let noise = (state >> 16 & 0x3f) as u32;
                let edge = if (x / 4 + y / 3 + channel) % 2 == 1 { 255 } else { 0 };
                let ramp = (x * 7 + y * 5 + channel * 40) % 256;
                let value = [edge, ramp, (ramp + noise) % 256][((x + y) / 5 % 3) as usize];
                pixels.push(value as u8);
            }
        }
    }
    Image::new(width, height, pixels).unwrap()
}

fn fixture() -> Value {
    serde_json::from_str(include_str!("data/resize.json")).unwrap()
}

fn from_hex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap().as_bytes();
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    digits.as_chunks().0.iter().map(|&[high, low]| digit(high) << 4 | digit(low)).collect()
}

fn size(value: &Value) -> [u32; 2] {
    [0, 1].map(|axis| value[axis].as_u64().unwrap() as u32)
}

fn plain(interpolation: Interpolation) -> Preprocessing {
    Preprocessing {
        resize: None,
        crop: None,
        interpolation,
        rounding: ResizeRounding::Round,
        channels: ChannelOrder::Rgb,
        range: 1.0,
        mean: vec![0.0],
        std: vec![1.0],
    }
}

#[test]
fn every_pixel_is_that_of_pillow() {
    let fixture = fixture();
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 42);
    for case in cases {
        let [width, height] = size(&case["from"]);
        let image = picture(case["seed"].as_u64().unwrap(), width, height);
        let interpolation: Interpolation = serde_json::from_value(case["filter"].clone()).unwrap();
        let [width, height] = size(&case["to"]);
        let resized = resize(&image, width, height, interpolation);
        let about = format!("{} to {} {}", case["from"], case["to"], case["filter"]);
        assert_eq!(resized.pixels(), from_hex(&case["pixels"]), "{about}");
    }
}

#[test]
fn luminance_is_that_of_pillow() {
    assert_eq!(picture(99, 16, 4).gray(), from_hex(&fixture()["gray"]));
}

#[test]
fn a_crop_is_a_part_of_the_whole() {
    let image = picture(7, 61, 47);
    let filters = [Interpolation::Nearest, Interpolation::Bilinear, Interpolation::Bicubic];
    // The second size resamples rows first.
    for (interpolation, [width, height]) in
        filters.into_iter().flat_map(|filter| [[33, 29], [55, 12], [90, 70]].map(|s| (filter, s)))
    {
        let crop = [11, 8];
        let preprocessing = Preprocessing {
            resize: Some(Resize::Exact { width, height }),
            crop: Some(crop),
            ..plain(interpolation)
        };
        let input = InputLayout { channels: 3, height: 8, width: 11 };
        let cropped = preprocess(&image, &preprocessing, input).unwrap();
        let whole = resize(&image, width, height, interpolation);
        let [left, top] = [(width - crop[0]) / 2, (height - crop[1]) / 2];
        let rows = whole.pixels().chunks_exact(width as usize * 3).skip(top as usize).take(8);
        let expected: Vec<u8> =
            rows.flat_map(|row| row[left as usize * 3..][..33].to_vec()).collect();
        assert_eq!(cropped, expected, "{interpolation:?} {width}x{height}");
    }
}

#[test]
fn the_longer_side_follows_the_shorter() {
    use ResizeRounding::{Floor, Round};
    // 10 * 7 / 4 = 17.5 and 6 * 7 / 4 = 10.5: halves to even. 5 * 8 / 3 = 13.33, 5 * 7 / 3 = 11.67.
    let cases = [
        (4, 7, 10, Round, [10, 18]),
        (4, 7, 6, Round, [6, 10]),
        (7, 4, 10, Floor, [17, 10]),
        (8, 3, 5, Round, [13, 5]),
        (7, 3, 5, Round, [12, 5]),
        (7, 3, 5, Floor, [11, 5]),
        (5, 5, 3, Floor, [3, 3]),
    ];
    for (width, height, side, rounding, [expected_width, expected_height]) in cases {
        let preprocessing = Preprocessing {
            resize: Some(Resize::Shorter(side)),
            rounding,
            ..plain(Interpolation::Bilinear)
        };
        let input = InputLayout { channels: 3, height: 1, width: 1 };
        let error = preprocess(&picture(1, width, height), &preprocessing, input).unwrap_err();
        let PreprocessError::Size { found, .. } = error else { panic!("{error}") };
        assert_eq!(found, [expected_width, expected_height, 3], "{width}x{height} to {side}");
    }
}

#[test]
fn a_picture_of_another_size_is_resized_to_the_input() {
    let image = picture(3, 20, 10);
    let input = InputLayout { channels: 3, height: 6, width: 8 };
    let pixels = preprocess(&image, &plain(Interpolation::Bicubic), input).unwrap();
    assert_eq!(pixels, resize(&image, 8, 6, Interpolation::Bicubic).pixels());
}

#[test]
fn channels_come_in_the_order_of_the_input() {
    let image = Image::new(2, 1, vec![255, 0, 0, 1, 2, 3]).unwrap();
    let mut preprocessing = plain(Interpolation::Nearest);
    let mut input = InputLayout { channels: 3, height: 1, width: 2 };
    assert_eq!(preprocess(&image, &preprocessing, input).unwrap(), [255, 0, 0, 1, 2, 3]);
    preprocessing.channels = ChannelOrder::Bgr;
    assert_eq!(preprocess(&image, &preprocessing, input).unwrap(), [0, 0, 255, 3, 2, 1]);
    preprocessing.channels = ChannelOrder::Gray;
    let error = preprocess(&image, &preprocessing, input).unwrap_err();
    assert!(matches!(error, PreprocessError::Size { .. }), "{error}");
    input.channels = 1;
    assert_eq!(preprocess(&image, &preprocessing, input).unwrap(), [76, 2]);
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let image = picture(2, 20, 10);
    let input = InputLayout { channels: 3, height: 12, width: 12 };
    let mut preprocessing = plain(Interpolation::Bilinear);
    preprocessing.crop = Some([12, 12]);
    let error = preprocess(&image, &preprocessing, input).unwrap_err();
    assert_eq!(error, PreprocessError::Crop { crop: [12, 12], picture: [20, 10] });
    // A narrow picture would become very long; nothing of it is computed.
    preprocessing.crop = None;
    preprocessing.resize = Some(Resize::Shorter(16384));
    let error = preprocess(&picture(2, 16384, 1), &preprocessing, input).unwrap_err();
    assert!(
        matches!(error, PreprocessError::Size { found: [268_435_456, 16384, 3], .. }),
        "{error}"
    );
    preprocessing.crop = Some([12, 12]);
    assert_eq!(preprocess(&picture(2, 16384, 1), &preprocessing, input).unwrap().len(), 432);
}

/// A model that takes a very wide picture and a tall picture would meet in an intermediate of terabytes.
#[test]
fn inputs_that_are_no_pictures_are_refused() {
    let tall = picture(2, 1, 16384);
    for [width, height] in [[1 << 24, 1], [16385, 1], [1, 16385]] {
        let input = InputLayout { channels: 3, height, width };
        let error = preprocess(&tall, &plain(Interpolation::Bilinear), input).unwrap_err();
        let found = [width as u64, height as u64];
        assert_eq!(error, PreprocessError::TooLarge { found, most: 16384 });
    }
    let input = InputLayout { channels: 3, height: 16384, width: 1 };
    assert!(preprocess(&tall, &plain(Interpolation::Bilinear), input).is_ok());
}

#[test]
fn normalising_divides_subtracts_divides() {
    let preprocessing = Preprocessing {
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
        ..plain(Interpolation::Bilinear)
    };
    let pixels = [0, 128, 255, 7, 9, 11];
    let expected = |pixel: u8, channel: usize| {
        (f32::from(pixel) / 255.0 - preprocessing.mean[channel]) / preprocessing.std[channel]
    };
    let mut out = [0.0; 6];
    normalise(&pixels, &preprocessing, false, &mut out);
    for (index, &value) in out.iter().enumerate() {
        assert_eq!(value.to_bits(), expected(pixels[index], index % 3).to_bits());
    }
    let interleaved = out;
    normalise(&pixels, &preprocessing, true, &mut out);
    let [r0, g0, b0, r1, g1, b1] = interleaved;
    assert_eq!(out, [r0, r1, g0, g1, b0, b1]);

    let mut gray = plain(Interpolation::Bilinear);
    gray.channels = ChannelOrder::Gray;
    gray.range = 255.0;
    gray.mean = vec![100.0];
    gray.std = vec![2.0];
    let mut out = [0.0; 3];
    normalise(&[0, 100, 255], &gray, true, &mut out);
    assert_eq!(out, [-50.0, 0.0, 77.5]);
}

#[test]
fn shapes_tell_where_the_channels_are() {
    let layout = |channels, height, width| InputLayout { channels, height, width };
    assert_eq!(InputLayout::from_shape(&[3, 4, 5], 3), Some((layout(3, 4, 5), true)));
    assert_eq!(InputLayout::from_shape(&[4, 5, 3], 3), Some((layout(3, 4, 5), false)));
    assert_eq!(InputLayout::from_shape(&[1, 28, 28], 1), Some((layout(1, 28, 28), true)));
    assert_eq!(InputLayout::from_shape(&[4, 5], 1), Some((layout(1, 4, 5), true)));
    for shape in [&[4, 5][..], &[20], &[4, 5, 6], &[1, 3, 4, 5]] {
        assert_eq!(InputLayout::from_shape(shape, 3), None, "{shape:?}");
    }
}
