//! The C library, installed: shared and static library, header, pkg-config file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::build::{Libraries, Settings, soname};
use crate::header;

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

/// Builds and installs.
pub(crate) fn install(arguments: &[&str]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let built = Settings::plain(&options.profile).libraries()?;
    let library_folder = options.prefix.join(&options.library_folder);
    let include_folder = options.prefix.join("include");
    let description = pkg_config(
        &options.prefix.display().to_string(),
        &library_folder.display().to_string(),
        &built.system,
    );
    put_libraries(
        &built,
        &description,
        &options.staged(&library_folder),
        &options.staged(&include_folder),
    )
}

/// Puts both libraries, the names that the shared one goes by, the header and the pkg-config file into
/// their folders. Libraries of another ABI number that are already there stay usable.
pub(crate) fn put_libraries(
    built: &Libraries,
    description: &str,
    libraries: &Path,
    include: &Path,
) -> Result<()> {
    let file = format!("libbnn.so.{}", env!("CARGO_PKG_VERSION"));
    put(&built.shared, &libraries.join(&file), 0o755)?;
    link(&file, &libraries.join(soname()))?;
    link(&soname(), &libraries.join("libbnn.so"))?;
    put(&built.stationary, &libraries.join("libbnn.a"), 0o644)?;
    put(&header::path(), &include.join("bnn.h"), 0o644)?;
    put_text(description, &libraries.join("pkgconfig/bnn.pc"))
}

/// What pkg-config reads, for a library below `prefix`.
pub(crate) fn pkg_config(prefix: &str, library_folder: &str, system: &str) -> String {
    format!(
        "prefix={prefix}\n\
         libdir={library_folder}\n\
         includedir=${{prefix}}/include\n\
         \n\
         Name: bnn\n\
         Description: Inference engine for deployed binary neural networks\n\
         Version: {}\n\
         Cflags: -I${{includedir}}\n\
         Libs: -L${{libdir}} -lbnn\n\
         Libs.private: {system}\n",
        env!("CARGO_PKG_VERSION"),
    )
}

/// Writes a small file.
pub(crate) fn put_text(text: &str, path: &Path) -> Result<()> {
    create_folder_of(path)?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    set_mode(path, 0o644)?;
    println!("{}", path.display());
    Ok(())
}

/// Copies a file under a new name and renames it, so that a program that has the old one open is not
/// disturbed.
pub(crate) fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn versions_live_side_by_side() {
        let folder = tempfile::tempdir().unwrap();
        let libraries = folder.path().join("lib");
        fs::create_dir(&libraries).unwrap();
        let built = Libraries {
            shared: folder.path().join("new.so"),
            stationary: folder.path().join("new.a"),
            system: String::new(),
        };
        fs::write(&built.shared, "new").unwrap();
        fs::write(&built.stationary, "new").unwrap();
        // A later version with another ABI number, and an earlier one with this.
        let (later, earlier) = ("libbnn.so.9.1.0", format!("{}.0.0", soname()));
        fs::write(libraries.join(later), "later").unwrap();
        fs::write(libraries.join(&earlier), "earlier").unwrap();
        link(later, &libraries.join("libbnn.so.9")).unwrap();
        link(&earlier, &libraries.join(soname())).unwrap();
        link("libbnn.so.9", &libraries.join("libbnn.so")).unwrap();

        put_libraries(&built, "", &libraries, &folder.path().join("include")).unwrap();

        let read = |name: &str| fs::read_to_string(libraries.join(name)).unwrap();
        // Programs of either ABI number find their library, compilers the one installed last.
        assert_eq!(read("libbnn.so.9"), "later");
        assert_eq!(read(&soname()), "new");
        assert_eq!(read("libbnn.so"), "new");
        assert_eq!(read(&earlier), "earlier", "a program that has it open keeps it");
    }
}
