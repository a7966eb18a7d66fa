//! What a choice rests on: layers with the widths that they may have, and what each width does to each of them.

use super::budget::Unit;
use super::candidates::{Candidates, measure};
use crate::pipeline::depth::{halves, set_apart};
use crate::pipeline::observed::Observed;
use crate::pipeline::options::Options;
use crate::pipeline::progress::Progress;
use std::collections::BTreeMap;
use tapq::Result;
use tapq::array::Array;
use tapq::graph::Graph;
use tapq::plan::{Layer, Placement};
use tapq::proxy::Sensitivity;
use tapq::samples::Sample;
use tapq::stats::{FOLDS, Gram, ValueObservation};
use tapq::target::Target;

/// What a choice rests on.
pub struct Ground<'a> {
    /// The float network.
    pub graph: &'a Graph,
    /// Calibration samples.
    pub samples: &'a [Sample],
    /// Float outputs of each.
    pub outputs: &'a [Vec<Array>],
    /// Measured candidates, one for each unit.
    pub candidates: &'a [Candidates],
    /// What was seen of the input of each unit.
    pub inputs: Vec<Option<&'a ValueObservation>>,
    /// The device.
    pub target: &'a Target,
    /// Halves of the samples that candidates were rounded on.
    pub halves: &'a [usize],
    /// Positions of the samples that whole choices are compared on alone; see [`set_apart`].
    pub apart: Vec<usize>,
}

/// Groups layers by stored weight; `beside` is the width of activations that a layer runs at.
pub fn units<'a>(
    placement: &'a Placement,
    target: &Target,
    beside: &dyn Fn(&Layer) -> u32,
    macs: &BTreeMap<String, u64>,
) -> Vec<Unit<'a>> {
    let mut units: Vec<Unit> = vec![];
    for layer in &placement.layers {
        let (cost, at) = (macs.get(&layer.name).copied().unwrap_or(0), beside(layer));
        if let Some(unit) = units.iter_mut().find(|u| u.layers[0].weight == layer.weight) {
            unit.layers.push(layer);
            unit.macs.push(cost);
            unit.beside.push(at);
            unit.keep_offered(target);
            continue;
        }
        let mut options: Vec<Option<u32>> = layer.widths(target, at).into_iter().map(Some).collect();
        options.extend(target.float_fallback.allowed.then_some(None));
        let sensitivity = Sensitivity::default();
        units.push(Unit { layers: vec![layer], macs: vec![cost], beside: vec![at], options, sensitivity });
    }
    units
}

/// Measures what each width does to each unit, and hands that to `then`; the Gram matrices are gone by then.
pub fn with_ground<T>(
    graph: &Graph,
    observed: &Observed,
    mut grams: Vec<[Gram; FOLDS]>,
    units: &mut [Unit],
    options: &Options,
    progress: &dyn Progress,
    then: impl FnOnce(&mut [Unit], &Ground) -> Result<T>,
) -> Result<T> {
    let offered = |u: &Unit| u.options.iter().flatten().copied().collect::<Vec<u32>>();
    let layers: Vec<(&Layer, Vec<u32>)> = units.iter().map(|u| (u.layers[0], offered(u))).collect();
    let halves = halves(options.effort, options.calibration.samples.len());
    // Halves that only judge need no moments of single samples.
    let judging = |fold: &usize| !halves.contains(fold);
    grams.iter_mut().for_each(|of_layer| (0..FOLDS).filter(judging).for_each(|fold| of_layer[fold].forget_samples()));
    progress.stage("round candidates", layers.len());
    let at = |layer: &Layer| observed.placement.layers.iter().position(|l| l.name == layer.name);
    let of_layers: Vec<_> = layers.iter().map(|(l, _)| at(l).and_then(|i| grams.get(i))).collect();
    let candidates = measure(graph, &layers, &of_layers, options.target, halves, &|| progress.tick())?;
    drop(of_layers);
    drop(grams);
    let ground = Ground {
        graph,
        samples: &options.calibration.samples,
        outputs: &observed.seen.outputs,
        candidates: &candidates,
        inputs: units.iter().map(|u| observed.value(&u.layers[0].input)).collect(),
        target: options.target,
        halves,
        apart: set_apart(options.effort, options.calibration.samples.len()),
    };
    then(units, &ground)
}
