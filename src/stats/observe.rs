//! Running samples through the float network and collecting statistics.

use super::{Backend, Gram, GramRequest, Request, Session, TensorStats};
use crate::array::Array;
use crate::engine::{Engine, Place, Runs, Seen};
use crate::samples::Sample;
use crate::{Code, Error, Result};
use rayon::prelude::*;
use std::sync::Arc;

/// What was seen of one value.
#[derive(Clone, Debug, Default)]
pub struct ValueObservation {
    /// Shape in the first sample.
    pub dims: Vec<usize>,
    /// Statistics, one a sample, in sample order; past [`KEPT_APART`] samples, further ones are pooled with the first,
    /// the second and so on.
    pub samples: Vec<TensorStats>,
    /// Samples in all.
    pub count: usize,
}

/// Samples whose statistics are kept apart, so that memory is bounded.
pub const KEPT_APART: usize = 64;

impl ValueObservation {
    /// What was seen in the samples of one half.
    pub fn of_half(&self, half: usize) -> ValueObservation {
        // Samples are pooled with others of their half.
        let samples: Vec<TensorStats> = self.samples.iter().skip(half).step_by(FOLDS).cloned().collect();
        let count = self.count.saturating_sub(half).div_ceil(FOLDS);
        ValueObservation { dims: self.dims.clone(), samples, count }
    }

    /// The statistics with the number of samples that are pooled in them.
    pub fn weighted(&self) -> impl Iterator<Item = (&TensorStats, usize)> {
        let apart = self.samples.len().max(1);
        self.samples.iter().enumerate().map(move |(i, s)| (s, self.count.saturating_sub(i).div_ceil(apart)))
    }
}

/// What was seen of the network.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// One for each request, in order.
    pub values: Vec<ValueObservation>,
    /// Gram matrices by the `layer` of their request, of the even samples and of the odd ones: what one half says of
    /// rounding can then be checked on the other.
    pub grams: Vec<[Gram; FOLDS]>,
    /// Float outputs of each sample.
    pub outputs: Vec<Vec<Array>>,
}

/// Halves of the samples.
pub const FOLDS: usize = 2;

struct SampleObservation {
    values: Vec<(Vec<usize>, TensorStats)>,
    outputs: Vec<Array>,
}

/// Runs the samples, in parallel, with the taps of the network measured as `requests` say (same order).
///
/// `engines` gives the network where a backend wants it. Samples at the positions `apart` give no moments: something else is to be judged on them. `done` is called once a
/// sample. NaN or infinity in an activation is an error that names it.
pub fn observe(
    engines: &dyn Fn(Place) -> Arc<Engine>,
    requests: &[Request],
    samples: &[Sample],
    apart: &[usize],
    backend: &dyn Backend,
    done: &(dyn Fn() + Sync),
) -> Result<Observation> {
    let (requests, like) = once_each(requests);
    let job = Job { requests: &requests, samples, apart, done };
    let seen = job.on(&engines(backend.place()), backend);
    let mut seen = match seen.as_ref().err().and_then(|e| backend.instead(e)) {
        // What a failed device has summed up is not to be told from what it has not.
        Some(other) => job.on(&engines(other.place()), other),
        None => seen,
    }?;
    for (layer, first) in like {
        seen.grams.resize_with(seen.grams.len().max(layer + 1), Default::default);
        seen.grams[layer] = seen.grams[first].clone();
    }
    Ok(seen)
}

/// Requests in which layers that read a value in the same way (query, key and value of an attention) ask for X'X once,
/// and pairs of such a layer with the one that asks.
fn once_each(requests: &[Request]) -> (Vec<Request>, Vec<(usize, usize)>) {
    let mut like = vec![];
    let mut requests = requests.to_vec();
    for request in &mut requests {
        let mut asked: Vec<GramRequest> = vec![];
        for gram in request.grams.drain(..) {
            match asked.iter().find(|other| other.patches == gram.patches) {
                Some(other) => like.push((gram.layer, other.layer)),
                None => asked.push(gram),
            }
        }
        request.grams = asked;
    }
    (requests, like)
}

/// What is to be observed, whatever measures it.
#[derive(Clone, Copy)]
struct Job<'a> {
    requests: &'a [Request],
    samples: &'a [Sample],
    apart: &'a [usize],
    done: &'a (dyn Fn() + Sync),
}

