//! `bnn-convert`.
fn main() {}
