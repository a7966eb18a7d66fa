//! What a fidelity that was asked for took, in words.

use super::Report;
use super::format::{clean, in_db, percent, plural, shorten, significant};
use crate::plan::{GOAL_MARGIN_DB, GoalRecord, Relief};

/// Operators that are named unless all are; the others are counted.
const NAMED: usize = 4;

/// One paragraph; `None` where no goal was set. It names `all` operators that are left in float, or the first.
pub fn goal_text(report: &Report, all: bool) -> Option<String> {
    let goal = report.goal.as_ref()?;
    let asked = format!("{} dB", significant(goal.sqnr_db));
    if goal.relieved == 0 && goal.operators.is_empty() && goal.weights == 0 {
        let met = if goal.is_reached() { "is met as it is" } else { "is not met, and nothing given up comes nearer" };
        return Some(format!("{asked} {met}: {} on calibration samples", in_db(goal.from_db)));
    }
    let aim = significant(goal.sqnr_db + GOAL_MARGIN_DB);
    let reached = if goal.is_reached() { "reached" } else { "NOT reached" };
    let what = match goal.relief {
        Relief::Wider if goal.values == 0 => {
            format!(
                "weights of {} {} wider",
                plural(goal.weights, "layer"),
                if goal.weights == 1 { "is" } else { "are" }
            )
        }
        Relief::Wider => {
            let all = plural(goal.values, "value");
            let weights = match goal.weights {
                0 => String::new(),
                n => format!("; weights of {} are, too", plural(n, "layer")),
            };
            let (of, is) = (percent(goal.macs), if goal.relieved == 1 { "is" } else { "are" });
            format!("{} of {all} {is} wider, in operators with {of} of the MACs{weights}", goal.relieved)
        }
        Relief::Float => {
            format!("{}, {} of the MACs, are left in float", operators(report, goal, all), percent(goal.macs))
        }
    };
    let (from, to) = (in_db(goal.from_db), in_db(goal.reached_db));
    Some(format!("{asked} {reached}: from {from} to {to} on calibration samples, aimed at {aim} · {what}"))
}

fn operators(report: &Report, goal: &GoalRecord, all: bool) -> String {
    let most = if all { usize::MAX } else { NAMED };
    let reason = goal.reason();
    let layers = report.layers.iter().filter(|l| l.because == reason).count();
    let named: Vec<String> = goal.operators.iter().take(most).map(|name| shorten(&clean(name), 40)).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::LayerReport;

    fn text(goal: GoalRecord, layers: usize) -> String {
        let layer = LayerReport { because: goal.reason(), ..Default::default() };
        let layers = vec![layer; layers];
        goal_text(&Report { goal: Some(goal), layers, ..Default::default() }, false).unwrap()
    }

    #[test]
    fn it_says_what_was_given_up_and_whether_that_was_enough() {
        let goal = GoalRecord { sqnr_db: 25.0, from_db: 18.0, reached_db: 25.5, values: 30, ..Default::default() };
        let met = GoalRecord { from_db: 25.5, ..goal.clone() };
        assert_eq!(text(met, 0), "25 dB is met as it is: 25.5 dB on calibration samples");
        let left = GoalRecord { relieved: 4, macs: 0.125, operators: vec!["add".to_owned()], ..goal.clone() };
        let layers = GoalRecord { operators: vec![], ..left.clone() };
        let all = "25 dB reached: from 18.0 dB to 25.5 dB on calibration samples, aimed at 26";
        assert_eq!(text(left.clone(), 2), format!("{all} · 2 layers, add, 12.5 % of the MACs, are left in float"));
        assert_eq!(text(left, 0), format!("{all} · add, 12.5 % of the MACs, are left in float"));
        assert_eq!(text(layers, 1), format!("{all} · 1 layer, 12.5 % of the MACs, are left in float"));
        let operators = (0..6).map(|i| format!("op{i}")).collect();
        let many = GoalRecord { relieved: 9, operators, ..goal.clone() };
        assert!(text(many.clone(), 0).contains("op0, op1, op2, op3 and 2 more, 0.0 %"), "{}", text(many.clone(), 0));
        let every = goal_text(&Report { goal: Some(many), ..Default::default() }, true).unwrap();
        assert!(every.contains("op3, op4, op5, 0.0 %"), "{every}");
        let wide = GoalRecord { relief: Relief::Wider, relieved: 4, macs: 0.5, weights: 3, reached_db: 20.0, ..goal };
        let missed = "25 dB NOT reached: from 18.0 dB to 20.0 dB on calibration samples, aimed at 26 · 4 of 30 values are wider, in operators with 50.0 % of \
                      the MACs; weights of 3 layers are, too";
        assert_eq!(text(wide, 0), missed);
        assert_eq!(goal_text(&Report::default(), true), None);
    }
}
