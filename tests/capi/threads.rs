//! Models are shared, sessions refuse to be.

use std::{
    ptr,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use bnn::capi::*;

use crate::network::*;

/// A handle that threads share, as C programs do.
struct Shared<T>(*mut T);

// SAFETY: the interface says that handles may be used from any thread.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

fn run(session: *mut bnn_session, input: &[f32], output: &mut [f32]) -> bnn_status {
    let (input, input_length) = (input.as_ptr(), input.len());
    let (output, length) = (output.as_mut_ptr(), output.len());
    // SAFETY: the session has not been freed and the buffers have the lengths given.
    unsafe { bnn_session_run(session, input, input_length, output, length, length / 10) }
}

#[test]
fn sessions_of_one_model_run_side_by_side() {
    let model = OwnedModel::cifar();
    let input: Vec<f32> = (0..3072).map(|value| (value % 17) as f32 / 8.0 - 1.0).collect();
    let mut expected = [0.0; 10];
    assert_eq!(run(model.session().0, &input, &mut expected), bnn_status::Ok);
    let shared = Shared(model.0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut session = ptr::null_mut();
                // SAFETY: the model has not been freed.
                let status =
                    unsafe { bnn_session_new(shared.get(), ptr::null(), &raw mut session) };
                assert_eq!(status, bnn_status::Ok);
                let session = OwnedSession(session);
                for _ in 0..5 {
                    let mut output = [0.0; 10];
                    assert_eq!(run(session.0, &input, &mut output), bnn_status::Ok);
                    assert_eq!(output, expected);
                }
            });
        }
    });
}

#[test]
fn of_two_threads_in_one_session_one_is_refused_and_no_answer_is_wrong() {
    let model = OwnedModel::cifar();
    let session = model.session();
    let inputs: Vec<Vec<f32>> =
        [17, 23].map(|m| (0..3072).map(|v| (v % m) as f32 / 8.0 - 1.0).collect()).into();
    let expected: Vec<Vec<f32>> = inputs
        .iter()
        .map(|input| {
            let mut output = vec![0.0; 10];
            assert_eq!(run(session.0, input, &mut output), bnn_status::Ok);
            output.repeat(8)
        })
        .collect();
    let (busy, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (shared, start) = (Shared(session.0), Barrier::new(2));
    thread::scope(|scope| {
        for (input, expected) in inputs.iter().zip(&expected) {
            let (busy, stop, start, shared) = (&busy, &stop, &start, &shared);
            scope.spawn(move || {
                let input = input.repeat(8);
                start.wait();
                for _ in 0..2000 {
                    let mut output = vec![0.0; 80];
                    match run(shared.get(), &input, &mut output) {
                        bnn_status::Ok => assert_eq!(&output, expected),
                        bnn_status::Busy => {
                            assert!(last_message().contains("another thread"));
                            assert!(output.iter().all(|&value| value == 0.0));
                            busy.fetch_add(1, Ordering::Relaxed);
                            stop.store(true, Ordering::Relaxed);
                        }
                        other => panic!("{other:?}: {}", last_message()),
                    }
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
    });
    assert!(busy.into_inner() > 0, "the two threads never met");
    let mut output = vec![0.0; 10];
    assert_eq!(run(session.0, &inputs[0], &mut output), bnn_status::Ok);
    assert_eq!(output, expected[0][..10]);
}

#[test]
fn a_session_that_is_freed_during_a_call_ends_the_call_as_usual() {
    let model = OwnedModel::cifar();
    let input = vec![0.25; 3072 * 64];
    let mut expected = vec![0.0; 640];
    assert_eq!(run(model.session().0, &input, &mut expected), bnn_status::Ok);
    // The worker may be done before anybody looks; then it is tried again.
    let freed_during_a_call = (0..50).any(|_| {
        let mut session = ptr::null_mut();
        // SAFETY: the model has not been freed.
        let status = unsafe { bnn_session_new(model.0, ptr::null(), &raw mut session) };
        assert_eq!(status, bnn_status::Ok);
        let shared = Shared(session);
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let mut output = vec![0.0; 640];
                loop {
                    // Busy with the probing call, which is short.
                    match run(shared.get(), &input, &mut output) {
                        bnn_status::Busy => thread::yield_now(),
                        status => return (status, output),
                    }
                }
            });
            // The call has begun once the session refuses a second one; only then may it be freed.
            let mut output = vec![0.0; 10];
            let mut under_way = false;
            while !under_way && !worker.is_finished() {
                // Time in which the worker can begin.
                thread::sleep(Duration::from_micros(50));
                under_way = run(shared.get(), &input[..3072], &mut output) == bnn_status::Busy;
            }
            // SAFETY: nobody else frees the session, and the call in the other thread has begun or is over.
            unsafe { bnn_session_free(shared.get()) };
            let (status, output) = worker.join().unwrap();
            assert_eq!(status, bnn_status::Ok);
            assert_eq!(output, expected);
            under_way
        })
    });
    assert!(freed_during_a_call, "no call was under way");
}
