//! The `.bnn` file of the default model, from its trained weights.

use std::fs;

use anyhow::{Context, Result};

use crate::root::root;

/// Converts the default model and replaces its file; an interrupted run leaves the old one.
pub(crate) fn write() -> Result<()> {
    let bytes = bnn_models::build_default_model()?;
    let path = root().join(format!("models/default/{}.bnn", bnn_models::DEFAULT_NAME));
    let part = path.with_added_extension("part");
    fs::write(&part, &bytes)
        .and_then(|()| fs::rename(&part, &path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}: {} bytes", path.display(), bytes.len());
    Ok(())
}
