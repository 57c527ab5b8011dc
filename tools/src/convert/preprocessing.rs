//! The flags that say how an image becomes the input.

use crate::exit::{Failure, Result};
use bnn::program::{
    ChannelOrder, Interpolation, Metadata, Port, Preprocessing, Resize, ResizeRounding,
};
use clap::ValueEnum;

/// Preprocessing to store in the file; none if no flag is given.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Preprocessing, stored in the file")]
pub(super) struct PreprocessingArguments {
    /// Resize the shorter side to N pixels, or the image to WxH
    #[arg(long, value_name = "N|WxH", value_parser = resize)]
    resize: Option<Resize>,
    /// Cut out the centre, N pixels wide and high, or WxH
    #[arg(long, value_name = "N|WxH", value_parser = crop)]
    crop: Option<[u32; 2]>,
    /// Resampling filter, antialiased when it shrinks [default: bilinear]
    #[arg(long, value_name = "FILTER")]
    interpolation: Option<InterpolationArgument>,
    /// How the longer side is rounded when the shorter one is given [default: round]
    #[arg(long, value_name = "HOW")]
    resize_rounding: Option<RoundingArgument>,
    /// Subtracted from the pixels, one value or one a channel [default: 0]
    #[arg(
        long,
        value_name = "R,G,B",
        value_delimiter = ',',
        allow_hyphen_values = true,
        num_args = 1
    )]
    mean: Option<Vec<f32>>,
    /// What the pixels are divided by afterwards, one value or one a channel [default: 1]
    #[arg(
        long,
        value_name = "R,G,B",
        value_delimiter = ',',
        allow_hyphen_values = true,
        num_args = 1
    )]
    std: Option<Vec<f32>>,
    /// Largest value of a pixel before that: 1 or 255 [default: 1]
    #[arg(long, value_name = "1|255")]
    range: Option<RangeArgument>,
    /// Order of the channels [default: gray for one channel, rgb otherwise]
    #[arg(long, value_name = "ORDER")]
    channels: Option<ChannelsArgument>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum InterpolationArgument {
    Bilinear,
    Bicubic,
    Nearest,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoundingArgument {
    Round,
    Floor,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RangeArgument {
    #[value(name = "1")]
    One,
    #[value(name = "255")]
    Bytes,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ChannelsArgument {
    Rgb,
    Bgr,
    Gray,
}

/// `WxH`, or `None` if there is no `x`.
fn width_and_height(text: &str) -> Result<Option<[u32; 2]>, String> {
    let Some((width, height)) = text.split_once('x') else { return Ok(None) };
    Ok(Some([side(width)?, side(height)?]))
}

fn side(text: &str) -> Result<u32, String> {
    let expected = || "expected a number of pixels N, or WxH".to_owned();
    text.parse().ok().filter(|&side| side > 0).ok_or_else(expected)
}

fn resize(text: &str) -> Result<Resize, String> {
    Ok(match width_and_height(text)? {
        Some([width, height]) => Resize::Exact { width, height },
        None => Resize::Shorter(side(text)?),
    })
}

fn crop(text: &str) -> Result<[u32; 2], String> {
    Ok(match width_and_height(text)? {
        Some(size) => size,
        None => [side(text)?; 2],
    })
}

impl PreprocessingArguments {
    fn is_given(&self) -> bool {
        let Self { resize, crop, interpolation, resize_rounding, mean, std, range, channels } =
            self;
        resize.is_some()
            || crop.is_some()
            || interpolation.is_some()
            || resize_rounding.is_some()
            || mean.is_some()
            || std.is_some()
            || range.is_some()
            || channels.is_some()
    }

    /// The preprocessing for a network whose first input has the given shape, without the batch.
    ///
    /// # Errors
    /// [`Status::Usage`](crate::exit::Status::Usage) if values do not fit each other or the input.
    pub(super) fn resolve(&self, input: &[usize]) -> Result<Option<Preprocessing>> {
        if !self.is_given() {
            return Ok(None);
        }
        let is_gray = matches!(input, [1, ..] | [.., 1]);
        let channels = match self.channels {
            Some(ChannelsArgument::Rgb) => ChannelOrder::Rgb,
            Some(ChannelsArgument::Bgr) => ChannelOrder::Bgr,
            Some(ChannelsArgument::Gray) => ChannelOrder::Gray,
            None if is_gray => ChannelOrder::Gray,
            None => ChannelOrder::Rgb,
        };
        let count = if channels == ChannelOrder::Gray { 1 } else { 3 };
        let size = match *input {
            [c, height, width] if c == count => [width, height],
            [height, width, c] if c == count => [width, height],
            _ => {
                return Err(Failure::usage(format_args!(
                    "preprocessing makes images of {count} channels, and the input has shape {input:?}"
                )));
            }
        };
        self.check_size(size)?;
        Ok(Some(Preprocessing {
            resize: self.resize,
            crop: self.crop,
            interpolation: match self.interpolation {
                Some(InterpolationArgument::Nearest) => Interpolation::Nearest,
                Some(InterpolationArgument::Bicubic) => Interpolation::Bicubic,
                Some(InterpolationArgument::Bilinear) | None => Interpolation::Bilinear,
            },
            rounding: match self.resize_rounding {
                Some(RoundingArgument::Floor) => ResizeRounding::Floor,
                Some(RoundingArgument::Round) | None => ResizeRounding::Round,
            },
            channels,
            range: if let Some(RangeArgument::Bytes) = self.range { 255.0 } else { 1.0 },
            mean: per_channel("--mean", &self.mean, 0.0, count, |_| true)?,
            std: per_channel("--std", &self.std, 1.0, count, |value| value != 0.0)?,
        }))
    }

    /// Checks that the images come out with the width and height of the input.
    fn check_size(&self, [width, height]: [usize; 2]) -> Result<()> {
        let (flag, made) = match (self.crop, self.resize) {
            (Some(size), _) => ("--crop", size),
            (None, Some(Resize::Exact { width, height })) => ("--resize", [width, height]),
            (None, Some(Resize::Shorter(side))) if side as usize != width.min(height) => {
                ("--resize", [side; 2])
            }
            _ => return Ok(()),
        };
        if made.map(|side| side as usize) == [width, height] {
            return Ok(());
        }
        let [made_width, made_height] = made;
        Err(Failure::usage(format_args!(
            "{flag} makes images of {made_width}x{made_height}, expected {width}x{height} as the input"
        )))
    }
}

fn per_channel(
    flag: &str,
    values: &Option<Vec<f32>>,
    default: f32,
    channels: usize,
    allowed: impl Fn(f32) -> bool,
) -> Result<Vec<f32>> {
    let Some(values) = values else { return Ok(vec![default]) };
    if values.len() != 1 && values.len() != channels {
        let expected = if channels == 1 { "1".to_owned() } else { format!("1 or {channels}") };
        return Err(Failure::usage(format_args!(
            "{flag} has {} values, expected {expected}",
            values.len()
        )));
    }
    match values.iter().find(|value| !value.is_finite() || !allowed(**value)) {
        Some(value) => Err(Failure::usage(format_args!("{flag} {value} is not possible"))),
        None => Ok(values.clone()),
    }
}

/// Checks that labels and outputs fit: the first output has one value for each label, or the detector one class.
pub(super) fn label_count_fits(metadata: &Metadata, outputs: &[Port]) -> Result<(), String> {
    let Some(output) = outputs.first() else { return Ok(()) };
    let (expected, why) = match &metadata.detector {
        Some(detector) => match detector.classes(outputs) {
            Some(classes) => (classes, "the detector has so many classes".to_owned()),
            None => return Ok(()),
        },
        None => {
            (output.shape.iter().product(), format!("output '{}' has so many values", output.name))
        }
    };
    let found = metadata.labels.len();
    if found == 0 || found == expected {
        return Ok(());
    }
    Err(format!("{found} labels, expected {expected}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Tool {
        #[command(flatten)]
        arguments: PreprocessingArguments,
    }

    fn resolve(flags: &str, input: &[usize]) -> Result<Option<Preprocessing>> {
        Tool::try_parse_from(std::iter::once("tool").chain(flags.split_whitespace()))
            .unwrap_or_else(|error| panic!("{error}"))
            .arguments
            .resolve(input)
    }

    #[test]
    fn no_flag_no_preprocessing() {
        assert_eq!(resolve("", &[3, 32, 32]).unwrap(), None);
    }

    #[test]
    fn flags_and_defaults() {
        let preprocessing = resolve(
            "--resize 256 --crop 224 --range 255 --mean 123.68,116.779,-103.939",
            &[3, 224, 224],
        );
        let preprocessing = preprocessing.unwrap().unwrap();
        assert_eq!(preprocessing.resize, Some(Resize::Shorter(256)));
        assert_eq!(preprocessing.crop, Some([224, 224]));
        assert_eq!(preprocessing.interpolation, Interpolation::Bilinear);
        assert_eq!(preprocessing.rounding, ResizeRounding::Round);
        assert_eq!(preprocessing.channels, ChannelOrder::Rgb);
        assert_eq!(preprocessing.range, 255.0);
        assert_eq!(preprocessing.mean, [123.68, 116.779, -103.939]);
        assert_eq!(preprocessing.std, [1.0]);
    }

    #[test]
    fn one_channel_is_gray_in_either_layout() {
        for shape in [[1, 28, 28], [28, 28, 1]] {
            let preprocessing = resolve("--range 1", &shape).unwrap().unwrap();
            assert_eq!(preprocessing.channels, ChannelOrder::Gray);
        }
        let preprocessing = resolve("--resize 40x30", &[30, 40, 3]).unwrap().unwrap();
        assert_eq!(preprocessing.resize, Some(Resize::Exact { width: 40, height: 30 }));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for flags in [
            "--crop 225",
            "--resize 30x40",
            "--resize 30",
            "--channels gray",
            "--mean 1,2",
            "--std 0",
            "--std 1,0,1",
            "--mean nan",
        ] {
            assert!(resolve(flags, &[3, 224, 224]).is_err(), "{flags}");
        }
        for flags in ["--resize 0", "--resize 1x", "--crop x", "--range 2", "--channels cmyk"] {
            let words = std::iter::once("tool").chain(flags.split_whitespace());
            assert!(Tool::try_parse_from(words).is_err(), "{flags}");
        }
    }
}
