//! What a search must know of a formula before it is judged on any network.

use super::Formula;
use crate::discover::Parsed;

/// Whether a feature needs a run for each layer and width: what proxies are held against, and may not be made of.
pub fn is_reference(feature: &str) -> bool {
    matches!(feature, "one_err" | "point_err")
}

/// Reads a formula that was proposed.
///
/// # Errors
/// A message for whoever proposed it.
pub fn understand(formula: &str) -> Result<Parsed, String> {
    let read = Formula::parse(formula).map_err(|e| format!("{e:#}"))?;
    if let Some(costly) = read.features().iter().find(|f| is_reference(f.name)) {
        return Err(format!("feature `{}` needs a run for each layer and width: use the others", costly.name));
    }
    Ok(Parsed {
        canonical: read.canonical().to_string(),
        fingerprint: read.fingerprint(),
        degenerate: read.is_degenerate(),
    })
}
