#![no_main]

mod wire;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bnn_fuzz::onnx::check(data));

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
    wire::mutate(data, size, most, seed, libfuzzer_sys::fuzzer_mutate)
});
