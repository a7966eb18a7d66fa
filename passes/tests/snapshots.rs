//! Every case of `fixtures/passes/<pass>/<case>.onnxtxt`: what the pass makes of it, that it is idempotent,
//! and that the function stays the same.
//!
//! A case whose name begins with `refused` must come out unchanged.

#[path = "common/numbers.rs"]
mod numbers;

use numbers::sample;
use std::path::{Path, PathBuf};
use tapq::array::Array;
use tapq::engine::{Engine, Options};
use tapq::graph::Graph;
use tapq::onnx::{ExternalData, parse_text, print_text};
use tapq_passes::{Driver, LowerOpset, Pass, Unfuse, UpgradeOpset, float_passes};

/// The opset that the cases of `upgrade_opset` are upgraded to.
const UPGRADE: UpgradeOpset = UpgradeOpset { to: 21 };

/// The opset that the cases of `lower_opset` are declared for.
const LOWER: LowerOpset = LowerOpset { to: 21 };

struct Case {
    pass: &'static dyn Pass,
    name: String,
    graph: Graph,
}

fn cases() -> Vec<Case> {
    let mut passes = float_passes();
    let mut seen = std::collections::BTreeSet::from([UPGRADE.name()]);
    passes.retain(|pass| seen.insert(pass.name()));
    passes.extend([&UPGRADE as &dyn Pass, &LOWER, &Unfuse]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/passes");
    let cases: Vec<Case> = passes.iter().flat_map(|pass| cases_of(*pass, &root.join(pass.name()))).collect();
    assert!(cases.len() > 2 * passes.len(), "two cases a pass, one of them refused: found {}", cases.len());
    cases
}

fn cases_of(pass: &'static dyn Pass, folder: &Path) -> Vec<Case> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| case(pass, &file)).collect()
}

fn case(pass: &'static dyn Pass, file: &Path) -> Case {
    let text = std::fs::read_to_string(file).unwrap();
    let model = parse_text(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let name = file.file_stem().unwrap().to_string_lossy().into_owned();
    Case { pass, name, graph: Graph::new(model, ExternalData::none()) }
}

impl Case {
    /// The graph after the pass, and the reasons patch by patch.
    fn run(&self) -> (Graph, Vec<Vec<String>>) {
        let (mut graph, mut driver) = (self.graph.clone(), Driver::default());
        driver.run(&mut graph, &[self.pass]).unwrap_or_else(|e| panic!("{}: {e}", self.place()));
        (graph, driver.applied.into_iter().map(|p| p.reasons).collect())
    }

    fn place(&self) -> String {
        format!("{}/{}", self.pass.name(), self.name)
    }
}

#[test]
fn each_case_matches_its_snapshot() {
    for case in cases() {
        let (graph, patches) = case.run();
        let reasons: Vec<String> = patches.iter().map(|p| format!("- {}", p.join("\n  "))).collect();
        let reasons = if reasons.is_empty() { "- nothing to do".to_owned() } else { reasons.join("\n") };
        insta::with_settings!({
            snapshot_path => "../../snapshots",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            let text = format!("{reasons}\n\n{}", print_text(graph.model()));
            insta::assert_snapshot!(format!("{}@{}", case.pass.name(), case.name), text);
        });
    }
}

#[test]
fn refused_cases_come_out_unchanged_and_no_others() {
    for case in cases() {
        let (graph, patches) = case.run();
        let refused = case.name.starts_with("refused");
        assert_eq!(refused, patches.is_empty(), "{}", case.place());
        assert_eq!(refused, graph.model() == case.graph.model(), "{}", case.place());
    }
}

#[test]
fn a_pass_twice_is_a_pass_once() {
    for case in cases() {
        let (graph, _) = case.run();
        let again = case.pass.run(&graph).unwrap();
        assert!(again.is_none(), "{}: {:?}", case.place(), again.map(|p| p.reasons().to_vec()));
    }
}

#[test]
fn each_pass_preserves_the_function() {
    let mut compared = 0;
    for case in cases().iter().filter(|c| !c.name.starts_with("refused")) {
        let before = match outputs(&case.graph) {
            Ok(before) => before,
            Err(why) => {
                eprintln!("{}: skipped, the engine cannot run it: {why}", case.place());
                continue;
            }
        };
        let after = outputs(&case.run().0).unwrap_or_else(|e| panic!("{}: {e}", case.place()));
        assert_eq!(before.len(), after.len(), "{}", case.place());
        before.iter().zip(&after).for_each(|(b, a)| same(&case.place(), b, a));
        compared += 1;
    }
    assert!(compared >= 15, "only {compared} cases could be compared");
}

fn outputs(graph: &Graph) -> tapq::Result<Vec<Array>> {
    let engine = Engine::new(graph, &[], &Options::default())?;
    engine.run(&sample(graph), &mut |_, _| {})
}

fn same(place: &str, before: &Array, after: &Array) {
    assert_eq!(before.dims, after.dims, "{place}");
    let (Some(b), Some(a)) = (before.as_f32(), after.as_f32()) else { return assert_eq!(before, after, "{place}") };
    let most = b.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    for (b, a) in b.iter().zip(a) {
        assert!((b - a).abs() <= 1e-5 * most, "{place}: {b} became {a}");
    }
}
