//! Equalization of channels across layers: which layers it can join, and how their weights change. What it can join along
//! the last axis is in `features`.

use crate::facts::{Names, input, is_standard, label, output, sole_reader};
use crate::features::{Features, Reader, features, features_of};
use crate::linear::Linear;
use std::collections::BTreeSet;
use tapq::graph::{Graph, Patch};
use tapq::plan::Equalized;
use tapq::{Code, Error, Result};

/// Two layers with nothing between them but operators that commute with a positive factor on each channel.
pub(crate) struct Pair<'g> {
    /// Position of the layer before.
    from: usize,
    /// Position of the layer behind.
    to: usize,
    /// What the second layer reads.
    value: String,
    reader: Linear<'g>,
    before: Linear<'g>,
}

/// Every pair of the main graph, in file order.
fn pairs(graph: &Graph) -> Result<Vec<Pair<'_>>> {
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

/// What can share factors.
pub(crate) enum Joint<'g> {
    /// Two layers.
    Layers(Pair<'g>),
    /// What makes features, and the layers that read them.
    Features(Features<'g>),
}

/// Everything in the main graph that can share factors, joined layers first.
pub(crate) fn joints(graph: &Graph) -> Result<Vec<Joint<'_>>> {
    let pairs = pairs(graph)?;
    let joined: BTreeSet<String> = pairs.iter().map(|pair| pair.value.clone()).collect();
    let features = features(graph).into_iter().filter(|f| !joined.contains(f.value)).map(Joint::Features);
    Ok(pairs.into_iter().map(Joint::Layers).chain(features).collect())
}

impl Joint<'_> {
    /// What lies between, and the axis of its channels.
    pub(crate) fn value(&self) -> (&str, i64) {
        match self {
            Joint::Layers(pair) => (&pair.value, 1),
            Joint::Features(features) => (features.value, -1),
        }
    }

    /// How many channels lie between.
    pub(crate) fn channels(&self) -> usize {
        match self {
            Joint::Layers(pair) => pair.before.channels(),
            Joint::Features(features) => features.count,
        }
    }

    /// The layers behind.
    pub(crate) fn readers(&self, graph: &Graph) -> Result<Vec<Reader<'_>>> {
        match self {
            Joint::Layers(pair) => Ok(pair.reader(graph)?.into_iter().collect()),
            Joint::Features(features) => features.readers(graph),
        }
    }

    /// How a plan writes it down.
    pub(crate) fn record(&self, graph: &Graph, exponents: Vec<i8>) -> Equalized {
        let name = |at: usize| graph.nodes()[at].name.clone();
        match self {
            Joint::Layers(pair) => Equalized { from: name(pair.from), to: vec![name(pair.to)], exponents },
            Joint::Features(features) => {
                let to = features.to.iter().map(|at| name(*at)).collect();
                Equalized { from: name(features.from), to, exponents }
            }
        }
    }

    /// The edits that divide channels by `2^exponents` before what lies between and multiply by it behind; `None` where that
    /// leaves the range of float32.
    fn rescale(&self, graph: &Graph, exponents: &[i8]) -> Result<Option<Patch>> {
        match self {
            Joint::Layers(pair) => pair.rescale(graph, exponents),
            Joint::Features(features) => features.rescale(graph, exponents),
        }
    }
}

/// Finds what the names in `record` join.
fn joint_of<'g>(graph: &'g Graph, record: &Equalized) -> Result<Option<Joint<'g>>> {
    let nodes = graph.nodes();
    if let (Some(from), [to]) = (nodes.iter().position(|n| n.name == record.from), &record.to[..])
        && let Some(pair) = pair(graph, from)?.filter(|p| nodes[p.to].name == *to)
    {
        return Ok(Some(Joint::Layers(pair)));
    }
    let reader = record.to.first().and_then(|to| nodes.iter().find(|n| n.name == *to));
    let found = reader.and_then(|node| features_of(graph, input(node, 0)?));
    let named =
        |f: &Features| nodes[f.from].name == record.from && f.to.iter().map(|at| &nodes[*at].name).eq(record.to.iter());
    Ok(found.filter(named).map(Joint::Features))
}

/// The edits that equalize what the names in `record` join.
///
/// # Errors
/// [`Code::PlanMismatch`] if they join nothing in this graph, or the exponents do not fit.
pub fn equalize(graph: &Graph, record: &Equalized) -> Result<Option<Patch>> {
    let place = || format!("layers '{}' and '{}'", record.from, record.to.join("', '"));
    let Some(joint) = joint_of(graph, record)? else {
        let what = "the plan equalizes two layers that do not follow each other in this model";
        return Err(Error::new(Code::PlanMismatch, what).at(place()));
    };
    let legal = |e: &i8| Equalized::EXPONENTS.contains(e);
    if record.exponents.len() != joint.channels() || !record.exponents.iter().all(legal) {
        let what = format!("the plan must give {} exponents from -6 to 6", joint.channels());
        return Err(Error::new(Code::PlanMismatch, what).at(place()));
    }
    joint.rescale(graph, &record.exponents)
}

impl Pair<'_> {
    fn rescale(&self, graph: &Graph, exponents: &[i8]) -> Result<Option<Patch>> {
        let factor = |sign: i32| exponents.iter().map(move |e| 2f64.powi(sign * i32::from(*e))).collect::<Vec<_>>();
        let (mut patch, mut names) = (Patch::new(), Names::of(graph));
        let nodes = graph.nodes();
        let zero = vec![0.0; exponents.len()];
        let result = output(&nodes[self.from], 0).unwrap_or_default();
        let fits = self.before.rescale(graph, (&factor(-1), &zero), result, &mut names, &mut patch)?
            && self.reader.rescale_input(graph, &factor(1), &mut names, &mut patch)?;
        if !fits {
            return Ok(None);
        }
        patch.because(format!("{} and {} share channel factors", label(&nodes[self.from]), label(&nodes[self.to])));
        Ok(Some(patch))
    }

    fn reader(&self, graph: &Graph) -> Result<Option<Reader<'_>>> {
        let (inputs, channels) = (self.reader.input_channel_of_weights(), self.reader.channel_of_weights());
        let Some(values) = self.reader.weights(graph)? else { return Ok(None) };
        let taps = self.reader.taps();
        let (input, output) = (move |at: usize| inputs[at], move |at: usize| channels[at]);
        let outputs = self.reader.channels();
        Ok(Some(Reader { values, input: Box::new(input), output: Box::new(output), outputs, taps }))
    }
}
