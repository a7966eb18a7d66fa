//! Runs that stop at taps, and runs that repeat only what a change reaches.
//!
//! A [`Walk`] goes from tap to tap in execution order; the caller looks at the value and may replace it before the
//! walk goes on, so that many samples can be taken through the network layer by layer.
//! A [`Trace`] is a finished run that remembers every value: [`Trace::rerun`] changes some taps and computes what
//! depends on them, which is how one layer's perturbation is measured without running what precedes it.

use super::compile::Plan;
use super::{TapView, failure, ops, values as arrays};
use crate::array::Array;
use crate::{Code, Error, Result};
use std::sync::Arc;
use tract_onnx::tract_hir::internal::*;

/// A run that stops at taps. Values are dropped after their last reader, unless their tap is held.
pub struct Walk {
    plan: Arc<Plan>,
    state: TypedSimpleState,
    /// Position in the execution order of the next node.
    next: usize,
    /// By tap index: whether its value is kept until it is released.
    hold: Vec<bool>,
    held: Vec<Option<TValue>>,
    /// The node of the tap where the walk stands, with its tap index.
    at: Option<(usize, usize)>,
}

impl Walk {
    pub(super) fn new(plan: Arc<Plan>, arrays: &[&Array], hold: &[usize]) -> Result<Walk> {
        let inputs = plan.inputs(arrays)?;
        let state = start(&plan, inputs)?;
        let taps = plan.names.taps.len();
        let hold = (0..taps).map(|tap| hold.contains(&tap)).collect();
        Ok(Walk { plan, state, next: 0, hold, held: vec![None; taps], at: None })
    }

    /// Goes on to the next tap and returns its index; `None` at the end of the network.
    pub fn advance(&mut self) -> Result<Option<usize>> {
        let plan = self.plan.clone();
        self.at = None;
        while let Some(&id) = plan.plan.order_without_consts().get(self.next) {
            compute(&plan, &mut self.state, id)?;
            for gone in &plan.last_readers[self.next] {
                self.state.turn_state.values[*gone] = None;
            }
            self.next += 1;
            if let Some(tap) = plan.plan.model().node(id).op_as::<ops::Tap>() {
                if self.hold[tap.index] {
                    self.held[tap.index] = self.state.turn_state.values[id].as_ref().map(|v| v[0].clone());
                }
                self.at = Some((id, tap.index));
                return Ok(Some(tap.index));
            }
        }
        Ok(None)
    }

    /// The value of the tap where the walk stands, or of a held one.
    pub fn view(&self, tap: usize) -> Result<TapView<'_>> {
        let here = self.at.filter(|(_, at)| *at == tap).and_then(|(id, _)| self.state.turn_state.values[id].as_ref());
        let value = here.and_then(|v| v.first()).or(self.held[tap].as_ref());
        view(value, &self.plan, tap)
    }

    /// Lets go of a held value.
    pub fn release(&mut self, tap: usize) {
        self.held[tap] = None;
    }

    /// Replaces the elements of the value where the walk stands, for everything that reads it later.
    pub fn replace(&mut self, elements: Vec<f32>) -> Result<()> {
        let Some((id, tap)) = self.at else { return Ok(()) };
        let dims = self.view(tap)?.dims.to_vec();
        let explain = |e: TractError| failure::explain(&e, &self.plan.names.places);
        let array = tract_ndarray::ArrayD::from_shape_vec(dims, elements);
        let tensor = array.map_err(|e| explain(e.into()))?.into_tensor();
        self.state.turn_state.values[id] = Some(tvec!(tensor.into_tvalue()));
        Ok(())
    }

    /// The outputs, once the walk is at the end.
    pub fn outputs(&mut self) -> Result<Vec<Array>> {
        outputs(&self.plan, &mut self.state)
    }
}

/// A finished run with all of its values.
pub struct Trace {
    plan: Arc<Plan>,
    values: Vec<Option<TVec<TValue>>>,
}

/// Changes the elements of a tap in place, given the tap and the current value of its layer's input.
pub type Change<'c> = dyn FnMut(usize, &TapView, &mut [f32]) -> Result<()> + 'c;

impl Trace {
    pub(super) fn new(plan: Arc<Plan>, arrays: &[&Array]) -> Result<Trace> {
        let mut state = start(&plan, plan.inputs(arrays)?)?;
        for id in plan.plan.order_without_consts() {
            compute(&plan, &mut state, *id)?;
        }
        Ok(Trace { values: std::mem::take(&mut state.turn_state.values), plan })
    }

