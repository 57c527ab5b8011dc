//! The C interface, called as C programs call it: rightly, and in every way that is wrong and can be
//! noticed. The programs in `examples/c` are compiled and run by `.ci/run capi`.

mod abi;
mod calls;
mod detection;
mod hostile;
mod network;
#[path = "../sample/mod.rs"]
mod sample;
mod threads;
