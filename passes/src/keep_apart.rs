//! Keeps pairs and activations around a layer that multiplies in float from fusing with it.
//!
//! ## What it does
//! A Relu or Clip that alone reads such a layer is written as Max and Min. Between the layer and a DequantizeLinear in
//! front of it or a QuantizeLinear behind it, at most behind data movement, a Max with the lowest number is put. Before a
//! layer whose weights stay in float such a Max is put where pairs stand on both sides.
//!
//! ## Why
//! ONNX Runtime 1.32 fuses the activation into a float Gemm, or takes the pairs for those of an integer kernel that then
//! has none for these weights, before it looks for weights in blocks: they are turned back into float in every run, 14
//! times slower than the float network. It leaves Max alone, which costs next to nothing.
//! It also rounds float weights of a Conv, ConvTranspose or Gemm between pairs to 8 bits, one scale for all of them
//! (WeightBiasQuantization): what was left in float for its harm would do more of it.
//!
//! ## When it refuses
//! Nothing: what does not fit stays as it is.

use crate::nodes::{fresh_name, plain_node};
use std::collections::BTreeSet;
use tapq::graph::{Edit, Graph, Patch};
use tapq::onnx::{self, NodeProto as Node};
use tapq::plan::{Plan, moves_pairs};
use tapq::target::Target;

/// Keeps the layers apart that the target wants apart; an empty patch where there is nothing to do.
pub fn keep_apart(graph: &Graph, plan: &Plan, target: &Target) -> Patch {
    let mut patch = Patch::new();
    let layers = plan.layers.iter().filter(|l| l.block.is_some() && target.keeps_blocks_apart(&l.op));
    let names: BTreeSet<&str> = layers.map(|layer| layer.name.as_str()).collect();
    for (at, node) in graph.nodes().iter().enumerate().filter(|(_, node)| names.contains(node.name.as_str())) {
        let ([input, ..], [output]) = (node.input.as_slice(), node.output.as_slice()) else { continue };
        let alone = match graph.index().readers(output) {
            [only] if !graph.index().is_output(output) => Some(*only),
            _ => None,
        };
        match alone.and_then(|reader| Some((reader, spelled(graph, reader, &mut patch)?))) {
            Some((reader, nodes)) => {
                patch.push(Edit::Remove(reader));
                nodes.into_iter().for_each(|node| patch.push(Edit::Insert(reader, node)));
                patch.because(format!("'{}' is written so that it does not fuse", graph.nodes()[reader].name));
            }
            None if leads_to_quantize(graph, output) => {
                let raw = fresh_name(graph, output, "before_quantize");
                patch.push(Edit::Replace(at, Node { output: vec![raw.clone()], ..node.clone() }));
                let barrier = barrier(&raw, output, &mut patch);
                patch.push(Edit::Insert(at + 1, barrier));
                patch.because(format!("'{}' is kept apart from what quantizes it", node.name));
            }
            None => {}
        }
        if comes_from_dequantize(graph, input) {
            put_in_front(graph, at, "dequantizes its input", &mut patch);
        }
    }
    if target.float_fallback.apart {
        let is_float = |node: &Node| !names.contains(node.name.as_str()) && is_rounded_unasked(graph, node);
        for (at, _) in graph.nodes().iter().enumerate().filter(|(_, node)| is_float(node)) {
            put_in_front(graph, at, "would round its weights", &mut patch);
        }
    }
    patch
}

/// Puts a barrier between a layer and its input.
fn put_in_front(graph: &Graph, at: usize, what: &str, patch: &mut Patch) {
    let node = &graph.nodes()[at];
    let input = &node.input[0];
    let name = fresh_name(graph, input, &format!("for_{}", node.name));
    let barrier = barrier(input, &name, patch);
    patch.push(Edit::Insert(at, barrier));
    patch.push(Edit::SetInput(at, 0, name));
    patch.because(format!("'{}' is kept apart from what {what}", node.name));
}

/// Whether ONNX Runtime would round a layer's float weights: it stands between pairs, with nothing but a single way to the
/// one behind.
fn is_rounded_unasked(graph: &Graph, node: &Node) -> bool {
    let ([input, weight, ..], [output]) = (node.input.as_slice(), node.output.as_slice()) else { return false };
    let is_layer = matches!(node.op_type.as_str(), "Conv" | "ConvTranspose" | "Gemm");
    is_layer
        && graph.constant(weight).is_some()
        && comes_from_dequantize(graph, input)
        && leads_alone_to_quantize(graph, output)
}

