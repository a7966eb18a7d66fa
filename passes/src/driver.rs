//! Runs passes: applies what they return, keeps the reasons, verifies after every patch.

use tapq::graph::{Graph, Patch, Violation, verify};
use tapq::{Code, Context, Error, Result};

/// One rewrite of the main graph.
///
/// A pass that finds nothing returns `None`; run again on its own result it finds nothing.
pub trait Pass: Sync {
    /// The name of the file, as fixtures, reports and errors spell it.
    fn name(&self) -> &'static str;
    /// What it does, in one line.
    fn about(&self) -> &'static str;
    /// Reads the graph and returns the edits, or `None` if there is nothing to do.
    fn run(&self, graph: &Graph) -> Result<Option<Patch>>;
}

/// A patch that was applied, for reports and for the context of errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedPatch {
    /// The pass that returned it.
    pub pass: &'static str,
    /// Why, one phrase an edit or a group of edits.
    pub reasons: Vec<String>,
}

/// Applies passes to a graph.
#[derive(Clone, Debug, Default)]
pub struct Driver {
    /// Stop after this many patches, to find the one that does harm; no limit if `None`.
    pub fuel: Option<usize>,
    /// What was applied so far, over all calls of [`Driver::run`].
    pub applied: Vec<AppliedPatch>,
}

impl Driver {
    /// A driver that stops after `fuel` patches, or never.
    pub fn new(fuel: Option<usize>) -> Self {
        Driver { fuel, applied: vec![] }
    }

    /// Runs each pass, in order, until it finds nothing more.
    ///
    /// # Errors
    /// [`Code::InvalidGraph`] if the graph is unsound before the first pass or after any patch,
    /// and whatever a pass refuses.
    pub fn run(&mut self, graph: &mut Graph, passes: &[&dyn Pass]) -> Result<()> {
        check_input(graph)?;
        for pass in passes {
            self.settle(graph, *pass)?;
        }
        Ok(())
    }

    /// Applies one patch that was made outside a pass, unless the fuel is spent.
    ///
    /// # Errors
    /// [`Code::InvalidGraph`] if the graph is unsound afterwards.
    pub fn apply(&mut self, graph: &mut Graph, pass: &'static str, patch: Patch) -> Result<()> {
        if self.fuel.is_some_and(|fuel| self.applied.len() >= fuel) {
            return Ok(());
        }
        self.applied.push(AppliedPatch { pass, reasons: patch.reasons().to_vec() });
        graph.apply(patch);
        self.check_patch(graph)
    }

    /// A pass that batches its work needs a few rounds; one that works node by node needs one a node.
    fn settle(&mut self, graph: &mut Graph, pass: &dyn Pass) -> Result<()> {
        let most_rounds = graph.nodes().len() + 8;
        for _ in 0..most_rounds {
            if self.fuel.is_some_and(|fuel| self.applied.len() >= fuel) {
                return Ok(());
            }
            let patch = pass.run(graph).at(|| format!("pass '{}'", pass.name()))?;
            let Some(patch) = patch else { return Ok(()) };
            self.apply(graph, pass.name(), patch)?;
        }
        let message = format!("found something to do {most_rounds} times in a row, which never ends");
        Err(Error::new(Code::InvalidGraph, message).at(format!("pass '{}'", pass.name())).help(REPORT))
    }

    fn check_patch(&self, graph: &Graph) -> Result<()> {
        let violations = verify(graph);
        let (Some((last, before)), false) = (self.applied.split_last(), violations.is_empty()) else { return Ok(()) };
        let before = match before {
            [] => "no other patch".to_owned(),
            some => some.iter().map(|p| p.pass).collect::<Vec<_>>().join(", "),
        };
        let message = format!("broke the graph ({}), after {before}", listed(&violations));
        let place = format!("patch {} of pass '{}'", self.applied.len(), last.pass);
        Err(Error::new(Code::InvalidGraph, message).at(place).help(REPORT))
    }
}

const REPORT: &str = "this is a defect of tapq, not of the model; please report it with the model";
const MOST_LISTED: usize = 5;

/// Defects of the input are told apart from those that a pass makes.
fn check_input(graph: &Graph) -> Result<()> {
    let violations = verify(graph);
    if violations.is_empty() {
        return Ok(());
    }
    let message = format!("the input model is not valid ONNX: {}", listed(&violations));
    let advice = "these are defects of the input; onnx.checker.check_model(model, full_check=True) shows them too";
    Err(Error::new(Code::InvalidGraph, message).help(advice))
}

