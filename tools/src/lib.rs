//! What `bnn-convert` and `bnn-run` are made of. The library that users build on is `bnn`; this one
//! serves the two tools and their tests only.

pub mod accuracy;
pub mod annotate;
pub mod block_comparison;
pub mod canvas;
pub mod comparison;
pub mod confusion;
pub mod convert;
pub mod datasets;
pub mod engine;
pub mod exit;
pub mod files;
pub mod golden;
pub mod images;
pub mod layers;
pub mod lettering;
pub mod markup;
pub mod output;
pub mod picture;
pub mod progress;
pub mod run;
pub mod statistics;
pub mod table;
pub mod tensors;
pub mod terminal;
pub mod verification;
pub mod version;
