//! Progress bars on stderr, where stderr is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Mutex;
use std::time::Duration;
use tapq_passes::pipeline::Progress;

/// One bar a stage.
pub struct Bars {
    bar: Mutex<ProgressBar>,
    shown: bool,
}

impl Bars {
    /// Bars that show themselves unless `quiet`.
    pub fn new(quiet: bool) -> Self {
        Bars { bar: Mutex::new(ProgressBar::hidden()), shown: !quiet }
    }

    /// Removes the bar that is on screen.
    pub fn finish(&self) {
        if let Ok(bar) = self.bar.lock() {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Bars {
    fn stage(&self, name: &str, steps: usize) {
        let Ok(mut bar) = self.bar.lock() else { return };
        bar.finish_and_clear();
        if !self.shown {
            return;
        }
        *bar = ProgressBar::new(steps as u64).with_message(name.to_owned());
        let template = "{msg:>10} [{bar:32}] {pos}/{len} samples, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
    }

    fn tick(&self) {
        if let Ok(bar) = self.bar.lock() {
            bar.inc(1);
        }
    }

    fn note(&self, what: &str) {
        if let Ok(bar) = self.bar.lock()
            && self.shown
        {
            bar.suspend(|| eprintln!("{what}"));
        }
    }
}
