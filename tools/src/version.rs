//! What `--version` says.

use bnn::Isa;
use std::sync::LazyLock;

static LONG: LazyLock<String> = LazyLock::new(|| {
    let revision = match option_env!("BNN_GIT_REVISION") {
        Some(revision) => format!(" ({revision})"),
        None => String::new(),
    };
    let isas = Isa::ALL.map(Isa::name).join(" ");
    format!("{}{revision}\ninstruction sets: {isas}", env!("CARGO_PKG_VERSION"))
});

/// Version, git revision if the build knew it, and the instruction sets that kernels were built for.
pub fn long() -> &'static str {
    &LONG
}
