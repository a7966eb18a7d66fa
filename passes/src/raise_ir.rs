//! `raise_ir`: initializers stop being graph inputs.

use crate::Pass;
use tapq::Result;
use tapq::graph::{Edit, Graph, Patch};

/// ## What it does
/// Raises a model of IR version 3 or older to IR 4, and drops the graph inputs that only list an initializer. Does the
/// latter in later models, too, if every initializer is listed.
///
/// ## Why
/// Up to IR 3 every initializer had to be listed as an input, so no new initializer can be added without changing
/// the interface of the model; from IR 4 on a listed initializer is one that callers may override. Where all of them
/// are listed, an exporter did so (`keep_initializers_as_inputs`), and nobody means to override every weight.
///
/// ## When it refuses
/// Never; where a model of IR 4 and later lists some initializers and not others, they stay overridable.
///
/// ## Example
/// `<ir_version: 3> (x, w) => (y) <w = {…}>` becomes `<ir_version: 4> (x) => (y) <w = {…}>`.
pub struct RaiseIr;

impl Pass for RaiseIr {
    fn name(&self) -> &'static str {
        "raise_ir"
    }

    fn about(&self) -> &'static str {
        "initializers that are all listed as inputs stop being inputs"
    }

    fn run(&self, graph: &Graph) -> Result<Option<Patch>> {
        let version = graph.model().ir_version;
        let mut patch = Patch::new();
        if version >= 4 {
            let constants = &graph.proto().initializer;
            if constants.iter().all(|t| graph.index().is_input(&t.name)) && !constants.is_empty() {
                patch.because("every initializer is listed as an input".to_owned());
                constants.iter().for_each(|t| patch.push(Edit::RemoveInput(t.name.clone())));
            }
            return Ok(patch.into_option());
        }
        patch.because(format!("IR {version} lists every initializer as an input"));
        patch.push(Edit::SetIr(4));
        Ok(Some(patch))
    }
}
