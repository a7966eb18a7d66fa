//! `xtask inspect`: what a model holds and what a target could quantize.

use crate::inputs::{SampleArgs, read_graph};
use crate::{Verdict, files};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use tapq::engine::{Engine, Options};
use tapq::graph::Graph;
use tapq::plan::{Layer, Placement, WEIGHT_ONLY_BITS, WeightOnly, out_of_reach, place, weight_layers};
use tapq::samples::Sample;
use tapq::target::Target;
use tapq::{Code, Error, Result, clean};
use tapq_passes::{Driver, FixInputs, Pass, WidenHalf, float_passes};

#[derive(clap::Args)]
pub struct Args {
    /// The ONNX model
    pub model: PathBuf,
    /// Say what this target would quantize
    #[arg(long, value_name = "NAME|FILE")]
    pub target: Option<String>,
    #[command(flatten)]
    pub samples: SampleArgs,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

/// A sample, and the extents of symbolic dimensions.
type First = (Sample, BTreeMap<String, usize>);

/// Shapes of values by name.
type Shapes = BTreeMap<String, Vec<usize>>;

#[derive(Serialize)]
struct Inspection {
    model: String,
    opset: i64,
    ir: i64,
    nodes: usize,
    operators: BTreeMap<String, usize>,
    parameters: usize,
    macs: Option<u64>,
    layers: Vec<LayerRow>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct LayerRow {
    name: String,
    op: String,
    shape: Vec<usize>,
    parameters: usize,
    macs: Option<u64>,
    quantizable: Option<String>,
}

pub fn run(args: &Args) -> Result<Verdict> {
    let original = read_graph(&args.model)?;
    let (opset, ir, nodes) = (original.opset(), original.model().ir_version, original.nodes().len());
    let operators = count_operators(&original);
    let target = args.target.as_deref().map(Target::named_or_read).transpose()?;
    let mut graph = original;
    let fixed = args.samples.fixed(&args.model, &graph)?;
    // What the model takes is what it took before anything was fixed.
    let first = args.samples.first(&args.model, &graph);
    let mut driver = Driver::new(None);
    driver.run(&mut graph, &[&FixInputs(&fixed)]).map_err(|e| e.at(args.model.display().to_string()))?;
    driver.run(&mut graph, &float_passes()).map_err(|e| e.at(args.model.display().to_string()))?;
    let (shapes, mut notes) = input_shapes(args, first, &graph)?;
    notes.extend(fixed.iter().map(|f| format!("input '{}' is fixed at {}: a constant from here on", f.name(), f.text)));
    let widened = driver.applied.iter().filter(|patch| patch.pass == WidenHalf.name());
    notes.extend(widened.flat_map(|patch| &patch.reasons).cloned());
    notes.extend(out_of_reach(&graph).map(|found| format!("not quantized: {}; {}", found.because, found.help)));
    let placement = target.as_ref().map(|t| place(&graph, t, &BTreeSet::new()));
    let mut layers: Vec<LayerRow> = weight_layers(&graph)
        .iter()
        .map(|l| row(&graph, l, &shapes, target.as_ref().zip(placement.as_ref())))
        .collect();
    let macs = layers.iter().map(|l| l.macs).sum::<Option<u64>>().filter(|_| !layers.is_empty());
    let alone = placement.iter().flat_map(|p| &p.weight_only).filter(|n| !layers.iter().any(|l| l.name == n.name));
    let alone: Vec<LayerRow> = alone.map(weight_only_row).collect();
    layers.extend(alone);
    let parameters = layers.iter().map(|l| l.parameters).sum();
    let model = files::name(&args.model);
    let found = Inspection { model, opset, ir, nodes, operators, parameters, macs, layers, notes };
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&found).map_err(|e| Error::new(Code::Io, e.to_string()))?),
        false => print_table(&found, target.as_ref()),
    }
    Ok(Verdict::Done)
}

fn count_operators(graph: &Graph) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for node in graph.nodes() {
        *counts.entry(node.op_type.clone()).or_insert(0) += 1;
    }
    counts
}

