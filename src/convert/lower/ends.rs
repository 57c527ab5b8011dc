//! Where the inputs and outputs of blocks lie.

use std::collections::HashMap;

use crate::{
    convert::view::View,
    graph::{Graph, ValueId},
    program::{Block, BlockPart, BlockTensor, BufferId, Program},
};

/// The places of the ends of all blocks.
#[derive(Debug)]
pub(super) struct Ends(HashMap<ValueId, Option<BlockPart>>);

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
            let (dims, strides) = view.gather();
            *place = Some(BlockPart { buffer, dims, strides });
        }
    }

    /// The blocks of the program; `shapes` are those of the values.
    pub(super) fn blocks(&self, graph: &Graph, shapes: &[Vec<usize>]) -> Vec<Block> {
        let tensor = |end: ValueId| {
            let part = self.0.get(&end)?.clone()?;
            let (1, shape) = shapes.get(end.index())?.split_first()? else { return None };
            Some(BlockTensor { shape: shape.to_vec(), parts: vec![part] })
        };
        let blocks = graph.blocks.iter().map(|block| Block {
            name: block.name.clone(),
            input: tensor(block.input),
            output: tensor(block.output),
        });
        blocks.collect()
    }
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
