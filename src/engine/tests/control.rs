//! Branches and loops, against what ONNX says, worked out by hand.

use super::*;
use crate::onnx::parse_text;

fn graph(inputs: &str, outputs: &str, body: &str) -> Graph {
    let text = format!("<ir_version: 8, opset_import: [\"\" : 17]>\ng ({inputs}) => ({outputs}) {body}");
    Graph::new(parse_text(&text).unwrap(), ExternalData::none())
}

fn run_all(graph: &Graph, inputs: &[(&str, Array)]) -> Result<Vec<Array>> {
    let inputs = inputs.iter().map(|(name, array)| ((*name).to_owned(), array.clone())).collect();
    Engine::new(graph, &[], &Options::default())?.run(&Sample { inputs }, &mut |_, _| {})
}

fn floats(dims: &[usize], values: &[f32]) -> Array {
    Array::from_f32(dims.to_vec(), values.to_vec())
}

fn number(value: i64) -> Array {
    Array { dims: vec![], values: Values::I64(vec![value]) }
}

fn truth(value: bool) -> Array {
    Array { dims: vec![], values: Values::Bool(vec![value]) }
}

/// The branches make different shapes, and the condition follows from the shape of the input.
#[test]
fn a_condition_on_shapes_takes_its_branch() {
    let squeeze = graph(
        "float[N,M,width] x",
        "float[N,M] y",
        "<int64[1] last = {2}, int64 two = {2}, int64 one = {1}> {
           s = Shape (x)
           extent = Gather (s, two)
           is_one = Equal (extent, one)
           t = If (is_one) <then_branch = a () => (float[N,M] p) { p = Squeeze (x, last) },
                            else_branch = b () => (float[N,M,width] q) { q = Identity (x) }>
           y = Relu (t)
         }",
    );
    let options = Options::with_dims(&BTreeMap::from([("N".to_owned(), 1)]));
    let engine = Engine::new(&squeeze, &[], &options).unwrap();
    for (dims, expected) in [(vec![1, 2, 1], vec![1, 2]), (vec![1, 1, 2], vec![1, 1, 2])] {
        let found = engine.run(&sample(&dims, &[-1.0, 5.0]), &mut |_, _| {}).unwrap();
        assert_eq!(found, [floats(&expected, &[0.0, 5.0])]);
    }
}

#[test]
fn a_condition_of_the_sample_takes_its_branch_in_each_run() {
    let fork = |other: &str| {
        graph(
            "float[2] x, bool c",
            "float[2] y",
            &format!(
                "<float[2] k = {{1, 10}}> {{
                   y = If (c) <then_branch = a () => (float[2] p) {{ p = Add (x, k) }},
                               else_branch = b () => (float[2] q) {{ {other} }}>
                 }}"
            ),
        )
    };
    let both = fork("n = Neg (x) q = Mul (n, k)");
    let x = floats(&[2], &[1.0, 2.0]);
    let of = |c| run_all(&both, &[("x", x.clone()), ("c", truth(c))]).unwrap();
    assert_eq!((of(true), of(false)), (vec![floats(&[2], &[2.0, 12.0])], vec![floats(&[2], &[-1.0, -20.0])]));
    for (other, word) in
        [("q = Concat <axis = 0> (x, k)", "shapes"), ("q = MatMul (x, k) r = Squeeze (x)", "cannot run")]
    {
        let refused = run_all(&fork(other), &[("x", x.clone()), ("c", truth(true))]);
        check_refused(refused, Code::Engine, &["If that makes 'y'", "only a run decides", word]);
    }
}

/// The carried sum, and every product on the way; weights are handed on as Keras does, and one value is captured.
fn summing(trips: &str, condition: &str) -> Graph {
    graph(
        "float[1,2] x, float[1,2] k, int64 m, bool c",
        "float[1,2] sum, float[rounds,1,2] steps",
        &format!(
            "<float[2,2] w = {{0, 1, 2, 0}}, int32 zero = {{0}}, int64 four = {{4}}, bool yes = {{1}}> {{
               sum, count, weights, steps = Loop ({trips}, {condition}, x, zero, w) <body = round
                 (int64 i, bool t, float[1,2] s, int32 n, float[2,2] v)
                 => (bool u, float[1,2] next, int32 counted, float[2,2] same, float[1,2] product)
                 <int32 one = {{1}}, int32 most = {{3}}> {{
                   product = MatMul (s, v)
                   next = Add (product, k)
                   counted = Add (n, one)
                   u = Less (counted, most)
                   same = Identity (v)
                 }}>
             }}"
        ),
    )
}

