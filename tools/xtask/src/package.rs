//! What users get: an archive for one target with tools, library, man pages, completions and licences,
//! and Debian packages of the same files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::{Settings, cargo, local_folders};
use crate::install::{pkg_config, put, put_libraries, put_text};
use crate::root::root;
use crate::{archive, executable, licences, manual, time};

/// The two tools.
const TOOLS: [&str; 2] = ["bnn-convert", "bnn-run"];

/// What Debian packages are made of: the variants in tools/Cargo.toml, and where each puts libraries.
const DEBIAN_VARIANTS: [&[&str]; 3] = [
    &[],
    &["--variant", "libbnn0", "--multiarch", "same"],
    &["--variant", "libbnn-dev", "--multiarch", "same"],
];

/// Files of the repository that stand at the top of the archive, too.
const AT_THE_TOP: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Folders of the repository that are kept as documentation, under the same names so that links hold,
/// and the endings of the files in them that users have a use for.
const DOCUMENTATION: [(&str, &[&str]); 7] = [
    ("docs", &["md"]),
    ("docs/pictures", &["png", "svg"]),
    ("examples", &["md", "png"]),
    ("examples/detector", &["md", "onnx", "txt", "json", "png"]),
    ("examples/c", &["c", "cpp", "py", "supp"]),
    ("include", &["h"]),
    ("models/default", &["md", "bnn"]),
];

const INSTALL: &str = "\
bnn @VERSION@ for @TARGET@

Try it here, nothing has to be installed:

    bin/bnn-run share/doc/bnn/examples/airplane.png

Install it, for example below /usr/local (as root) or ~/.local:

    cp -r bin include lib share /usr/local

The tools need no library. Programs that use libbnn.so.@ABI@ find it after `ldconfig`, or with LD_LIBRARY_PATH;
bnn.pc works wherever the folders lie, as long as they stay together. share/doc/bnn/docs/c.md leads
from a model to a running C program. Man pages: man -l share/man/man1/bnn-run.1

THIRD-PARTY.txt has the licences of everything that is linked.
";

struct Options {
    target: Option<String>,
    profile: String,
    output: PathBuf,
    keep_paths: bool,
    debian: bool,
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self> {
        let mut options = Self {
            target: None,
            profile: "release".into(),
            output: root().join("target/package"),
            keep_paths: false,
            debian: false,
        };
        let mut arguments = arguments.iter();
        while let Some(&name) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{name} needs a value"));
            match name {
                "--target" => options.target = Some((*value()?).to_owned()),
                "--profile" => options.profile = (*value()?).to_owned(),
                "--out" => options.output = std::path::absolute(value()?)?,
                "--keep-paths" => options.keep_paths = true,
                "--deb" => options.debian = true,
                _ => bail!(
                    "unknown option {name}, expected --target, --profile, --out, --keep-paths or --deb"
                ),
            }
        }
        Ok(options)
    }
}

/// Builds everything and packs it.
pub(crate) fn package(arguments: &[&str]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let target = match &options.target {
        Some(target) => target.clone(),
        None => host()?,
    };
    if !target.ends_with("-linux-gnu") {
        bail!("no package for {target}: this recipe is for Linux with the GNU C Library");
    }
    let renamed_folders = if options.keep_paths { Vec::new() } else { local_folders()? };
    let settings = Settings {
        profile: options.profile.clone(),
        target: options.target.clone(),
        renamed_folders,
        strip: true,
    };

    // Always the same place, so that tools/Cargo.toml can say where a Debian package finds its files.
    let files = root().join("target/package/files");
    if files.exists() {
        fs::remove_dir_all(&files).with_context(|| format!("cannot empty {}", files.display()))?;
    }
    gather(&settings, &target, &files)?;

    fs::create_dir_all(&options.output)?;
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("bnn-{version}-{target}");
    let path = options.output.join(format!("{name}.tar.gz"));
    let time = time::of_last_change()?;
    archive::write(&files, &name, time, &path)?;
    println!("{}", path.display());
    if options.debian {
        debian(&options, &target, time)?;
    }
    write_checksums(&options.output, version)
}

/// Builds what is shipped, checks it, and lays it out below `files` as below `/usr`.
fn gather(settings: &Settings, target: &str, files: &Path) -> Result<()> {
    let folders = settings.renamed_folders.iter().map(|(folder, _)| folder.as_path());
    for tool in TOOLS {
        let path = files.join("bin").join(tool);
        put(&settings.tool(tool)?, &path, 0o755)?;
        executable::check_static(&path)?;
        executable::check_stripped(&path)?;
        executable::check_names_none_of(&path, folders.clone())?;
    }
    let built = settings.libraries()?;
    let description = pkg_config("${pcfiledir}/../..", "${prefix}/lib", &built.system);
    let libraries = files.join("lib");
    put_libraries(&built, &description, &libraries, &files.join("include"))?;
    // The file itself: stripped by its other names, those would become copies.
    let shared = fs::canonicalize(libraries.join("libbnn.so"))?;
    let stationary = libraries.join("libbnn.a");
    strip_debug(target, &[&shared, &stationary])?;
    executable::check_stripped(&shared)?;
    for library in [&shared, &stationary] {
        executable::check_names_none_of(library, folders.clone())?;
    }

    let share = files.join("share");
    manual::write(&share)?;
    let documentation = share.join("doc/bnn");
    for name in AT_THE_TOP {
        put(&root().join(name), &files.join(name), 0o644)?;
        put(&root().join(name), &documentation.join(name), 0o644)?;
    }
    for (folder, endings) in DOCUMENTATION {
        put_wanted(&root().join(folder), endings, &documentation.join(folder))?;
    }
    put_text(&licences::notices(target)?, &files.join("THIRD-PARTY.txt"))?;
    let install = INSTALL
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@ABI@", crate::header::ABI)
        .replace("@TARGET@", target);
    put_text(&install, &files.join("INSTALL.txt"))
}

