//! What is seen while the experiment runs, on standard error.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar where somebody watches a terminal, else a line for each run.
#[derive(Debug, Clone)]
pub struct Display {
    bar: Option<ProgressBar>,
}

impl Display {
    /// For an experiment that lasts so long in all.
    pub fn start(total: Duration) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total.as_millis() as u64);
            let style = ProgressStyle::with_template("[{bar:30}] {eta} left  {msg}");
            bar.set_style(style.expect("the template is well-formed").progress_chars("=> "));
            bar
        });
        Self { bar }
    }

    /// Says what is done now.
    pub fn begin(&self, what: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(what);
        }
    }

    /// How much of the whole is done.
    pub fn advance(&self, done: Duration) {
        if let Some(bar) = &self.bar {
            bar.set_position(done.as_millis() as u64);
        }
    }

    /// Says what a run has given.
    pub fn tell(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            // Nobody can be told if that fails.
            None => {
                let _ = writeln!(io::stderr(), "{line}");
            }
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
