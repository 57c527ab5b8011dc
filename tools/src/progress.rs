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
            let bar = ProgressBar::new(self.total);
            if let Ok(style) =
                ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {msg}")
            {
                bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
            }
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            // Counted from the start of the work, of which the bar has not seen the first second.
            let rate = self.done as f64 / self.start.elapsed().as_secs_f64();
            let left = self.total.saturating_sub(self.done) as f64 / rate;
            bar.set_position(self.done);
            bar.set_message(format!("{}, {rate:.1} a second, {left:.0} s left", self.what));
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