/// Whether each value on the way from `value` to a QuantizeLinear has one reader.
fn leads_alone_to_quantize(graph: &Graph, value: &str) -> bool {
    let mut at = value;
    for _ in 0..graph.nodes().len() {
        let [reader] = graph.index().readers(at) else { return false };
        let node = &graph.nodes()[*reader];
        match node.output.as_slice() {
            _ if node.op_type == "QuantizeLinear" => return true,
            [output] => at = output,
            _ => return false,
        }
    }
    false
}

/// Max with a number that no value is below.
fn barrier(input: &str, output: &str, patch: &mut Patch) -> Node {
    let lowest = constant("tapq_lowest", f32::MIN, patch);
    Node { name: format!("{output}_Max"), ..plain_node("Max", &[input, &lowest], output) }
}

fn constant(name: &str, value: f32, patch: &mut Patch) -> String {
    patch.push(Edit::SetInitializer(onnx::from_floats(name, &[], &[value])));
    name.to_owned()
}

/// A Relu or a Clip as Max and Min.
fn spelled(graph: &Graph, at: usize, patch: &mut Patch) -> Option<Vec<Node>> {
    let node = &graph.nodes()[at];
    let ([input, bounds @ ..], [output]) = (node.input.as_slice(), node.output.as_slice()) else { return None };
    let bound = |slot: usize| bounds.get(slot).filter(|name| !name.is_empty()).cloned();
    let (low, high) = match node.op_type.as_str() {
        "Relu" => (Some(constant("tapq_zero", 0.0, patch)), None),
        "Clip" => (bound(0), bound(1)),
        _ => return None,
    };
    let named = |op: &str, inputs: [&str; 2], output: &str| Node {
        name: format!("{}_{op}", node.name),
        metadata_props: node.metadata_props.clone(),
        ..plain_node(op, &inputs, output)
    };
    match (low, high) {
        (Some(low), Some(high)) => {
            let raised = fresh_name(graph, output, "raised");
            Some(vec![named("Max", [input, &low], &raised), named("Min", [&raised, &high], output)])
        }
        (Some(low), None) => Some(vec![named("Max", [input, &low], output)]),
        (None, Some(high)) => Some(vec![named("Min", [input, &high], output)]),
        (None, None) => None,
    }
}

/// Whether pairs are moved through a node; a factor is folded into a product, and does not stop them either.
fn is_mover(graph: &Graph, node: &Node) -> bool {
    let factor = || node.input.iter().any(|name| graph.constant(name).is_some());
    moves_pairs(&node.op_type) || (matches!(node.op_type.as_str(), "Mul" | "Div") && factor())
}

/// Whether a QuantizeLinear reads a value, at most moved.
fn leads_to_quantize(graph: &Graph, value: &str) -> bool {
    let (mut open, mut seen) = (vec![value], BTreeSet::new());
    while let Some(value) = open.pop() {
        for reader in graph.index().readers(value).iter().filter(|reader| seen.insert(**reader)) {
            let node = &graph.nodes()[*reader];
            if node.op_type == "QuantizeLinear" {
                return true;
            }
            if is_mover(graph, node) {
                open.extend(node.output.iter().map(String::as_str));
            }
        }
    }
    false
}

