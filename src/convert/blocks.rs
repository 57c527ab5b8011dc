//! Blocks of channels that become blocks of pixels (`DepthToSpace`), as reshapes and a transposition,
//! which dissolve into views.

use crate::graph::{Graph, Node, Op, Tensor, ValueId};

use super::rewrite::rewrite_nodes;

/// Rewrites every `DepthToSpace`. `shapes` are those of the values.
pub(super) fn unfold_blocks(graph: &mut Graph, shapes: &[Option<Vec<usize>>]) {
    rewrite_nodes(graph, |graph, _, node| {
        let Op::DepthToSpace { block, column_row_depth } = node.op else { return None };
        let shape = |id: ValueId| shapes.get(id.index())?.as_deref();
        let x = node.input(0)?;
        let (&[batch, channels, height, width], result) = (shape(x)?, shape(node.output())?) else {
            return None;
        };
        let depth = channels / (block * block);
        let (split, perm) = if column_row_depth {
            ([batch, depth, block, block, height, width], vec![0, 1, 4, 2, 5, 3])
        } else {
            ([batch, block, block, depth, height, width], vec![0, 3, 4, 1, 5, 2])
        };
        let [whole, blocks] =
            ["whole", "blocks"].map(|what| graph.add_value(format!("{}.{what}", node.name)));
        let split = reshape(graph, node, x, &split, whole);
        let transpose = Node {
            op: Op::Transpose { perm },
            inputs: vec![Some(whole)],
            outputs: vec![blocks],
            ..node.clone()
        };
        let joined = reshape(graph, node, blocks, result, node.output());
        Some(vec![split, transpose, joined])
    });
}

fn reshape(graph: &mut Graph, node: &Node, x: ValueId, shape: &[usize], result: ValueId) -> Node {
    // Sizes are at most 2^31.
    let sizes = Tensor::from_i64(shape.iter().map(|&size| size as i64).collect());
    let sizes = graph.add_constant(format!("{}.shape", node.name), sizes);
    Node {
        op: Op::Reshape { allow_zero: true },
        inputs: vec![Some(x), Some(sizes)],
        outputs: vec![result],
        ..node.clone()
    }
}
