//! Chores of the workspace; run `cargo xtask` for the list.

mod archive;
mod build;
mod default_model;
mod executable;
mod header;
mod install;
mod licences;
mod manual;
mod onnx_proto;
mod package;
mod pictures;
mod root;
mod time;
mod unsafe_inventory;
mod zoo;

use std::path::Path;

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
  licences            fail if a dependency has a licence that deny.toml does not allow
  manual [DIR]        write man pages and shell completions (default target/manual)
  onnx-proto          write src/import/onnx/proto.rs from tools/xtask/proto/onnx.proto
  onnx-proto --check  fail if that file is not what would be written
  package [OPTION...] build an archive of static tools, the C library, man pages and completions
      --target NAME   build for another machine, such as aarch64-unknown-linux-gnu
      --profile NAME  cargo's profile (default release)
      --out DIR       where the archive and SHA256SUMS go (default target/package)
      --deb           make Debian packages as well, with cargo-deb
      --keep-paths    leave folders of this machine in what is built, and build less anew
  pictures            paint the pictures of the documentation, docs/pictures
  pictures --check    fail if they are not what would be painted
  unsafe              count the unsafe code anew, in the table of docs/unsafe.md
  unsafe --check      fail if that table is not up to date; prints the total";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["default-model"] => default_model::write(),
        ["header"] => header::write(),
        ["header", "--check"] => header::check(),
        ["install", ref options @ ..] => install::install(options),
        ["licences"] => licences::check(),
        ["manual"] => manual::write(&root::root().join("target/manual")),
        ["manual", folder] => manual::write(Path::new(folder)),
        ["package", ref options @ ..] => package::package(options),
        ["onnx-proto"] => onnx_proto::generate(),
        ["onnx-proto", "--check"] => onnx_proto::check(),
        ["pictures"] => pictures::write(),
        ["pictures", "--check"] => pictures::check(),
        ["unsafe"] => unsafe_inventory::write(),
        ["unsafe", "--check"] => unsafe_inventory::check(),
        _ => bail!("{USAGE}"),
    }
}