    /// The value of a tap.
    pub fn view(&self, tap: usize) -> Result<TapView<'_>> {
        view(self.value(tap), &self.plan, tap)
    }

    /// The outputs.
    pub fn outputs(&self) -> Result<Vec<Array>> {
        self.plan.outputs(|node| self.values[node].as_ref())
    }

    /// Outputs once the taps in `changed` are changed and what depends on them is run again; `change` gets such a tap,
    /// its elements to change in place (computed from what was changed before it), and the current value of the tap
    /// that `input_of` names for it. New values go after their last reader.
    pub fn rerun(
        &self,
        changed: &[usize],
        input_of: &dyn Fn(usize) -> usize,
        change: &mut Change,
    ) -> Result<Vec<Array>> {
        let plan = &self.plan;
        let mut state = plan.spawn()?;
        state.turn_state.values = self.values.clone();
        let model = plan.plan.model();
        let mut dirty = vec![false; model.nodes().len()];
        let inputs: Vec<Option<usize>> = changed.iter().map(|tap| plan.tap_nodes[input_of(*tap)]).collect();
        for (step, &id) in plan.plan.order_without_consts().iter().enumerate() {
            let node = model.node(id);
            dirty[id] = node.inputs.iter().any(|i| dirty[i.node]);
            if dirty[id] {
                compute(plan, &mut state, id)?;
            }
            for gone in plan.last_readers[step].iter().filter(|gone| dirty[**gone] && !inputs.contains(&Some(**gone))) {
                state.turn_state.values[*gone] = None;
            }
            let Some(tap) = node.op_as::<ops::Tap>().map(|t| t.index).filter(|t| changed.contains(t)) else { continue };
            let explain = |e: TractError| failure::explain(&e, &plan.names.places);
            let input =
                plan.tap_nodes[input_of(tap)].and_then(|n| state.turn_state.values[n].as_ref()?.first().cloned());
            let mut tensor = match state.turn_state.values[id].take().and_then(|v| v.into_iter().next()) {
                Some(value) => value.into_tensor(),
                None => return Err(unknown(plan, tap)),
            };
            let mut plain = tensor.try_as_plain_ram_mut().map_err(explain)?;
            change(tap, &view(input.as_ref(), plan, input_of(tap))?, plain.as_slice_mut::<f32>().map_err(explain)?)?;
            state.turn_state.values[id] = Some(tvec!(tensor.into_tvalue()));
            dirty[id] = true;
        }
        outputs(plan, &mut state)
    }

    fn value(&self, tap: usize) -> Option<&TValue> {
        self.plan.tap_nodes[tap].and_then(|node| self.values[node].as_ref()?.first())
    }
}

fn start(plan: &Arc<Plan>, inputs: TVec<TValue>) -> Result<TypedSimpleState> {
    let mut state = plan.spawn()?;
    state.set_inputs(inputs).map_err(|e| failure::explain(&e, &plan.names.places))?;
    Ok(state)
}

fn compute(plan: &Plan, state: &mut TypedSimpleState, id: usize) -> Result<()> {
    let node = plan.plan.model().nodes.get(id).map(|node| node.name.as_str());
    failure::guard(|| state.compute_one(id).map_err(|e| failure::explain(&e, &plan.names.places)))
        .map_err(|e| failure::name(e, node, &plan.names.places))
}

fn outputs(plan: &Plan, state: &mut TypedSimpleState) -> Result<Vec<Array>> {
    plan.outputs(|node| state.turn_state.values[node].as_ref())
}

fn view<'a>(value: Option<&'a TValue>, plan: &Plan, tap: usize) -> Result<TapView<'a>> {
    let explain = |e: TractError| failure::explain(&e, &plan.names.places);
    let value = value.ok_or_else(|| unknown(plan, tap))?;
    let plain = value.try_as_plain_ram().map_err(explain)?;
    Ok(TapView { dims: value.shape(), values: plain.as_slice::<f32>().map_err(explain)? })
}

fn unknown(plan: &Plan, tap: usize) -> Error {
    let name = plan.names.taps.get(tap).map_or("?", String::as_str);
    Error::new(Code::Engine, format!("the value '{name}' is not there when it is asked for"))
}

impl Plan {
    pub(super) fn spawn(&self) -> Result<TypedSimpleState> {
        self.plan.spawn().map_err(|e| failure::explain(&e, &self.names.places))
    }

    fn inputs(&self, arrays: &[&Array]) -> Result<TVec<TValue>> {
        arrays.iter().zip(&self.names.inputs).map(|(a, i)| Ok(self.input(a, i)?.into_tvalue())).collect()
    }

    fn outputs<'v>(&self, value: impl Fn(usize) -> Option<&'v TVec<TValue>>) -> Result<Vec<Array>> {
        let outlets = self.plan.model().output_outlets().map_err(|e| failure::explain(&e, &self.names.places))?;
        let array = |o: &OutletId| match value(o.node).and_then(|v| v.get(o.slot)) {
            Some(tensor) => arrays::to_array(tensor),
            None => Err(Error::new(Code::Engine, "an output was not computed")),
        };
        outlets.iter().take(self.names.outputs).map(array).collect()
    }
}

/// For each step of the plan the nodes whose values nothing reads later.
pub(super) fn last_readers(plan: &TypedSimplePlan) -> Vec<Vec<usize>> {
    let order = plan.order_without_consts();
    let mut last = vec![None; plan.model().nodes().len()];
    for (step, id) in order.iter().enumerate() {
        plan.model().node(*id).inputs.iter().for_each(|i| last[i.node] = Some(step));
    }
    for output in plan.model().output_outlets().unwrap_or(&[]) {
        last[output.node] = None;
    }
    let mut gone = vec![vec![]; order.len()];
    for id in order.iter().chain(plan.model().input_outlets().unwrap_or(&[]).iter().map(|o| &o.node)) {
        if let Some(step) = last[*id].filter(|s: &usize| !gone[*s].contains(id)) {
            gone[step].push(*id);
        }
    }
    gone
}

/// The node of each tap.
pub(super) fn tap_nodes(plan: &TypedSimplePlan, taps: usize) -> Vec<Option<usize>> {
    let mut found = vec![None; taps];
    for id in plan.order_without_consts() {
        if let Some(tap) = plan.model().node(*id).op_as::<ops::Tap>().filter(|t| t.index < taps) {
            found[tap.index] = Some(*id);
        }
    }
    found
}
