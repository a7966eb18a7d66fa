//! What formulas are worth: measured damage of configurations, and judges by it.

mod bench;
mod judge;
mod judges;

pub use bench::{Workbench, with_workbench};
pub use judge::NetworkJudge;
pub use judges::NetworkJudges;
