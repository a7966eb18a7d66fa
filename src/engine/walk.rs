//! Runs that stop at taps, and runs that repeat only what a change reaches.
//!
//! A [`Walk`] goes from tap to tap in execution order; the caller looks at the value and may replace it before the
//! walk goes on, so that many samples can be taken through the network layer by layer. What only the caller makes is
//! not computed.
//! A [`Trace`] remembers the values of one sample: [`Trace::rerun`] changes some taps and computes what depends on
//! them, which is how one layer's perturbation is measured without running what precedes it.

use super::plan::Plan;
use super::{TapView, failure, ops};
use crate::array::Array;
use crate::{Code, Error, Result};
use std::sync::Arc;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::konst::Const;

/// A run that stops at taps. Values are dropped after their last reader, unless their tap is held.
pub struct Walk {
    plan: Arc<Plan>,
    state: TypedSimpleState,
    /// Position in the execution order of the next node.
    next: usize,
    /// By tap index: whether its value is kept until it is released.
    hold: Vec<bool>,
    held: Vec<Option<TValue>>,
    /// By node: whether anything asks for its value.
    needed: Vec<bool>,
    /// The node of the tap where the walk stands, with its tap index.
    at: Option<(usize, usize)>,
}

impl Walk {
    pub(super) fn new(plan: Arc<Plan>, arrays: &[&Array], hold: &[usize], made: &[usize]) -> Result<Walk> {
        let inputs = plan.inputs(arrays)?;
        let state = start(&plan, inputs)?;
        let taps = plan.names.taps.len();
        let hold = (0..taps).map(|tap| hold.contains(&tap)).collect();
        let needed = needed(&plan, made)?;
        Ok(Walk { plan, state, next: 0, hold, held: vec![None; taps], needed, at: None })
    }

    /// Goes on to the next tap and returns its index; `None` at the end of the network. Where the caller makes the value
    /// there is none to see until it is replaced.
    pub fn advance(&mut self) -> Result<Option<usize>> {
        let plan = self.plan.clone();
        self.at = None;
        while let Some(&id) = plan.plan.order_without_consts().get(self.next) {
            let gone = &plan.last_readers[self.next];
            match self.needed[id] {
                true => compute(&plan, &mut self.state, id, gone.iter())?,
                false => gone.iter().for_each(|gone| self.state.turn_state.values[*gone] = None),
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

    /// Puts another tensor where the walk stands, for everything that reads it later, and holds it where the tap is held.
    pub fn replace(&mut self, dims: &[usize], elements: Vec<f32>) -> Result<()> {
        let Some((id, tap)) = self.at else { return Ok(()) };
        let explain = |e: TractError| failure::explain(&e, &self.plan.names.places);
        let array = tract_ndarray::ArrayD::from_shape_vec(dims.to_vec(), elements);
        let value = array.map_err(|e| explain(e.into()))?.into_tensor().into_tvalue();
        if self.hold[tap] {
            self.held[tap] = Some(value.clone());
        }
        self.state.turn_state.values[id] = Some(tvec!(value));
        Ok(())
    }

    /// The outputs, once the walk is at the end.
    pub fn outputs(&mut self) -> Result<Vec<Array>> {
        outputs(&self.plan, &mut self.state)
    }
}

/// By node: whether a tap or an output asks for its value, where the taps of `made` are made without what leads to them.
fn needed(plan: &Plan, made: &[usize]) -> Result<Vec<bool>> {
    let model = plan.plan.model();
    let mut needed = vec![false; model.nodes.len()];
    let outlets = model.output_outlets().map_err(|e| failure::explain(&e, &plan.names.places))?;
    outlets.iter().take(plan.names.outputs).for_each(|o| needed[o.node] = true);
    plan.tap_nodes.iter().flatten().for_each(|id| needed[*id] = true);
    made.iter().filter_map(|tap| plan.tap_nodes[*tap]).for_each(|id| needed[id] = false);
    let is_made = |id: usize| made.iter().any(|tap| plan.tap_nodes[*tap] == Some(id));
    for &id in plan.plan.order_without_consts().iter().rev() {
        if needed[id] {
            model.nodes[id].inputs.iter().filter(|i| !is_made(i.node)).for_each(|i| needed[i.node] = true);
        }
    }
    Ok(needed)
}

/// A run whose values are computed when they are first needed, and kept.
pub struct Trace {
    plan: Arc<Plan>,
    values: Vec<Option<TVec<TValue>>>,
}

/// A tap that a rerun changes.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// The tap.
    pub tap: usize,
    /// Where the tap is the output of a layer, the tap of the layer's input.
    pub input: Option<usize>,
    /// Whether the layer reads nothing but its input, so that its output can be made from that alone.
    pub makes: bool,
}

/// The value of a tap, for a rerun to change in place.
pub struct Edit<'v> {
    /// The tap.
    pub tap: usize,
    /// The current value of the layer's input, where the site names one.
    pub input: Option<TapView<'v>>,
    /// Whether the elements are zero and yet to be made from the input: what the network itself makes of a changed input
    /// is not computed where the site makes the value.
    pub blank: bool,
    /// Elements, computed from what was changed before them.
    pub values: &'v mut [f32],
}

/// Changes a value.
pub type Change<'c> = dyn FnMut(Edit) -> Result<()> + 'c;

impl Trace {
    pub(super) fn new(plan: Arc<Plan>, arrays: &[&Array]) -> Result<Trace> {
        let mut state = start(&plan, plan.inputs(arrays)?)?;
        Ok(Trace { values: std::mem::take(&mut state.turn_state.values), plan })
    }

