//! Licences of the dependencies: which are allowed, and the texts that go with what is linked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId, TargetKind};
use serde::Deserialize;
use spdx::{Expression, LicenseReq, Licensee, ParseMode};

use crate::root::root;

/// Targets that packages are made for.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// Where every dependency comes from.
const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Crates of the workspace that are shipped.
const SHIPPED: [&str; 2] = ["bnn", "bnn-tools"];

/// The part of deny.toml that is read here.
#[derive(Deserialize)]
struct Policy {
    licenses: Allowed,
}

#[derive(Deserialize)]
struct Allowed {
    allow: Vec<String>,
}

/// Fails if a crate that anything in the workspace is built with, tests included, has a licence that is
/// not on the list in deny.toml, or does not come from crates.io.
pub(crate) fn check() -> Result<()> {
    let path = root().join("deny.toml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let policy: Policy = toml::from_str(&text).context("deny.toml")?;
    let allowed = policy
        .licenses
        .allow
        .iter()
        .map(|name| Licensee::parse(name).with_context(|| format!("deny.toml: {name}")))
        .collect::<Result<Vec<_>>>()?;
    let mut checked = BTreeSet::new();
    let mut objections = BTreeSet::new();
    for target in TARGETS {
        let metadata = metadata(target)?;
        for package in built(&metadata)? {
            if let Err(objection) = judge(package, &allowed) {
                objections.insert(format!("{} {}: {objection}", package.name, package.version));
            }
            checked.insert(package.id.clone());
        }
    }
    if !objections.is_empty() {
        bail!("{}", objections.into_iter().collect::<Vec<_>>().join("\n"));
    }
    println!("{} dependencies have licences that deny.toml allows", checked.len());
    Ok(())
}

fn judge(package: &Package, allowed: &[Licensee]) -> Result<()> {
    let source = package.source.as_ref().map(|source| source.repr.as_str());
    if source != Some(SOURCE) {
        bail!("comes from {}, expected crates.io", source.unwrap_or("a folder"));
    }
    let licence = expression(package)?;
    let satisfied = |asked: &LicenseReq| allowed.iter().any(|licence| licence.satisfies(asked));
    if !licence.evaluate(satisfied) {
        bail!("{licence} is not allowed by deny.toml");
    }
    Ok(())
}

/// The licence as an SPDX expression. Old crates write a slash for "or".
fn expression(package: &Package) -> Result<Expression> {
    let text = package.license.as_deref().context("names no licence")?;
    Expression::parse_mode(text, ParseMode::LAX)
        .map_err(|error| anyhow::anyhow!("{:?}: {}", text, error.reason))
}

/// What cargo knows about all crates that a target needs, as Cargo.lock says.
fn metadata(target: &str) -> Result<Metadata> {
    MetadataCommand::new()
        .current_dir(root())
        .other_options(["--locked".into(), "--filter-platform".into(), target.into()])
        .exec()
        .context("cannot ask cargo for the dependencies")
}

/// Every crate of others that the workspace is built or tested with.
fn built(metadata: &Metadata) -> Result<Vec<&Package>> {
    let nodes = &metadata.resolve.as_ref().context("cargo resolves dependencies")?.nodes;
    let used: BTreeSet<&PackageId> = nodes.iter().map(|node| &node.id).collect();
    let mut packages: Vec<&Package> = metadata
        .packages
        .iter()
        .filter(|package| used.contains(&package.id))
        .filter(|package| !metadata.workspace_members.contains(&package.id))
        .collect();
    packages.sort_by_key(|package| (&package.name, &package.version));
    Ok(packages)
}

/// Every crate of others whose code ends up in what is shipped: neither procedural macros nor what only
/// build scripts and tests need.
fn linked(metadata: &Metadata) -> Result<Vec<&Package>> {
    let nodes = &metadata.resolve.as_ref().context("cargo resolves dependencies")?.nodes;
    let packages: BTreeMap<&PackageId, &Package> =
        metadata.packages.iter().map(|package| (&package.id, package)).collect();
    let mut queue: Vec<&PackageId> = metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| SHIPPED.contains(&package.name.as_str()))
        .map(|package| &package.id)
        .collect();
    let mut found: BTreeSet<&PackageId> = BTreeSet::new();
    while let Some(id) = queue.pop() {
        let package = packages.get(id).with_context(|| format!("{id} is unknown to cargo"))?;
        let is_macro = package.targets.iter().any(|target| target.is_kind(TargetKind::ProcMacro));
        if is_macro || !found.insert(id) {
            continue;
        }
        let node = nodes.iter().find(|node| &node.id == id).context("a crate without a node")?;
        let normal = |dependency: &&cargo_metadata::NodeDep| {
            dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
        };
        queue.extend(node.deps.iter().filter(normal).map(|dependency| &dependency.pkg));
    }
    let mut linked: Vec<&Package> = found
        .into_iter()
        .filter(|id| !metadata.workspace_members.contains(id))
        .map(|id| packages[id])
        .collect();
    linked.sort_by_key(|package| (&package.name, &package.version));
    Ok(linked)
}

