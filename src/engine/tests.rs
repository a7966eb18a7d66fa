//! Small graphs, built here, through the public interface.

mod control;
mod operators;
mod walks;

use super::*;
use crate::array::Values;
use crate::graph::set_attr;
use crate::onnx::{
    DataType, ExternalData, FunctionProto, GraphProto, ModelProto, NodeProto as Node, OperatorSetIdProto, Tensor,
    ValueInfoProto, dimension, from_floats, from_i64s, from_ints,
};

const U8: i32 = DataType::UINT8 as i32;

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Node {
    let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect();
    let mut node = Node { op_type: op.to_owned(), name: format!("the {op}"), ..Default::default() };
    (node.input, node.output) = (names(inputs), names(outputs));
    node
}

/// A value of rank `dims.len()`; an empty dimension is absent, digits are an extent, others a symbol.
fn value(name: &str, dims: &[&str]) -> ValueInfoProto {
    let mut value = ValueInfoProto { name: name.to_owned(), ..Default::default() };
    let tensor = value.type_.mut_or_insert_default().mut_tensor_type();
    tensor.elem_type = DataType::FLOAT as i32;
    for dim in dims {
        let value = match dim.parse::<i64>() {
            Ok(n) => Some(dimension::Value::DimValue(n)),
            Err(_) if dim.is_empty() => None,
            Err(_) => Some(dimension::Value::DimParam((*dim).to_owned())),
        };
        let proto = crate::onnx::Dimension { value, ..Default::default() };
        tensor.shape.mut_or_insert_default().dim.push(proto);
    }
    value
}

struct Model(ModelProto);

impl Model {
    fn new(input: &[&str], nodes: Vec<Node>, constants: Vec<Tensor>, outputs: &[&str]) -> Model {
        let mut graph = GraphProto { node: nodes, initializer: constants, ..Default::default() };
        graph.input.push(value("x", input));
        graph.output = outputs.iter().map(|n| value(n, &[])).collect();
        let import = OperatorSetIdProto { version: 21, ..Default::default() };
        Model(ModelProto {
            graph: Some(graph).into(),
            opset_import: vec![import],
            ir_version: 10,
            ..Default::default()
        })
    }

    fn graph(self) -> Graph {
        Graph::new(self.0, ExternalData::none())
    }
}

fn sample(dims: &[usize], values: &[f32]) -> Sample {
    Sample { inputs: vec![("x".to_owned(), Array::from_f32(dims.to_vec(), values.to_vec()))] }
}

fn run(graph: &Graph, dims: &[usize], values: &[f32]) -> Result<Vec<Array>> {
    Engine::new(graph, &[], &Options::default())?.run(&sample(dims, values), &mut |_, _| {})
}

#[track_caller]
fn check(model: Model, dims: &[usize], x: &[f32], expected: &[f32]) {
    let found = run(&model.graph(), dims, x).unwrap();
    assert_eq!(found[0].as_f32().unwrap(), expected);
}

#[track_caller]
fn check_refused(result: Result<Vec<Array>>, code: Code, words: &[&str]) {
    let error = result.expect_err("should be refused");
    assert_eq!(error.code(), code, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "'{word}' is not in: {error}");
    }
}

fn scalar(name: &str, value: f32) -> Tensor {
    from_floats(name, &[], &[value])
}

/// `y = relu(x + c)` of two columns, for tests of what runs on an engine.
pub(crate) fn small_graph() -> Graph {
    add_relu().graph()
}

fn add_relu() -> Model {
    let nodes = vec![node("Add", &["x", "c"], &["sum"]), node("Relu", &["sum"], &["y"])];
    Model::new(&["N", "2"], nodes, vec![from_floats("c", &[2], &[1.0, -1.0])], &["y"])
}

