//! `bnn-run`.
fn main() {}
