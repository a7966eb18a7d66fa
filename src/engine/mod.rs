//! Running a graph on samples: the only room that names tract.
//!
//! [`Engine::new`] lowers the graph once (weights decoded, QDQ turned into our own fake quantization, taps placed);
//! each distinct set of sample shapes is compiled on first use and kept.
//! An engine is shared by reference between threads; a run is single-threaded, so results do not depend on how
//! many run at once.
//! With the feature `cuda-engine` a network can be placed on a GPU; only plain runs go there, walks and traces do not.
//! Deliberately absent: integer kernels, batching of samples.

mod attention;
mod batch_norm;
mod bodies;
mod branch;
mod cast;
mod compile;
mod constants;
#[cfg(feature = "cuda-engine")]
mod cuda;
#[cfg(any(test, feature = "cuda-engine"))]
mod cuda_spelling;
mod depthwise;
mod dequantize;
mod dialect;
mod failure;
mod lower;
mod operands;
mod ops;
mod plan;
mod quantized;
mod range;
mod repeat;
mod reverse;
mod seen;
mod spelling;
mod strides;
#[cfg(test)]
pub(crate) mod tests;
mod values;
mod walk;
mod windows;

pub use seen::{OnDevice, Seen, TapView};
pub use walk::{Change, Edit, Site, Trace, Walk};

use crate::array::Array;
use crate::graph::{Graph, answers};
use crate::samples::Sample;
use crate::{Code, Error, Result};
use compile::Template;
use lower::Input;
use plan::Plan;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Compiled plans that an engine keeps, one for each distinct set of sample shapes.
const MAX_PLANS: usize = 8;

/// What the samples leave open.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Values of symbolic dimensions by name; a symbolic first axis is 1 unless it is named here.
    pub dims: BTreeMap<String, usize>,
    /// Where the network runs.
    pub place: Place,
}

impl Options {
    /// On the processor, with these values of symbolic dimensions.
    pub fn with_dims(dims: &BTreeMap<String, usize>) -> Options {
        Options { dims: dims.clone(), place: Place::Host }
    }
}

/// Where a network runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// On the processor.
    #[default]
    Host,
    /// On the first GPU, with what tract lacks there on the processor.
    Cuda,
}

impl Place {
    /// Why networks cannot run here, in one line; `None` where they can.
    pub fn why_not(self) -> Option<String> {
        match self {
            Place::Host => None,
            #[cfg(feature = "cuda-engine")]
            Place::Cuda => cuda::why_not(),
            #[cfg(not(feature = "cuda-engine"))]
            Place::Cuda => Some("this build is without the feature cuda-engine".to_owned()),
        }
    }
}

/// A graph ready to run on samples.
pub struct Engine {
    place: Place,
    outputs: Vec<String>,
    inputs: Vec<Input>,
    plans: Mutex<Plans>,
}

/// Plans by the shapes of the inputs, latest last; the template goes once no further shape is possible.
struct Plans {
    template: Option<Template>,
    compiled: Vec<(Vec<Vec<usize>>, Arc<Plan>)>,
}

impl Engine {
    /// Prepares `graph`; during a run the caller sees the float tensors of `taps`, names of inputs or produced values
    /// of the main graph.
    ///
    /// It runs for the outputs that [answer](crate::graph::answers).
    /// A graph whose shapes are known is compiled here, another one on its first sample.
    ///
    /// # Errors
    /// [`Code::Engine`] names the node that cannot run, or the tap that is unknown or not float.
    pub fn new(graph: &Graph, taps: &[String], options: &Options) -> Result<Engine> {
        Engine::with_outputs(graph, &answers(graph), taps, options)
    }

    /// As [`Engine::new`], for these values.
    ///
    /// # Errors
    /// As those; further, [`Code::InvalidGraph`] names an output that the graph does not have.
    pub fn with_outputs(graph: &Graph, outputs: &[String], taps: &[String], options: &Options) -> Result<Engine> {
        let lowered = lower::lower(graph, outputs, taps, options)?;
        let inputs = lowered.inputs.clone();
        let template = failure::guard(|| Template::new(lowered))?;
        let engine = Engine {
            place: options.place,
            inputs,
            outputs: outputs.to_vec(),
            plans: Mutex::new(Plans { template: Some(template), compiled: vec![] }),
        };
        if let Some(shapes) = engine.needed().map(Input::static_shape).collect() {
            engine.plan(&shapes)?;
            engine.lock().template = None;
        }
        Ok(engine)
    }

    /// Names of the outputs it runs for, in graph order.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Runs one sample and returns the outputs it runs for; `on_tap` gets the index of the tap and its tensor,
    /// each tap once, in execution order.
    ///
    /// # Errors
    /// [`Code::Samples`] where the sample does not fit the graph's inputs, [`Code::Engine`] where a node fails.
    pub fn run(&self, sample: &Sample, on_tap: &mut dyn FnMut(usize, &TapView)) -> Result<Vec<Array>> {
        let mut failure = None;
        let outputs = self.run_in_place(sample, &mut |tap, seen| match seen.values() {
            Ok(values) => on_tap(tap, &TapView { dims: seen.dims(), values: &values }),
            Err(e) => drop(failure.get_or_insert(e)),
        })?;
        failure.map_or(Ok(outputs), Err)
    }

