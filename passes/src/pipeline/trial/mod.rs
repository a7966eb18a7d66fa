//! What measurement decides: plans are tried out as the files that they make.

mod as_file;
mod duel;
mod ranges;
mod settle;

pub use as_file::error_as_file;
pub use duel::Trial;
pub use ranges::settle_ranges;
pub use settle::{settle, settle_rounding};
