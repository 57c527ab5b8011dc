//! Chores of the workspace; run `cargo xtask` for the list.

mod default_model;
mod header;
mod install;
mod onnx_proto;
mod root;
mod unsafe_inventory;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask CHORE

  default-model       convert the default model from its trained weights, write models/default/*.bnn
  header              write include/bnn.h from src/capi
  header --check      fail if that file is not what would be written
  install [OPTION...] build the C library and install it with its header and pkg-config file
      --prefix DIR    where programs will find it (default /usr/local)
      --libdir DIR    folder of the libraries, relative to the prefix (default lib)
      --destdir DIR   write everything below DIR instead of /, to make a package
      --profile NAME  cargo's profile (default release)
  onnx-proto          write src/import/onnx/proto.rs from tools/xtask/proto/onnx.proto
  onnx-proto --check  fail if that file is not what would be written
  unsafe              count the unsafe code anew, in the table of docs/unsafe.md
  unsafe --check      fail if that table is not up to date; prints the total";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["default-model"] => default_model::write(),
        ["header"] => header::write(),
        ["header", "--check"] => header::check(),
        ["install", ref options @ ..] => install::install(options),
        ["onnx-proto"] => onnx_proto::generate(),
        ["onnx-proto", "--check"] => onnx_proto::check(),
        ["unsafe"] => unsafe_inventory::write(),
        ["unsafe", "--check"] => unsafe_inventory::check(),
        _ => bail!("{USAGE}"),
    }
}
