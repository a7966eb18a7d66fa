//! The order of the proofs: the bound, the searches, and branch and bound last.

use super::core::{Core, Picks};
use super::search::{Found, Ladder, beam, search};
use super::{Proof, Prover, minimal, mip};

/// The optimum, from an allocation that meets the budgets, with the proof in scaled units.
pub(super) fn prove(core: &Core, picks: Picks) -> (Picks, Proof) {
    let reduced = core.reduced_costs(&core.prices);
    let excess = core.excess(&reduced, &picks);
    if excess <= 0.0 {
        return (picks, Proof::Optimal(Prover::Bound));
    }
    if core.budgets == 1
        && let Some(better) = minimal::search(core, &reduced, &picks)
    {
        return (better, Proof::Optimal(Prover::Search));
    }
    let ladder = Ladder::new(core);
    // A cutoff far below the excess is often enough, and then leaves little to look at.
    let mut cutoff = excess / 65536.0;
    let mut proven = 0.0;
    loop {
        match search(core, &ladder, cutoff.min(excess)) {
            Found::Best(better) => return (better, Proof::Optimal(Prover::Search)),
            Found::Nothing if cutoff >= excess => return (picks, Proof::Optimal(Prover::Search)),
            Found::Nothing => (proven, cutoff) = (cutoff, cutoff * 2.0),
            Found::TooMany => break,
        }
    }
    let better = beam(core, &ladder, cutoff.min(excess)).unwrap_or(picks);
    mip::solve(core, &reduced, better, proven)
}
