//! Converts trained networks to `.bnn` files.

fn main() -> std::process::ExitCode {
    bnn_tools::convert::main()
}
