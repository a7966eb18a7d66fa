//! Writes what the file is into its metadata.
//!
//! ## What it does
//! Sets `tapq.version`, `tapq.target`, `tapq.proxy` and `tapq.plan` on the model, and `tapq.fixed_inputs` (a JSON object
//! of names and values) where inputs were fixed.
//!
//! ## Why
//! A file on a device must say how it was made; nodes carry their own tags from the passes that make them.

use tapq::Result;
use tapq::graph::{Edit, Patch};
use tapq::plan::{FIXED_INPUTS, Plan};

/// Writes what the file is into its metadata.
pub fn tag(plan: &Plan) -> Result<Patch> {
    let mut patch = Patch::new();
    let entries = [
        ("tapq.version", plan.tapq.clone()),
        ("tapq.target", plan.target.clone()),
        ("tapq.proxy", plan.proxy.clone()),
        ("tapq.plan", plan.summary()?),
    ];
    for (key, value) in entries {
        patch.push(Edit::SetMetadata(key.to_owned(), value));
    }
    if let Some(fixed) = plan.fixed_summary() {
        patch.push(Edit::SetMetadata(FIXED_INPUTS.to_owned(), fixed));
    }
    patch.because("metadata");
    Ok(patch)
}
