//! Tells the compiler the git revision that is being built, where there is one.

use std::process::Command;

/// What git answers, or nothing: a build from a source archive is as good as any other.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !answer.is_empty()).then_some(answer)
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A package unpacked inside somebody else's repository must not claim that repository's revision.
    let Some(_) = git(&["ls-files", "--error-unmatch", "build.rs"]) else { return };
    if let Some(revision) = git(&["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo::rustc-env=BNN_GIT_REVISION={revision}");
    }
    // The log of HEAD grows with every commit and checkout, in a linked worktree too.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
}
