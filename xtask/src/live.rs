//! A run of discovery on a terminal, while it goes on.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;
use tapq::discover::{Ask, End, Generation, Judged, Observer, Reply, Settings, Step};

/// The view on a terminal.
pub struct Live {
    bar: ProgressBar,
    best: f64,
    tokens: u64,
    policy: String,
}

impl Live {
    /// A view that shows itself unless `quiet`.
    pub fn new(settings: &Settings, quiet: bool) -> Live {
        let steps = settings.population + settings.generations * settings.children;
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(steps as u64) };
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:24}] {pos}/{len}, {eta} left") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Live { bar, best: 0.0, tokens: 0, policy: "initialise".to_owned() }
    }

    /// Removes it.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self, generation: usize) {
        let message =
            format!("generation {generation}, best {:.4}, {}, {} tokens", self.best, self.policy, self.tokens);
        self.bar.set_message(message);
    }
}

impl Observer for Live {
    fn asked(&mut self, step: Step, _ask: &Ask, _replayed: bool) {
        if step.attempt == 0 {
            self.bar.inc(1);
        }
        self.show(step.generation);
    }

    fn judged(&mut self, step: Step, reply: &Reply, judged: Judged<'_>) {
        self.tokens += reply.tokens;
        if let Judged::Accepted(candidate) = judged {
            self.best = self.best.max(candidate.total);
        }
        self.show(step.generation);
    }

    fn generation_ended(&mut self, generation: &Generation) {
        let p = &generation.policy;
        self.policy = format!("draws {:.2}/{:.2}/{:.2}", p.initialise, p.mutate, p.crossover);
    }

    fn ended(&mut self, _end: &End) {
        self.bar.finish_and_clear();
    }
}
