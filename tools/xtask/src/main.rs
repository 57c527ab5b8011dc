//! Chores of the workspace; run `cargo xtask` for the list.

mod default_model;
mod onnx_proto;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask CHORE

  default-model       convert the default model from its trained weights, write models/default/*.bnn
  onnx-proto          write src/import/onnx/proto.rs from tools/xtask/proto/onnx.proto
  onnx-proto --check  fail if that file is not what would be written";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["default-model"] => default_model::write(),
        ["onnx-proto"] => onnx_proto::generate(),
        ["onnx-proto", "--check"] => onnx_proto::check(),
        _ => bail!("{USAGE}"),
    }
}