/// Whether a value is made by a DequantizeLinear, at most moved.
fn comes_from_dequantize(graph: &Graph, value: &str) -> bool {
    let mut at = value;
    // A chain cannot be longer than the graph; a cycle would be.
    for _ in 0..graph.nodes().len() {
        let Some(producer) = graph.index().producer(at) else { return false };
        let node = &graph.nodes()[producer];
        match node.input.first() {
            _ if node.op_type == "DequantizeLinear" => return true,
            Some(source) if is_mover(graph, node) => at = source,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapq::onnx::{ExternalData, parse_text, print_text};
    use tapq::plan::LayerPlan;
    use tapq::yaml;

    /// The nodes that remain of a product `p = MatMul (a, w)` named `layer` and what stands around it.
    fn kept_apart(before: &str, behind: &str, target: &str) -> Vec<String> {
        let text = format!(
            "<ir_version: 10, opset_import: [\"\" : 21]> g (float[2,4] x, uint8[2,4] i) => (float y)
            <float[4,4] w = {{1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0}},
             float s = {{0.5}}, uint8 z = {{0}}, int64[2] d = {{2, 4}}, float low = {{-1.0}}, float high = {{6.0}}>
            {{ {before} [layer] p = MatMul (a, w) {behind} }}"
        );
        let mut graph = Graph::new(parse_text(&text).unwrap(), ExternalData::none());
        let layer = "{name: layer, op: MatMul, weight: w, params: 16, digest: '', bits: 4, block: 64, because: ''}";
        let plan = Plan { layers: vec![yaml::parse::<LayerPlan>(layer, "layer").unwrap()], ..empty() };
        let patch = keep_apart(&graph, &plan, &Target::named(target).unwrap());
        if let Some(patch) = patch.into_option() {
            crate::Driver::default().apply(&mut graph, "keep-apart", patch).unwrap();
        }
        let text = print_text(graph.model());
        let body = text.rsplit_once("\n{").unwrap().1;
        body.lines().map(str::trim).filter(|line| line.contains(" = ")).map(str::to_owned).collect()
    }

    fn empty() -> Plan {
        let text = "{schema: 1, tapq: '', target: cpu, target_digest: '', model: '', proxy: '', opset: 21, ir: 10, \
                    calibration: {source: '', samples: 0, digest: ''}, allocation: {method: '', proof: ''}, \
                    layers: [], activations: []}";
        Plan::from_yaml(text, "plan").unwrap()
    }

    #[test]
    fn activations_are_spelled() {
        let relu = kept_apart("a = Abs (x)", "y = Relu (p)", "cpu");
        assert!(relu[2].ends_with("y = Max (p, tapq_zero)"), "{relu:?}");
        let clip = kept_apart("a = Abs (x)", "y = Clip (p, low, high)", "cpu");
        assert!(
            clip[2].ends_with("y_raised = Max (p, low)") && clip[3].ends_with("y = Min (y_raised, high)"),
            "{clip:?}"
        );
        let capped = kept_apart("a = Abs (x)", "y = Clip (p, , high)", "cpu");
        assert!(capped[2].ends_with("y = Min (p, high)"), "{capped:?}");
        // What has another reader, or does not fuse, stays; so does everything where nothing fuses.
        let both = kept_apart("a = Abs (x)", "r = Relu (p) y = Add (r, p)", "cpu");
        assert!(both[2].contains("Relu") && kept_apart("a = Abs (x)", "y = Tanh (p)", "cpu")[2].contains("Tanh"));
        assert!(kept_apart("a = Abs (x)", "y = Relu (p)", "jetson")[2].contains("Relu"));
    }

    #[test]
    fn pairs_are_held_off() {
        let front = kept_apart("f = DequantizeLinear (i, s, z) a = Reshape (f, d)", "y = Tanh (p)", "cpu");
        assert!(front[2].ends_with("a_for_layer = Max (a, tapq_lowest)"), "{front:?}");
        assert!(front[3].ends_with("p = MatMul (a_for_layer, w)"), "{front:?}");
        let pair = "t = Transpose (p) q = QuantizeLinear (t, s, z) y = DequantizeLinear (q, s, z)";
        let behind = kept_apart("a = Abs (x)", pair, "cpu");
        assert!(behind[1].ends_with("p_before_quantize = MatMul (a, w)"), "{behind:?}");
        assert!(behind[2].ends_with("p = Max (p_before_quantize, tapq_lowest)"), "{behind:?}");
    }

    /// The operators of a Conv with float weights behind a DequantizeLinear, and what follows.
    fn float_conv(behind: &str, target: &str) -> Vec<String> {
        let text = format!(
            "<ir_version: 8, opset_import: [\"\" : 17]> g (uint8[1,1,2,2] i) => (float y)
            <float[1,1,1,1] w = {{0.7}}, float s = {{0.5}}, uint8 z = {{0}}>
            {{ a = DequantizeLinear (i, s, z) [layer] p = Conv (a, w) {behind} }}"
        );
        let mut graph = Graph::new(parse_text(&text).unwrap(), ExternalData::none());
        if let Some(patch) = keep_apart(&graph, &empty(), &Target::named(target).unwrap()).into_option() {
            crate::Driver::default().apply(&mut graph, "keep-apart", patch).unwrap();
        }
        graph.nodes().iter().map(|node| node.op_type.clone()).collect()
    }

    #[test]
    fn float_weights_between_pairs_are_not_rounded() {
        let pair = "r = Relu (p) q = QuantizeLinear (r, s, z) y = DequantizeLinear (q, s, z)";
        let kept = ["DequantizeLinear", "Max", "Conv", "Relu", "QuantizeLinear", "DequantizeLinear"];
        assert_eq!(float_conv(pair, "cpu"), kept);
        assert_eq!(float_conv(pair, "hexagon"), kept);
        assert!(!float_conv(pair, "jetson").contains(&"Max".to_owned()), "TensorRT rounds nothing unasked");
        let open = "y = Relu (p)";
        assert!(!float_conv(open, "cpu").contains(&"Max".to_owned()), "no pair behind it");
        let forked = "r = Relu (p) q = QuantizeLinear (r, s, z) d = DequantizeLinear (q, s, z) y = Add (d, p)";
        assert!(!float_conv(forked, "cpu").contains(&"Max".to_owned()), "ONNX Runtime looks for a single way");
    }
}
