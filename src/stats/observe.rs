//! Running samples through the float network and collecting statistics.

use super::{Backend, Gram, Request, Session, TensorStats};
use crate::array::Array;
use crate::engine::{Engine, TapView};
use crate::samples::Sample;
use crate::{Code, Error, Result};
use rayon::prelude::*;

/// What was seen of one value.
#[derive(Clone, Debug, Default)]
pub struct ValueObservation {
    /// Shape in the first sample.
    pub dims: Vec<usize>,
    /// Statistics, one a sample, in sample order.
    pub samples: Vec<TensorStats>,
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

/// Runs the samples, in parallel, with `engine`'s taps measured as `requests` say (same order).
///
/// Samples at the positions `apart` give no moments: something else is to be judged on them. `done` is called once a
/// sample. NaN or infinity in an activation is an error that names it.
pub fn observe(
    engine: &Engine,
    requests: &[Request],
    samples: &[Sample],
    apart: &[usize],
    backend: &dyn Backend,
    done: &(dyn Fn() + Sync),
) -> Result<Observation> {
    let job = Job { engine, requests, samples, apart, done };
    let seen = job.on(backend);
    match seen.as_ref().err().and_then(|e| backend.instead(e)) {
        // What a failed device has summed up is not to be told from what it has not.
        Some(other) => job.on(other),
        None => seen,
    }
}

/// What is to be observed, whatever measures it.
#[derive(Clone, Copy)]
struct Job<'a> {
    engine: &'a Engine,
    requests: &'a [Request],
    samples: &'a [Sample],
    apart: &'a [usize],
    done: &'a (dyn Fn() + Sync),
}

impl Job<'_> {
    fn on(self, backend: &dyn Backend) -> Result<Observation> {
        let Job { engine, requests, samples, apart, done } = self;
        let layers = requests.iter().flat_map(|r| &r.grams).map(|g| g.layer + 1).max().unwrap_or(0);
        let mut seen = Observation { grams: vec![Default::default(); layers], ..Default::default() };
        seen.values.resize_with(requests.len(), ValueObservation::default);
        let one = |i: usize, session: &mut dyn Session| -> Result<SampleObservation> {
            let moments = layers > 0 && !apart.contains(&i);
            let found = observe_one(engine, requests, (session, moments), &samples[i]);
            done();
            found.map_err(|e| e.at(format!("sample {i}")))
        };
        if layers == 0 {
            let alone = |i: usize| one(i, &mut *backend.session(0));
            let found: Vec<Result<SampleObservation>> = (0..samples.len()).into_par_iter().map(alone).collect();
            // In order, as below: the first sample that fails is named, whatever the threads did.
            for sample in found {
                seen.add(sample?);
            }
            return Ok(seen);
        }
        // Each half is summed in its order, so that no more than two sets of matrices exist, whatever the thread count.
        let half = |fold: usize| {
            let mut session = backend.session(layers);
            let mut found = vec![];
            for i in (fold..samples.len()).step_by(FOLDS) {
                found.push(one(i, &mut *session));
                if found.last().is_some_and(Result::is_err) {
                    break;
                }
            }
            (session.finish(), found.into_iter())
        };
        let halves: Vec<_> = (0..FOLDS).into_par_iter().map(half).collect();
        let (grams, mut found): (Vec<_>, Vec<_>) = halves.into_iter().unzip();
        for sample in (0..samples.len()).map_while(|i| found[i % FOLDS].next()) {
            seen.add(sample?);
        }
        for (fold, grams) in grams.into_iter().enumerate() {
            seen.grams.iter_mut().zip(grams?).for_each(|(all, gram)| all[fold] = gram);
        }
        Ok(seen)
    }
}

impl Observation {
    fn add(&mut self, sample: SampleObservation) {
        for (value, (dims, stats)) in self.values.iter_mut().zip(sample.values) {
            if value.samples.is_empty() {
                value.dims = dims;
            }
            value.samples.push(stats);
        }
        self.outputs.push(sample.outputs);
    }
}

fn observe_one(
    engine: &Engine,
    requests: &[Request],
    (session, moments): (&mut dyn Session, bool),
    sample: &Sample,
) -> Result<SampleObservation> {
    let mut values = vec![(vec![], TensorStats::default()); requests.len()];
    let mut failure = None;
    let mut on_tap = |tap: usize, view: &TapView| {
        let request = &requests[tap];
        let measured = measure(request, view, session, moments);
        match measured {
            Ok(stats) => values[tap] = (view.dims.to_vec(), stats),
            Err(e) => drop(failure.get_or_insert(e)),
        }
    };
    let outputs = engine.run(sample, &mut on_tap)?;
    match failure {
        Some(e) => Err(e),
        None => Ok(SampleObservation { values, outputs }),
    }
}

fn measure(request: &Request, view: &TapView, session: &mut dyn Session, moments: bool) -> Result<TensorStats> {
    if request.only_tap {
        return Ok(TensorStats::default());
    }
    let stats = session.measure(view.dims, view.values, request, moments)?;
    if stats.nans + stats.infinities > 0 {
        let what = format!("{} NaN and {} infinite elements", stats.nans, stats.infinities);
        return Err(Error::new(Code::NonFinite, what).at(format!("activation '{}'", request.value)));
    }
    Ok(stats)
}
