//! A graph compiled for one set of input shapes, and a run of it from end to end.

#[cfg(feature = "cuda-engine")]
use super::cuda;
use super::lower::Input;
use super::{Seen, TapView, failure, ops, values};
use crate::array::Array;
use crate::onnx::{self, DataType};
use crate::{Code, Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use tract_onnx::tract_core::plan::eval;
use tract_onnx::tract_hir::internal::*;

/// What messages need after the graph itself is gone.
pub(super) struct Names {
    pub(super) places: Vec<String>,
    pub(super) taps: Vec<String>,
    /// The taps in the order of the graph's nodes.
    pub(super) tap_order: Vec<usize>,
    pub(super) inputs: Vec<Input>,
    /// How many of the outputs were asked for.
    pub(super) outputs: usize,
}

/// What one run of a plan holds.
pub(super) type State = TypedSimpleState;

/// A graph compiled for one set of input shapes.
pub(super) struct Plan {
    pub(super) plan: Arc<TypedSimplePlan>,
    /// Operators that run on the CPU although the network is on a GPU, with their number.
    pub(super) on_host: BTreeMap<String, usize>,
    pub(super) names: Arc<Names>,
    /// For each step the nodes whose values nothing reads later.
    pub(super) last_readers: Vec<Vec<usize>>,
    /// The node of each tap.
    pub(super) tap_nodes: Vec<Option<usize>>,
}

impl Plan {
    /// Runs on one array for each input. The state comes back if it is as good as a new one.
    pub(super) fn run(
        &self,
        mut state: State,
        arrays: &[&Array],
        on_tap: &mut dyn FnMut(usize, &Seen),
    ) -> Result<(Vec<Array>, Option<State>)> {
        let mut inputs = tvec!();
        for (array, input) in arrays.iter().zip(&self.names.inputs) {
            inputs.push(self.input(array, input)?.into_tvalue());
        }
        let mut at = None;
        let found = failure::guard(|| {
            let explain = |e: TractError| failure::explain(&e, &self.names.places);
            state
                .run_plan_with_eval(inputs, |context, op_state, node, values| -> TractResult<TVec<TValue>> {
                    at = Some(node.id);
                    if let Some(tap) = node.op_as::<ops::Tap>() {
                        return show(tap.index, &values, on_tap).map(|()| values);
                    }
                    #[cfg(feature = "cuda-engine")]
                    if let Some(tap) = cuda::tap(&*node.op) {
                        let values = eval(context, op_state, node, values)?;
                        return cuda::show(tap, &values, on_tap).map(|()| values);
                    }
                    eval(context, op_state, node, values)
                })
                .map_err(explain)
        });
        let node = at.and_then(|id| self.plan.model().nodes.get(id)).map(|node| node.name.as_str());
        let found = found.map_err(|e| failure::name(e, node, &self.names.places))?;
        let outputs = found.iter().take(self.names.outputs).map(|tensor| values::to_array(tensor));
        // What operators carry from step to step of a sequence must not go on into the next sample.
        let fresh = state.op_states.iter().all(Option::is_none);
        Ok((outputs.collect::<Result<_>>()?, fresh.then_some(state)))
    }

    /// Ranks of the outputs that were asked for; none where one is not known.
    pub(super) fn output_ranks(&self) -> Vec<usize> {
        let model = self.plan.model();
        let ranks = model.outputs.iter().take(self.names.outputs).map(|at| Some(model.outlet_fact(*at).ok()?.rank()));
        ranks.collect::<Option<_>>().unwrap_or_default()
    }

    pub(super) fn input(&self, array: &Array, input: &Input) -> Result<Tensor> {
        let explain = |e: TractError| failure::explain(&e, &self.names.places);
        let tensor = failure::guard(|| values::to_tensor(array).map_err(explain))?;
        let expected = datum_type(input)?;
        if tensor.datum_type() != expected {
            let (takes, found) = (type_words(input), array.values.type_name());
            let message = format!("input '{}' takes {takes}, the sample holds {found}", input.name);
            return Err(Error::new(Code::Samples, message)
                .help(format!("save the array as {takes}, or export the model with an input of {found}")));
        }
        Ok(tensor)
    }
}

impl Plan {
    /// A state of its own for each run, or for runs one after another.
    pub(super) fn spawn(&self) -> Result<State> {
        self.plan.spawn().map_err(|e| failure::explain(&e, &self.names.places))
    }

    pub(super) fn inputs(&self, arrays: &[&Array]) -> Result<TVec<TValue>> {
        arrays.iter().zip(&self.names.inputs).map(|(a, i)| Ok(self.input(a, i)?.into_tvalue())).collect()
    }

    pub(super) fn outputs<'v>(&self, value: impl Fn(usize) -> Option<&'v TVec<TValue>>) -> Result<Vec<Array>> {
        let outlets = self.plan.model().output_outlets().map_err(|e| failure::explain(&e, &self.names.places))?;
        let array = |o: &OutletId| match value(o.node).and_then(|v| v.get(o.slot)) {
            Some(tensor) => values::to_array(tensor),
            None => Err(Error::new(Code::Engine, "an output was not computed")),
        };
        outlets.iter().take(self.names.outputs).map(array).collect()
    }
}

