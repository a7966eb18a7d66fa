//! Equalization of channels across layers: which layers it can join, and how their weights change.

use crate::facts::{Names, input, is_standard, label, output, sole_reader};
use crate::linear::Linear;
use tapq::graph::{Graph, Patch};
use tapq::plan::Equalized;
use tapq::{Code, Error, Result};

/// Two layers with nothing between them but operators that commute with a positive factor on each channel.
pub(crate) struct Pair<'g> {
    /// Position of the layer before.
    pub(crate) from: usize,
    /// Position of the layer behind.
    pub(crate) to: usize,
    /// What the second layer reads.
    pub(crate) value: String,
    /// The layer behind.
    pub(crate) reader: Linear<'g>,
    before: Linear<'g>,
}

/// Every pair of the main graph, in file order.
pub(crate) fn pairs(graph: &Graph) -> Result<Vec<Pair<'_>>> {
    let mut found = vec![];
    for from in 0..graph.nodes().len() {
        found.extend(pair(graph, from)?);
    }
    Ok(found)
}

fn pair(graph: &Graph, from: usize) -> Result<Option<Pair<'_>>> {
    let Some(before) = Linear::read(graph, from)? else { return Ok(None) };
    let Some(mut value) = output(&graph.nodes()[from], 0) else { return Ok(None) };
    loop {
        let Some(next) = sole_reader(graph, value) else { return Ok(None) };
        let node = &graph.nodes()[next];
        if input(node, 0) != Some(value) {
            return Ok(None);
        }
        if let Some(reader) = Linear::read(graph, next)? {
            let joined = reader.input_channels() == Some(before.channels());
            return Ok(joined.then(|| Pair { from, to: next, value: value.to_owned(), reader, before }));
        }
        match output(node, 0).filter(|_| commutes(node)) {
            Some(result) => value = result,
            None => return Ok(None),
        }
    }
}

/// Whether a positive factor on each channel passes through the operator unchanged.
fn commutes(node: &tapq::onnx::NodeProto) -> bool {
    let homogeneous = matches!(
        node.op_type.as_str(),
        "Relu" | "LeakyRelu" | "Identity" | "MaxPool" | "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool"
    );
    homogeneous && is_standard(node) && node.output.iter().filter(|n| !n.is_empty()).count() == 1
}

/// The edits that equalize one pair, by the names in `record`.
///
/// # Errors
/// [`Code::PlanMismatch`] if the two layers are no pair, or the exponents do not fit it.
pub fn equalize(graph: &Graph, record: &Equalized) -> Result<Option<Patch>> {
    let place = || format!("layers '{}' and '{}'", record.from, record.to);
    let found = match graph.nodes().iter().position(|n| n.name == record.from) {
        Some(from) => pair(graph, from)?.filter(|p| graph.nodes()[p.to].name == record.to),
        None => None,
    };
    let Some(pair) = found else {
        let what = "the plan equalizes two layers that do not follow each other in this model";
        return Err(Error::new(Code::PlanMismatch, what).at(place()));
    };
    let legal = |e: &i8| Equalized::EXPONENTS.contains(e);
    if record.exponents.len() != pair.before.channels() || !record.exponents.iter().all(legal) {
        let what = format!("the plan must give {} exponents from -6 to 6", pair.before.channels());
        return Err(Error::new(Code::PlanMismatch, what).at(place()));
    }
    let factor = |sign: i32| record.exponents.iter().map(move |e| 2f64.powi(sign * i32::from(*e))).collect::<Vec<_>>();
    let (mut patch, mut names) = (Patch::new(), Names::of(graph));
    let zero = vec![0.0; record.exponents.len()];
    let result = output(&graph.nodes()[pair.from], 0).unwrap_or_default();
    let fits = pair.before.rescale(graph, (&factor(-1), &zero), result, &mut names, &mut patch)?
        && pair.reader.rescale_input(graph, &factor(1), &mut names, &mut patch)?;
    if !fits {
        return Ok(None);
    }
    let nodes = graph.nodes();
    patch.because(format!("{} and {} share channel factors", label(&nodes[pair.from]), label(&nodes[pair.to])));
    Ok(Some(patch))
}
