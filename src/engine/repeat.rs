//! Loop, which tract does not have: its body is compiled once and run as often as the file says.
//!
//! Carried values keep their shapes, and the extent of what is stacked must be known beforehand: the number of rounds is
//! a constant, or it is counted by running what the condition is made of, as Keras's counter, ahead of the network.

use super::bodies::{Body, Held, Holder, Typed, facts};
use std::collections::BTreeSet;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::tract_hir::internal::*;

/// Rounds after which a loop is taken for one that never ends.
const MOST_ROUNDS: i64 = 1 << 24;
/// Rounds that are counted ahead.
const MOST_COUNTED: i64 = 1 << 20;
/// Inputs of a body before those it carries: the number of the round, and the condition.
const OWN: usize = 2;

/// Builds what tract should make of `Loop`.
pub(super) fn build(context: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let (body, captured) = Body::parse(context, node, "body")?;
    let graph: &GraphProto = node.get_attr("body")?;
    let carried = node.input.len().saturating_sub(OWN);
    ensure!(graph.input.len() == OWN + carried, "a Loop gives its body {carried} values, which takes others");
    ensure!(body.outputs() > carried, "the body of a Loop makes too few values");
    let given = |at: usize| node.input.get(at).is_some_and(|name| !name.is_empty());
    let op = Loop {
        bounded: given(0),
        conditional: given(1),
        fixed: (0..carried).map(|at| is_handed_on(graph, at)).collect(),
        wanted: (0..node.output.len()).filter(|at| !node.output[*at].is_empty()).collect(),
        body,
    };
    Ok((Box::new(Held(op)), captured))
}

/// Whether each round hands a carried value on as it came, as Keras does with weights.
fn is_handed_on(body: &GraphProto, at: usize) -> bool {
    let mut name = &body.output[1 + at].name;
    for _ in 0..body.node.len() {
        let maker = body.node.iter().find(|node| node.output.contains(name));
        match maker.filter(|node| node.op_type == "Identity").and_then(|node| node.input.first()) {
            Some(source) => name = source,
            None => break,
        }
    }
    *name == body.input[OWN + at].name
}

#[derive(Clone, Debug)]
struct Loop {
    body: Body,
    /// Whether there is a greatest number of rounds.
    bounded: bool,
    /// Whether there is a condition for the first round.
    conditional: bool,
    /// For each carried value, whether it never changes.
    fixed: Vec<bool>,
    /// Which of the outputs something asks for.
    wanted: Vec<usize>,
}

impl Loop {
    /// Inputs before the carried values.
    fn controls(&self) -> usize {
        usize::from(self.bounded) + usize::from(self.conditional)
    }

