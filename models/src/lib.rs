//! The default model.
