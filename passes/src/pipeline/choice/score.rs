//! What the proxy says that each width costs.

use super::budget::Unit;
use super::chooser::Chooser;
use super::features::table;
use super::ground::Ground;
use crate::pipeline::depth::Depth;
use crate::pipeline::progress::Progress;
use tapq::Result;
use tapq::proxy::{ProxyFile, Table, feature, scale_to, sensitivities};

/// The feature that is damage at the network's output.
const DAMAGE: &str = "net_err";

/// Fills in the sensitivity of every unit: what the proxy says that each width costs.
///
/// Where gains are known, or wanted with `comparable`, it is brought to the scale of the network's relative output
/// error: activations, whose damage is measured as that, may share a budget with it.
pub fn score(
    chooser: &Chooser,
    units: &mut [Unit],
    ground: &Ground,
    (proxy, comparable): (&ProxyFile, bool),
    depth: &Depth,
    progress: &dyn Progress,
) -> Result<()> {
    let mut wanted = proxy.formula.features();
    wanted.extend(comparable.then(|| feature(DAMAGE)).flatten());
    let table = table(chooser, units, ground, &wanted, depth, progress)?;
    let found = sensitivities(&proxy.formula, &table)?;
    let scale = scale(&table, &found, depth);
    for ((unit, candidates), row) in units.iter_mut().zip(ground.candidates).zip(found) {
        let at = |b: &u32| table.widths().iter().position(|w| w == b).and_then(|i| row.get(i)).copied();
        unit.sensitivity.bits.clone_from(&candidates.bits);
        unit.sensitivity.error = candidates.bits.iter().map(|b| at(b).unwrap_or(0.0) * scale).collect();
    }
    Ok(())
}

/// The factor that brings costs to the scale of the network's relative output error, by the widths that gains were
/// measured at; 1 where that is not known.
fn scale(table: &Table, costs: &[Vec<f64>], depth: &Depth) -> f64 {
    let widths = table.widths();
    if !table.has(DAMAGE) || widths.len() < 2 {
        return 1.0;
    }
    let of = |l: usize| (0..widths.len()).map(|w| table.get(DAMAGE, l, w).unwrap_or(0.0)).collect();
    let damage: Vec<Vec<f64>> = (0..table.layers().len()).map(of).collect();
    let high = widths.len() - 1;
    let measured_at = depth.gain_bits[depth.gain_bits.len() / 2];
    let low = (0..high).min_by_key(|w| widths[*w].abs_diff(measured_at)).unwrap_or(0);
    scale_to(&damage, costs, low, high)
}
