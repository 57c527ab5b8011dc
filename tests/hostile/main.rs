//! Files that are all legal and made to hurt: hundreds of thousands of layers, small files that ask for a
//! lot of memory. Each is answered soon, on the stack of an ordinary thread, by an error or a network.

mod large;
mod long;
mod memory;
mod onnx;