/// What is linked besides crates: name, licence, whose it is.
const SYSTEM: [(&str, &str, &str); 5] = [
    (
        "ONNX (the module that reads ONNX files is generated from its onnx.proto)",
        "Apache-2.0",
        "Copyright (c) ONNX Project Contributors",
    ),
    (
        "Roboto, a part of its letters, in the two tools only",
        "Apache-2.0",
        "Copyright 2011 Google Inc.",
    ),
    (
        "The Rust standard library and the crates in it",
        "MIT OR Apache-2.0",
        "Copyright (c) The Rust Project Contributors; notices of single parts: \
         https://github.com/rust-lang/rust/blob/main/COPYRIGHT",
    ),
    (
        "The GNU C Library, in the two tools only",
        "LGPL-2.1-or-later",
        "Copyright (c) The Free Software Foundation, Inc. To link the tools with another version of it, build \
         them from their source with `cargo install --path tools`",
    ),
    (
        "libgcc",
        "GPL-3.0-or-later WITH GCC-exception-3.1",
        "Copyright (c) The Free Software Foundation, Inc.",
    ),
];

/// One text with a licence for everything that is linked into what is shipped for `target`.
pub(crate) fn notices(target: &str) -> Result<String> {
    let metadata = metadata(target)?;
    let mut texts = Texts::default();
    let mut list = String::new();
    for (name, licence, owner) in SYSTEM {
        let licence = Expression::parse(licence).map_err(|error| anyhow::anyhow!("{error}"))?;
        let numbers = texts.of_expression(&licence)?;
        writeln!(list, "{name}\n    {licence} {numbers}\n    {owner}")?;
    }
    for package in linked(&metadata)? {
        let described = format!("{} {}", package.name, package.version);
        let licence = expression(package).with_context(|| described.clone())?;
        let folder = package.manifest_path.parent().context("a manifest lies in a folder")?;
        let mut numbers = texts.of_folder(folder.as_std_path())?;
        let mut owner = String::new();
        if numbers.is_empty() {
            numbers = texts.of_expression(&licence)?;
            if !package.authors.is_empty() {
                owner = format!("\n    by {}", package.authors.join(", "));
            }
        }
        let place = package.repository.as_deref().unwrap_or("https://crates.io");
        writeln!(list, "{described}\n    {licence} {numbers}{owner}\n    {place}")?;
    }
    Ok(format!(
        "What bnn-convert, bnn-run and libbnn are linked with, under which licence, and where that licence \
         stands below.\n\n{list}{}",
        texts.all()
    ))
}

/// Licence texts, each once.
#[derive(Default)]
struct Texts {
    /// Titles and texts in the order of their numbers, which count from 1.
    texts: Vec<(String, String)>,
}