impl Job<'_> {
    fn on(self, engine: &Engine, backend: &dyn Backend) -> Result<Observation> {
        let Job { requests, samples, apart, done } = self;
        let layers = requests.iter().flat_map(|r| &r.grams).map(|g| g.layer + 1).max().unwrap_or(0);
        let mut seen = Observation { grams: vec![Default::default(); layers], ..Default::default() };
        seen.values.resize_with(requests.len(), ValueObservation::default);
        let one = |i: usize, runs: &mut Runs, session: &mut dyn Session| -> Result<SampleObservation> {
            let moments = layers > 0 && !apart.contains(&i);
            let found = observe_one(runs, requests, (session, moments), &samples[i]);
            done();
            found.map_err(|e| e.at(format!("sample {i}")))
        };
        if layers == 0 {
            let alone = |runs: &mut Runs, i: usize| one(i, runs, &mut *backend.session(0));
            for first in (0..samples.len()).step_by(KEPT_APART) {
                let some = first..(first + KEPT_APART).min(samples.len());
                let found: Vec<Result<SampleObservation>> =
                    some.into_par_iter().map_init(|| engine.runs(), alone).collect();
                // In order, as below: the first sample that fails is named, whatever the threads did.
                for sample in found {
                    seen.add(sample?, KEPT_APART);
                }
            }
            return Ok(seen);
        }
        // Each half is summed in its order, so that no more than two sets of matrices exist, whatever the thread count.
        let half = |fold: usize| {
            let (mut session, mut runs) = (backend.session(layers), engine.runs());
            let mut part = Observation::default();
            part.values.resize_with(requests.len(), ValueObservation::default);
            let mut failed = None;
            for i in (fold..samples.len()).step_by(FOLDS) {
                match one(i, &mut runs, &mut *session) {
                    Ok(sample) => part.add(sample, KEPT_APART / FOLDS),
                    Err(e) => {
                        failed = Some((i, e));
                        break;
                    }
                }
            }
            (session.finish(), part, failed)
        };
        let halves: Vec<_> = (0..FOLDS).into_par_iter().map(half).collect();
        let (mut parts, mut failures) = (vec![], vec![]);
        for (fold, (grams, part, failed)) in halves.into_iter().enumerate() {
            match failed {
                Some(failed) => failures.push(failed),
                None => seen.grams.iter_mut().zip(grams?).for_each(|(all, gram)| all[fold] = gram),
            }
            parts.push(part);
        }
        if let Some((_, e)) = failures.into_iter().min_by_key(|(i, _)| *i) {
            return Err(e);
        }
        seen.interleave(parts);
        Ok(seen)
    }
}

impl Observation {
    /// Adds the next sample; past `apart` of them it is pooled with the one that came so many before it.
    fn add(&mut self, sample: SampleObservation, apart: usize) {
        let at = self.outputs.len();
        for (value, (dims, stats)) in self.values.iter_mut().zip(sample.values) {
            if value.samples.is_empty() {
                value.dims = dims;
            }
            match value.samples.get_mut(at % apart) {
                Some(pooled) if at >= apart => pooled.pool(&stats),
                _ => value.samples.push(stats),
            }
            value.count += 1;
        }
        self.outputs.push(sample.outputs);
    }

    /// Puts the samples of all halves in their order.
    fn interleave(&mut self, parts: Vec<Observation>) {
        let (mut of_values, mut of_outputs) = (vec![], vec![]);
        for part in parts {
            of_values.push(part.values);
            of_outputs.push(part.outputs);
        }
        self.outputs = in_turn(of_outputs);
        for (v, value) in self.values.iter_mut().enumerate() {
            let own: Vec<ValueObservation> = of_values.iter_mut().map(|half| std::mem::take(&mut half[v])).collect();
            value.dims = own.first().map(|first| first.dims.clone()).unwrap_or_default();
            value.count = own.iter().map(|half| half.count).sum();
            value.samples = in_turn(own.into_iter().map(|half| half.samples).collect());
        }
    }
}

/// The first of each, the second of each, and so on.
fn in_turn<T>(lists: Vec<Vec<T>>) -> Vec<T> {
    let all: usize = lists.iter().map(Vec::len).sum();
    let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
    let halves = lists.len().max(1);
    (0..all).filter_map(|i| lists[i % halves].next()).collect()
}

fn observe_one(
    runs: &mut Runs,
    requests: &[Request],
    (session, moments): (&mut dyn Session, bool),
    sample: &Sample,
) -> Result<SampleObservation> {
    let mut values = vec![(vec![], TensorStats::default()); requests.len()];
    let (mut measured, mut failure) = (vec![], None);
    let mut on_tap = |tap: usize, tensor: &Seen| {
        values[tap].0 = tensor.dims().to_vec();
        if requests[tap].only_tap || failure.is_some() {
            return;
        }
        match session.measure(tensor, &requests[tap], moments) {
            Ok(()) => measured.push(tap),
            Err(e) => failure = Some(e),
        }
    };
    let outputs = runs.run_in_place(sample, &mut on_tap)?;
    if let Some(e) = failure {
        return Err(e);
    }
    for (tap, stats) in measured.into_iter().zip(session.collect()?) {
        refuse_non_finite(&requests[tap].value, &stats)?;
        values[tap].1 = stats;
    }
    Ok(SampleObservation { values, outputs })
}

fn refuse_non_finite(value: &str, stats: &TensorStats) -> Result<()> {
    if stats.nans + stats.infinities == 0 {
        return Ok(());
    }
    let what = format!("{} NaN and {} infinite elements", stats.nans, stats.infinities);
    Err(Error::new(Code::NonFinite, what).at(format!("activation '{value}'")))
}
