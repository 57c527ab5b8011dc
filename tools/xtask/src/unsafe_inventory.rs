//! How much `unsafe` there is, and where: the table of `docs/unsafe.md`, counted from the sources.
//!
//! The counts are written and checked here; the last column of the table, what the code of a file
//! does that the compiler cannot check and who makes it sound, is written by hand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::root::root;

/// Where `unsafe` may stand: folders end with `/`.
const ALLOWED: &[&str] =
    &["kernels/", "src/capi/", "src/runtime/model.rs", "tools/src/engine.rs", "tests/", "fuzz/"];

const HEAD: &str =
    "| file | blocks | functions | implementations | what for, and what makes it sound |";

/// How often `unsafe` stands in a file, by what stands behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// `unsafe { .. }`
    blocks: usize,
    /// `unsafe fn`, in traits and types of functions too, and `unsafe extern`.
    functions: usize,
    /// `unsafe impl`, `unsafe trait` and `#[unsafe(..)]`.
    implementations: usize,
}

impl Counts {
    /// Counts in a file, bodies of macros included; comments and texts are none of its tokens.
    fn of(tokens: TokenStream) -> Self {
        let mut counts = Self::default();
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) => counts += Self::of(group.stream()),
                TokenTree::Ident(word) if word == "unsafe" => match tokens.peek() {
                    Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                        counts.blocks += 1;
                    }
                    Some(TokenTree::Ident(next)) if next == "fn" || next == "extern" => {
                        counts.functions += 1;
                    }
                    _ => counts.implementations += 1,
                },
                _ => {}
            }
        }
        counts
    }

    fn is_none(self) -> bool {
        self == Self::default()
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.functions += other.functions;
        self.implementations += other.implementations;
    }
}

/// Writes the counts into the table; a file that is new there gets an empty last column.
pub(crate) fn write() -> Result<()> {
    let path = inventory_path();
    fs::write(&path, current()?.0).with_context(|| format!("cannot write {}", path.display()))
}

/// Fails if the table is not up to date, if a row says nothing or if `unsafe` stands where it may not.
/// Prints the total.
pub(crate) fn check() -> Result<()> {
    let (text, total) = current()?;
    let path = inventory_path();
    if read(&path)? != text {
        bail!("{} is out of date: run `cargo xtask unsafe`", path.display());
    }
    if let Some(row) = text.lines().find(|line| line.starts_with("| `") && line.ends_with("|  |")) {
        bail!("{}: this row says nothing of its code: {row}", path.display());
    }
    println!("{}", summary(total));
    Ok(())
}

fn summary(total: Counts) -> String {
    format!(
        "{} unsafe blocks, {} unsafe functions, {} unsafe implementations and attributes",
        total.blocks, total.functions, total.implementations
    )
}

fn inventory_path() -> PathBuf {
    root().join("docs/unsafe.md")
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The inventory as it should be, and the total of its counts.
fn current() -> Result<(String, Counts)> {
    let found = read(&inventory_path())?;
    let (before, rest) =
        found.split_once(HEAD).context("docs/unsafe.md has no table with the known head")?;
    let end = rest.find("\n\n").map_or(rest.len(), |position| position + 1);
    let (table, after) = rest.split_at(end);
    let reasons: BTreeMap<&str, &str> = table.lines().filter_map(reason).collect();

    let mut total = Counts::default();
    let mut text = format!("{before}{HEAD}\n|---|---|---|---|---|\n");
    for (file, counts) in counted()? {
        total += counts;
        let reason = reasons.get(file.as_str()).copied().unwrap_or_default();
        let Counts { blocks, functions, implementations } = counts;
        writeln!(text, "| `{file}` | {blocks} | {functions} | {implementations} | {reason} |")?;
    }
    writeln!(
        text,
        "| all | {} | {} | {} | |",
        total.blocks, total.functions, total.implementations
    )?;
    text.push_str(after);
    Ok((text, total))
}

/// File and last column of a row of the table.
fn reason(row: &str) -> Option<(&str, &str)> {
    let cells: Vec<&str> = row.strip_prefix('|')?.splitn(5, '|').map(str::trim).collect();
    let file = cells.first()?.strip_prefix('`')?.strip_suffix('`')?;
    Some((file, cells.get(4)?.strip_suffix('|')?.trim()))
}

/// The counts of all files that have any, by path.
fn counted() -> Result<BTreeMap<String, Counts>> {
    let listing = Command::new("git")
        .current_dir(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .output()
        .context("cannot start git")?;
    ensure!(listing.status.success(), "git failed: {}", listing.status);
    let mut counted = BTreeMap::new();
    for file in String::from_utf8(listing.stdout)?.lines() {
        let path = root().join(file);
        if !path.exists() {
            continue;
        }
        let tokens: TokenStream = read(&path)?
            .parse()
            .map_err(|error| anyhow::anyhow!("{file} cannot be split into tokens: {error}"))?;
        let counts = Counts::of(tokens);
        if counts.is_none() {
            continue;
        }
        ensure!(
            ALLOWED
                .iter()
                .any(|place| file == *place || (place.ends_with('/') && file.starts_with(place))),
            "{file} has `unsafe`, which may stand only in {}",
            ALLOWED.join(", ")
        );
        counted.insert(file.to_owned(), counts);
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn counts_words_of_the_language_only() {
        let source = r##"
            /// unsafe { not this }
            unsafe fn f(g: unsafe fn()) { unsafe { g() } }
            macro_rules! m { () => { unsafe { h() } } }
            unsafe impl Send for S {}
            #[unsafe(no_mangle)]
            extern "C" fn k() { let text = "unsafe { nor this }"; }
        "##;
        let counts = Counts::of(source.parse().expect("tokens"));
        assert_eq!(counts, Counts { blocks: 2, functions: 2, implementations: 2 });
    }
}
