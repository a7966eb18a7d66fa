//! Which width each activation gets within a budget of their own.
//!
//! A knapsack over groups of values spends the bits, and its choice is compared as a whole with one width for all.

use super::field::{Field, Group};
use super::probe::Change;
use super::verdict::Verdict;
use crate::pipeline::depth::Depth;
use crate::pipeline::options::Options;
use crate::pipeline::progress::Progress;
use tapq::allocate::{self, Budget, Choice, Problem};
use tapq::array::Array;
use tapq::plan::{AllocationRecord, Compared};
use tapq::report::{Compare, decibels};
use tapq::{Code, Error, Result};

/// The widths of activations that one budget allows.
pub struct ChosenActivations {
    /// Width of each group.
    pub bits: Vec<u32>,
    /// The widest width for all within the budget, if there is one.
    pub uniform: Option<Vec<u32>>,
    /// How they were found.
    pub record: AllocationRecord,
}

/// Whether widths of activations are to be chosen.
///
/// # Errors
/// [`Code::Config`] if one width is asked for beside a budget, [`Code::Refused`] where the device has only one.
pub fn is_choice(options: &Options) -> Result<bool> {
    let several = options.target.activations.bits.len() > 1;
    let Some(average) = options.widths.average_activation else {
        return Ok(several && options.activation_bits.is_none() && options.widths.max_bops.is_some());
    };
    if options.activation_bits.is_some() {
        let what = "--act-bits asks for one width of activations, and --avg-act-bits for a choice";
        return Err(Error::new(Code::Config, what).help("give one or the other"));
    }
    if !several {
        let only = options.target.default_activation_bits();
        let asked = average.floor().clamp(1.0, 16.0) as u32;
        options.target.check_activation_bits(asked.min(only))?;
        let what = format!("{} has {only}-bit activations only, so there is nothing to choose", options.target.name);
        return Err(Error::new(Code::Refused, what).help("leave --avg-act-bits out"));
    }
    Ok(true)
}

impl Field {
    /// Chooses within an average over the elements of activations.
    pub fn choose(
        &self,
        average: f64,
        options: &Options,
        outputs: &[Vec<Array>],
        progress: &dyn Progress,
    ) -> Result<ChosenActivations> {
        let elements: f64 = self.groups.iter().map(|g| g.elements).sum();
        let problem = |cost: &dyn Fn(&Group, usize) -> f64| {
            let choice =
                |g: &Group, w: usize| Choice { cost: cost(g, w), weights: vec![g.elements * f64::from(g.bits[w])] };
            Problem {
                layers: self.groups.iter().map(|g| (0..g.bits.len()).map(|w| choice(g, w)).collect()).collect(),
                budgets: vec![Budget { name: "activation bits".to_owned(), limit: average * elements, over: elements }],
            }
        };
        let solution = allocate::solve(&problem(&|g, w| g.damage[w]))?;
        let picked = |picks: &[usize]| -> Vec<u32> { self.groups.iter().zip(picks).map(|(g, p)| g.bits[*p]).collect() };
        let mut tried = vec![("chosen", picked(&solution.picks))];
        let fits = |b: &&u32| f64::from(**b) <= average * (1.0 + 1e-9);
        let uniform = self.bits().iter().rev().find(fits).map(|b| self.uniform(*b));
        let own = allocate::solve(&problem(&|g, w| g.noise[w])).ok().map(|s| picked(&s.picks));
        for (name, bits) in [("uniform", uniform.clone()), ("knapsack by each value's own noise", own)] {
            if let Some(bits) = bits.filter(|b| tried.iter().all(|(_, t)| t != b)) {
                tried.push((name, bits));
            }
        }
        let samples = &options.calibration.samples;
        let samples = &samples[..Depth::of(options.effort).compare_samples.min(samples.len())];
        let changes: Vec<Change> =
            tried.iter().map(|(_, bits)| Change { weights: vec![], steps: self.steps(bits) }).collect();
        progress.stage("compare activations", samples.len());
        let errors = self.errors(&changes, samples, outputs, progress)?;
        // Found by its widths: the knapsack may have chosen the same.
        let at = uniform.as_ref().and_then(|u| tried.iter().position(|(_, t)| t == u));
        let verdict = Verdict::of(&errors, at, options.effort);
        let best = verdict.taken;
        let compared = |((what, bits), error): (&(&str, Vec<u32>), &Compare)| Compared {
            what: (*what).to_owned(),
            average_bits: None,
            average_activation_bits: Some(self.average(bits)),
            sqnr_db: decibels(error.relative_error()),
            taken: false,
        };
        let bits = tried[best].1.clone();
        let used = bits.iter().zip(&self.groups).map(|(b, g)| f64::from(*b) * g.elements).sum();
        let name = || "activation bits".to_owned();
        Ok(ChosenActivations {
            record: AllocationRecord {
                method: if best == 0 { "knapsack".to_owned() } else { tried[best].0.to_owned() },
                budgets: [(name(), average * elements)].into(),
                used: [(name(), used)].into(),
                sensitivity: Some(self.damage(&bits)),
                proof: verdict.proof(best == 0, &solution),
                compared: tried.iter().zip(&errors).filter(|_| verdict.measured).map(compared).collect(),
            },
            uniform,
            bits,
        })
    }
}
