//! What a fidelity that was asked for took, in words.

use super::Report;
use super::format::{clean, in_db, percent, plural, shorten, significant};
use crate::plan::{GoalRecord, Relief};

/// Operators that are named; the others are counted.
const NAMED: usize = 4;

/// One paragraph; `None` where no goal was set.
pub fn goal_text(report: &Report) -> Option<String> {
    let goal = report.goal.as_ref()?;
    let asked = format!("{} dB", significant(goal.sqnr_db));
    if goal.relieved == 0 {
        let met = if goal.is_reached() { "is met as it is" } else { "is not met" };
        return Some(format!("{asked} {met}: {}", in_db(goal.from_db)));
    }
    let reached = if goal.is_reached() { "reached" } else { "NOT reached" };
    let what = match goal.relief {
        Relief::Wider => {
            let all = plural(goal.values, "value");
            let weights = match goal.weights {
                0 => String::new(),
                n => format!("; weights of {} are, too", plural(n, "layer")),
            };
            let of = percent(goal.macs);
            format!("{} of {all} are wider, in operators with {of} of the MACs{weights}", goal.relieved)
        }
        Relief::Float => format!("{}, {} of the MACs, are left in float", operators(report, goal), percent(goal.macs)),
    };
    Some(format!("{asked} {reached}: from {} to {} · {what}", in_db(goal.from_db), in_db(goal.reached_db)))
}

fn operators(report: &Report, goal: &GoalRecord) -> String {
    let reason = goal.reason();
    let layers = report.layers.iter().filter(|l| l.because == reason).count();
    let named: Vec<String> = goal.operators.iter().take(NAMED).map(|name| shorten(&clean(name), 40)).collect();
    let more = match goal.operators.len() - named.len() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    match (layers, named.is_empty()) {
        (0, _) => format!("{}{more}", named.join(", ")),
        (_, true) => plural(layers, "layer"),
        (_, false) => format!("{}, {}{more}", plural(layers, "layer"), named.join(", ")),
    }
}
