//! Finding objects: a picture in, boxes out.

use bnn_kernels::DefaultFloatEnvironment;
use serde::Serialize;

use super::{Model, RunError, Session};
use crate::{
    Error,
    program::Detector,
    vision::{self, Image, Placement},
};

/// An object in a picture. As JSON it is what `bnn-run --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Detection {
    /// Position of the class among the scores, the background not counted.
    pub index: usize,
    /// Name of the class, if the file has one.
    pub label: Option<String>,
    /// Probability of the class, 0 to 1.
    pub score: f32,
    /// Left side of the box, in pixels of the picture from its left border. A network may predict that an
    /// object goes on beyond the picture, so this and the other sides may lie outside.
    pub xmin: f32,
    /// Upper side, from the upper border.
    pub ymin: f32,
    /// Right side.
    pub xmax: f32,
    /// Lower side.
    pub ymax: f32,
}

impl Model {
    /// How the outputs become boxes, if the network finds objects.
    pub fn detector(&self) -> Option<&Detector> {
        self.program().metadata.detector.as_ref()
    }

    /// The objects that the outputs of the network stand for, best first. `outputs` are those for one picture, in
    /// the order of [`Model::outputs`]; `width` and `height` are those of the picture before
    /// [`Model::preprocess`], to which the boxes refer.
    ///
    /// # Errors
    /// [`RunError::NoDetector`] if the file does not say how outputs become boxes, [`RunError::OutputCount`] or
    /// [`RunError::Length`] for other outputs than the network's, and those of [`Model::preprocess`].
    pub fn detections(
        &self,
        outputs: &[&[f32]],
        width: u32,
        height: u32,
    ) -> Result<Vec<Detection>, Error> {
        let detector = self.detector().ok_or(RunError::NoDetector)?;
        let (found, expected) = (outputs.len(), self.outputs().len());
        if found != expected {
            return Err(RunError::OutputCount { found, expected }.into());
        }
        for (port, output) in self.outputs().iter().zip(outputs) {
            if output.len() != port.elements() {
                return Err(RunError::Length {
                    name: port.name.clone(),
                    found: output.len(),
                    expected: port.elements(),
                    shape: port.shape.clone(),
                }
                .into());
            }
        }
        // Programs with another layout are refused when they are read.
        let layout = detector.outputs(self.outputs()).map_err(|_| RunError::NoDetector)?;
        let (preprocessing, (input, _)) = self.picture_input()?;
        let placement = Placement::new(width, height, preprocessing, input)?;

        let _environment = DefaultFloatEnvironment::enter();
        let probabilities = self.program().metadata.outputs_are_probabilities;
        let boxes = vision::boxes(detector, &layout, outputs, probabilities);
        let detections = boxes.into_iter().map(|found| {
            let [left, top, right, bottom] = found.corners;
            let [xmin, ymin] = placement.to_picture([left, top]);
            let [xmax, ymax] = placement.to_picture([right, bottom]);
            let label = self.labels().get(found.class).cloned();
            Detection { index: found.class, label, score: found.score, xmin, ymin, xmax, ymax }
        });
        Ok(detections.collect())
    }
}

impl Session {
    /// Finds the objects in a picture, best first: [`Model::preprocess`], a run, [`Model::detections`].
    ///
    /// # Errors
    /// Those of these three.
    pub fn detect(&mut self, image: &Image) -> Result<Vec<Detection>, Error> {
        if self.model().detector().is_none() {
            return Err(RunError::NoDetector.into());
        }
        let input = self.model().preprocess(image)?;
        let mut outputs: Vec<Vec<f32>> =
            self.model().outputs().iter().map(|port| vec![0.0; port.elements()]).collect();
        let mut places: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        self.run_into(&[&input], &mut places)?;
        let outputs: Vec<&[f32]> = outputs.iter().map(Vec::as_slice).collect();
        self.model().detections(&outputs, image.width(), image.height())
    }
}
