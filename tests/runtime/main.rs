//! The runtime as its users see it, against the plain meaning of a program.

// The modules that the unit tests share with these name the types by `crate::program`.
use bnn::program;

mod agreement;
mod builder;
mod environment;
mod generate;
mod naive;
mod sessions;
mod steps;
mod traces;