    /// The same, with tensors shown where they lie.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn run_in_place(&self, sample: &Sample, on_tap: &mut dyn FnMut(usize, &Seen)) -> Result<Vec<Array>> {
        self.runs().run_in_place(sample, on_tap)
    }

    /// For several samples one after another on one thread: what the first prepares is there for the next.
    pub fn runs(&self) -> Runs<'_> {
        Runs { engine: self, last: None }
    }

    /// Ranks of the outputs for samples like this one, in graph order; nothing is run.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn output_ranks(&self, sample: &Sample) -> Result<Vec<usize>> {
        let arrays = self.arrays(sample)?;
        let plan = self.plan(&shapes(&arrays))?;
        Ok(plan.output_ranks())
    }

    /// Operators that run on the processor although the network is on a GPU, with their number.
    pub fn left_on_host(&self) -> BTreeMap<String, usize> {
        self.lock().compiled.last().map_or_else(BTreeMap::new, |(_, plan)| plan.on_host.clone())
    }

    /// Starts a run that stops at taps; the values of the taps in `hold` are kept until they are released. The caller
    /// replaces the values of the taps in `made`, which are not computed.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn walk(&self, sample: &Sample, hold: &[usize], made: &[usize]) -> Result<Walk> {
        let arrays = self.arrays(sample)?;
        Walk::new(self.plan(&shapes(&arrays))?, &arrays, hold, made)
    }

    /// Prepares one sample for runs that change it; its values are computed as they are needed.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn trace(&self, sample: &Sample) -> Result<Trace> {
        let arrays = self.arrays(sample)?;
        Trace::new(self.plan(&shapes(&arrays))?, &arrays)
    }

    /// The arrays of a sample in the order of the inputs.
    fn arrays<'s>(&self, sample: &'s Sample) -> Result<Vec<&'s Array>> {
        let arrays = self.needed().map(|input| input.pick(sample)).collect::<Result<Vec<&Array>>>()?;
        if let Some((name, _)) = sample.inputs.iter().find(|(name, _)| self.inputs.iter().all(|i| i.name != *name)) {
            let known: Vec<&str> = self.inputs.iter().map(|i| i.name.as_str()).collect();
            return Err(Error::new(Code::Samples, format!("the model has no input '{name}'"))
                .help(format!("its inputs are: {}", known.join(", "))));
        }
        Ok(arrays)
    }

    fn plan(&self, shapes: &Vec<Vec<usize>>) -> Result<Arc<Plan>> {
        let mut plans = self.lock();
        if let Some(at) = plans.compiled.iter().position(|(known, _)| known == shapes) {
            return Ok(plans.compiled[at].1.clone());
        }
        let Some(template) = &plans.template else {
            return Err(Error::new(Code::Engine, format!("the model is compiled for other shapes than {shapes:?}")));
        };
        let plan = Arc::new(failure::guard(|| template.compile(shapes, self.place))?);
        if plans.compiled.len() == MAX_PLANS {
            plans.compiled.remove(0);
        }
        plans.compiled.push((shapes.clone(), plan.clone()));
        Ok(plan)
    }

    fn needed(&self) -> impl Iterator<Item = &Input> {
        self.inputs.iter().filter(|i| i.needed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Plans> {
        self.plans.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Runs of an engine on one thread.
pub struct Runs<'e> {
    engine: &'e Engine,
    last: Option<(Arc<Plan>, plan::State)>,
}

impl Runs<'_> {
    /// As [`Engine::run_in_place`].
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn run_in_place(&mut self, sample: &Sample, on_tap: &mut dyn FnMut(usize, &Seen)) -> Result<Vec<Array>> {
        let arrays = self.engine.arrays(sample)?;
        let plan = self.engine.plan(&shapes(&arrays))?;
        let state = match self.last.take() {
            Some((last, state)) if Arc::ptr_eq(&last, &plan) => state,
            _ => plan.spawn()?,
        };
        // A run that fails leaves its state halfway.
        let (outputs, state) = plan.run(state, &arrays, on_tap)?;
        self.last = state.map(|state| (plan, state));
        Ok(outputs)
    }
}

fn shapes(arrays: &[&Array]) -> Vec<Vec<usize>> {
    arrays.iter().map(|a| a.dims.clone()).collect()
}

/// Evaluates `values`, none of which may depend on an input of the graph, in the order asked.
///
/// # Errors
/// [`Code::Engine`] where a value depends on an input or a node cannot be evaluated.
pub fn evaluate_constants(graph: &Graph, values: &[String]) -> Result<Vec<Array>> {
    if values.is_empty() {
        return Ok(vec![]);
    }
    let engine = Engine::with_outputs(graph, values, &[], &Options::default())?;
    if let Some(input) = engine.needed().next() {
        return Err(Error::new(Code::Engine, format!("a value to fold depends on the graph input '{}'", input.name)));
    }
    engine.run(&Sample::default(), &mut |_, _| {})
}
