//! Nodes that cannot be expressed or run, told all at once and so that they can be read.

pub(crate) mod nearest;

use std::fmt::{self, Write};

/// Further names that are given of nodes that are refused for the same reason.
const NAMED: usize = 3;

/// Kinds of refusals that are told; of the others only the operators.
const TOLD: usize = 10;

/// A node that cannot be expressed or run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnsupportedNode {
    /// Its name.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Domain of the operator; empty for ONNX's own.
    pub domain: String,
    /// Shapes of its operands, where they are known.
    pub input_shapes: Vec<Option<Vec<usize>>>,
    /// What about it is not supported.
    pub reason: String,
    /// The nearest thing that works, in words.
    pub nearest: Option<&'static str>,
}

impl fmt::Display for UnsupportedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.tail(f)
    }
}

impl UnsupportedNode {
    /// What it is.
    fn head(&self, f: &mut impl Write) -> fmt::Result {
        write!(f, "`{}` (", self.node)?;
        if !self.domain.is_empty() {
            write!(f, "{}.", self.domain)?;
        }
        write!(f, "{} of ", self.op)?;
        for (index, shape) in self.input_shapes.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            match shape {
                Some(shape) => write!(f, "{separator}{shape:?}")?,
                None => write!(f, "{separator}[?]")?,
            }
        }
        if self.input_shapes.is_empty() {
            f.write_str("nothing")?;
        }
        f.write_char(')')
    }

    /// What is wrong with it.
    fn tail(&self, f: &mut impl Write) -> fmt::Result {
        write!(f, ": {}", self.reason)?;
        match self.nearest {
            Some(nearest) => write!(f, " (nearest: {nearest})"),
            None => Ok(()),
        }
    }

    /// Whether the same can be said of both.
    fn is_like(&self, other: &Self) -> bool {
        (&self.op, &self.domain, &self.reason) == (&other.op, &other.domain, &other.reason)
    }
}

/// All of the nodes in one line. Those of one operator that are refused for one reason are told
/// together: the first with its shapes, a few by name, the others counted.
pub(crate) fn list(nodes: &[UnsupportedNode]) -> String {
    let mut groups: Vec<(&UnsupportedNode, Vec<&str>, usize)> = Vec::new();
    // Kinds of refusals beyond those that are told, by operator.
    let mut untold: Vec<(&str, usize)> = Vec::new();
    let mut others = false;
    for node in nodes {
        if let Some((_, names, count)) = groups.iter_mut().find(|(first, ..)| first.is_like(node)) {
            *count += 1;
            if names.len() < NAMED {
                names.push(&node.node);
            }
        } else if groups.len() < TOLD {
            groups.push((node, Vec::new(), 0));
        } else if let Some((_, count)) = untold.iter_mut().find(|(op, _)| *op == node.op) {
            *count += 1;
        } else if untold.len() < TOLD {
            untold.push((&node.op, 1));
        } else {
            others = true;
        }
    }
    let are = if nodes.len() == 1 { "node is" } else { "nodes are" };
    let mut text = format!("{} {are} not supported: ", nodes.len());
    for (index, (first, names, count)) in groups.iter().enumerate() {
        if groups.len() > 1 {
            let _ = write!(text, "{}{}) ", if index == 0 { "" } else { "; " }, index + 1);
        }
        // Writing to a string cannot fail.
        let _ = first.head(&mut text);
        if *count > 0 {
            let _ = write!(text, " and {count} more like it: ");
            for (index, name) in names.iter().enumerate() {
                let _ = write!(text, "{}`{name}`", if index == 0 { "" } else { ", " });
            }
            if *count > names.len() {
                text.push_str(", ...");
            }
        }
        let _ = first.tail(&mut text);
    }
    if !untold.is_empty() {
        text.push_str("; besides ");
        for (index, (op, count)) in untold.iter().enumerate() {
            let _ = write!(text, "{}{count} {op}", if index == 0 { "" } else { ", " });
        }
        if others {
            text.push_str(", ...");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, op: &str) -> UnsupportedNode {
        UnsupportedNode {
            node: name.to_owned(),
            op: op.to_owned(),
            input_shapes: vec![Some(vec![1, 8, 4, 4]), None],
            reason: "the operator is not known".to_owned(),
            ..UnsupportedNode::default()
        }
    }

    #[test]
    fn one_node_is_told_in_full() {
        let node = UnsupportedNode {
            domain: "custom".to_owned(),
            nearest: Some("Conv"),
            ..node("up", "Unfold")
        };
        assert_eq!(
            list(&[node]),
            "1 node is not supported: `up` (custom.Unfold of [1, 8, 4, 4], [?]): the operator is \
             not known (nearest: Conv)"
        );
    }

    #[test]
    fn nodes_of_one_operator_are_told_together() {
        let mut nodes: Vec<_> = (0..6).map(|i| node(&format!("up{i}"), "Unfold")).collect();
        nodes.insert(1, node("fold", "Fold"));
        let text = list(&nodes);
        assert!(text.starts_with("7 nodes are not supported: 1) `up0` (Unfold of "), "{text}");
        assert!(text.contains(" and 5 more like it: `up1`, `up2`, `up3`, ...: the op"), "{text}");
        assert!(text.contains("; 2) `fold` (Fold of "), "{text}");
    }

    #[test]
    fn a_file_full_of_nonsense_gives_a_short_message() {
        let nodes: Vec<_> =
            (0..3000).map(|i| node(&format!("n{i}"), &format!("Op{}", i % 500))).collect();
        let text = list(&nodes);
        assert!(text.starts_with("3000 nodes") && text.contains("; besides 6 Op10, "), "{text}");
        assert!(text.len() < 3000, "{} characters", text.len());
    }
}
