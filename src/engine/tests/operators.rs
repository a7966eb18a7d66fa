//! Operators that tract refuses or misreads, put in other words or written out here.

use super::*;

fn bools(name: &str, dims: &[usize], values: &[i32]) -> Tensor {
    Tensor { data_type: DataType::BOOL as i32, ..from_ints(name, U8, dims, values) }
}

#[track_caller]
fn check_close(model: Model, dims: &[usize], x: &[f32], expected: &[f32]) {
    let found = run(&model.graph(), dims, x).unwrap();
    let found = found[0].as_f32().unwrap();
    let close = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-5 * 30.0);
    assert!(close, "{found:?} {expected:?}");
}

/// Every n-th index of an axis that a reshape made, as LeViT thins its image; and a convolution that reads so.
#[test]
fn strides_stand_behind_what_made_their_axes() {
    let grid = |h: i64, w: i64, rest: Vec<Node>, starts: [i64; 2], steps: [i64; 2]| {
        let constants = vec![
            from_i64s("shape", &[4], &[1, 1, h, w]),
            from_i64s("starts", &[2], &starts),
            from_i64s("ends", &[2], &steps.map(|s| if s > 0 { i64::MAX } else { i64::MIN })),
            from_i64s("axes", &[2], &[2, 3]),
            from_i64s("steps", &[2], &steps),
            from_floats("w", &[1, 1, 1, 1], &[2.0]),
        ];
        let nodes = [vec![node("Reshape", &["x", "shape"], &["grid"])], rest].concat();
        let extent = (h * w).to_string();
        Model::new(&["1", &extent], nodes, constants, &["y"])
    };
    let slice = || vec![node("Slice", &["grid", "starts", "ends", "axes", "steps"], &["y"])];
    let count = |n: usize| (0..n).map(|i| i as f32).collect::<Vec<_>>();
    let even = grid(4, 4, slice(), [0, 0], [2, 2]);
    check(even, &[1, 16], &count(16), &[0.0, 2.0, 8.0, 10.0]);
    let odd = grid(3, 5, slice(), [0, 1], [2, 2]);
    check(odd, &[1, 15], &count(15), &[1.0, 3.0, 11.0, 13.0]);
    let back = grid(3, 4, slice(), [-1, -1], [-2, -3]);
    check(back, &[1, 12], &count(12), &[11.0, 8.0, 3.0, 0.0]);
    let mut conv = node("Conv", &["grid", "w"], &["y"]);
    set_attr(&mut conv, "strides", vec![2i64, 3]);
    let conv = grid(3, 4, vec![conv], [0, 0], [1, 1]);
    check(conv, &[1, 12], &count(12), &[0.0, 6.0, 16.0, 22.0]);
}

/// Two heads of queries, one of keys and values; `inputs` follow queries, keys and values.
fn attention(inputs: &[&str], constants: Vec<Tensor>, attributes: &[(&str, f32)]) -> Model {
    let mut attend = node("Attention", &[&["x", "k", "v"], inputs].concat(), &["y"]);
    for (name, value) in attributes {
        match *name {
            "scale" | "softcap" => set_attr(&mut attend, name, *value),
            _ => set_attr(&mut attend, name, *value as i64),
        }
    }
    let mut model = Model::new(&["1", "2", "2", "2"], vec![attend], constants, &["y"]);
    model.0.opset_import[0].version = 23;
    model
}

const QUERIES: [f32; 8] = [1.0, 0.0, 0.5, -1.0, 2.0, 1.0, -1.0, 0.25];
const KEYS: [f32; 6] = [1.0, 0.0, 0.0, 1.0, -1.0, 0.5];
const VALUES: [f32; 6] = [1.0, 10.0, 2.0, 20.0, 3.0, 30.0];

fn keys_and_values() -> Vec<Tensor> {
    vec![from_floats("k", &[1, 1, 3, 2], &KEYS), from_floats("v", &[1, 1, 3, 2], &VALUES)]
}