#[test]
fn taps_see_inputs_inner_values_and_outputs() {
    let graph = add_relu().graph();
    let taps = ["sum", "x", "y", "sum"].map(str::to_owned);
    let engine = Engine::new(&graph, &taps, &Options::default()).unwrap();
    for _ in 0..2 {
        let mut seen: [Vec<f32>; 4] = Default::default();
        let out = engine
            .run(&sample(&[1, 2], &[-3.0, 5.0]), &mut |tap, view| {
                assert_eq!(view.dims, [1, 2]);
                assert!(seen[tap].is_empty(), "tap {tap} called twice");
                seen[tap] = view.values.to_vec();
            })
            .unwrap();
        assert_eq!(seen, [vec![-2.0, 4.0], vec![-3.0, 5.0], vec![0.0, 4.0], vec![-2.0, 4.0]]);
        assert_eq!(out, [Array::from_f32(vec![1, 2], vec![0.0, 4.0])]);
    }
}

#[test]
fn taps_keep_the_layout_of_the_file() {
    // A pointwise convolution between transposes is what axis changes would like to rewrite.
    let mut first = node("Transpose", &["x"], &["t"]);
    set_attr(&mut first, "perm", vec![0, 3, 1, 2]);
    let weights = from_floats("w", &[2, 2, 1, 1], &[1.0, 0.0, 0.0, 2.0]);
    let nodes = vec![first, node("Conv", &["t", "w"], &["y"])];
    let graph = Model::new(&["N", "1", "3", "2"], nodes, vec![weights], &["y"]).graph();
    let engine = Engine::new(&graph, &["t".to_owned()], &Options::default()).unwrap();
    let mut seen = vec![];
    let input = sample(&[1, 1, 3, 2], &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
    let out =
        engine.run(&input, &mut |_, view| seen = [view.values.to_vec(), vec![view.dims[1] as f32]].concat()).unwrap();
    assert_eq!(seen, [1.0, 2.0, 3.0, 10.0, 20.0, 30.0, 2.0]);
    assert_eq!(out[0].as_f32().unwrap(), [1.0, 2.0, 3.0, 20.0, 40.0, 60.0]);
}

#[test]
fn unobservable_taps_are_named() {
    let int =
        Model::new(&["1", "2"], vec![node("Shape", &["x"], &["s"]), node("Relu", &["x"], &["y"])], vec![], &["y"]);
    for (graph, tap, why) in [
        (add_relu().graph(), "nowhere", "not a value"),
        (add_relu().graph(), "c", "constant"),
        (int.graph(), "s", "not float32"),
    ] {
        let refused = Engine::new(&graph, &[tap.to_owned()], &Options::default()).map(|_| vec![]);
        check_refused(refused, Code::Engine, &[tap, why]);
    }
}

#[test]
fn symbolic_batch_is_one_unless_bound() {
    let graph = add_relu().graph();
    let two = sample(&[2, 2], &[0.0; 4]);
    let engine = Engine::new(&graph, &[], &Options::default()).unwrap();
    check_refused(engine.run(&two, &mut |_, _| {}), Code::Samples, &["'x'", "[1, 2]", "[2, 2]"]);
    let options = Options::with_dims(&BTreeMap::from([("N".to_owned(), 2)]));
    let out = Engine::new(&graph, &[], &options).unwrap().run(&two, &mut |_, _| {}).unwrap();
    assert_eq!(out, [Array::from_f32(vec![2, 2], vec![1.0, 0.0, 1.0, 0.0])]);
}

#[test]
fn free_axes_take_the_extent_of_each_sample() {
    let nodes = vec![node("Relu", &["x"], &["y"])];
    let graph = Model::new(&["N", "width", ""], nodes, vec![], &["y"]).graph();
    let engine = Engine::new(&graph, &[], &Options::default()).unwrap();
    for n in (1..=MAX_PLANS + 2).chain(1..3) {
        let out = engine.run(&sample(&[1, n, 2], &vec![n as f32; 2 * n]), &mut |_, _| {}).unwrap();
        assert_eq!(out[0].dims, [1, n, 2]);
        assert!(engine.lock().compiled.len() <= MAX_PLANS);
    }
}

#[test]
fn misfit_samples_are_refused() {
    let graph = add_relu().graph();
    let ints = Array { dims: vec![1, 2], values: Values::I64(vec![1, 2]) };
    let of = |name: &str, array| Sample { inputs: vec![(name.to_owned(), array)] };
    let float = Array::from_f32(vec![1, 2], vec![0.0; 2]);
    let mut surplus = of("x", float.clone());
    surplus.inputs.push(("y".to_owned(), float.clone()));
    for (sample, words) in
        [(of("z", float), ["no array", "'x'"]), (of("x", ints), ["float32", "int64"]), (surplus, ["no input", "'y'"])]
    {
        let engine = Engine::new(&graph, &[], &Options::default()).unwrap();
        check_refused(engine.run(&sample, &mut |_, _| {}), Code::Samples, &words);
    }
}

#[test]
fn nodes_that_cannot_run_are_named() {
    let mut foreign = node("Relu", &["x"], &["y"]);
    foreign.domain = "example".to_owned();
    let odd = node("NoSuchOperator", &["x"], &["y"]);
    let broken = node("MatMul", &["x", "x"], &["y"]);
    for (node, words) in [
        (foreign, ["the Relu", "domain 'example'"]),
        (odd, ["the NoSuchOperator", "no operator"]),
        (broken, ["the MatMul", "cannot run"]),
    ] {
        let graph = Model::new(&["1", "2"], vec![node], vec![], &["y"]).graph();
        check_refused(run(&graph, &[1, 2], &[0.0; 2]), Code::Engine, &words);
    }
}

#[test]
fn calls_of_functions_are_refused_by_name() {
    let mut model = Model::new(&["1", "2"], vec![node("Twice", &["x"], &["y"])], vec![], &["y"]);
    model.0.functions.push(FunctionProto { name: "Twice".to_owned(), ..Default::default() });
    check_refused(run(&model.graph(), &[1, 2], &[0.0; 2]), Code::Engine, &["the Twice", "function"]);
}

#[test]
fn nodes_that_nothing_needs_may_be_unknown() {
    let mut model = add_relu();
    model.0.graph.as_mut().unwrap().node.push(node("NoSuchOperator", &["sum"], &["unused"]));
    check(model, &[1, 2], &[1.0, 1.0], &[2.0, 0.0]);
}

#[test]
fn stale_shapes_and_defaulted_inputs_do_not_matter() {
    let mut model = add_relu();
    let graph = model.0.graph.as_mut().unwrap();
    graph.value_info.push(value("sum", &["7", "7"]));
    graph.output[0] = value("y", &["9"]);
    graph.input.push(value("c", &["2"]));
    check(model, &[1, 2], &[1.0, 1.0], &[2.0, 0.0]);
}

#[test]
fn stored_weights_dequantize_at_every_granularity_and_width() {
    for (data_type, dims, scales, axis, block, expected) in [
        (U8, vec![], vec![0.5], 1, 0, [0.0, 0.5, 1.0, 1.5]),
        (DataType::INT8 as i32, vec![2], vec![1.0, 10.0], 0, 0, [0.0, 1.0, 20.0, 30.0]),
        (DataType::INT16 as i32, vec![2], vec![1.0, 10.0], -1, 0, [0.0, 10.0, 2.0, 30.0]),
        (DataType::UINT4 as i32, vec![2, 1], vec![1.0, 10.0], 1, 2, [0.0, 1.0, 20.0, 30.0]),
        (crate::onnx::UINT2, vec![], vec![2.0], 1, 0, [0.0, 2.0, 4.0, 6.0]),
        (DataType::INT32 as i32, vec![], vec![0.25], 1, 0, [0.0, 0.25, 0.5, 0.75]),
    ] {
        let mut dequantize = node("DequantizeLinear", &["q", "s"], &["w"]);
        set_attr(&mut dequantize, "axis", axis);
        set_attr(&mut dequantize, "block_size", block);
        let constants = vec![from_ints("q", data_type, &[2, 2], &[0, 1, 2, 3]), from_floats("s", &dims, &scales)];
        let nodes = vec![dequantize, node("Add", &["x", "w"], &["y"])];
        check(Model::new(&["2", "2"], nodes, constants, &["y"]), &[2, 2], &[0.0; 4], &expected);
    }
}

fn quantizers(zero_type: i32) -> Vec<Tensor> {
    vec![scalar("s", 0.5), from_ints("z", zero_type, &[], &[3])]
}

#[test]
fn activations_are_quantized_as_onnx_says() {
    let nodes =
        vec![node("QuantizeLinear", &["x", "s", "z"], &["q"]), node("DequantizeLinear", &["q", "s", "z"], &["y"])];
    let x = [0.25, 0.75, -0.25, 1000.0, -1000.0, 0.6];
    for (data_type, high, low) in [
        (U8, 126.0, -1.5),
        (DataType::INT8 as i32, 62.0, -65.5),
        (DataType::UINT4 as i32, 6.0, -1.5),
        (DataType::INT16 as i32, 1000.0, -1000.0),
    ] {
        let model = Model::new(&["1", "6"], nodes.clone(), quantizers(data_type), &["y"]);
        check(model, &[1, 6], &x, &[0.0, 1.0, 0.0, high, low, 0.5]);
    }
}

#[test]
fn clips_between_quantizer_and_dequantizers_narrow_the_range() {
    let nodes = vec![
        node("QuantizeLinear", &["x", "s", "z"], &["q"]),
        node("Clip", &["q", "low", "high"], &["c"]),
        node("DequantizeLinear", &["c", "s", "z"], &["a"]),
        node("DequantizeLinear", &["c", "s", "z"], &["b"]),
        node("DequantizeLinear", &["c", "s2"], &["other"]),
        node("Add", &["a", "b"], &["ab"]),
        node("Add", &["ab", "other"], &["y"]),
    ];
    let mut constants = quantizers(U8);
    constants.extend([from_ints("low", U8, &[], &[2]), from_ints("high", U8, &[], &[7]), scalar("s2", 10.0)]);
    // q = 2..7: a and b are (q - 3) / 2, the other dequantizer reads q * 10.
    let expected = [-1.0 + 20.0, 4.0 + 70.0, 0.0 + 30.0];
    check(Model::new(&["1", "3"], nodes, constants, &["y"]), &[1, 3], &[-9.0, 9.0, 0.1], &expected);
}

#[test]
fn float_weights_behind_quantizers_fold_at_their_granularity() {
    let mut nodes = vec![
        node("QuantizeLinear", &["w", "s", "z"], &["q"]),
        node("DequantizeLinear", &["q", "s", "z"], &["d"]),
        node("Add", &["x", "d"], &["y"]),
    ];
    nodes[..2].iter_mut().for_each(|n| set_attr(n, "axis", 0));
    let constants = vec![
        from_floats("w", &[2, 2], &[0.6, 300.0, 0.6, -300.0]),
        from_floats("s", &[2], &[1.0, 0.5]),
        from_ints("z", DataType::INT8 as i32, &[2], &[0, 0]),
    ];
    check(Model::new(&["2", "2"], nodes, constants, &["y"]), &[2, 2], &[0.0; 4], &[1.0, 127.0, 0.5, -64.0]);
}

#[test]
fn integers_may_leave_the_graph() {
    let nodes = vec![node("QuantizeLinear", &["x", "s", "z"], &["q"])];
    let graph = Model::new(&["1", "2"], nodes.clone(), quantizers(U8), &["q"]).graph();
    assert_eq!(run(&graph, &[1, 2], &[1.0, 500.0]).unwrap()[0].values, Values::U8(vec![5, 255]));
    let graph = Model::new(&["1", "2"], nodes, quantizers(DataType::INT16 as i32), &["q"]).graph();
    check_refused(run(&graph, &[1, 2], &[1.0, 500.0]), Code::Engine, &["the QuantizeLinear", "8-bit"]);
}

#[test]
fn captured_values_can_be_tapped() {
    let mut branch = GraphProto { node: vec![node("Neg", &["sum"], &["n"])], ..Default::default() };
    branch.output.push(value("n", &["1", "2"]));
    let mut choose = node("If", &["true"], &["chosen"]);
    for name in ["then_branch", "else_branch"] {
        set_attr(&mut choose, name, 0);
        let attribute = choose.attribute.iter_mut().find(|a| a.name == name).unwrap();
        attribute.g = Some(branch.clone()).into();
        attribute.type_ = crate::onnx::AttributeType::GRAPH.into();
    }
    let nodes = vec![node("Add", &["x", "c"], &["sum"]), choose];
    let truth = from_ints("true", DataType::UINT8 as i32, &[], &[1]);
    let truth = Tensor { data_type: DataType::BOOL as i32, ..truth };
    let graph = Model::new(&["1", "2"], nodes, vec![scalar("c", 1.0), truth], &["chosen"]).graph();
    let engine = Engine::new(&graph, &["sum".to_owned()], &Options::default()).unwrap();
    let mut seen = vec![];
    let out = engine.run(&sample(&[1, 2], &[1.0, 2.0]), &mut |_, view| seen = view.values.to_vec()).unwrap();
    assert_eq!((seen, out[0].as_f32().unwrap()), (vec![2.0, 3.0], [-2.0, -3.0].as_slice()));
}

#[test]
fn constants_are_evaluated_in_any_order_without_inputs() {
    let nodes = vec![
        node("Add", &["c", "c"], &["double"]),
        node("Shape", &["double"], &["shape"]),
        node("Add", &["x", "double"], &["y"]),
    ];
    let graph = Model::new(&["N", "2"], nodes, vec![from_floats("c", &[2], &[1.0, -1.0])], &["y"]).graph();
    let found = evaluate_constants(&graph, &["shape", "c", "double"].map(str::to_owned)).unwrap();
    assert_eq!(found[0], Array { dims: vec![1], values: Values::I64(vec![2]) });
    assert_eq!(found[1].as_f32().unwrap(), [1.0, -1.0]);
    assert_eq!(found[2].as_f32().unwrap(), [2.0, -2.0]);
    check_refused(evaluate_constants(&graph, &["y".to_owned()]), Code::Engine, &["'x'"]);
    check_refused(evaluate_constants(&graph, &["nowhere".to_owned()]), Code::InvalidGraph, &["'nowhere'"]);
    assert_eq!(evaluate_constants(&graph, &[]).unwrap(), []);
}

#[test]
fn constant_nodes_are_constants() {
    let mut constant = node("Constant", &[], &["c"]);
    set_attr(&mut constant, "value", 0);
    constant.attribute[0].type_ = crate::onnx::AttributeType::TENSOR.into();
    constant.attribute[0].t = Some(from_i64s("anything", &[1], &[6])).into();
    let nodes = vec![constant, node("Reshape", &["x", "c"], &["y"])];
    let graph = Model::new(&["N", "6"], nodes, vec![], &["y"]).graph();
    assert_eq!(run(&graph, &[1, 6], &[1.0; 6]).unwrap()[0].dims, [6]);
}

#[test]
fn threads_do_not_change_results() {
    use rayon::prelude::*;
    let weights: Vec<f32> = (0..64 * 64).map(|i| ((i * 37 % 101) as f32 - 50.0) / 77.0).collect();
    let nodes = vec![node("MatMul", &["x", "w"], &["m"]), node("Softmax", &["m"], &["y"])];
    let graph = Model::new(&["N", "64"], nodes, vec![from_floats("w", &[64, 64], &weights)], &["y"]).graph();
    let engine = Engine::new(&graph, &["m".to_owned()], &Options::default()).unwrap();
    let samples: Vec<Sample> =
        (0..32).map(|k| sample(&[1, 64], &(0..64).map(|i| (i * k) as f32 / 9.0).collect::<Vec<_>>())).collect();
    let one = |s: &Sample| {
        let mut sum = 0.0;
        let out = engine.run(s, &mut |_, view| sum += view.values.iter().sum::<f32>()).unwrap();
        (out, sum)
    };
    let alone: Vec<_> = samples.iter().map(one).collect();
    let together: Vec<_> = samples.par_iter().map(one).collect();
    assert_eq!(alone, together);
}
