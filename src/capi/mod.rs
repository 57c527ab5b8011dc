//! The C interface (feature `capi`): what `include/bnn.h` declares.
//!
//! That header is made from the comments here by `cargo xtask header`, one section for each of the
//! files [`error`], [`model`], [`session`], [`classify`], [`detect`] and [`run`]; so they are written for readers of
//! C, and what the header says about handles, threads and errors stands in its introduction.
//!
//! Nothing that a C caller can hand over by mistake leads to undefined behaviour if the machine lets us
//! notice it: null and misaligned pointers, lengths that disagree, output that overlaps input, a session
//! used by two threads, broken strings and structs of another version are answered with a status. What no
//! callee can notice is left to the caller: pointers to memory that is not there, or shorter than said.
//! Panics end in [`error::guard`].

#![expect(non_camel_case_types, reason = "types have the names that C callers see")]
#![expect(
    clippy::missing_safety_doc,
    reason = "the introduction of the header states the rules for all functions"
)]

mod answer;
mod classify;
mod detect;
mod error;
mod model;
mod pointers;
mod run;
mod session;

pub use classify::{
    bnn_model_rank, bnn_prediction, bnn_session_classify_encoded, bnn_session_classify_file,
    bnn_session_classify_pixels,
};
pub use detect::{
    bnn_detection, bnn_model_box_count, bnn_session_detect_encoded, bnn_session_detect_file,
    bnn_session_detect_pixels,
};
pub use error::{bnn_last_error_message, bnn_status, bnn_status_name, bnn_version};
pub use model::{
    bnn_channel_order, bnn_model, bnn_model_free, bnn_model_from_memory, bnn_model_input,
    bnn_model_input_count, bnn_model_label, bnn_model_label_count, bnn_model_open,
    bnn_model_output, bnn_model_output_count, bnn_model_picture, bnn_picture, bnn_tensor,
};
pub use run::{
    bnn_input, bnn_output, bnn_session_run, bnn_session_run_pixels, bnn_session_run_tensors,
};
pub use session::{
    bnn_session, bnn_session_free, bnn_session_isa, bnn_session_memory_bytes, bnn_session_new,
    bnn_session_options, bnn_session_threads,
};
