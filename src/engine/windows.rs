//! Operators that slide a window over spatial axes, and BatchNormalization: their first input has a batch and a channel
//! axis.
//!
//! tract reads these axes, and one number for each spatial axis, without looking whether they are there: a shape or a list
//! that is too short would read memory that is not its own. So lists are checked when the operator is built, and ranks
//! before tract's own rules see the shape.

use std::collections::HashMap;
use std::sync::LazyLock;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// The operators that are checked.
pub(super) const OPERATORS: [&str; 7] =
    ["AveragePool", "BatchNormalization", "Conv", "ConvInteger", "ConvTranspose", "LpPool", "MaxPool"];

/// Lists with a number for each spatial axis: their names, how many numbers, and the least.
const LISTS: [(&str, usize, i64); 4] =
    [("kernel_shape", 1, 1), ("strides", 1, 1), ("dilations", 1, 1), ("pads", 2, i64::MIN)];

/// Sums and products of two numbers up to this do not overflow.
const MOST: i64 = i32::MAX as i64;

type Build = fn(&ParsingContext, &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// Builds what tract makes of the node, behind a check of its input's rank.
pub(super) fn build(context: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    static OWN: LazyLock<HashMap<String, Build>> = LazyLock::new(|| tract_onnx::onnx().op_register.0);
    let spatial = spatial_axes(node)?;
    let own = OWN.get(&node.op_type).with_context(|| format!("there is no operator {}", node.op_type))?;
    let (op, closures) = own(context, node)?;
    match op.into_any().downcast::<Box<dyn Expansion>>() {
        Ok(op) => Ok((expand(Windowed { op: *op, spatial }), closures)),
        Err(_) => bail!("{} is built in a way that cannot be checked", node.op_type),
    }
}

/// The number of spatial axes that the node's lists agree on; `None` where it has none, so that any number will do.
fn spatial_axes(node: &NodeProto) -> TractResult<Option<usize>> {
    let mut agreed: Option<(&str, usize)> = None;
    for (name, each, least) in LISTS {
        let Some(list) = node.get_attr_opt_vec::<i64>(name)? else { continue };
        ensure!(!list.is_empty(), "{name} is an empty list");
        if let Some(odd) = list.iter().find(|v| !(least..=MOST).contains(v)) {
            bail!("{name} holds {odd}, which no window can have");
        }
        ensure!(list.len() % each == 0, "{name} has {} numbers, two are needed for each spatial axis", list.len());
        let axes = list.len() / each;
        match agreed {
            Some((other, others)) => {
                ensure!(others == axes, "{other} is for {others} spatial axes, {name} for {axes}");
            }
            None => agreed = Some((name, axes)),
        }
    }
    if let Some(group) = node.get_attr_opt::<i64>("group")? {
        ensure!((1..=MOST).contains(&group), "there cannot be {group} groups");
    }
    Ok(agreed.map(|(_, axes)| axes))
}

#[derive(Clone, Debug)]
struct Windowed {
    op: Box<dyn Expansion>,
    spatial: Option<usize>,
}

impl Expansion for Windowed {
    fn name(&self) -> StaticName {
        self.op.as_ref().name()
    }
    fn validation(&self) -> Validation {
        self.op.as_ref().validation()
    }
    fn info(&self) -> TractResult<Vec<String>> {
        self.op.as_ref().info()
    }
    fn nboutputs(&self) -> TractResult<usize> {
        self.op.as_ref().nboutputs()
    }
    fn runs_out_of_plan(&self) -> bool {
        self.op.as_ref().runs_out_of_plan()
    }
    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        self.op.as_ref().wire(prefix, model, inputs)
    }
    fn wire_with_inference_model_and_node(
        &self,
        prefix: &str,
        model: &InferenceModel,
        node: &InferenceNode,
        typed: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        self.op.as_ref().wire_with_inference_model_and_node(prefix, model, node, typed, inputs)
    }
    /// The check comes first: rules are tried in their order, and tract's own read the shape.
    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let Some(input) = inputs.first() else { bail!("an input is missing") };
        solver.given(&input.rank, |_, rank| {
            ensure!(rank >= 2, "the input needs a batch and a channel axis, its rank is {rank}");
            let axes = rank as usize - 2;
            if let Some(spatial) = self.spatial {
                ensure!(axes == spatial, "its lists are for {spatial} spatial axes, the input has {axes}");
            }
            Ok(())
        })?;
        self.op.as_ref().rules(solver, inputs, outputs)
    }
}
