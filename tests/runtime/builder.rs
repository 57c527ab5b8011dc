//! Puts programs together by hand.

use crate::program::{
    Buffer, BufferId, BufferKind, ConvGeometry, PoolGeometry, Port, Program, Step, StepKind,
    Tensor, TensorData, TensorId,
};

#[derive(Default)]
pub(crate) struct Builder {
    pub(crate) program: Program,
}

impl Builder {
    pub(crate) fn buffer(&mut self, kind: BufferKind, size: [usize; 3]) -> BufferId {
        let [height, width, channels] = size;
        self.program.buffers.push(Buffer { kind, height, width, channels });
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    pub(crate) fn f32_map(&mut self, size: [usize; 3]) -> BufferId {
        self.buffer(BufferKind::F32, size)
    }

    pub(crate) fn bit_map(&mut self, size: [usize; 3]) -> BufferId {
        self.buffer(BufferKind::Bits, size)
    }

    pub(crate) fn integer_map(&mut self, size: [usize; 3]) -> BufferId {
        self.buffer(BufferKind::I16, size)
    }

    pub(crate) fn input(&mut self, name: &str, size: [usize; 3]) -> BufferId {
        let buffer = self.f32_map(size);
        self.program.inputs.push(Port { name: name.into(), shape: size.to_vec(), buffer });
        buffer
    }

    pub(crate) fn output(&mut self, name: &str, size: [usize; 3]) -> BufferId {
        let buffer = self.f32_map(size);
        self.program.outputs.push(Port { name: name.into(), shape: size.to_vec(), buffer });
        buffer
    }

    fn tensor(&mut self, len: usize, data: TensorData) -> TensorId {
        let index = self.program.tensors.len();
        self.program.tensors.push(Tensor { name: format!("t{index}"), shape: vec![len], data });
        TensorId(index as u32)
    }

    pub(crate) fn floats(&mut self, values: impl Into<Vec<f32>>) -> TensorId {
        let values = values.into();
        self.tensor(values.len(), TensorData::F32(values))
    }

    pub(crate) fn halves(&mut self, values: &[f32]) -> TensorId {
        let bits: Vec<u16> = values.iter().map(|&v| half::f16::from_f32(v).to_bits()).collect();
        self.tensor(bits.len(), TensorData::F16(bits))
    }

    pub(crate) fn integers(&mut self, values: impl Into<Vec<i32>>) -> TensorId {
        let values = values.into();
        self.tensor(values.len(), TensorData::I32(values))
    }

    pub(crate) fn bits(&mut self, bits: &[bool]) -> TensorId {
        let mut words = vec![0; bits.len().div_ceil(64)];
        for (index, &bit) in bits.iter().enumerate() {
            words[index / 64] |= u64::from(bit) << (index % 64);
        }
        self.tensor(bits.len(), TensorData::Bits(words))
    }

    pub(crate) fn step(&mut self, kind: StepKind) {
        let name = format!("step {}", self.program.steps.len());
        self.program.steps.push(Step { name, kind });
    }
}

/// A square convolution without padding.
pub(crate) fn plain_conv(in_channels: usize, out_channels: usize, kernel: usize) -> ConvGeometry {
    ConvGeometry {
        in_channels,
        out_channels,
        kernel: [kernel; 2],
        stride: [1; 2],
        dilation: [1; 2],
        pads: [0; 4],
        groups: 1,
    }
}

/// A square pool whose windows touch.
pub(crate) fn plain_pool(kernel: usize) -> PoolGeometry {
    PoolGeometry { kernel: [kernel; 2], stride: [kernel; 2], dilation: [1; 2], pads: [0; 4] }
}