/// What ONNX Runtime 1.32 computes on its processor.
#[test]
fn attention_is_what_onnx_runtime_makes_of_it() {
    let wholly = bools("mask", &[2, 3], &[1, 1, 0, 0, 0, 0]);
    let heads = bools("mask", &[2, 2, 3], &[1, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0]);
    let floats = from_floats("mask", &[2, 3], &[0.0, -1.0, f32::NEG_INFINITY, 0.5, 0.0, 0.0]);
    let narrow = vec![keys_and_values().remove(0), from_floats("v", &[1, 1, 3, 1], &[1.0, 2.0, 3.0]), heads];
    let with = |mask| [keys_and_values(), vec![mask]].concat();
    let past = |n: usize| {
        let part = |name, from: &[f32]| from_floats(name, &[1, 1, from.len() / 2, 2], from);
        let (n, k, v) = (2 * n, KEYS, VALUES);
        vec![part("pk", &k[..n]), part("k", &k[n..]), part("pv", &v[..n]), part("v", &v[n..])]
    };
    for (model, expected) in [
        (
            attention(&[], keys_and_values(), &[]),
            vec![1.56405, 15.6405, 1.61371, 16.1371, 1.41935, 14.1935, 2.44144, 24.4144],
        ),
        (attention(&["mask"], with(wholly), &[]), vec![1.33024, 13.3024, 0.0, 0.0, 1.33024, 13.3024, 0.0, 0.0]),
        (
            attention(&["mask"], with(floats), &[("softcap", 0.5), ("scale", 1.0)]),
            vec![1.18512, 11.8512, 1.50786, 15.0786, 1.26549, 12.6549, 2.15671, 21.5671],
        ),
        (attention(&["mask"], narrow, &[]), vec![1.56405, 1.25718, 3.0, 0.0]),
        (
            attention(&[], keys_and_values(), &[("is_causal", 1.0)]),
            vec![1.0, 10.0, 1.25718, 12.5718, 1.0, 10.0, 1.70763, 17.0763],
        ),
        (
            attention(&["", "pk", "pv"], past(1), &[("is_causal", 1.0)]),
            vec![1.33024, 13.3024, 1.61371, 16.1371, 1.33024, 13.3024, 2.44144, 24.4144],
        ),
    ] {
        check_close(model, &[1, 2, 2, 2], &QUERIES, &expected);
    }
}

/// The same with heads side by side, both masks at once.
#[test]
fn attention_splits_heads_that_lie_side_by_side() {
    let constants = vec![
        from_floats("k", &[1, 3, 2], &KEYS),
        from_floats("v", &[1, 3, 2], &VALUES),
        bools("mask", &[2, 3], &[1, 1, 0, 0, 0, 0]),
    ];
    let numbers = [("q_num_heads", 2.0), ("kv_num_heads", 1.0), ("is_causal", 1.0)];
    let mut model = attention(&["mask"], constants, &numbers);
    model.0.graph.as_mut().unwrap().input[0] = value("x", &["1", "2", "4"]);
    check_close(model, &[1, 2, 4], &QUERIES, &[1.0, 10.0, 1.0, 10.0, 0.0, 0.0, 0.0, 0.0]);
}

/// A query that may look only past the first 32 keys, which tract takes together: the mean of what it may look at.
#[test]
fn attention_may_begin_late() {
    let seen: Vec<i32> = (0..80).map(|i| i32::from(i >= 36)).collect();
    let count: Vec<f32> = (0..40).map(|i| i as f32).collect();
    let constants = vec![
        from_floats("k", &[1, 1, 40, 2], &[0.5; 80]),
        from_floats("v", &[1, 1, 40, 1], &count),
        bools("mask", &[2, 40], &seen),
    ];
    check_close(attention(&["mask"], constants, &[]), &[1, 2, 2, 2], &QUERIES, &[37.5, 19.5, 37.5, 19.5]);
}

#[test]
fn attention_that_is_not_computed_is_refused_in_words() {
    let refuse = |model: Model, words: &[&str]| {
        check_refused(run(&model.graph(), &[1, 2, 2, 2], &QUERIES), Code::Engine, words);
    };
    let with =
        |name: &str, dims: &[usize], values: &[i32]| [keys_and_values(), vec![bools(name, dims, values)]].concat();
    refuse(attention(&["mask"], with("mask", &[2, 2], &[1; 4]), &[]), &["the Attention", "covers 2 of 3 keys"]);
    let mut scores = attention(&[], keys_and_values(), &[]);
    scores.0.graph.as_mut().unwrap().node[0].output.extend(["", "", "scores"].map(str::to_owned));
    refuse(scores, &["the Attention", "qk_matmul_output"]);
    let padded = [keys_and_values(), vec![from_i64s("padded", &[1], &[2])]].concat();
    refuse(attention(&["", "", "", "padded"], padded, &[]), &["the Attention", "nonpad_kv_seqlen"]);
}

