//! Chores of the workspace: `cargo xtask CHORE`.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

const USAGE: &str = "usage: cargo xtask CHORE

  default-model   converts the default model from its trained weights and writes its .bnn file";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["default-model"] => write_default_model(),
        ["-h" | "--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("{USAGE}"),
    }
}

/// Root of the workspace.
fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).expect("xtask lies two folders below the root")
}

/// Replaces the file at `path`; an interrupted run leaves the old one.
fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let part = path.with_added_extension("part");
    fs::write(&part, bytes)
        .and_then(|()| fs::rename(&part, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn write_default_model() -> anyhow::Result<()> {
    let bytes = bnn_models::build_default_model()?;
    let name = format!("models/default/{}.bnn", bnn_models::DEFAULT_NAME);
    replace(&root().join(&name), &bytes)?;
    println!("{name}: {} bytes", bytes.len());
    Ok(())
}
