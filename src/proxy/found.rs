//! What a search found, as a proxy file. All of it stands in the transcript.

use super::file::{Measured, Provenance, ProxyFile};
use super::formula::Formula;
use crate::discover::{Candidate, Outcome};
use crate::{Error, Result};
use sha2::{Digest, Sha256};

/// The winner of a run; none where no formula was found. `transcript` is its transcript, every byte.
///
/// # Errors
/// [`Code::Proxy`](crate::Code::Proxy) where the winner's text is no formula, which no run accepts.
pub fn found(outcome: &Outcome, transcript: &[u8]) -> Result<Option<ProxyFile>> {
    let Some(best) = outcome.winner() else { return Ok(None) };
    let header = &outcome.header;
    let mut proxy = ProxyFile::of_formula(Formula::parse(&best.formula).map_err(Error::from)?);
    proxy.name = format!("found-{}", best.fingerprint);
    if !best.thought.trim().is_empty() {
        proxy.thought.clone_from(&best.thought);
    }
    proxy.source = format!("Found by tapq's discovery loop with the proposer {}.", header.proposer);
    proxy.provenance = Some(Provenance {
        model: header.proposer.clone(),
        seed: header.settings.seed,
        network: header.networks.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", "),
        transcript: Sha256::digest(transcript).iter().map(|b| format!("{b:02x}")).collect(),
        generation: best.generation as u32,
    });
    proxy.measured = measured(outcome, best);
    Ok(Some(proxy))
}

fn measured(outcome: &Outcome, best: &Candidate) -> Vec<Measured> {
    let round = |x: f64| (x * 1e4).round() / 1e4;
    let pairs = outcome.header.networks.iter().zip(&best.fitness.networks);
    let of = pairs.map(|(network, on)| Measured {
        network: network.label(),
        spearman: round(on.spearman),
        spearman_best_half: round(on.best_half),
        kendall: round(on.kendall),
        spearman_equal_size: on.equal_size.map(round),
    });
    of.collect()
}