#[test]
fn loops_carry_and_stack() {
    let given = [("x", floats(&[1, 2], &[1.0, 2.0])), ("k", floats(&[1, 2], &[0.5, 0.0]))];
    // Rounds: (4, 1) + k = (4.5, 1); (2, 4.5) + k = (2.5, 4.5); (9, 2.5) + k = (9.5, 2.5).
    let steps = floats(&[3, 1, 2], &[4.0, 1.0, 2.0, 4.5, 9.0, 2.5]);
    for (trips, condition) in [("four", "yes"), ("", "yes"), ("four", ""), ("", "")] {
        let found = run_all(&summing(trips, condition), &given).unwrap();
        assert_eq!(found, [floats(&[1, 2], &[9.5, 2.5]), steps.clone()], "'{trips}' '{condition}'");
    }
}

#[test]
fn loops_may_end_before_they_begin() {
    let none = graph(
        "float[1] x",
        "float[1] y, float[n,1] z",
        "<int64 three = {3}, bool no = {0}> {
           y, z = Loop (three, no, x) <body = b (int64 i, bool t, float[1] s) => (bool u, float[1] r, float[1] p)
             { u = Identity (t) r = Neg (s) p = Abs (s) }>
         }",
    );
    assert_eq!(run_all(&none, &[("x", floats(&[1], &[2.0]))]).unwrap(), [floats(&[1], &[2.0]), floats(&[0, 1], &[])]);
}

/// A bound and conditions that only the sample knows.
#[test]
fn samples_may_say_how_often() {
    let halving = |stack: (&str, &str)| {
        graph(
            "float[1] x, int64 m, bool c",
            &format!("float[1] y{}", stack.0),
            &format!(
                "<float[1] half = {{0.5}}, float[1] one = {{1}}, int64[1] all = {{-1}}, int64[0] none = {{}}> {{
                   y{} = Loop (m, c, x) <body = b (int64 i, bool t, float[1] s) => (bool u, float[1] r{})
                     {{ r = Mul (s, half) g = Greater (r, one) u = Reshape (g, none) p = Abs (r) }}>
                 }}",
                if stack.0.is_empty() { "" } else { ", z" },
                stack.1
            ),
        )
    };
    let plain = halving(("", ""));
    let of = |m, c| run_all(&plain, &[("x", floats(&[1], &[20.0])), ("m", number(m)), ("c", truth(c))]).unwrap();
    for (m, c, expected) in [(2, true, 5.0), (100, true, 0.625), (100, false, 20.0), (0, true, 20.0)] {
        assert_eq!(of(m, c), [floats(&[1], &[expected])]);
    }
    let stacking = halving((", float[n,1] z", ", float[1] p"));
    let refused = run_all(&stacking, &[("x", floats(&[1], &[20.0])), ("m", number(2)), ("c", truth(true))]);
    check_refused(refused, Code::Engine, &["Loop that makes 'y'", "depends on its input"]);
}

#[test]
fn a_loop_that_widens_what_it_carries_is_refused() {
    let widening = graph(
        "float[1] x",
        "float[n] y",
        "<int64 three = {3}, bool yes = {1}> {
           y = Loop (three, yes, x) <body = b (int64 i, bool t, float[n] s) => (bool u, float[m] r)
             { u = Identity (t) r = Concat <axis = 0> (s, x) }>
         }",
    );
    check_refused(run_all(&widening, &[("x", floats(&[1], &[2.0]))]), Code::Engine, &["changes its shape"]);
}