/// Copies the files of a folder that have one of the endings.
fn put_wanted(from: &Path, endings: &[&str], to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if endings.contains(&ending) {
            let name = path.file_name().context("an entry has a name")?;
            put(&path, &to.join(name), 0o644)?;
        }
    }
    Ok(())
}

/// Takes the debug information out of libraries; they keep their symbols.
fn strip_debug(target: &str, libraries: &[&Path]) -> Result<()> {
    let architecture = target.split('-').next().unwrap_or_default();
    let variable = format!("STRIP_{}", target.replace('-', "_"));
    let program = std::env::var(&variable).unwrap_or_else(|_| {
        if architecture == std::env::consts::ARCH {
            "strip".to_owned()
        } else {
            format!("{architecture}-linux-gnu-strip")
        }
    });
    let status = Command::new(&program)
        .args(["--strip-debug", "--enable-deterministic-archives"])
        .args(libraries)
        .status()
        .with_context(|| format!("cannot start {program}; {variable} may name another"))?;
    if !status.success() {
        bail!("{program} failed: {status}");
    }
    Ok(())
}

/// The target that the compiler builds for if it is not told.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("cannot start rustc")?;
    let text = String::from_utf8(output.stdout).context("rustc's version")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say for what it builds")?.to_owned())
}

/// Makes the Debian packages that tools/Cargo.toml describes, with cargo-deb.
fn debian(options: &Options, target: &str, time: u64) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let place = root().join("target/package/debian");
    let folder = target.replace("-unknown", "");
    // Debian's folders are no neighbours, so this file has to name them.
    let installed = fs::read_to_string(root().join("target/package/files/lib/pkgconfig/bnn.pc"))?;
    let system = installed.lines().find_map(|line| line.strip_prefix("Libs.private: "));
    let library_folder = format!("${{prefix}}/lib/{folder}");
    let description = pkg_config("/usr", &library_folder, system.unwrap_or_default());
    put_text(&description, &place.join("bnn.pc"))?;
    let date = time::written(time, "--rfc-email")?;
    for package in ["bnn-tools", "libbnn0", "libbnn-dev"] {
        let changes = format!(
            "{package} ({version}-1) unstable; urgency=medium\n\n  * Release {version}; CHANGELOG.md says \
             what has changed.\n\n -- The bnn developers <>  {date}\n"
        );
        put_text(&changes, &place.join(package).join("changelog"))?;
    }
    for variant in DEBIAN_VARIANTS {
        let mut deb = cargo();
        deb.current_dir(root())
            .args([
                "deb",
                "--quiet",
                "--package",
                "bnn-tools",
                "--no-build",
                "--no-strip",
                "--output",
            ])
            .arg(&options.output)
            .args(variant)
            .env("SOURCE_DATE_EPOCH", time.to_string());
        if let Some(target) = &options.target {
            deb.args(["--target", target]);
        }
        let status = deb.status().context("cannot start cargo")?;
        if !status.success() {
            bail!("cargo deb failed ({status}); it comes with `cargo install cargo-deb --locked`");
        }
    }
    Ok(())
}

/// Writes the checksums of all packages of this version in a folder, whatever target they are for.
fn write_checksums(folder: &Path, version: &str) -> Result<()> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_archive = name.starts_with(&format!("bnn-{version}-")) && name.ends_with(".tar.gz");
        let is_debian = name.contains(&format!("_{version}-")) && name.ends_with(".deb");
        if is_archive || is_debian {
            paths.push(path);
        }
    }
    paths.sort();
    let lines: Vec<String> =
        paths.iter().map(|path| archive::checksum(path)).collect::<Result<_>>()?;
    put_text(&lines.concat(), &folder.join("SHA256SUMS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        let options = Options::parse(&["--profile", "dev", "--keep-paths"]).unwrap();
        assert!(options.keep_paths && !options.debian);
        assert_eq!(options.profile, "dev");
        assert!(Options::parse(&["--profile"]).is_err());
        assert!(Options::parse(&["--static"]).is_err());
    }

    #[test]
    fn debian_packages_of_one_version_belong_together() {
        let manifest = fs::read_to_string(root().join("tools/Cargo.toml")).unwrap();
        let manifest: toml::Table = toml::from_str(&manifest).unwrap();
        let deb = &manifest["package"]["metadata"]["deb"];
        let development = &deb["variants"]["libbnn-dev"];
        let revision = deb["revision"].as_str().unwrap();
        let library = format!("libbnn{}", crate::header::ABI);
        let expected = format!("{library} (= {}-{revision})", env!("CARGO_PKG_VERSION"));
        assert_eq!(development["depends"].as_str(), Some(&expected[..]));
        assert_eq!(deb["variants"][&library]["name"].as_str(), Some(&library[..]));
    }

    #[test]
    fn checksums_cover_the_packages_of_one_version() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["bnn-1.0.0-x.tar.gz", "bnn-tools_1.0.0-1_amd64.deb", "bnn-0.9.0-x.tar.gz"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        write_checksums(folder.path(), "1.0.0").unwrap();
        let sums = fs::read_to_string(folder.path().join("SHA256SUMS")).unwrap();
        let names: Vec<&str> = sums.lines().map(|line| &line[66..]).collect();
        assert_eq!(names, ["bnn-1.0.0-x.tar.gz", "bnn-tools_1.0.0-1_amd64.deb"]);
    }
}
