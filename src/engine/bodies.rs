//! Operators with bodies: what [`super::branch`] and [`super::repeat`] share.
//!
//! A body is kept as it was parsed, with what it captures as further inputs. It gets types once the types and the known
//! values of its inputs are there: shapes inside may follow from either.

use tract_onnx::model::{ParseResult, ParsingContext};
use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::konst::Const;

/// A body whose inputs are open: first its own, then what it captures.
#[derive(Clone, Debug)]
pub(super) struct Body(InferenceModel);

/// A body with types; inputs whose value is known have become constants.
pub(super) struct Typed {
    pub(super) model: TypedModel,
    /// Which inputs of the body the inputs of the model are.
    pub(super) open: Vec<usize>,
}

impl Body {
    /// The body that an attribute holds, and the names that it captures.
    pub(super) fn parse(
        context: &ParsingContext,
        node: &NodeProto,
        attribute: &str,
    ) -> TractResult<(Body, Vec<String>)> {
        let graph: &GraphProto = node.get_attr(attribute)?;
        let ParseResult { model, unresolved_inputs, .. } = context.parse_graph(graph)?;
        Ok((Body(model), unresolved_inputs))
    }

    pub(super) fn outputs(&self) -> usize {
        self.0.outputs.len()
    }

    /// With types that follow from what is known of the inputs.
    pub(super) fn typed(&self, facts: &[TypedFact]) -> TractResult<Typed> {
        let mut model = self.0.clone();
        let inputs = std::mem::take(&mut model.inputs);
        ensure!(inputs.len() == facts.len(), "a body of {} inputs is given {}", inputs.len(), facts.len());
        let mut open = vec![];
        for (at, (input, fact)) in inputs.iter().zip(facts).enumerate() {
            match &fact.konst {
                Some(value) => model.nodes[input.node].op = Box::new(Const::new(value.clone())?),
                None => {
                    open.push(at);
                    model.inputs.push(*input);
                }
            }
            model.set_outlet_fact(*input, fact.into())?;
        }
        Ok(Typed { model: model.into_typed()?, open })
    }

    /// Puts the nodes of the body where the operator that holds it would stand.
    pub(super) fn inline(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let Typed { model, open } = self.typed(&facts(target, inputs)?)?;
        let given = open.iter().map(|at| inputs[*at]);
        let mut wires: HashMap<OutletId, OutletId> = model.input_outlets()?.iter().copied().zip(given).collect();
        for id in model.eval_order()? {
            let node = model.node(id);
            if TypedModel::is_source(&node.op) {
                continue;
            }
            let read: TVec<OutletId> = node.inputs.iter().map(|read| wires[read]).collect();
            let made = target.wire_node(format!("{prefix}.{}", node.name), node.op.clone(), &read)?;
            wires.extend(made.into_iter().enumerate().map(|(slot, wire)| (OutletId::new(id, slot), wire)));
        }
        model
            .output_outlets()?
            .iter()
            .map(|made| wires.get(made).copied().context("an output without a node"))
            .collect()
    }
}

impl Typed {
    /// Ready to run.
    pub(super) fn plan(mut self) -> TractResult<Arc<TypedSimplePlan>> {
        super::strides::rewrite(&mut self.model, TypedModel::declutter)?;
        super::strides::rewrite(&mut self.model, TypedModel::optimize)?;
        TypedSimplePlan::new(self.model)
    }
}

/// What is known of values of a network.
pub(super) fn facts(model: &TypedModel, wires: &[OutletId]) -> TractResult<Vec<TypedFact>> {
    wires.iter().map(|wire| Ok(model.outlet_fact(*wire)?.clone())).collect()
}

/// An operator that is written out once it is known what its inputs are.
pub(super) trait Holder: std::fmt::Debug + Clone + Send + Sync + 'static {
    fn name(&self) -> &'static str;
    fn outputs(&self) -> usize;
    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>>;
}

/// A [`Holder`] as tract takes it.
#[derive(Clone, Debug)]
pub(super) struct Held<H>(pub(super) H);

impl<H> PartialEq for Held<H> {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl<H> Eq for Held<H> {}

impl<H: Holder> Held<H> {
    /// The operator alone in a network, with what its outputs are there.
    fn alone(&self, facts: impl Iterator<Item = TypedFact>) -> TractResult<TypedModel> {
        let mut model = TypedModel::default();
        let inputs = facts.enumerate().map(|(at, fact)| model.add_source(format!("input{at}"), fact));
        let inputs = inputs.collect::<TractResult<TVec<OutletId>>>()?;
        let outputs = self.0.wire("alone", &mut model, &inputs)?;
        model.select_output_outlets(&outputs)?;
        Ok(model)
    }
}

impl<H: Holder> Op for Held<H> {
    fn name(&self) -> StaticName {
        self.0.name().into()
    }
    not_a_typed_op!();
}

impl<H: Holder> EvalOp for Held<H> {
    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        let known = inputs.iter().map(|value| TypedFact::try_from(value.clone().into_arc_tensor()));
        let model = self.alone(known.collect::<TractResult<Vec<_>>>()?.into_iter())?;
        TypedSimplePlan::new(model)?.run(inputs).map(Some)
    }
}

type Facts = TVec<InferenceFact>;

impl<H: Holder> InferenceOp for Held<H> {
    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(Facts, Facts, Facts)> {
        let owned = |facts: TVec<&InferenceFact>| facts.into_iter().cloned().collect::<Facts>();
        let (inputs, mut outputs, observed) = (owned(inputs), owned(outputs), owned(observed));
        let open = outputs.iter().any(|fact| !fact.datum_type.is_concrete() || !fact.shape.is_concrete());
        let known = inputs.iter().map(TypedFact::try_from).collect::<TractResult<Vec<_>>>();
        // What cannot be said yet is said, or refused, when the whole network gets its types.
        if let (true, Ok(model)) = (open, known.and_then(|known| self.alone(known.into_iter()))) {
            for (fact, outlet) in outputs.iter_mut().zip(model.output_outlets()?) {
                fact.unify_with(&model.outlet_fact(*outlet)?.without_value().into())?;
            }
        }
        Ok((inputs, outputs, observed))
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.0.outputs())
    }

    fn to_typed(
        &self,
        _: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        let inputs: TVec<OutletId> = node.inputs.iter().map(|input| mapping[input]).collect();
        self.0.wire(&node.name, target, &inputs)
    }

    as_op!();
}
