//! The C header, from the Rust sources of the C interface.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cbindgen::{
    Builder, Config, DocumentationStyle, EnumConfig, ExportConfig, Language, RenameRule, Style,
};

use crate::root::root;

/// Sections of the header, simple to advanced, by their file in `src/capi`.
const SECTIONS: [&str; 6] = ["error", "model", "session", "classify", "detect", "run"];

/// Number in the name of the shared library: it rises when programs have to be compiled anew.
pub(crate) const ABI: &str = "0";

const INTRODUCTION: &str = include_str!("../header/introduction.h");

/// Writes the header.
pub(crate) fn write() -> Result<()> {
    let path = path();
    fs::write(&path, header()?).with_context(|| format!("cannot write {}", path.display()))
}

/// Fails if the header in the tree is not the one that would be written.
pub(crate) fn check() -> Result<()> {
    let path = path();
    let found =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if found != header()? {
        bail!("{} is out of date: run `cargo xtask header`", path.display());
    }
    Ok(())
}

/// The header in the tree.
pub(crate) fn path() -> PathBuf {
    root().join("include/bnn.h")
}

fn header() -> Result<String> {
    let version = env!("CARGO_PKG_VERSION");
    let mut numbers = version.split('.');
    let mut header = INTRODUCTION.replace("@VERSION@", version).replace("@ABI@", ABI);
    header
        .push_str("\n#ifndef BNN_H\n#define BNN_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n");
    for part in ["MAJOR", "MINOR", "PATCH"] {
        let number = numbers.next().context("the version has three numbers")?;
        writeln!(header, "#define BNN_VERSION_{part} {number}")?;
    }
    writeln!(header, "#define BNN_VERSION \"{version}\"")?;
    header.push_str("\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n");
    for section in SECTIONS {
        let source = root().join("src/capi").join(section).with_extension("rs");
        header.push_str(&heading(&source)?);
        header.push_str(&declarations(&source)?);
    }
    header.push_str("\n#ifdef __cplusplus\n}\n#endif\n\n#endif /* BNN_H */\n");
    Ok(header)
}

/// The comment at the head of a source file as the heading of a section.
fn heading(source: &Path) -> Result<String> {
    let text =
        fs::read_to_string(source).with_context(|| format!("cannot read {}", source.display()))?;
    let mut lines = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let title = lines.next().with_context(|| format!("{} has no title", source.display()))?;
    let mut heading = format!("\n/*\n * ---- {title} {}\n", "-".repeat(90 - title.len()));
    for line in lines {
        writeln!(heading, "{}", format!(" * {line}").trim_end())?;
    }
    heading.push_str(" */\n\n");
    Ok(heading)
}

/// What a source file declares. Files are translated one by one, so that types stand in the section of
/// the functions that use them.
fn declarations(source: &Path) -> Result<String> {
    let config = Config {
        language: Language::C,
        style: Style::Type,
        no_includes: true,
        usize_is_size_t: true,
        line_length: 100,
        tab_width: 4,
        documentation_style: DocumentationStyle::Doxy,
        // The only type that no function of its own file mentions.
        export: ExportConfig { include: vec!["bnn_status".into()], ..ExportConfig::default() },
        enumeration: EnumConfig {
            rename_variants: RenameRule::QualifiedScreamingSnakeCase,
            ..EnumConfig::default()
        },
        ..Config::default()
    };
    let bindings = Builder::new()
        .with_config(config)
        .with_src(source)
        .generate()
        .with_context(|| format!("cannot translate {}", source.display()))?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    Ok(joined_comments(&String::from_utf8(text)?))
}

/// Comments of one line of text on one line.
fn joined_comments(text: &str) -> String {
    let mut lines = text.lines().peekable();
    let mut joined = String::new();
    while let Some(line) = lines.next() {
        if line.trim() != "/**" {
            joined.push_str(line);
            joined.push('\n');
            continue;
        }
        let mut comment: Vec<&str> =
            std::iter::from_fn(|| lines.next_if(|line| line.trim() != "*/")).collect();
        let end = lines.next().unwrap_or_default();
        match comment[..] {
            [only] => {
                joined.push_str(line);
                joined.push_str(only.trim_start().trim_start_matches('*'));
                joined.push_str(" */\n");
            }
            _ => {
                comment.insert(0, line);
                comment.push(end);
                comment.iter().for_each(|line| joined.extend([line, "\n"]));
            }
        }
    }
    joined
}