    /// The greatest number of rounds, none if the first condition is false; `None` where a run decides.
    fn limit(&self, given: &[TypedFact]) -> TractResult<Option<i64>> {
        if self.conditional {
            match &given[usize::from(self.bounded)].konst {
                Some(condition) if !condition.cast_to_scalar::<bool>()? => return Ok(Some(0)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
        match self.bounded {
            true => given[0].konst.as_ref().map(|limit| limit.cast_to_scalar::<i64>()).transpose(),
            false => Ok(Some(i64::MAX)),
        }
    }

    /// The number of rounds, where it does not depend on what the network computes.
    fn rounds(&self, typed: &Typed, given: &[TypedFact]) -> TractResult<Option<i64>> {
        let Some(limit) = self.limit(given)? else { return Ok(None) };
        if let Some(condition) = &typed.model.output_fact(0)?.konst {
            return Ok(Some(if condition.cast_to_scalar::<bool>()? { limit } else { limit.min(1) }));
        }
        let Some(counters) = self.counters(typed, given)? else { return Ok(None) };
        let mut model = typed.model.clone();
        let asked = std::iter::once(0).chain(counters.iter().map(|at| 1 + at));
        let asked: Vec<OutletId> = asked.map(|slot| model.outputs[slot]).collect();
        let is_fed = |input: &usize| *input < OWN || counters.contains(&(input - OWN));
        let fed: Vec<usize> = (0..typed.open.len()).filter(|at| is_fed(&typed.open[*at])).collect();
        model.inputs = fed.iter().map(|at| typed.model.inputs[*at]).collect();
        model.select_output_outlets(&asked)?;
        let plan = TypedSimplePlan::new(model)?;
        let first = |at: &usize| given[self.controls() + at].konst.clone().map(|t| (*at, t.into_tvalue()));
        let mut values: HashMap<usize, TValue> = counters.iter().filter_map(first).collect();
        for round in 0..limit.min(MOST_COUNTED) {
            let feed = |at: &usize| match typed.open[*at] {
                0 => tensor0(round).into_tvalue(),
                1 => tensor0(true).into_tvalue(),
                input => values[&(input - OWN)].clone(),
            };
            let found = plan.run(fed.iter().map(feed).collect())?;
            if !found[0].cast_to_scalar::<bool>()? {
                return Ok(Some(round + 1));
            }
            for (at, value) in counters.iter().zip(&found[1..]) {
                let of = values[at].datum_type();
                values.insert(*at, value.cast_to_dt(of)?.into_owned().into_tvalue());
            }
        }
        Ok(Some(limit).filter(|limit| *limit <= MOST_COUNTED))
    }

    /// The carried values that the condition is made of; `None` if it is made of anything that is not known ahead.
    fn counters(&self, typed: &Typed, given: &[TypedFact]) -> TractResult<Option<BTreeSet<usize>>> {
        let (model, mut counters) = (&typed.model, BTreeSet::new());
        let (mut seen, mut open) = (vec![false; model.nodes.len()], vec![model.outputs[0].node]);
        while let Some(id) = open.pop() {
            if std::mem::replace(&mut seen[id], true) {
                continue;
            }
            open.extend(model.node(id).inputs.iter().map(|input| input.node));
            let source = model.inputs.iter().position(|input| input.node == id).map(|at| typed.open[at]);
            let Some(at) = source.filter(|at| *at >= OWN).map(|at| at - OWN) else { continue };
            if at >= self.fixed.len() || given[self.controls() + at].konst.is_none() {
                return Ok(None);
            }
            counters.insert(at);
            open.push(model.outputs[1 + at].node);
        }
        Ok(Some(counters))
    }

    /// What comes out, stacked values last.
    fn made(&self, typed: &Typed, given: &[TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut made = tvec![];
        for (at, first) in given[self.controls()..].iter().take(self.fixed.len()).enumerate() {
            let next = typed.model.output_fact(1 + at)?;
            let (from, to) = (&first.shape, &next.shape);
            ensure!(
                self.fixed[at] || from == to,
                "value {at} that a Loop carries changes its shape from {from:?} to {to:?}"
            );
            made.push(first.without_value());
        }
        let stacked = 1 + self.fixed.len()..self.body.outputs();
        if stacked.is_empty() {
            return Ok(made);
        }
        let rounds = self.rounds(typed, given)?;
        let rounds =
            rounds.context("how often a Loop runs depends on its input, and so does the extent of what it stacks")?;
        for slot in stacked {
            let each = typed.model.output_fact(slot)?;
            let shape = std::iter::once(rounds.max(0).to_dim()).chain(each.shape.iter().cloned());
            made.push(each.datum_type.fact(shape.collect::<TVec<TDim>>()));
        }
        Ok(made)
    }
}

impl Holder for Loop {
    fn name(&self) -> &'static str {
        "TapqLoop"
    }
    fn outputs(&self) -> usize {
        self.wanted.len()
    }
    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let given = facts(model, inputs)?;
        let mut inside = vec![i64::scalar_fact(), bool::scalar_fact()];
        let is_fixed = |at: usize| self.fixed.get(at).copied().unwrap_or(true);
        let known = |(at, fact): (usize, &TypedFact)| if is_fixed(at) { fact.clone() } else { fact.without_value() };
        inside.extend(given[self.controls()..].iter().enumerate().map(known));
        let typed = self.body.typed(&inside)?;
        let made = self.made(&typed, &given)?;
        let reads = typed.open.clone();
        model.wire_node(prefix, Repeat { of: self.clone(), plan: typed.plan()?, reads, made }, inputs)
    }
}

/// A [`Loop`] whose body is compiled.
#[derive(Clone, Debug)]
struct Repeat {
    of: Loop,
    plan: Arc<TypedSimplePlan>,
    /// Which inputs of the body the plan takes.
    reads: Vec<usize>,
    /// Of all outputs.
    made: TVec<TypedFact>,
}

impl PartialEq for Repeat {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for Repeat {}

impl Op for Repeat {
    fn name(&self) -> StaticName {
        "TapqRepeat".into()
    }
    op_as_typed_op!();
}

impl EvalOp for Repeat {
    op_out_of_plan!();
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (of, carried) = (&self.of, self.of.fixed.len());
        let limit = if of.bounded { inputs[0].cast_to_scalar::<i64>()? } else { i64::MAX };
        let mut goes_on = !of.conditional || inputs[usize::from(of.bounded)].cast_to_scalar::<bool>()?;
        // Carried values first, then what is captured.
        let mut values = inputs[of.controls()..].to_vec();
        let mut stacks = vec![vec![]; of.body.outputs() - 1 - carried];
        let mut state = self.plan.spawn()?;
        let mut round = 0;
        while goes_on && round < limit {
            ensure!(round < MOST_ROUNDS, "a Loop that does not end after {MOST_ROUNDS} rounds");
            let feed = |input: &usize| match *input {
                0 => tensor0(round).into_tvalue(),
                1 => tensor0(goes_on).into_tvalue(),
                at => values[at - OWN].clone(),
            };
            let mut found = state.run(self.reads.iter().map(feed).collect())?.into_iter();
            goes_on = found.next().context("a Loop without a condition")?.cast_to_scalar::<bool>()?;
            for (at, value) in values.iter_mut().take(carried).enumerate() {
                let next = found.next().context("a Loop loses a value")?;
                if !of.fixed[at] {
                    *value = of_type(next, self.made[at].datum_type)?;
                }
            }
            for (stack, value) in stacks.iter_mut().zip(found) {
                let mut value = value.into_tensor();
                value.insert_axis(0)?;
                stack.push(value);
            }
            round += 1;
        }
        values.truncate(carried);
        for (stack, fact) in stacks.iter().zip(&self.made[carried..]) {
            values.push(stacked(stack, fact)?);
        }
        Ok(of.wanted.iter().map(|at| values[*at].clone()).collect())
    }
}

fn of_type(value: TValue, of: DatumType) -> TractResult<TValue> {
    match value.datum_type() == of {
        true => Ok(value),
        false => Ok(value.cast_to_dt(of)?.into_owned().into_tvalue()),
    }
}

fn stacked(stack: &[Tensor], fact: &TypedFact) -> TractResult<TValue> {
    let shape = fact.shape.as_concrete().context("a Loop that stacks values of no fixed shape")?;
    let made = match stack.is_empty() {
        true => Tensor::zero_dt(fact.datum_type, shape)?,
        false => Tensor::stack_tensors(0, stack)?,
    };
    ensure!(made.shape() == shape, "a Loop stacked {:?} where {shape:?} was foreseen", made.shape());
    Ok(made.into_tvalue())
}

impl TypedOp for Repeat {
    as_op!();
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.of.wanted.iter().map(|at| self.made[*at].clone()).collect())
    }
}
