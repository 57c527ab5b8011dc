//! A progress bar for work that takes longer than a second, on terminals only.

use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

/// Work shorter than this is done before anybody starts to wonder.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar on standard error that appears after a second, and never if that is not a terminal.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    total: u64,
    done: u64,
    what: &'static str,
    bar: Option<ProgressBar>,
    wanted: bool,
}

impl Progress {
    /// A bar over `total` pieces of work, called `what` (in the plural).
    pub fn new(total: usize, what: &'static str) -> Self {
        let wanted = stderr().is_terminal();
        Self { start: Instant::now(), total: total as u64, done: 0, what, bar: None, wanted }
    }

    /// `count` more pieces are done.
    pub fn advance(&mut self, count: usize) {
        self.done += count as u64;
        if self.wanted && self.bar.is_none() && self.start.elapsed() > PATIENCE {
            let bar = ProgressBar::new(self.total).with_message(self.what);
            if let Ok(style) =
                ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {msg}, {per_sec}, {eta} left")
            {
                bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
            }
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }

    /// Runs `say` with the bar out of the way, so that lines on standard error do not mix with it.
    pub fn suspend<R>(&self, say: impl FnOnce() -> R) -> R {
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