/// Shapes of the layers' inputs, from one run on the first sample; empty, with a note, where the model does not run.
fn input_shapes(args: &Args, first: Result<First>, graph: &Graph) -> Result<(Shapes, Vec<String>)> {
    let found = match first {
        // Only samples that were made up or that the sidecar names may fail: what was asked for is not passed over.
        Err(e) if args.samples.is_given() => return Err(e),
        first => first.and_then(|(sample, dims)| observed_shapes(graph, &sample, &dims)),
    };
    Ok(match found {
        Ok(shapes) => (shapes, vec![]),
        Err(e) => (BTreeMap::new(), vec![format!("MACs are not known, since the model did not run: {e}")]),
    })
}

fn observed_shapes(graph: &Graph, sample: &Sample, dims: &BTreeMap<String, usize>) -> Result<Shapes> {
    let taps: Vec<String> =
        weight_layers(graph).into_iter().map(|l| l.input).collect::<BTreeSet<_>>().into_iter().collect();
    let engine = Engine::new(graph, &taps, &Options::with_dims(dims))?;
    let mut shapes = BTreeMap::new();
    engine.run(sample, &mut |tap, view| drop(shapes.insert(taps[tap].clone(), view.dims.to_vec())))?;
    Ok(shapes)
}

fn row(graph: &Graph, layer: &Layer, shapes: &Shapes, target: Option<(&Target, &Placement)>) -> LayerRow {
    let quantizable = target.map(|(target, placement)| {
        if placement.weight_only.iter().any(|n| n.node == layer.node) {
            return format!("weights alone, {WEIGHT_ONLY_BITS} bits");
        }
        let reason = placement.float_layers.iter().find(|(l, _)| l.node == layer.node).map(|(_, why)| why.clone());
        reason.map_or_else(|| format!("yes, {}", widths(layer, target)), |why| format!("no: {why}"))
    });
    LayerRow {
        name: layer.name.clone(),
        op: layer.op.clone(),
        shape: layer.dims.clone(),
        parameters: layer.params(),
        macs: shapes.get(&layer.input).map(|dims| layer.macs(graph, dims)),
        quantizable,
    }
}

/// "8 bits, 4 in blocks of 32".
fn widths(layer: &Layer, target: &Target) -> String {
    let all = layer.widths(target, target.default_activation_bits());
    let block = |bits: &u32| layer.block_size(target, *bits);
    let of = |size: Option<usize>| -> String {
        all.iter().filter(|bits| block(bits) == size).map(u32::to_string).collect::<Vec<_>>().join(", ")
    };
    let sizes: BTreeSet<usize> = all.iter().filter_map(block).collect();
    let integers = Some(of(None)).filter(|bits| !bits.is_empty()).map(|bits| format!("{bits} bits"));
    let blocks = sizes.into_iter().map(|size| format!("{} in blocks of {size}", of(Some(size))));
    integers.into_iter().chain(blocks).collect::<Vec<_>>().join("; ")
}

fn weight_only_row(node: &WeightOnly) -> LayerRow {
    LayerRow {
        name: node.name.clone(),
        op: node.op.clone(),
        shape: node.weights.first().map(|w| w.dims.clone()).unwrap_or_default(),
        parameters: node.params(),
        macs: None,
        quantizable: Some(format!("weights alone, {WEIGHT_ONLY_BITS} bits")),
    }
}

fn print_table(found: &Inspection, target: Option<&Target>) {
    println!("{}: opset {}, IR {}, {} nodes", found.model, found.opset, found.ir, found.nodes);
    let operators: Vec<String> = found.operators.iter().map(|(op, n)| format!("{} {n}", clean(op))).collect();
    println!("operators: {}", operators.join(", "));
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if !table.is_tty() {
        table.set_width(120);
    }
    let mut header = vec!["layer".to_owned(), "op".into(), "weight".into(), "params".into(), "MACs".into()];
    header.extend(target.map(|t| t.name.clone()));
    table.set_header(header);
    for layer in &found.layers {
        let shape: Vec<String> = layer.shape.iter().map(usize::to_string).collect();
        let macs = layer.macs.map_or("?".to_owned(), |m| m.to_string());
        let (name, op) = (clean(&layer.name), clean(&layer.op));
        let mut cells = vec![name, op, shape.join("x"), layer.parameters.to_string(), macs];
        cells.extend(layer.quantizable.as_deref().map(clean));
        table.add_row(cells);
    }
    for column in [3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
    let macs = found.macs.map_or("?".to_owned(), |m| m.to_string());
    println!("{} layers with weights, {} parameters, {macs} MACs a sample", found.layers.len(), found.parameters);
    found.notes.iter().for_each(|note| println!("note: {note}"));
}