/// A branch in a loop in a branch, which captures across all of them.
#[test]
fn bodies_may_hold_bodies() {
    let nested = graph(
        "float[2] x, bool c",
        "float[2] y",
        "<int64 three = {3}, bool yes = {1}, int64 one = {1}> {
           y = If (c) <then_branch = a () => (float[2] p) {
               p = Loop (three, yes, x) <body = b (int64 i, bool t, float[2] s) => (bool u, float[2] r) {
                   u = Identity (t)
                   is_one = Equal (i, one)
                   r = If (is_one) <then_branch = d () => (float[2] v) { v = Mul (s, x) },
                                    else_branch = e () => (float[2] w) { w = Add (s, x) }>
               }>
             }, else_branch = f () => (float[2] q) { q = Neg (x) }>
         }",
    );
    let x = floats(&[2], &[1.0, 3.0]);
    let of = |c| run_all(&nested, &[("x", x.clone()), ("c", truth(c))]).unwrap();
    // ((x + x) * x) + x.
    assert_eq!((of(true), of(false)), (vec![floats(&[2], &[3.0, 21.0])], vec![floats(&[2], &[-1.0, -3.0])]));
}

#[test]
fn unknown_operators_in_bodies_are_named() {
    let odd = graph(
        "float[2] x, bool c",
        "float[2] y",
        "{ y = If (c) <then_branch = a () => (float[2] p) { p = NoSuchOperator (x) },
                       else_branch = b () => (float[2] q) { q = Neg (x) }> }",
    );
    check_refused(run_all(&odd, &[]), Code::Engine, &["NoSuchOperator that makes 'p'", "no operator"]);
}

#[test]
fn sequences_are_reversed_up_to_their_length() {
    for (time, batch, dims, expected) in
        [(0, 1, "3,2", [3.0, 20.0, 2.0, 10.0, 1.0, 30.0]), (1, 0, "2,3", [2.0, 10.0, 1.0, 3.0, 20.0, 30.0])]
    {
        let text = format!(
            "<int64[2] lengths = {{3, 2}}> {{
               y = ReverseSequence <time_axis = {time}, batch_axis = {batch}> (x, lengths)
             }}"
        );
        let found = graph(&format!("float[{dims}] x"), &format!("float[{dims}] y"), &text);
        let extents: Vec<usize> = dims.split(',').map(|d| d.parse().unwrap()).collect();
        let options = Options::default();
        let engine = Engine::new(&found, &[], &options).unwrap();
        let out = engine.run(&sample(&extents, &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]), &mut |_, _| {}).unwrap();
        assert_eq!(out[0].as_f32().unwrap(), expected, "time {time}");
    }
}

/// What one sample leaves behind must not reach the next, whatever the shapes in between.
#[test]
fn samples_one_after_another_are_what_each_is_alone() {
    let recurrent = graph(
        "float[1,T,2] x",
        "float[T,1,1,2] y, float[1,1,2] last",
        "<float[1,2,2] w = {1, 0, 0, 1}, float[1,2,2] r = {0.5, 0, 0.25, 0.5}> {
           t = Transpose <perm = [1, 0, 2]> (x)
           y, last = RNN <hidden_size = 2> (t, w, r)
         }",
    );
    let plain = graph("float[1,T,2] x", "float[1,T,2] y", "{ s = Relu (x) y = Softmax (s) }");
    let sample = |inputs: &[(&str, Array)]| Sample {
        inputs: inputs.iter().map(|(name, array)| ((*name).to_owned(), array.clone())).collect(),
    };
    let steps = |count: usize, scale: f32| {
        let values: Vec<f32> = (0..2 * count).map(|i| scale * (i as f32 - 1.5)).collect();
        sample(&[("x", floats(&[1, count, 2], &values))])
    };
    let sequences = [steps(3, 0.3), steps(3, -0.7), steps(2, 1.0), steps(3, 0.3)];
    let pair = |v: f32| floats(&[1, 2], &[v, -v]);
    let rounds = [1.0, 2.0, -3.0].map(|v| sample(&[("x", pair(v)), ("k", pair(0.5))]));
    for (graph, samples) in
        [(recurrent, &sequences[..]), (plain, &sequences[..]), (summing("four", "yes"), &rounds[..])]
    {
        let engine = Engine::new(&graph, &[], &Options::default()).unwrap();
        let mut runs = engine.runs();
        for sample in samples {
            let together = runs.run_in_place(sample, &mut |_, _| {}).unwrap();
            assert_eq!(together, engine.run(sample, &mut |_, _| {}).unwrap());
        }
    }
}
