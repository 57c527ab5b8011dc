//! Files that are all legal and made to hurt: tens of thousands of layers, small files that ask for a
//! lot of memory. Each is answered soon, on the stack of an ordinary thread, by an error or a network.

#[path = "../answer/mod.rs"]
mod answer;
mod large;
mod long;
mod memory;
mod onnx;