fn show(index: usize, values: &[TValue], on_tap: &mut dyn FnMut(usize, &Seen)) -> TractResult<()> {
    let value = values.first().context("a tap without a value")?;
    let view = value.try_as_plain_ram()?;
    on_tap(index, &Seen::Host(TapView { dims: value.shape(), values: view.as_slice::<f32>()? }));
    Ok(())
}

pub(super) fn datum_type(input: &Input) -> Result<DatumType> {
    Ok(match onnx::data_type(input.data_type) {
        Some(DataType::FLOAT) => DatumType::F32,
        Some(DataType::DOUBLE) => DatumType::F64,
        Some(DataType::INT64) => DatumType::I64,
        Some(DataType::INT32) => DatumType::I32,
        Some(DataType::UINT8) => DatumType::U8,
        Some(DataType::INT8) => DatumType::I8,
        Some(DataType::BOOL) => DatumType::Bool,
        _ => {
            let message = format!("input '{}' takes {}, which samples cannot hold", input.name, type_words(input));
            return Err(Error::new(Code::Engine, message).help("export the model with an input of float32"));
        }
    })
}

/// The type that an input takes, in the words of [`Values::type_name`](crate::array::Values::type_name).
fn type_words(input: &Input) -> String {
    match onnx::type_name(input.data_type) {
        Some("float") => "float32".to_owned(),
        Some("double") => "float64".to_owned(),
        Some(name) => name.to_owned(),
        None => format!("data type {}", input.data_type),
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

/// The node of each tap, among those of an order.
pub(super) fn tap_nodes(model: &TypedModel, order: &[usize], taps: usize) -> Vec<Option<usize>> {
    let mut found = vec![None; taps];
    for id in order {
        if let Some(tap) = model.node(*id).op_as::<ops::Tap>().filter(|t| t.index < taps) {
            found[tap.index] = Some(*id);
        }
    }
    found
}

/// A plan that comes to taps in the order of the graph's nodes. Left to itself tract orders nodes by the sizes of values, so
/// that samples of different lengths would take different ways.
pub(super) fn in_order(model: TypedModel, names: &Names) -> TractResult<Arc<TypedSimplePlan>> {
    let nodes = tap_nodes(&model, &model.eval_order()?, names.taps.len());
    let ordered: Vec<usize> = names.tap_order.iter().filter_map(|tap| nodes[*tap]).collect();
    let later_and_earlier: Vec<(usize, usize)> = ordered.windows(2).map(|pair| (pair[1], pair[0])).collect();
    let model = Arc::new(model);
    #[allow(deprecated)] // What replaces it has no such dependencies.
    let plan = TypedSimplePlan::new_for_outputs_and_deps(model.clone(), &model.outputs, &later_and_earlier);
    // An order of its own is better than none, should an optimization have turned one around.
    plan.or_else(|_| TypedSimplePlan::new(model))
}
