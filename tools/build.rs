//! Tells the compiler which git revision is being built, where there is one, and what builds it.

use std::path::Path;
use std::process::Command;

/// What the tools are made of, relative to this package. A change elsewhere makes no other tools.
const SOURCES: [&str; 12] = [
    "../Cargo.toml",
    "../Cargo.lock",
    "../src",
    "../kernels/Cargo.toml",
    "../kernels/src",
    "../models/Cargo.toml",
    "../models/default",
    "../models/src",
    "Cargo.toml",
    "build.rs",
    "src",
    "../.cargo",
];

/// What a program answers, or nothing if it fails or says nothing.
fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !answer.is_empty()).then_some(answer)
}

/// What git answers. It must not refresh the index: another git may hold it.
fn git(arguments: &[&str]) -> Option<String> {
    answer("git", &[&["--no-optional-locks"], arguments].concat())
}

fn main() {
    let compiler = std::env::var("RUSTC").ok().and_then(|rustc| answer(&rustc, &["--version"]));
    if let Some(compiler) = compiler {
        println!("cargo::rustc-env=BNN_COMPILER={compiler}");
    }
    if let Ok(target) = std::env::var("TARGET") {
        println!("cargo::rustc-env=BNN_TARGET={target}");
    }
    // Always something that exists: a name that does not would start this script with every build.
    println!("cargo::rerun-if-changed=build.rs");
    // A build from a source archive is as good as any other, and one that is unpacked inside somebody
    // else's repository must not claim that repository's revision.
    let Some(_) = git(&["ls-files", "--error-unmatch", "build.rs"]) else { return };
    // `%cs` is the day of the commit: the same for everybody who builds it.
    let log = ["log", "-1", "--abbrev=12", "--format=%h %cs"];
    let Some(revision) = git(&log) else { return };
    let Some((hash, day)) = revision.split_once(' ') else { return };
    let changed = git(&[&["status", "--porcelain", "--"][..], &SOURCES].concat());
    let dirty = if changed.is_some() { "-dirty" } else { "" };
    println!("cargo::rustc-env=BNN_GIT_REVISION={hash}{dirty} {day}");
    SOURCES.into_iter().for_each(watch);
    watch_head();
}

/// Runs this script again when `path` changes, if it is there.
fn watch(path: &str) {
    if Path::new(path).exists() {
        println!("cargo::rerun-if-changed={path}");
    }
}

/// Runs this script again when another commit is checked out or made.
fn watch_head() {
    // Git knows where its files lie: in a linked worktree `.git` is a file, and branches lie elsewhere.
    let path = |name: &str| git(&["rev-parse", "--git-path", name]);
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        path(name).as_deref().into_iter().for_each(watch);
    }
    // A branch that git has packed gets a file of its own with the next commit.
    if let Some(branch) = branch.and_then(|name| path(&name))
        && !Path::new(&branch).exists()
        && let Some(folder) = Path::new(&branch).ancestors().find(|folder| folder.is_dir())
    {
        println!("cargo::rerun-if-changed={}", folder.display());
    }
}
