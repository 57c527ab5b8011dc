//! On one thread a run allocates nothing.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use bnn::{Isa, Model, SessionOptions, program};

#[path = "runtime/builder.rs"]
#[expect(dead_code, reason = "shared with the tests of the runtime")]
mod builder;
#[path = "runtime/generate.rs"]
mod generate;

/// The system's allocator, with a count of the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: hands every call on to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_run_on_one_thread_allocates_nothing() {
    for seed in 0..40 {
        let model = Model::from_program(generate::program(seed, 15)).unwrap();
        let inputs = generate::inputs(model.program(), seed, 3);
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let mut outputs: Vec<Vec<f32>> =
            model.outputs().iter().map(|port| vec![0.0; 3 * port.elements()]).collect();
        let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        for isa in Isa::available() {
            let mut session = model.session(&SessionOptions::default().isa(isa)).unwrap();
            let before = ALLOCATIONS.get();
            // The very first run, too.
            session.run_into(&inputs, &mut outputs).unwrap();
            session.run_into(&inputs, &mut outputs).unwrap();
            assert_eq!(ALLOCATIONS.get() - before, 0, "seed {seed} on {isa}");
        }
    }
    assert!(ALLOCATIONS.get() > 0, "the count works");
}
