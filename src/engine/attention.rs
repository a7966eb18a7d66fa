//! ONNX's Attention, written out in the operators it is made of.
//!
//! tract's own refuses boolean masks and softcap, counts the past out of the causal mask, and makes NaN of a query that
//! may look at nothing behind 32 keys. What ONNX leaves open is as ONNX Runtime has it: scores are capped before they
//! are masked, and a query that may look at nothing gets zeros.

use super::spelling::Spelling;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::logic::{Iff, comp_gt};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, Softmax, SoftmaxKind};
use tract_onnx::tract_hir::internal::*;

/// What forbids a query to look at a key: finite, so that no difference of two is NaN.
const FORBIDDEN: f32 = f32::MIN;

/// Builds what tract should make of `Attention`.
pub(super) fn build(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let heads = |name| -> TractResult<Option<usize>> {
        Ok(node.get_attr_opt::<i64>(name)?.map(usize::try_from).transpose()?.filter(|n| *n > 0))
    };
    let given = |names: &[String], at: usize| names.get(at).is_some_and(|n| !n.is_empty());
    let op = Attention {
        heads: heads("q_num_heads")?.zip(heads("kv_num_heads")?),
        causal: node.get_attr_opt::<i64>("is_causal")?.unwrap_or(0) != 0,
        scale: node.get_attr_opt("scale")?,
        softcap: node.get_attr_opt("softcap")?.filter(|cap| *cap != 0.0),
        mask: given(&node.input, 3),
        past: given(&node.input, 4),
        present: [given(&node.output, 1), given(&node.output, 2)],
    };
    ensure!(op.past == given(&node.input, 5), "an Attention with past keys needs past values, and the reverse");
    Ok((expand(op), vec![]))
}

#[derive(Clone, Debug)]
struct Attention {
    /// Of queries, and of keys and values, where they come in three axes.
    heads: Option<(usize, usize)>,
    causal: bool,
    scale: Option<f32>,
    softcap: Option<f32>,
    mask: bool,
    past: bool,
    present: [bool; 2],
}

/// Extents that the parts share.
struct Extents {
    /// Heads of queries, and of keys and values.
    heads: [usize; 2],
    queries: usize,
    keys: usize,
    /// How many of the keys are from the past.
    past: usize,
}

impl Extents {
    fn grouped(&self) -> bool {
        self.heads[0] != self.heads[1]
    }

    /// The axis change from heads of queries to the heads of keys that serve them.
    fn group(&self) -> AxisOp {
        let [queries, keys] = self.heads.map(|n| n.to_dim());
        AxisOp::Reshape(1, tvec![queries], tvec![keys, (self.heads[0] / self.heads[1]).to_dim()])
    }
}

impl Attention {
    /// Four axes, float32: batch, heads, positions, features.
    fn split(&self, s: &mut Spelling, wire: OutletId, heads: fn((usize, usize)) -> usize) -> TractResult<OutletId> {
        let wire = s.cast(wire, f32::datum_type())?;
        let shape = s.shape(wire)?;
        if shape.len() == 4 {
            return Ok(wire);
        }
        ensure!(shape.len() == 3, "an Attention of {} axes", shape.len());
        let heads = heads(self.heads.context("an Attention of three axes needs numbers of heads")?);
        ensure!(shape[2].is_multiple_of(heads), "{heads} heads do not divide {} features", shape[2]);
        let parts = tvec![heads.to_dim(), (shape[2] / heads).to_dim()];
        let wire = s.node(AxisOp::Reshape(2, tvec![shape[2].to_dim()], parts), &[wire])?;
        s.node(AxisOp::Move(2, 1), &[wire])
    }

    /// Addends for the scores, and a factor for the results that is zero where a query may look at nothing.
    fn mask(&self, s: &mut Spelling, given: Option<OutletId>, of: &Extents) -> TractResult<Option<[OutletId; 2]>> {
        let mut mask = match given {
            Some(given) => Some(self.addends(s, given, of)?),
            None => None,
        };
        if self.causal {
            let sees = |(query, key): (usize, usize)| key <= query + of.past;
            let shape = (of.queries, of.keys);
            let allowed =
                tract_ndarray::Array2::from_shape_fn(shape, |at| if sees(at) { 0.0 } else { FORBIDDEN }).into_tensor();
            let causal = s.constant(allowed.broadcast_into_rank(4)?)?;
            mask = Some(match mask {
                Some(mask) => s.node(math::add(), &[mask, causal])?,
                None => causal,
            });
        }
        let Some(mask) = mask else { return Ok(None) };
        let lowest = s.number(FORBIDDEN, 4)?;
        let mut mask = s.node(math::max(), &[mask, lowest])?;
        let best = s.node(Reduce { axes: tvec![3], reducer: Reducer::Max }, &[mask])?;
        let sees = s.node(TypedBinOp(comp_gt(), None), &[best, lowest])?;
        let mut sees = s.cast(sees, f32::datum_type())?;
        if of.grouped() {
            let group = |one: bool| if one { AxisOp::Add(2) } else { of.group() };
            let one = s.shape(mask)?[1] == 1;
            (mask, sees) = (s.node(group(one), &[mask])?, s.node(group(one), &[sees])?);
        }
        Ok(Some([mask, sees]))
    }

