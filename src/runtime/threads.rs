//! The threads of a session.

use std::thread::{self, JoinHandle};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::RunError;

/// Threads that work on one call together. Dropping them waits until they are gone: whoever frees a session may
/// unload the library next.
pub(super) struct Threads {
    /// There until it is dropped.
    pool: Option<ThreadPool>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts so many threads, at least one.
    ///
    /// # Errors
    /// [`RunError::Threads`] if the operating system refuses.
    pub(super) fn start(threads: usize) -> Result<Self, RunError> {
        let mut started = Self { pool: None, handles: Vec::with_capacity(threads) };
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .spawn_handler(|worker| {
                let thread = thread::Builder::new().name(format!("bnn-{}", worker.index()));
                started.handles.push(thread.spawn(|| worker.run())?);
                Ok(())
            })
            .build()
            .map_err(|error| RunError::Threads { threads, reason: error.to_string() })?;
        started.pool = Some(pool);
        Ok(started)
    }

    /// Calls `work` on one of the threads, where it can make use of the others.
    pub(super) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Tells the threads to end.
        self.pool = None;
        for handle in self.handles.drain(..) {
            // A thread that panicked is gone as well, and the panic went to the caller of `install`.
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn nothing_of_the_threads_is_left_when_they_are_dropped() {
        /// Counts the threads that have wound up everything of their own.
        struct Gone;
        static GONE: AtomicUsize = AtomicUsize::new(0);
        impl Drop for Gone {
            fn drop(&mut self) {
                // Late enough to be missed by anybody who does not wait.
                thread::sleep(std::time::Duration::from_millis(20));
                GONE.fetch_add(1, Ordering::SeqCst);
            }
        }
        thread_local!(static OWN: Gone = const { Gone });

        let threads = Threads::start(3).unwrap();
        threads.install(|| rayon::broadcast(|_| OWN.with(|_| ())));
        drop(threads);
        assert_eq!(GONE.load(Ordering::SeqCst), 3);
    }
}
