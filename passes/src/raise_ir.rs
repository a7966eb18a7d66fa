//! `raise_ir`: initializers stop being graph inputs.

use crate::Pass;
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch};

/// ## What it does
/// Raises a model of IR version 3 or older to IR 4, and drops the graph inputs that only list an initializer.
///
/// ## Why
/// Up to IR 3 every initializer had to be listed as an input, so no new initializer can be added without changing
/// the interface of the model; from IR 4 on a listed initializer is one that callers may override.
///
/// ## When it refuses
/// Never; models of IR 4 and later are left alone, their listed initializers stay overridable.
///
/// ## Example
/// `<ir_version: 3> (x, w) => (y) <w = {…}>` becomes `<ir_version: 4> (x) => (y) <w = {…}>`.
pub struct RaiseIr;

impl Pass for RaiseIr {
    fn name(&self) -> &'static str {
        "raise_ir"
    }

    fn about(&self) -> &'static str {
        "initializers that IR 3 lists as inputs stop being inputs"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let version = graph.model().ir_version;
        if version >= 4 {
            return Ok(None);
        }
        let mut patch = Patch::new();
        patch.because(format!("IR {version} lists every initializer as an input"));
        patch.push(Edit::SetIr(4));
        Ok(Some(patch))
    }
}