    /// The given mask as numbers to add, with four axes.
    fn addends(&self, s: &mut Spelling, given: OutletId, of: &Extents) -> TractResult<OutletId> {
        let shape = s.shape(given)?;
        let (rank, width) = (shape.len(), shape.last().copied().unwrap_or(1));
        ensure!(rank <= 4, "the mask of an Attention has {rank} axes");
        ensure!(width == of.keys || width == 1, "the mask of an Attention covers {width} of {} keys", of.keys);
        let mut mask = match s.datum_type(given)? == bool::datum_type() {
            true => {
                let (yes, no) = (s.number(0.0, rank)?, s.number(FORBIDDEN, rank)?);
                s.node(Iff, &[given, yes, no])?
            }
            false => s.cast(given, f32::datum_type())?,
        };
        for _ in rank..4 {
            mask = s.node(AxisOp::Add(0), &[mask])?;
        }
        Ok(mask)
    }

    /// Results for queries, keys and values of four axes.
    fn attend(
        &self,
        s: &mut Spelling,
        [mut q, k, v]: [OutletId; 3],
        given: Option<OutletId>,
        of: &Extents,
    ) -> TractResult<OutletId> {
        let features = s.shape(k)?[3];
        let scale = s.number(self.scale.unwrap_or(1.0 / (features as f32).sqrt()), 4)?;
        q = s.node(math::mul(), &[q, scale])?;
        let (products, sums) = match of.grouped() {
            true => ("bhgmk,bhnk->bhgmn", "bhgmn,bhnv->bhgmv"),
            false => ("bhmk,bhnk->bhmn", "bhmn,bhnv->bhmv"),
        };
        if of.grouped() {
            q = s.node(of.group(), &[q])?;
        }
        let rank = 4 + usize::from(of.grouped());
        let mut scores = s.node(EinSum::new(products.parse()?, f32::datum_type()), &[q, k])?;
        if let Some(cap) = self.softcap {
            let (inner, outer) = (s.number(1.0 / cap, rank)?, s.number(cap, rank)?);
            scores = s.node(math::mul(), &[scores, inner])?;
            scores = s.node(math::tanh(), &[scores])?;
            scores = s.node(math::mul(), &[scores, outer])?;
        }
        let mask = self.mask(s, given, of)?;
        if let Some([addends, _]) = mask {
            scores = s.node(math::add(), &[scores, addends])?;
        }
        scores = s.node(Softmax::new(tvec![rank - 1], None, SoftmaxKind::Softmax), &[scores])?;
        let mut found = s.node(EinSum::new(sums.parse()?, f32::datum_type()), &[scores, v])?;
        if let (Some([_, sees]), Some(_)) = (mask, given) {
            found = s.node(math::mul(), &[found, sees])?;
        }
        match of.grouped() {
            true => s.node(of.group().recip(), &[found]),
            false => Ok(found),
        }
    }
}

impl Expansion for Attention {
    fn name(&self) -> StaticName {
        "TapqAttention".into()
    }
    fn nboutputs(&self) -> TractResult<usize> {
        Ok(1 + self.present.iter().filter(|p| **p).count())
    }
    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let mut s = Spelling::new(prefix, model);
        let (written, flat) = (s.datum_type(inputs[0])?, s.shape(inputs[0])?.len() == 3);
        let q = self.split(&mut s, inputs[0], |heads| heads.0)?;
        let mut k = self.split(&mut s, inputs[1], |heads| heads.1)?;
        let mut v = self.split(&mut s, inputs[2], |heads| heads.1)?;
        let mut rest = inputs[3..].iter().copied();
        let mask = if self.mask { rest.next() } else { None };
        let mut past = 0;
        if let (true, Some(keys), Some(values)) = (self.past, rest.next(), rest.next()) {
            let (keys, values) = (s.cast(keys, f32::datum_type())?, s.cast(values, f32::datum_type())?);
            past = s.shape(keys)?.get(2).copied().unwrap_or(0);
            k = s.node(TypedConcat { axis: 2 }, &[keys, k])?;
            v = s.node(TypedConcat { axis: 2 }, &[values, v])?;
        }
        let (queries, keys) = (s.shape(q)?, s.shape(k)?);
        let of = Extents { heads: [queries[1], keys[1]], queries: queries[2], keys: keys[2], past };
        let [heads, shared] = of.heads;
        ensure!(shared > 0 && heads.is_multiple_of(shared), "{shared} heads of keys do not serve {heads} of queries");
        let mut found = self.attend(&mut s, [q, k, v], mask, &of)?;
        if flat {
            let shape = s.shape(found)?;
            found = s.node(AxisOp::Move(1, 2), &[found])?;
            let parts = tvec![shape[1].to_dim(), shape[3].to_dim()];
            found = s.node(AxisOp::Reshape(2, parts, tvec![(shape[1] * shape[3]).to_dim()]), &[found])?;
        }
        let kept = [k, v].into_iter().zip(self.present).filter_map(|(wire, kept)| kept.then_some(wire));
        std::iter::once(found).chain(kept).map(|wire| s.cast(wire, written)).collect()
    }
    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 3 + usize::from(self.mask) + 2 * usize::from(self.past))?;
        check_output_arity(outputs, self.nboutputs()?)?;
        for output in outputs {
            solver.equals(&inputs[0].datum_type, &output.datum_type)?;
        }
        solver.given_2(&inputs[0].shape, &inputs[2].shape, move |solver, mut shape, values| {
            let last = values.last().cloned().context("an Attention over scalars")?;
            let features = match (shape.len(), self.heads) {
                (3, Some((queries, shared))) => last / shared * queries,
                _ => last,
            };
            *shape.last_mut().context("an Attention over scalars")? = features;
            solver.equals(&outputs[0].shape, shape)
        })
    }
}
