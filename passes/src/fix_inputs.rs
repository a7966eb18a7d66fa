//! `fix_inputs`: an input that has one value for good is a constant.

use crate::Pass;
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch};
use tapq::onnx::{AttributeProto, AttributeType, NodeProto as Node};
use tapq::samples::FixedInput;

/// ## What it does
/// Makes a Constant of each input that the caller fixes, and takes it from the graph's inputs; a default that it had
/// goes.
///
/// ## Why
/// Models ask at run time for what never changes on a device: the sampling rate, whether they train, the size of the
/// picture. The branches and shapes that depend on it are out of reach until it is a constant.
///
/// ## When it refuses
/// Never: names and values were checked when they were read.
///
/// ## Example
/// With `sr` fixed at 16000, `(x, sr) => (y) { c = Equal (sr, rate) … }` becomes `(x) => (y) { sr = Constant … }`, of
/// which constant folding decides `c` and `fold_if` the branch.
///
/// A Constant node rather than an initializer: what follows lifts it, once the IR version lets an initializer stand
/// alone and `raise_ir` has looked at whether all that are there are listed as inputs.
pub struct FixInputs<'a>(pub &'a [FixedInput]);

impl Pass for FixInputs<'_> {
    fn name(&self) -> &'static str {
        "fix_inputs"
    }

    fn about(&self) -> &'static str {
        "inputs that have one value for good become constants"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let mut patch = Patch::new();
        for fixed in self.0.iter().filter(|f| graph.index().is_input(f.name())) {
            let name = fixed.name().to_owned();
            patch.because(format!("input '{name}' is always {}", fixed.text));
            patch.push(Edit::Insert(0, constant(fixed)));
            match graph.index().initializer(&name) {
                Some(_) => patch.push(Edit::RemoveInitializer(name)),
                None => patch.push(Edit::RemoveInput(name)),
            }
        }
        Ok(patch.into_option())
    }
}

fn constant(fixed: &FixedInput) -> Node {
    let value = AttributeProto {
        name: "value".to_owned(),
        type_: AttributeType::TENSOR.into(),
        t: Some(fixed.tensor.clone()).into(),
        ..Default::default()
    };
    let output = vec![fixed.name().to_owned()];
    Node { op_type: "Constant".to_owned(), output, attribute: vec![value], ..Default::default() }
}
