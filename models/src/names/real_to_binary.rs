//! The layers of larq zoo's Real-to-Binary net, which have names of their own.

/// Our name of a layer called `PREFIX_block_4a_shortcut_conv2d`.
///
/// Block 1 is the stem; blocks from 2 on have two units, a and b; the last one is the classifier.
pub(super) fn layer(name: &str) -> Option<String> {
    let (_, block) = name.split_once("_block_")?;
    let (block, part) = block.split_once('_')?;
    if part == "logits" {
        return Some("head.fc".to_owned());
    }
    if block == "1" {
        let module = match part {
            "conv2d" => "0",
            "batch_norm" => "1",
            "prelu" => "2",
            _ => return None,
        };
        return Some(format!("stem.{module}"));
    }
    let (number, half) = match (block.strip_suffix('a'), block.strip_suffix('b')) {
        (Some(number), _) => (number, 0),
        (_, Some(number)) => (number, 1),
        _ => return None,
    };
    let first: usize = number.parse::<usize>().ok()?.checked_sub(2)?.checked_mul(2)?;
    let module = match part {
        "batch_norm" => "bn",
        "conv2d" => "conv",
        "prelu" => "prelu",
        "scaling_dense_reduce" => "fc1",
        "scaling_dense_expand" => "fc2",
        "shortcut_conv2d" => "down.1",
        "shortcut_batch_norm" => "down.2",
        _ => return None,
    };
    Some(format!("layers.{}.{module}", first + half))
}