    /// Outputs once the taps of `sites`, no two of one tap, are changed and what depends on them is run again. New values
    /// go after their last reader.
    pub fn rerun(&mut self, sites: &[Site], change: &mut Change) -> Result<Vec<Array>> {
        let plan = self.plan.clone();
        let explain = |e: TractError| failure::explain(&e, &plan.names.places);
        let model = plan.plan.model();
        let course = Course::new(&plan, sites, &self.values)?;
        let mut state = plan.spawn()?;
        state.turn_state.values.clone_from(&self.values);
        for (step, &id) in plan.plan.order_without_consts().iter().enumerate() {
            let gone = || plan.last_readers[step].iter().filter(|gone| course.is_fleeting(**gone));
            let node = &course.nodes[id];
            match node.part {
                Part::Idle => {}
                Part::Once => {
                    compute(&plan, &mut state, id, gone())?;
                    self.values[id].clone_from(&state.turn_state.values[id]);
                }
                Part::Again => compute(&plan, &mut state, id, gone())?,
                Part::Blank => {
                    let shape = model.nodes[id].outputs[0].fact.shape.as_concrete().unwrap_or(&[]);
                    let zeros = Tensor::zero::<f32>(shape).map_err(explain)?;
                    state.turn_state.values[id] = Some(tvec!(zeros.into_tvalue()));
                }
            }
            gone().for_each(|gone| state.turn_state.values[*gone] = None);
            let Some(site) = node.site.filter(|_| !matches!(node.part, Part::Idle)) else { continue };
            let input = site.input.and_then(|tap| Some((tap, plan.tap_nodes[tap]?)));
            let input =
                input.map(|(tap, at)| (tap, state.turn_state.values[at].as_ref().and_then(|v| v.first().cloned())));
            let mut tensor = match state.turn_state.values[id].take().and_then(|v| v.into_iter().next()) {
                Some(value) => value.into_tensor(),
                None => return Err(unknown(&plan, site.tap)),
            };
            let mut plain = tensor.try_as_plain_ram_mut().map_err(explain)?;
            change(Edit {
                tap: site.tap,
                input: input.as_ref().map(|(tap, value)| view(value.as_ref(), &plan, *tap)).transpose()?,
                blank: matches!(node.part, Part::Blank),
                values: plain.as_slice_mut::<f32>().map_err(explain)?,
            })?;
            state.turn_state.values[id] = Some(tvec!(tensor.into_tvalue()));
        }
        outputs(&plan, &mut state)
    }
}

/// What a rerun does at each node.
struct Course<'s> {
    nodes: Vec<Stage<'s>>,
}