/// Means of 2 and 4, variances of 1 and 4.
#[test]
fn batches_are_normalized_by_what_the_network_computes() {
    let mut normalize = node("BatchNormalization", &["x", "scale", "bias", "mean", "variance"], &["y"]);
    set_attr(&mut normalize, "epsilon", 0.0f32);
    let mut mean = node("ReduceMean", &["x", "axes"], &["mean"]);
    set_attr(&mut mean, "keepdims", 0);
    let mut square = node("ReduceMean", &["squared", "axes"], &["square"]);
    set_attr(&mut square, "keepdims", 0);
    let nodes = vec![
        mean,
        node("Mul", &["x", "x"], &["squared"]),
        square,
        node("Mul", &["mean", "mean"], &["of_mean"]),
        node("Sub", &["square", "of_mean"], &["variance"]),
        normalize,
    ];
    let constants = vec![
        from_i64s("axes", &[2], &[0, 2]),
        from_floats("scale", &[2], &[1.0, 2.0]),
        from_floats("bias", &[2], &[0.0, 1.0]),
    ];
    let model = Model::new(&["1", "2", "2"], nodes, constants, &["y"]);
    check(model, &[1, 2, 2], &[1.0, 3.0, 2.0, 6.0], &[-1.0, 1.0, -1.0, 3.0]);
}

/// The sums of a tenth are ONNX Runtime's.
#[test]
fn ranges_fall_and_take_fractions() {
    let range = |made: &str| {
        let [start, limit, step] = ["a", "b", "c"].map(|bound| format!("{made}{bound}"));
        node("Range", &[&start, &limit, &step], &[made])
    };
    let floats = |name: &str, [a, b, c]: [f32; 3]| {
        [("a", a), ("b", b), ("c", c)].map(|(n, v)| scalar(&(name.to_owned() + n), v))
    };
    let ints = |name: &str, [a, b, c]: [i64; 3]| {
        [("a", a), ("b", b), ("c", c)].map(|(n, v)| from_i64s(&(name.to_owned() + n), &[], &[v]))
    };
    let constants = [
        ints("down", [5, -2, -2]),
        ints("none", [5, 2, 1]),
        ints("zero", [0, 2, 0]),
        floats("tenths", [0.0, 1.0, 0.1]),
        floats("fall", [1.0, 0.0, -0.3]),
    ]
    .concat();
    let names = ["down", "none", "tenths", "fall", "zero"];
    let graph = Model::new(&["1"], names.map(range).to_vec(), constants, &["down"]).graph();
    let found = evaluate_constants(&graph, &names.map(str::to_owned)[..4]).unwrap();
    assert_eq!(found[0].values, Values::I64(vec![5, 3, 1, -1]));
    assert_eq!(found[1].values, Values::I64(vec![]));
    let tenths = found[2].as_f32().unwrap();
    assert_eq!((tenths.len(), tenths[3], tenths[9]), (10, 0.3, 0.900_000_1));
    assert_eq!(found[3].as_f32().unwrap().len(), 4);
    check_refused(evaluate_constants(&graph, &["zero".to_owned()]), Code::Engine, &["the Range", "zero"]);
}

#[test]
fn operands_may_be_vectors_and_booleans() {
    let product = vec![node("MatMul", &["x", "w"], &["y"])];
    let model = Model::new(&["3"], product, vec![from_floats("w", &[3], &[1.0, 10.0, 100.0])], &["y"]);
    let found = run(&model.graph(), &[3], &[1.0, 2.0, 3.0]).unwrap();
    assert_eq!((found[0].dims.as_slice(), found[0].as_f32().unwrap()), (&[][..], &[321.0][..]));
    let nodes = vec![node("Greater", &["x", "zero"], &["above"]), node("Equal", &["above", "truth"], &["y"])];
    let constants = vec![scalar("zero", 0.0), bools("truth", &[1], &[1])];
    let graph = Model::new(&["1", "2"], nodes, constants, &["y"]).graph();
    assert_eq!(run(&graph, &[1, 2], &[-1.0, 1.0]).unwrap()[0].values, Values::Bool(vec![false, true]));
}

