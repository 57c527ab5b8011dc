//! The C library, installed: shared and static library, header, pkg-config file.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::header;
use crate::root::root;

/// Where things go and how they are built.
struct Options {
    /// Folder that programs will find the library in, such as `/usr/local`.
    prefix: PathBuf,
    /// Folder of the libraries, relative to the prefix or absolute.
    library_folder: PathBuf,
    /// Folder that stands for `/` while a package is made.
    destination: PathBuf,
    /// Cargo's profile.
    profile: String,
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self> {
        let mut options = Self {
            prefix: "/usr/local".into(),
            library_folder: "lib".into(),
            destination: "/".into(),
            profile: "release".into(),
        };
        let mut arguments = arguments.iter();
        while let Some(&name) = arguments.next() {
            let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
            match name {
                "--prefix" => options.prefix = std::path::absolute(value)?,
                "--libdir" => options.library_folder = value.into(),
                "--destdir" => options.destination = std::path::absolute(value)?,
                "--profile" => options.profile = (*value).to_owned(),
                _ => bail!(
                    "unknown option {name}, expected --prefix, --libdir, --destdir or --profile"
                ),
            }
        }
        Ok(options)
    }

    /// Where to write what will be found in `folder`.
    fn staged(&self, folder: &Path) -> PathBuf {
        self.destination.join(folder.strip_prefix("/").unwrap_or(folder))
    }
}

/// What was built.
struct Libraries {
    shared: PathBuf,
    stationary: PathBuf,
    /// Linker options that a program needs beside the static library.
    system: String,
}

/// Builds and installs.
pub(crate) fn install(arguments: &[&str]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let built = build(&options.profile)?;
    let library_folder = options.prefix.join(&options.library_folder);
    let include_folder = options.prefix.join("include");

    let version = env!("CARGO_PKG_VERSION");
    let libraries = options.staged(&library_folder);
    let file = format!("libbnn.so.{version}");
    put(&built.shared, &libraries.join(&file), 0o755)?;
    link(&file, &libraries.join(soname()))?;
    link(&soname(), &libraries.join("libbnn.so"))?;
    put(&built.stationary, &libraries.join("libbnn.a"), 0o644)?;
    put(&header::path(), &options.staged(&include_folder).join("bnn.h"), 0o644)?;

    let description = pkg_config(&options.prefix, &library_folder, &built.system);
    let path = libraries.join("pkgconfig/bnn.pc");
    create_folder_of(&path)?;
    fs::write(&path, description).with_context(|| format!("cannot write {}", path.display()))?;
    set_mode(&path, 0o644)?;
    println!("{}", path.display());
    Ok(())
}

fn soname() -> String {
    format!("libbnn.so.{}", header::ABI)
}

/// Builds both libraries in one go.
///
/// The shared one stays loaded after `dlclose`: threads of a session that has just been freed may still
/// be on their way out.
fn build(profile: &str) -> Result<Libraries> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root())
        .args(["rustc", "--package", "bnn", "--lib", "--features", "capi"])
        .args(["--crate-type", "cdylib,staticlib", "--profile", profile])
        .args(["--message-format", "json-render-diagnostics"])
        .args(["--", "--print", "native-static-libs"])
        .args(["-C", &format!("link-arg=-Wl,-soname,{}", soname())])
        .args(["-C", "link-arg=-Wl,-z,nodelete"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = cargo.spawn().context("cannot start cargo")?;
    let errors = child.stderr.take().context("cargo has no standard error")?;
    // What cargo says is passed on, and searched for the compiler's note on system libraries.
    let notes = std::thread::spawn(move || {
        let mut system = None;
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            if let Some((_, libraries)) = line.split_once("native-static-libs: ") {
                system = Some(libraries.trim().to_owned());
            }
            eprintln!("{line}");
        }
        system
    });
    let (mut shared, mut stationary) = (None, None);
    for line in BufReader::new(child.stdout.take().context("cargo has no standard output")?).lines()
    {
        let message: Value = serde_json::from_str(&line?).context("cargo writes JSON")?;
        if message["reason"] != "compiler-artifact" || message["target"]["name"] != "bnn" {
            continue;
        }
        for file in message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str)
        {
            let path = PathBuf::from(file);
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("so") => shared = Some(path),
                Some("a") => stationary = Some(path),
                _ => {}
            }
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("cargo failed: {status}");
    }
    let system = notes.join().ok().flatten();
    Ok(Libraries {
        shared: shared.context("cargo named no shared library (this recipe is for ELF systems)")?,
        stationary: stationary.context("cargo named no static library")?,
        system: system.context("the compiler did not say which system libraries are needed")?,
    })
}

fn pkg_config(prefix: &Path, library_folder: &Path, system: &str) -> String {
    format!(
        "prefix={}\n\
         libdir={}\n\
         includedir=${{prefix}}/include\n\
         \n\
         Name: bnn\n\
         Description: Inference engine for deployed binary neural networks\n\
         Version: {}\n\
         Cflags: -I${{includedir}}\n\
         Libs: -L${{libdir}} -lbnn\n\
         Libs.private: {system}\n",
        prefix.display(),
        library_folder.display(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// Copies a file under a new name and renames it, so that a program that has the old one open is not
/// disturbed.
fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    create_folder_of(to)?;
    let part = to.with_added_extension("part");
    fs::copy(from, &part)
        .with_context(|| format!("cannot copy {} to {}", from.display(), part.display()))?;
    set_mode(&part, mode)?;
    fs::rename(&part, to).with_context(|| format!("cannot write {}", to.display()))?;
    println!("{}", to.display());
    Ok(())
}

fn create_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

#[cfg(unix)]
fn link(target: &str, path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", path.display()));
        }
        _ => {}
    }
    std::os::unix::fs::symlink(target, path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn link(_: &str, _: &Path) -> Result<()> {
    bail!("this recipe is for ELF systems")
}
