//! If: the branch that is taken, or both where the condition is a value of the sample.
//!
//! tract's own unifies what the branches make before it knows the condition, and so gives up where they differ, as those
//! of an exporter of Squeeze do. Here a known condition puts the taken branch in place of the operator.

use super::bodies::{Body, Held, Holder, Typed, facts};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

const UNDECIDED: &str = "only a run decides between its branches";

/// Builds what tract should make of `If`.
pub(super) fn build(context: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let (taken, mut captured) = Body::parse(context, node, "then_branch")?;
    let (other, more) = Body::parse(context, node, "else_branch")?;
    ensure!(taken.outputs() == other.outputs(), "the branches of an If make different numbers of values");
    let reads = [(0..captured.len()).collect(), (captured.len()..captured.len() + more.len()).collect()];
    captured.extend(more);
    Ok((Box::new(Held(If { branches: [taken, other], reads })), captured))
}

#[derive(Clone, Debug)]
struct If {
    /// For true, and for false.
    branches: [Body; 2],
    /// Which of the values behind the condition each branch captures.
    reads: [Vec<usize>; 2],
}

impl If {
    fn captured(&self, branch: usize, inputs: &[OutletId]) -> Vec<OutletId> {
        self.reads[branch].iter().map(|at| inputs[1 + at]).collect()
    }

    /// Both branches, for a condition that each run decides.
    fn fork(&self, model: &TypedModel, inputs: &[OutletId]) -> TractResult<Fork> {
        let typed = |branch: usize| -> TractResult<Typed> {
            let given = facts(model, &self.captured(branch, inputs))?;
            let typed = self.branches[branch].typed(&given);
            typed.map_err(|e| format_err!("{UNDECIDED}, and one of them cannot run: {}", e.root_cause()))
        };
        let typed = [typed(0)?, typed(1)?];
        let mut made = tvec![];
        for slot in 0..self.branches[0].outputs() {
            let [one, other] = [typed[0].model.output_fact(slot)?, typed[1].model.output_fact(slot)?];
            ensure!(
                one.shape == other.shape,
                "{UNDECIDED}, and they make values of the shapes {:?} and {:?}",
                one.shape,
                other.shape
            );
            made.push(one.datum_type.fact(one.shape.clone()));
        }
        let reads = [0, 1].map(|branch| {
            let reads: &[usize] = &self.reads[branch];
            typed[branch].open.iter().map(|at| 1 + reads[*at]).collect()
        });
        let [one, other] = typed;
        Ok(Fork { plans: [one.plan()?, other.plan()?], reads, made })
    }
}

impl Holder for If {
    fn name(&self) -> &'static str {
        "TapqIf"
    }
    fn outputs(&self) -> usize {
        self.branches[0].outputs()
    }
    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let condition = model.outlet_fact(inputs[0])?.konst.clone();
        let Some(condition) = condition else {
            let fork = self.fork(model, inputs)?;
            return model.wire_node(prefix, fork, inputs);
        };
        let branch = usize::from(!condition.cast_to_scalar::<bool>()?);
        self.branches[branch].inline(prefix, model, &self.captured(branch, inputs))
    }
}

/// Two branches, one of which each run takes.
#[derive(Clone, Debug)]
struct Fork {
    plans: [Arc<TypedSimplePlan>; 2],
    /// Which inputs the plans take.
    reads: [Vec<usize>; 2],
    made: TVec<TypedFact>,
}

impl PartialEq for Fork {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for Fork {}

impl Op for Fork {
    fn name(&self) -> StaticName {
        "TapqFork".into()
    }
    op_as_typed_op!();
}

impl EvalOp for Fork {
    op_out_of_plan!();
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let branch = usize::from(!inputs[0].cast_to_scalar::<bool>()?);
        let given = self.reads[branch].iter().map(|at| inputs[*at].clone()).collect();
        let found = self.plans[branch].run(given)?;
        let as_promised = |(value, fact): (TValue, &TypedFact)| match value.datum_type() == fact.datum_type {
            true => Ok(value),
            false => Ok(value.cast_to_dt(fact.datum_type)?.into_owned().into_tvalue()),
        };
        found.into_iter().zip(&self.made).map(as_promised).collect()
    }
}

impl TypedOp for Fork {
    as_op!();
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.made.clone())
    }
}