/// An open slice is written so: its end is the greatest int64, cast to what it is.
#[test]
fn casts_to_int64_keep_every_bit() {
    let cast = |from: &str, to: &str| {
        let mut node = node("Cast", &[from], &[to]);
        set_attr(&mut node, "to", DataType::INT64 as i64);
        node
    };
    let given = [i64::MAX, 1 << 62, (1 << 53) + 1, -5, i64::from(i32::MAX) + 1];
    let constants = vec![
        from_i64s("given", &[5], &given),
        from_floats("float", &[3], &[-2.75, 3e9, 7.0]),
        from_i64s("start", &[1], &[1]),
        from_i64s("most", &[1], &[i64::MAX]),
    ];
    let nodes = vec![
        cast("given", "whole"),
        cast("float", "cut"),
        cast("most", "end"),
        node("Slice", &["x", "start", "end"], &["y"]),
    ];
    let graph = Model::new(&["4"], nodes, constants, &["y"]).graph();
    let found = evaluate_constants(&graph, &["whole", "cut"].map(str::to_owned)).unwrap();
    assert_eq!(found[0].values, Values::I64(given.to_vec()));
    assert_eq!(found[1].values, Values::I64(vec![-2, 3_000_000_000, 7]));
    assert_eq!(run(&graph, &[4], &[1.0, 2.0, 3.0, 4.0]).unwrap()[0].as_f32().unwrap(), [2.0, 3.0, 4.0]);
}

/// tract would read beyond a list or a shape that is too short.
#[test]
fn windows_fit_the_axes_they_slide_over() {
    let pooled = |rank: &[&str], lists: &[(&str, &[i64])]| {
        let mut pool = node("MaxPool", &["x"], &["y"]);
        lists.iter().for_each(|(name, list)| set_attr(&mut pool, name, list.to_vec()));
        let dims: Vec<usize> = rank.iter().map(|d| d.parse().unwrap()).collect();
        let x = vec![0.0; dims.iter().product()];
        run(&Model::new(rank, vec![pool], vec![], &["y"]).graph(), &dims, &x)
    };
    let refused = |rank: &[&str], lists: &[(&str, &[i64])], words: &str| {
        check_refused(pooled(rank, lists), Code::Engine, &["node 'the MaxPool' (MaxPool)", words]);
    };
    let image = ["1", "2", "4", "4"];
    assert!(pooled(&image, &[("kernel_shape", &[2, 2]), ("strides", &[2, 2])]).is_ok());
    refused(&image, &[("kernel_shape", &[2, 2]), ("strides", &[2, 0])], "strides holds 0");
    refused(
        &image,
        &[("kernel_shape", &[2, 2]), ("strides", &[1])],
        "kernel_shape is for 2 spatial axes, strides for 1",
    );
    refused(&image, &[("kernel_shape", &[2, 2]), ("pads", &[1, 1, 1])], "pads has 3 numbers");
    refused(&image, &[("kernel_shape", &[2, 2]), ("pads", &[])], "pads is an empty list");
    refused(&image, &[("kernel_shape", &[2])], "its lists are for 1 spatial axes, the input has 2");
    refused(&image, &[("kernel_shape", &[1 << 40, 2])], "no window can have");
    refused(&["4"], &[("kernel_shape", &[2])], "its rank is 1");
}

#[test]
fn batch_normalization_needs_channels() {
    let ones = ["scale", "bias", "mean", "variance"].map(|name| from_floats(name, &[4], &[1.0; 4]));
    let norm = node("BatchNormalization", &["x", "scale", "bias", "mean", "variance"], &["y"]);
    let found = run(&Model::new(&["4"], vec![norm], ones.to_vec(), &["y"]).graph(), &[4], &[1.0; 4]);
    check_refused(found, Code::Engine, &["(BatchNormalization)", "its rank is 1"]);
}

/// A few bytes of padding can ask for any size.
#[test]
fn values_that_no_memory_holds_are_refused() {
    let mut conv = node("Conv", &["x", "w"], &["y"]);
    set_attr(&mut conv, "pads", vec![1, 1, 1, 1 << 30]);
    let weights = from_floats("w", &[1, 1, 3, 3], &[1.0; 9]);
    let found =
        run(&Model::new(&["1", "1", "4", "4"], vec![conv], vec![weights], &["y"]).graph(), &[1, 1, 4, 4], &[1.0; 16]);
    check_refused(found, Code::Engine, &["node 'the Conv' (Conv)", "shape [1, 1, 4, 1073741827], which is too large"]);
    let nodes = vec![node("ConstantOfShape", &["shape"], &["fill"]), node("Add", &["x", "fill"], &["y"])];
    let shape = from_i64s("shape", &[2], &[1 << 20, 1 << 20]);
    let found = run(&Model::new(&["1"], nodes, vec![shape], &["y"]).graph(), &[1], &[1.0]);
    check_refused(found, Code::Engine, &["'the ConstantOfShape'", "which is too large"]);
}
