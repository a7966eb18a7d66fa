//! The highest level of harm whose file reaches a fidelity.
//!
//! What is predicted says what to give up for a level; what is measured says which level will do.

use super::Make;
use super::leave::Leaving;
use super::widen::{WideWeights, Widening};
use crate::pipeline::choice::Assignment;
use crate::pipeline::progress::Progress;
use tapq::Result;
use tapq::plan::{GOAL_MARGIN_DB, Plan};
use tapq::report::decibels;

/// Steps between the levels that are tried, in dB.
const STEP_DB: f64 = 0.25;
/// The lowest level that is tried, in dB below all that there is.
const MOST_DB: f64 = 100.0;

/// A plan that gives something up, the widths that made it, and the SQNR of its file.
#[derive(Clone)]
pub struct Found {
    /// The widths.
    pub widths: Assignment,
    /// What they make.
    pub plan: Plan,
    /// SQNR in dB of its file.
    pub db: f64,
}

/// Finds what reaches a fidelity.
pub struct Search<'a> {
    /// SQNR in dB that is to be reached.
    pub goal: f64,
    /// Makes a plan of widths.
    pub make: Make<'a>,
    /// SQNR in dB of the file that a plan makes.
    pub sqnr_db: &'a dyn Fn(&Plan) -> Result<f64>,
    /// Who is told.
    pub progress: &'a dyn Progress,
}

impl Search<'_> {
    /// Whether a file has the margin that files aim at.
    pub fn is_reached(&self, found: &Found) -> bool {
        found.db >= self.goal + GOAL_MARGIN_DB
    }

    /// The file of the highest level of harm that reaches the goal with the margin; else the one that reaches it
    /// without, or that comes nearest.
    pub fn run(&self, means: &Means, from: &Found) -> Result<Found> {
        let [all, least] = means.bounds();
        let levels = (decibels(least) - decibels(all)).clamp(0.0, MOST_DB) / STEP_DB;
        let (mut low, mut high) = (0, levels.ceil() as usize + 1);
        self.progress.stage("reach the goal", high.ilog2() as usize + 1);
        let (mut best, mut last): (Option<Found>, Option<Found>) = (None, None);
        // Less rounding is not always less noise.
        let mut nearest = from.clone();
        // Predicted and measured errors differ, but not wildly: the first try is where they would meet.
        let mut next = ((self.goal + GOAL_MARGIN_DB - from.db) / STEP_DB).round() as usize;
        while high - low > 1 {
            let level = next.clamp(low + 1, high - 1);
            let most = (all * 10f64.powf(-0.1 * STEP_DB * level as f64)).max(least);
            let widths = means.within(most, &from.widths)?;
            let found = match last.take().filter(|found| found.widths == widths) {
                Some(same) => same,
                None => {
                    let plan = (self.make)(&widths)?;
                    Found { db: (self.sqnr_db)(&plan)?, widths, plan }
                }
            };
            self.progress.tick();
            if self.is_reached(&found) {
                high = level;
                best = Some(found.clone());
            } else {
                low = level;
                if found.db.min(self.goal) > nearest.db {
                    nearest = found.clone();
                }
            }
            last = Some(found);
            next = low.midpoint(high);
        }
        Ok(best.unwrap_or(nearest))
    }
}

/// What can be given up, and how much of it for how much harm.
pub enum Means<'a> {
    /// Activations get more bits.
    Activations(Widening<'a>),
    /// Weights get more bits.
    Weights(WideWeights<'a>),
    /// Operators are left in float.
    Float(Leaving<'a>),
}

impl Means<'_> {
    /// Predicted harm with nothing given up, and with everything.
    pub fn bounds(&self) -> [f64; 2] {
        match self {
            Means::Activations(widening) => widening.bounds(),
            Means::Weights(weights) => weights.bounds(),
            Means::Float(leaving) => leaving.bounds(),
        }
    }

    /// `base`, changed as little as it takes for no more harm than `most`.
    pub fn within(&self, most: f64, base: &Assignment) -> Result<Assignment> {
        let mut widths = base.clone();
        match self {
            Means::Activations(widening) => widening.within(most, &mut widths)?,
            Means::Weights(weights) => weights.within(most, &mut widths)?,
            Means::Float(leaving) => leaving.within(most, &mut widths),
        }
        Ok(widths)
    }
}