#[derive(Clone, Copy, Default)]
struct Stage<'s> {
    part: Part,
    /// Whether the value differs from the one of the trace.
    dirty: bool,
    /// Whether it is the input of a layer that is changed.
    read_by_site: bool,
    site: Option<&'s Site>,
}

#[derive(Clone, Copy, Default)]
enum Part {
    /// Nothing: the value is there, or nobody asks for it.
    #[default]
    Idle,
    /// Compute it for this rerun and all that follow.
    Once,
    /// Compute it from what was changed.
    Again,
    /// Leave it to the change.
    Blank,
}

impl<'s> Course<'s> {
    fn new(plan: &Plan, sites: &'s [Site], known: &[Option<TVec<TValue>>]) -> Result<Course<'s>> {
        let model = plan.plan.model();
        let order = plan.plan.order_without_consts();
        let mut nodes = vec![Stage::default(); model.nodes.len()];
        for site in sites {
            if let Some(at) = plan.tap_nodes[site.tap] {
                nodes[at].site = Some(site);
            }
        }
        let input_of = |site: &Site| site.input.and_then(|tap| plan.tap_nodes[tap]);
        for &id in order {
            let node = &model.nodes[id];
            let reached = node.inputs.iter().any(|i| nodes[i.node].dirty);
            nodes[id].dirty = reached || nodes[id].site.is_some();
            let makes = nodes[id].site.filter(|site| site.makes).and_then(input_of);
            let blank = makes.is_some_and(|input| nodes[input].dirty) && node.outputs[0].fact.shape.is_concrete();
            if blank {
                nodes[id].part = Part::Blank;
            }
        }
        let mut needed = vec![false; nodes.len()];
        let outlets = model.output_outlets().map_err(|e| failure::explain(&e, &plan.names.places))?;
        outlets.iter().take(plan.names.outputs).for_each(|o| needed[o.node] = true);
        for &id in order.iter().rev() {
            let there = known[id].is_some() && !nodes[id].dirty;
            if !needed[id] || there {
                nodes[id].part = Part::Idle;
                continue;
            }
            if let Some(input) = nodes[id].site.and_then(input_of) {
                (needed[input], nodes[input].read_by_site) = (true, true);
            }
            if !matches!(nodes[id].part, Part::Blank) {
                nodes[id].part = if nodes[id].dirty { Part::Again } else { Part::Once };
                model.nodes[id].inputs.iter().for_each(|i| needed[i.node] = true);
            }
        }
        Ok(Course { nodes })
    }

    /// Whether a value goes after its last reader.
    fn is_fleeting(&self, node: usize) -> bool {
        self.nodes[node].dirty && !self.nodes[node].read_by_site
    }
}

fn start(plan: &Arc<Plan>, inputs: TVec<TValue>) -> Result<TypedSimpleState> {
    let mut state = plan.spawn()?;
    state.set_inputs(inputs).map_err(|e| failure::explain(&e, &plan.names.places))?;
    // tract makes the table of values with the first input, and a network that reads none has no first.
    if state.turn_state.values.is_empty() {
        let constant = |node: &TypedNode| Some(tvec!(node.op_as::<Const>()?.val().clone().into_tvalue()));
        state.turn_state.values = plan.plan.model().nodes().iter().map(constant).collect();
    }
    Ok(state)
}

/// Computes a node; the values of `gone`, which nothing else reads, are its own to change.
fn compute<'g>(
    plan: &Plan,
    state: &mut TypedSimpleState,
    id: usize,
    gone: impl Iterator<Item = &'g usize>,
) -> Result<()> {
    let node = plan.plan.model().nodes.get(id).map(|node| node.name.as_str());
    let one = |state: &mut TypedSimpleState| {
        let inputs = state.prepare_inputs(id)?;
        gone.for_each(|gone| state.turn_state.values[*gone] = None);
        state.compute_one_with_inputs(id, inputs)
    };
    failure::guard(|| one(state).map_err(|e| failure::explain(&e, &plan.names.places)))
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
