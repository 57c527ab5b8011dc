//! What `--version` says.

use bnn::Isa;
use std::sync::LazyLock;

static LONG: LazyLock<String> = LazyLock::new(|| {
    let built: Vec<&str> =
        Isa::ALL.into_iter().filter(|isa| isa.is_built()).map(Isa::name).collect();
    long_text(
        option_env!("BNN_GIT_REVISION"),
        option_env!("BNN_COMPILER"),
        option_env!("BNN_TARGET"),
        &built,
        Isa::best().name(),
    )
});

/// Version, git revision and day of the commit if the build knew them, compiler, target, the
/// instruction sets that kernels were built for, and the one that is taken on this machine.
pub fn long() -> &'static str {
    &LONG
}

fn long_text(
    revision: Option<&str>,
    compiler: Option<&str>,
    target: Option<&str>,
    built: &[&str],
    chosen: &str,
) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let revision = revision.map_or(String::new(), |revision| format!(" ({revision})"));
    let compiler = compiler.unwrap_or("an unknown compiler");
    let target = target.unwrap_or("an unknown target");
    let built = built.join(" ");
    format!(
        "{version}{revision}\n\
         built by {compiler} for {target}\n\
         instruction sets: {built}\n\
         on this machine: {chosen}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_known_is_said() {
        let text = long_text(
            Some("0123456789ab-dirty 2026-01-31"),
            Some("rustc 1.95.0"),
            Some("x86_64-unknown-linux-gnu"),
            &["scalar", "v2"],
            "v2",
        );
        let expected = format!(
            "{} (0123456789ab-dirty 2026-01-31)\n\
             built by rustc 1.95.0 for x86_64-unknown-linux-gnu\n\
             instruction sets: scalar v2\n\
             on this machine: v2",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_build_without_git_says_nothing_of_a_revision() {
        let text = long_text(None, None, None, &["scalar"], "scalar");
        assert_eq!(text.lines().next(), Some(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn only_paths_of_this_processor_are_named() {
        let sets = long().lines().find_map(|line| line.strip_prefix("instruction sets: ")).unwrap();
        let sets: Vec<&str> = sets.split(' ').collect();
        assert!(sets.contains(&"scalar"));
        assert_eq!(sets.contains(&"avx2"), cfg!(target_arch = "x86_64"));
        assert_eq!(sets.contains(&"neon"), cfg!(target_arch = "aarch64"));
    }
}
