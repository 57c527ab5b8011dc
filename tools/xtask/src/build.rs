//! Builds what is shipped: how cargo is called, and where its results lie.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::header;
use crate::root::root;

/// How things are built.
pub(crate) struct Settings {
    /// Cargo's profile.
    pub(crate) profile: String,
    /// The target, if it is not the machine that builds.
    pub(crate) target: Option<String>,
    /// Folders of this machine and the names that stand for them in what is built. Everything is
    /// compiled anew if they change.
    pub(crate) renamed_folders: Vec<(PathBuf, String)>,
    /// Whether programs lose their debug information and symbols. (Libraries are stripped when they are
    /// packed: so they are the ones that `cargo xtask install` has built.)
    pub(crate) strip: bool,
}

/// The C libraries.
pub(crate) struct Libraries {
    pub(crate) shared: PathBuf,
    pub(crate) stationary: PathBuf,
    /// Linker options that a program needs beside the static library.
    pub(crate) system: String,
}

impl Settings {
    /// As `cargo build` does it, for the machine that builds.
    pub(crate) fn plain(profile: &str) -> Self {
        Self {
            profile: profile.to_owned(),
            target: None,
            renamed_folders: Vec::new(),
            strip: false,
        }
    }

    /// Builds both libraries in one go.
    ///
    /// The shared one stays loaded after `dlclose`: threads of a session that has just been freed may
    /// still be on their way out.
    pub(crate) fn libraries(&self) -> Result<Libraries> {
        let mut cargo = self.cargo();
        cargo
            .args(["--package", "bnn", "--lib", "--features", "capi"])
            .args(["--crate-type", "cdylib,staticlib"])
            .args(["--", "--print", "native-static-libs"])
            .args(["-C", &format!("link-arg=-Wl,-soname,{}", soname())])
            .args(["-C", "link-arg=-Wl,-z,nodelete"]);
        let (files, notes) = run(cargo, "bnn")?;
        let named = |ending: &str| {
            let mut files = files.iter();
            files.find(|path| path.extension().is_some_and(|found| found == ending)).cloned()
        };
        let system = notes
            .iter()
            .rev()
            .find_map(|line| Some(line.split_once("native-static-libs: ")?.1.trim().to_owned()));
        Ok(Libraries {
            shared: named("so")
                .context("cargo named no shared library (this recipe is for ELF systems)")?,
            stationary: named("a").context("cargo named no static library")?,
            system: system.context("the compiler did not say which system libraries are needed")?,
        })
    }

    /// Builds a tool that needs no library of the system it runs on.
    ///
    /// Only the tool itself is told to be static: that decides what is linked, and what it is made of
    /// is compiled once for all.
    pub(crate) fn tool(&self, name: &str) -> Result<PathBuf> {
        let mut cargo = self.cargo();
        cargo.args(["--package", "bnn-tools", "--bin", name]).args([
            "--",
            "-C",
            "target-feature=+crt-static",
        ]);
        if self.strip {
            cargo.args(["-C", "strip=symbols"]);
        }
        let (files, _) = run(cargo, name)?;
        let programs = files.into_iter().find(|path| path.extension().is_none());
        programs.with_context(|| format!("cargo named no program {name}"))
    }

    fn cargo(&self) -> Command {
        let mut cargo = cargo();
        cargo
            .current_dir(root())
            .args(["rustc", "--locked", "--profile", &self.profile])
            .args(["--message-format", "json-render-diagnostics"]);
        if let Some(target) = &self.target {
            cargo.args(["--target", target]);
        }
        if !self.renamed_folders.is_empty() {
            // A folder may have a space in its name, so flags are divided by what no name has.
            let mut flags: Vec<OsString> = match std::env::var_os("CARGO_ENCODED_RUSTFLAGS") {
                Some(flags) => vec![flags],
                None => std::env::var("RUSTFLAGS")
                    .unwrap_or_default()
                    .split_whitespace()
                    .map(OsString::from)
                    .collect(),
            };
            for (folder, name) in &self.renamed_folders {
                let mut flag = OsString::from("--remap-path-prefix=");
                flag.push(folder);
                flag.push("=");
                flag.push(name);
                flags.push(flag);
            }
            cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join(&OsString::from("\x1f")));
        }
        cargo
    }
}

/// The name in the shared library that programs ask for.
pub(crate) fn soname() -> String {
    format!("libbnn.so.{}", header::ABI)
}

/// The cargo that this program was started by, or the one that is found.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Folders of this machine that the compiler would write into what it builds, with other names for
/// them. Of two that fit, the compiler takes the later one.
pub(crate) fn local_folders() -> Result<Vec<(PathBuf, String)>> {
    let mut folders = Vec::new();
    let home = std::env::home_dir();
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| home.as_ref().map(|home| home.join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")?;
    folders.push((cargo_home.clone(), "cargo".to_owned()));
    // Each registry has a folder that is named after its host.
    let registries = cargo_home.join("registry/src");
    if registries.is_dir() {
        for entry in std::fs::read_dir(&registries)? {
            folders.push((entry?.path(), "crates".to_owned()));
        }
    }
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "sysroot"]).output()?;
    let sysroot = String::from_utf8(output.stdout).context("the compiler's folder")?;
    if !output.status.success() || sysroot.trim().is_empty() {
        bail!("the compiler does not say where it lies");
    }
    folders.push((sysroot.trim().into(), "rust".to_owned()));
    folders.push((root(), "bnn".to_owned()));
    Ok(folders)
}

/// Runs cargo, passes on what it says, and gives the files of the target `name` and the lines that it
/// said.
fn run(mut cargo: Command, name: &str) -> Result<(Vec<PathBuf>, Vec<String>)> {
    let mut child = cargo
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let errors = child.stderr.take().context("cargo has no standard error")?;
    let notes = std::thread::spawn(move || {
        let lines = BufReader::new(errors).lines().map_while(Result::ok);
        lines.inspect(|line| eprintln!("{line}")).collect::<Vec<_>>()
    });
    let mut files = Vec::new();
    let messages = child.stdout.take().context("cargo has no standard output")?;
    for line in BufReader::new(messages).lines() {
        let message: Value = serde_json::from_str(&line?).context("cargo writes JSON")?;
        if message["reason"] == "compiler-artifact" && message["target"]["name"] == name {
            let names = message["filenames"].as_array().into_iter().flatten();
            files.extend(names.filter_map(Value::as_str).map(|name| Path::new(name).to_owned()));
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("cargo failed: {status}");
    }
    Ok((files, notes.join().unwrap_or_default()))
}
