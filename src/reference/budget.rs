//! How much work evaluation may be: a small file can ask for any amount of it.

use crate::graph::{Node, Op};

/// Elements and multiplications that are left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    elements: u64,
    products: u64,
}

impl Budget {
    /// For so many elements of results, and so many multiplications in convolutions and matrix
    /// products.
    pub(crate) fn new(elements: u64, products: u64) -> Self {
        Self { elements, products }
    }

    /// Takes what a node needs whose operands and results have these shapes; false, and nothing is taken,
    /// if too little is left.
    pub(crate) fn take(
        &mut self,
        node: &Node,
        operands: &[Option<&[usize]>],
        results: &[Vec<usize>],
    ) -> bool {
        let count: u64 = results.iter().map(|shape| shape.iter().product::<usize>() as u64).sum();
        // What is read is work too, as a reduction to one element shows.
        let read = operands.iter().flatten().map(|shape| shape.iter().product::<usize>() as u64);
        let work = count.saturating_add(read.sum()).saturating_add(PER_NODE);
        let products = count.saturating_mul(in_one_sum(&node.op, operands));
        match (self.elements.checked_sub(work), self.products.checked_sub(products)) {
            (Some(elements), Some(products)) => {
                *self = Self { elements, products };
                true
            }
            _ => false,
        }
    }
}

/// What a node costs besides its elements.
const PER_NODE: u64 = 16;

/// Multiplications for one element of the result of a convolution or matrix product; elements looked at
/// for one of a pool.
fn in_one_sum(op: &Op, shapes: &[Option<&[usize]>]) -> u64 {
    let shape = |index: usize| shapes.get(index).copied().flatten().unwrap_or_default();
    let count: usize = match op {
        Op::Conv(_) => shape(1).iter().skip(1).product(),
        Op::Gemm { trans_a: true, .. } => shape(0).first().copied().unwrap_or(1),
        Op::Gemm { .. } | Op::MatMul => shape(0).last().copied().unwrap_or(1),
        Op::MaxPool(pool) | Op::AveragePool(pool) => pool.kernel.iter().product(),
        Op::MultiThreshold { .. } => shape(1).last().copied().unwrap_or(1),
        _ => 0,
    };
    count as u64
}
