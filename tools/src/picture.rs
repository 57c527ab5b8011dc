//! From a decoded image to the input of a network.

use crate::exit::{Failure, Result, Status};
use bnn::{
    Model,
    program::{ChannelOrder, Preprocessing},
    vision::{self, Image, InputLayout},
};

/// How images become the input of one model.
#[derive(Debug, Clone)]
pub struct PictureInput {
    preprocessing: Preprocessing,
    layout: InputLayout,
    channels_first: bool,
}

impl PictureInput {
    /// Of a model with one input of three dimensions and with preprocessing in its file. It has one output, unless it is a
    /// detector.
    ///
    /// # Errors
    /// [`Status::Unsupported`] for other models.
    pub fn new(name: &str, model: &Model) -> Result<Self> {
        let unsupported =
            |what: String| Err(Failure::new(Status::Unsupported, format_args!("{name}: {what}")));
        let Some(preprocessing) = model.preprocessing() else {
            return unsupported(
                "the file does not say how an image becomes its input; convert it with --resize, \
                 --mean or another option of preprocessing"
                    .into(),
            );
        };
        let (inputs, outputs) = (model.inputs(), model.outputs());
        let [input] = inputs else {
            return unsupported(format!("{} inputs, expected one for images", inputs.len()));
        };
        if outputs.len() != 1 && model.detector().is_none() {
            return unsupported(format!("{} outputs, expected one for images", outputs.len()));
        }
        Self::of_shape(preprocessing, &input.shape).map_or_else(
            || {
                unsupported(format!(
                    "input '{}' has shape {:?}, expected an image of {} channels",
                    input.name,
                    input.shape,
                    channel_count(preprocessing)
                ))
            },
            Ok,
        )
    }

    /// Of an input of the given shape, batch left out, if that is one of an image.
    pub fn of_shape(preprocessing: &Preprocessing, shape: &[usize]) -> Option<Self> {
        let (layout, channels_first) =
            InputLayout::from_shape(shape, channel_count(preprocessing))?;
        Some(Self { preprocessing: preprocessing.clone(), layout, channels_first })
    }

    /// Height, width and channels.
    pub fn size(&self) -> [usize; 3] {
        let InputLayout { height, width, channels } = self.layout;
        [height, width, channels]
    }

    /// Values of the input.
    pub fn len(&self) -> usize {
        self.size().iter().product()
    }

    /// Whether the input has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Resizes, crops and normalises an image into `values`.
    ///
    /// # Errors
    /// If the image does not have the size that the model asks for.
    ///
    /// # Panics
    /// If there are not [`PictureInput::len`] values.
    pub fn fill(&self, image: &Image, values: &mut [f32]) -> Result<(), String> {
        let pixels = vision::preprocess(image, &self.preprocessing, self.layout)
            .map_err(|error| error.to_string())?;
        self.normalise(&pixels, values);
        Ok(())
    }

    /// Normalises pixels of the right size, `[height][width][channels]`, into `values`.
    ///
    /// # Panics
    /// If there are not [`PictureInput::len`] pixels and values.
    pub fn normalise(&self, pixels: &[u8], values: &mut [f32]) {
        vision::normalise(pixels, &self.preprocessing, self.channels_first, values);
    }
}

fn channel_count(preprocessing: &Preprocessing) -> usize {
    match preprocessing.channels {
        ChannelOrder::Gray => 1,
        ChannelOrder::Rgb | ChannelOrder::Bgr => 3,
    }
}
