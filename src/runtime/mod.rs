//! Loads models and runs them.
//!
//! A [`Model`] is a checked program; it can be shared between threads and copied at no cost. A
//! [`Session`] holds what one run at a time needs: the weights packed for one instruction set (shared
//! with the other sessions of the model), the arena of feature maps, and threads if it is given any.
//!
//! The results do not depend on the instruction set, the number of threads or the size of the
//! batch: they are the same to the bit. The exception are float layers on processors without fused
//! multiply-add, where they depend on that alone
//! ([`Isa::fuses_multiply_add`](crate::Isa::fuses_multiply_add)).

mod access;
mod arena;
mod binding;
#[cfg(test)]
#[path = "../../tests/runtime/builder.rs"]
#[expect(dead_code, reason = "shared with the tests of the whole runtime")]
mod builder;
mod detection;
mod engine;
mod error;
mod execute;
mod few;
#[cfg(test)]
#[path = "../../tests/runtime/generate.rs"]
#[expect(dead_code, reason = "shared with the tests of the whole runtime")]
mod generate;
mod info;
mod memory;
mod model;
mod options;
mod prepare;
mod row_window;
mod rows;
mod session;
mod threads;
mod trace;

pub use detection::Detection;
pub use error::RunError;
pub use info::{Profile, StepInfo};
pub use model::Model;
pub use options::SessionOptions;
pub use session::{Prediction, Session};
pub use trace::{BufferContents, TracedWrite};
