//! Where the inputs and outputs of blocks lie.

use std::collections::HashMap;

use crate::{
    convert::view::{MapSize, View},
    graph::{Graph, ValueId},
    program::{Block, BlockPart, BlockTensor, BufferId, Program},
};

/// The places of the ends of all blocks.
#[derive(Debug)]
pub(super) struct Ends(HashMap<ValueId, Option<Vec<BlockPart>>>);

impl Ends {
    /// Nothing is placed yet.
    pub(super) fn new(graph: &Graph) -> Self {
        let ends = graph.blocks.iter().flat_map(|block| [block.input, block.output]);
        Self(ends.map(|end| (end, None)).collect())
    }

    /// Takes note of the floats of a value. Where they are copied later, the first place counts: every
    /// other one follows from it.
    pub(super) fn place(&mut self, value: ValueId, buffer: BufferId, view: &View) {
        if let Some(place @ None) = self.0.get_mut(&value) {
            *place = Some(vec![part(buffer, view)]);
        }
    }

    /// Takes note of a value that lies in several maps side by side, given with their channels. Where the
    /// channels are its outermost dimension, it is those maps one after the other.
    pub(super) fn place_segments(
        &mut self,
        value: ValueId,
        segments: &[(BufferId, usize)],
        size: MapSize,
        view: &View,
    ) {
        let Some(place @ None) = self.0.get_mut(&value) else { return };
        let Some(axis) = (0..view.rank()).find(|&axis| view.is_channel_axis(size, axis)) else {
            return;
        };
        if view.shape()[..axis].iter().all(|&extent| extent == 1) {
            let parts = segments.iter().map(|&(buffer, channels)| {
                Some(part(buffer, &view.with_channels(size, axis, channels)?))
            });
            *place = parts.collect();
        }
    }

    /// The blocks of the program; `shapes` are those of the values.
    pub(super) fn blocks(&self, graph: &Graph, shapes: &[Vec<usize>]) -> Vec<Block> {
        let tensor = |end: ValueId| {
            let parts = self.0.get(&end)?.clone()?;
            let (1, shape) = shapes.get(end.index())?.split_first()? else { return None };
            Some(BlockTensor { shape: shape.to_vec(), parts })
        };
        let blocks = graph.blocks.iter().map(|block| Block {
            name: block.name.clone(),
            input: tensor(block.input),
            output: tensor(block.output),
        });
        blocks.collect()
    }
}

/// A map under a view.
fn part(buffer: BufferId, view: &View) -> BlockPart {
    let (dims, strides) = view.gather();
    BlockPart { buffer, dims, strides }
}

/// Follows a renumbering of the buffers of a program; ends whose buffer is gone are not kept.
pub(super) fn renumber(blocks: &mut [Block], buffers: &[Option<BufferId>], program: &Program) {
    let is_there = |tensor: &mut BlockTensor| {
        let mut parts = tensor.parts.iter_mut();
        let renumbered = parts.all(|part| {
            let new = buffers.get(part.buffer.index()).copied().flatten();
            new.map(|new| part.buffer = new).is_some()
        });
        // A block is worth no conversion.
        renumbered && tensor.check(program).is_ok()
    };
    for block in blocks {
        for end in [&mut block.input, &mut block.output] {
            end.take_if(|tensor| !is_there(tensor));
        }
    }
}
