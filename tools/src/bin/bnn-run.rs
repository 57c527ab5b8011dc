//! Classifies images with a binary neural network, and measures, verifies and inspects models.

fn main() -> std::process::ExitCode {
    bnn_tools::run::main()
}