impl Texts {
    /// Numbers of the texts that a crate brings along, such as `[1] [4]`; empty if it brings none.
    fn of_folder(&mut self, folder: &Path) -> Result<String> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().to_ascii_uppercase();
            let wanted = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
            // Some crates have a folder of that name, with what is not compiled into them.
            if entry.path().is_file() && wanted.iter().any(|start| name.starts_with(start)) {
                paths.push(entry.path());
            }
        }
        paths.sort();
        let mut numbers = Vec::new();
        for path in paths {
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            numbers.push(self.number(&name, &String::from_utf8_lossy(&bytes)));
        }
        numbers.dedup();
        Ok(numbers.join(" "))
    }

    /// Numbers of the texts that SPDX has for the licences of an expression.
    fn of_expression(&mut self, licence: &Expression) -> Result<String> {
        let mut numbers = Vec::new();
        for part in licence.requirements() {
            let id = part.req.license.id().with_context(|| format!("no text of {}", part.req))?;
            numbers.push(self.number(id.name, id.text()));
            if let Some(exception) = part.req.addition.as_ref().and_then(spdx::AdditionItem::id) {
                numbers.push(self.number(exception.name, exception.text()));
            }
        }
        Ok(numbers.join(" "))
    }

    fn number(&mut self, title: &str, text: &str) -> String {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let wanted = words(text);
        let known = self.texts.iter().position(|(_, known)| words(known) == wanted);
        let index = known.unwrap_or_else(|| {
            self.texts.push((title.to_owned(), text.trim_end().replace("\r\n", "\n")));
            self.texts.len() - 1
        });
        format!("[{}]", index + 1)
    }

    fn all(&self) -> String {
        let mut all = String::new();
        for (index, (title, text)) in self.texts.iter().enumerate() {
            let line = "-".repeat(78);
            all.push_str(&format!("\n{line}\n[{}] {title}\n{line}\n\n{text}\n", index + 1));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_of_licences_needs_one_that_is_allowed() {
        let allowed = [Licensee::parse("MIT").unwrap()];
        let fits = |text: &str| {
            Expression::parse(text)
                .unwrap()
                .evaluate(|asked| allowed.iter().any(|licence| licence.satisfies(asked)))
        };
        assert!(fits("MIT") && fits("MIT OR GPL-3.0-only"));
        assert!(!fits("GPL-3.0-only") && !fits("MIT AND GPL-3.0-only"));
    }

    #[test]
    fn all_that_is_linked_has_its_text() {
        let notices = notices(TARGETS[0]).unwrap();
        let metadata = metadata(TARGETS[0]).unwrap();
        let linked = linked(&metadata).unwrap();
        let names: Vec<&str> = linked.iter().map(|package| package.name.as_str()).collect();
        assert!(names.contains(&"clap") && names.contains(&"rayon"), "{names:?}");
        // A procedural macro, a build tool, and what only tests need.
        for absent in ["serde_derive", "cbindgen", "proptest"] {
            assert!(!names.contains(&absent), "{absent}");
        }
        for package in linked {
            let line = format!("\n{} {}\n", package.name, package.version);
            let (_, rest) = notices.split_once(&line).unwrap_or_else(|| panic!("{line}"));
            let licence = rest.lines().next().unwrap();
            assert!(licence.trim_end().ends_with(']'), "{line}{licence}");
        }
        assert!(notices.contains("GNU LESSER GENERAL PUBLIC LICENSE"));
        assert!(notices.contains("\nRoboto"));
    }

    #[test]
    fn equal_texts_get_one_number() {
        let mut texts = Texts::default();
        assert_eq!(texts.number("A", "one\ntwo"), "[1]");
        assert_eq!(texts.number("B", "three"), "[2]");
        assert_eq!(texts.number("C", "one  two\r\n"), "[1]");
    }
}
