//! Golden files: inputs of a network and the outputs that another implementation gave for them.
//!
//! A golden file is a safetensors file. `input_f32` holds N inputs in the layout of the original
//! graph, `input_u8` the same N as pictures `[N, H, W, C]` before normalisation; `logits` is the
//! output before a final softmax, `probabilities` the one after it; `labels` are the true classes;
//! `tapin.X` and `tap.X` are the input and output of block X for the first of the N.

use crate::{
    exit::{Failure, Result},
    tensors::{Array, TensorFile},
};
use std::path::Path;

/// A golden file, checked for one number of rows throughout.
#[derive(Debug, Clone)]
pub struct Golden {
    /// Inputs, `[N, ...]`.
    pub input_f32: Option<Array<f32>>,
    /// Pictures `[N, H, W, C]`.
    pub input_u8: Option<Array<u8>>,
    /// Outputs before a final softmax, `[N, ...]`.
    pub logits: Option<Array<f32>>,
    /// Outputs after a final softmax, `[N, ...]`.
    pub probabilities: Option<Array<f32>>,
    /// True classes.
    pub labels: Option<Vec<i64>>,
    /// Inputs and outputs of blocks.
    pub blocks: Vec<Block>,
}

/// Input and output of a block, for the first row.
#[derive(Debug, Clone)]
pub struct Block {
    /// The block's name.
    pub name: String,
    /// `tapin.NAME`.
    pub input: Array<f32>,
    /// `tap.NAME`.
    pub output: Array<f32>,
}

impl Golden {
    /// Reads a golden file.
    ///
    /// # Errors
    /// If it cannot be read, is no safetensors file, has no inputs or no outputs, or the numbers of
    /// rows differ.
    pub fn read(path: &Path) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let mut blocks = Vec::new();
        for tap in file.names() {
            let Some(name) = tap.strip_prefix("tap.") else { continue };
            let (Some(input), Some(output)) =
                (file.f32(&format!("tapin.{name}"))?, file.f32(&tap)?)
            else {
                continue;
            };
            blocks.push(Block { name: name.to_owned(), input, output });
        }
        let golden = Self {
            input_f32: file.f32("input_f32")?,
            input_u8: file.u8("input_u8")?,
            logits: file.f32("logits")?,
            probabilities: file.f32("probabilities")?,
            labels: file.i64("labels")?.map(|labels| labels.data),
            blocks,
        };
        golden.check().map_err(|message| Failure::input(path, message))?;
        Ok(golden)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        let rows = |a: &Array<f32>| a.shape[0];
        self.logits.as_ref().or(self.probabilities.as_ref()).map_or(0, rows)
    }

    fn check(&self) -> Result<(), String> {
        if self.input_f32.is_none() && self.input_u8.is_none() {
            return Err("no tensor 'input_f32' or 'input_u8', so there is nothing to run".into());
        }
        if self.logits.is_none() && self.probabilities.is_none() {
            return Err(
                "no tensor 'logits' or 'probabilities', so there is nothing to compare with".into(),
            );
        }
        let shapes = [
            ("input_f32", self.input_f32.as_ref().map(|a| a.shape.as_slice())),
            ("input_u8", self.input_u8.as_ref().map(|a| a.shape.as_slice())),
            ("logits", self.logits.as_ref().map(|a| a.shape.as_slice())),
            ("probabilities", self.probabilities.as_ref().map(|a| a.shape.as_slice())),
        ];
        for (name, shape) in shapes {
            if shape.is_some_and(|s| s.is_empty() || s.contains(&0)) {
                return Err(format!("tensor '{name}' is empty"));
            }
        }
        let rows = self.rows();
        for (name, shape) in shapes {
            if let Some(found) = shape.map(|s| s[0]).filter(|&found| found != rows) {
                return Err(format!("tensor '{name}' has {found} rows, expected {rows}"));
            }
        }
        if let Some(labels) = &self.labels
            && labels.len() != rows
        {
            return Err(format!("tensor 'labels' has {} entries, expected {rows}", labels.len()));
        }
        if let Some(pictures) = &self.input_u8
            && pictures.shape.len() != 4
        {
            return Err(format!(
                "tensor 'input_u8' has shape {:?}, expected [rows, height, width, channels]",
                pictures.shape
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Status;
    use safetensors::{Dtype, tensor::TensorView};

    /// Name, element type, shape and bytes.
    type Entry<'a> = (&'a str, Dtype, &'a [usize], &'a [u8]);

    fn write(tensors: &[Entry<'_>]) -> tempfile::NamedTempFile {
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (*name, TensorView::new(*dtype, shape.to_vec(), data).unwrap())
        });
        let bytes = safetensors::serialize(views, None).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn reads_every_part() {
        let two: Vec<u8> = [1.5_f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let one = 4.0_f32.to_le_bytes();
        let labels: Vec<u8> = [3_i64, -1].iter().flat_map(|v| v.to_le_bytes()).collect();
        let file = write(&[
            ("input_f32", Dtype::F32, &[2, 1], &two),
            ("input_u8", Dtype::U8, &[2, 1, 1, 1], &[7, 9]),
            ("logits", Dtype::F32, &[2, 1], &two),
            ("labels", Dtype::I64, &[2], &labels),
            ("tapin.layer1.0", Dtype::F32, &[1, 1], &one),
            ("tap.layer1.0", Dtype::F32, &[1, 1], &one),
            ("tap.alone", Dtype::F32, &[1, 1], &one),
        ]);
        let golden = Golden::read(file.path()).unwrap();
        assert_eq!(golden.rows(), 2);
        assert_eq!(golden.input_f32.unwrap().data, [1.5, -2.0]);
        assert_eq!(golden.input_u8.unwrap().data, [7, 9]);
        assert_eq!(golden.labels.unwrap(), [3, -1]);
        assert_eq!(golden.blocks.len(), 1);
        assert_eq!(golden.blocks[0].name, "layer1.0");
    }

    #[test]
    fn refuses_what_does_not_fit_together() {
        let two = [0_u8; 8];
        let cases: [(&[Entry<'_>], &str); 4] = [
            (&[("logits", Dtype::F32, &[2, 1], &two)], "no tensor 'input_f32'"),
            (&[("input_f32", Dtype::F32, &[2, 1], &two)], "no tensor 'logits'"),
            (
                &[("input_f32", Dtype::F32, &[1, 2], &two), ("logits", Dtype::F32, &[2, 1], &two)],
                "tensor 'input_f32' has 1 rows, expected 2",
            ),
            (
                &[("input_f32", Dtype::I32, &[2, 1], &two), ("logits", Dtype::F32, &[2, 1], &two)],
                "tensor 'input_f32' has elements of type I32, expected F32",
            ),
        ];
        for (tensors, expected) in cases {
            let file = write(tensors);
            let failure = Golden::read(file.path()).unwrap_err();
            let Failure::Error { status: Status::Input, message } = failure else {
                panic!("{failure:?}")
            };
            assert!(message.contains(expected), "{message}");
        }
    }
}
