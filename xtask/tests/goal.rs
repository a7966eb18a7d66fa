//! `--goal-sqnr` end to end.

mod common;

use common::quantize;
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

#[test]
fn a_goal_is_reached_or_said_to_be_missed() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("goal.onnx");
    let run = |target: &str, extra: &[&str]| quantize("resnet_digits", target, &output).args(extra).assert();
    let bars = ["--goal-sqnr", "42", "--verify-samples", "16", "--min-sqnr", "39"];
    run("cpu", &bars).success().stdout(contains("goal       42 dB reached").and(contains("are left in float")));
    run("hexagon", &bars).success().stdout(contains("values are wider"));
    let missed = run("hexagon", &["--goal-sqnr", "100"]).code(3);
    missed.stdout(contains("NOT reached").and(contains("the goal of 100 dB was not reached")));
    // The table of a text network is no layer, and what was chosen was not refused.
    let table = quantize("gru_numerals", "cpu", &output).args(["--goal-sqnr", "52"]).assert().success();
    table.stdout(contains("/letters/Gather").and(contains("refused").not()));
    run("cpu", &["--goal-sqnr", "10"]).success().stdout(contains("10 dB is met as it is"));
    run("fpga", &["--goal-sqnr", "20"]).code(2).stderr(contains("offers nothing wider"));
    let both = ["--goal-sqnr", "20", "--avg-weight-bits", "4"];
    run("fpga", &both).code(2).stderr(contains("cannot be used with"));
}
