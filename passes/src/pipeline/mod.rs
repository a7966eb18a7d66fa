//! The pipeline: a float graph, samples and a target in; a quantized graph, a plan and a report out.
//!
//! `quantize` is the way through: the float graph is simplified and observed (`observed`), widths are chosen (`choice`)
//! and written down (`plans`), what measurement can decide better than prediction is tried out (`trial`), what a fidelity
//! that was asked for takes is given up (`goal`), weights are rounded layer by layer (`sequential`), and the plan is
//! written into the graph (`rewrite`). `fitness` judges formulas by the same measurements, and `pareto` shows all sizes
//! at once.

mod analyze;
mod biases;
mod choice;
mod declared;
mod depth;
mod elsewhere;
mod equalize;
mod fitness;
mod float_graph;
mod goal;
mod observed;
mod options;
mod pareto;
mod plans;
mod progress;
mod quantize;
mod rewrite;
mod sequential;
mod summarize;
mod taps;
mod trial;
mod versions;
mod weights;
mod widths;

pub use fitness::{NetworkJudge, NetworkJudges, Workbench, with_workbench};
pub use options::{Effort, Equalize, Options};
pub use pareto::pareto;
pub use progress::{Progress, Silent};
pub use quantize::{Outcome, calibrate, quantize};
pub use rewrite::rewrite;
pub use widths::Widths;
