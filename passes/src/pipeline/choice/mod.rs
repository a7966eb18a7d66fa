//! Which width each layer and each activation gets.
//!
//! A [`Ground`] holds the layers with what each width does to each of them; a [`Chooser`] runs the network with such
//! candidates in place and scores them; [`choose`] spends the budget and compares whole choices.

mod activations;
mod budget;
mod candidates;
mod choose;
mod chooser;
mod chosen;
mod features;
mod field;
mod ground;
mod joint;
mod probe;
mod scene;
mod score;
mod search;
mod verdict;

pub use activations::is_choice;
pub use budget::{Configuration, Unit, integer_bytes, problem, quantized, stored_bytes};
pub use choose::choose;
pub use chooser::{Beside, Chooser};
pub use chosen::{Assignment, Chosen, asked_width, refuse_all_float, uniform};
pub use features::table;
pub use field::{Field, Group};
pub use ground::{Ground, units, with_ground};
pub use probe::{Change, Changes, Probe, Weight};
pub use score::score;
