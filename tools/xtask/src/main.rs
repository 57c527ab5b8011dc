//! Chores of the workspace; run `cargo xtask` for the list.

mod onnx_proto;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask CHORE

  onnx-proto          write src/import/onnx/proto.rs from tools/xtask/proto/onnx.proto
  onnx-proto --check  fail if that file is not what would be written";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["onnx-proto"] => onnx_proto::generate(),
        ["onnx-proto", "--check"] => onnx_proto::check(),
        _ => bail!("{USAGE}"),
    }
}
