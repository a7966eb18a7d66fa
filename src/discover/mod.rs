//! Discovery of proxies: an evolutionary loop in which somebody proposes formulas, the fitness bench judges them, and
//! a small controller learns which kind of question pays off (the TAP method, arXiv 2512.07419).
//!
//! ```text
//!           policy                 text              formula             fitness
//! Learner ──────────> Proposer ──────────> reply ──────────> Judge ──────────> Population
//!    ^                                       │ refused: asked again with the reason  │
//!    └───────────── preference pairs of the generation ─────────────────────────────┘
//! ```
//!
//! The loop knows neither language models nor the language of proxies: [`Proposer`] and [`Judge`] are its seams.
//! Everything that happens is an [`Event`], one line of the transcript; [`Outcome`] is folded from them, and a run
//! that was cut goes on from them.

mod ask;
mod controller;
mod html;
mod judge;
mod mutation;
mod observer;
mod outcome;
mod per_template;
mod plots;
mod population;
mod recorder;
mod replay;
mod reply;
mod run;
mod search;
mod settings;
mod text;
mod transcript;
mod tree;
mod verdict;

#[cfg(test)]
mod tests;

pub use ask::{Ask, Parent, Proposer, Reply, Template};
pub use controller::{Controller, Dpo, Learner, Lesson, Preference, Yield, preferences};
pub use html::html;
pub use judge::{Fitness, Judge, OVERFIT, OnNetwork, Parsed};
pub use mutation::Mutation;
pub use observer::{Judged, Observer};
pub use outcome::{Counts, Outcome, RefusalGroup, Scatter, Tally};
pub use per_template::{PerTemplate, Policy, TEMPLATES};
pub use population::{Candidate, Origin, Population};
pub use recorder::Recorder;
pub use replay::Replay;
pub use reply::{Answer, MAX_REPLY, read as read_reply};
pub use run::{FAILURES_IN_A_ROW, Task, run};
pub use settings::{Correlation, Settings};
pub use text::text;
pub use transcript::{End, Event, Generation, Header, Network, Recorded, Refusal, Step, Stop, TRANSCRIPT_SCHEMA};