fn listed(violations: &[Violation]) -> String {
    let mut lines: Vec<String> =
        violations.iter().take(MOST_LISTED).map(|v| format!("{}: {}", v.place, v.message)).collect();
    if violations.len() > MOST_LISTED {
        lines.push(format!("and {} more", violations.len() - MOST_LISTED));
    }
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapq::graph::Edit;
    use tapq::onnx::{ExternalData, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto};

    fn node(op: &str, input: &str, output: &str) -> NodeProto {
        let (input, output) = (vec![input.to_owned()], vec![output.to_owned()]);
        NodeProto { op_type: op.to_owned(), input, output, ..Default::default() }
    }

    fn graph(nodes: Vec<NodeProto>) -> Graph {
        let value = |name: &str| vec![ValueInfoProto { name: name.to_owned(), ..Default::default() }];
        let proto = GraphProto { node: nodes, input: value("x"), output: value("y"), ..Default::default() };
        let opset = OperatorSetIdProto { version: 13, ..Default::default() };
        let model =
            ModelProto { ir_version: 8, opset_import: vec![opset], graph: Some(proto).into(), ..Default::default() };
        Graph::new(model, ExternalData::none())
    }

    /// Renames operators `Relu` to `Abs`, one a patch.
    struct OneByOne;
    impl Pass for OneByOne {
        fn name(&self) -> &'static str {
            "one_by_one"
        }
        fn about(&self) -> &'static str {
            "for tests"
        }
        fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
            let Some(at) = graph.nodes().iter().position(|n| n.op_type == "Relu") else { return Ok(None) };
            let mut patch = Patch::new();
            patch.because(format!("Relu at {at}"));
            patch.push(Edit::Replace(at, NodeProto { op_type: "Abs".into(), ..graph.nodes()[at].clone() }));
            Ok(Some(patch))
        }
    }

    /// Removes the first node whatever reads it.
    struct Vandal;
    impl Pass for Vandal {
        fn name(&self) -> &'static str {
            "vandal"
        }
        fn about(&self) -> &'static str {
            "for tests"
        }
        fn run(&self, _: &Graph) -> Result<Option<Patch>> {
            let mut patch = Patch::new();
            patch.push(Edit::Remove(0));
            Ok(Some(patch))
        }
    }

    fn chain() -> Graph {
        graph(vec![node("Relu", "x", "a"), node("Relu", "a", "y")])
    }

    #[test]
    fn runs_to_the_fixpoint_and_keeps_the_reasons() {
        let (mut graph, mut driver) = (chain(), Driver::default());
        driver.run(&mut graph, &[&OneByOne]).unwrap();
        assert!(graph.nodes().iter().all(|n| n.op_type == "Abs"));
        assert_eq!(
            driver.applied.iter().map(|p| p.reasons[0].as_str()).collect::<Vec<_>>(),
            ["Relu at 0", "Relu at 1"]
        );
    }

    #[test]
    fn fuel_stops_after_that_many_patches() {
        let (mut graph, mut driver) = (chain(), Driver::new(Some(1)));
        driver.run(&mut graph, &[&OneByOne, &Vandal]).unwrap();
        assert_eq!(graph.nodes().iter().map(|n| n.op_type.as_str()).collect::<Vec<_>>(), ["Abs", "Relu"]);
    }

    #[test]
    fn a_broken_graph_names_the_pass_and_what_came_before() {
        let error = Driver::default().run(&mut chain(), &[&OneByOne, &Vandal]).unwrap_err();
        assert_eq!(error.code(), Code::InvalidGraph);
        let text = error.to_string();
        assert!(text.contains("patch 3 of pass 'vandal'"), "{text}");
        assert!(text.contains("reads 'a' before anything defines it"), "{text}");
        assert!(text.contains("after one_by_one, one_by_one"), "{text}");
    }

    #[test]
    fn defects_of_the_input_are_called_so() {
        let error = Driver::default().run(&mut graph(vec![node("Relu", "nowhere", "y")]), &[&OneByOne]).unwrap_err();
        assert!(error.to_string().contains("the input model is not valid ONNX"), "{error}");
    }
}
