//! Runs that stop at every tap, and runs again with something changed.

use super::*;

/// x -> MatMul a -> Relu -> MatMul b -> y, and the taps that layers are changed at.
fn two_layers(a: &[f32], b: &[f32]) -> (Graph, Vec<String>) {
    let nodes = vec![
        node("MatMul", &["x", "a"], &["p"]),
        node("Relu", &["p"], &["r"]),
        node("MatMul", &["r", "b"], &["q"]),
        node("Add", &["q", "r"], &["y"]),
    ];
    let constants = vec![from_floats("a", &[2, 2], a), from_floats("b", &[2, 2], b)];
    let graph = Model::new(&["1", "2"], nodes, constants, &["y"]).graph();
    (graph, ["x", "p", "r", "q"].map(str::to_owned).to_vec())
}

const A: [f32; 4] = [1.0, 2.0, -1.0, 0.5];
const B: [f32; 4] = [1.0, -2.0, 0.5, 3.0];

#[test]
fn a_walk_stops_at_every_tap_and_ends_like_a_run() {
    let (graph, taps) = two_layers(&A, &B);
    let engine = Engine::new(&graph, &taps, &Options::default()).unwrap();
    let x = sample(&[1, 2], &[3.0, 1.0]);
    let mut walk = engine.walk(&x, &[0], &[]).unwrap();
    let mut seen = vec![];
    while let Some(tap) = walk.advance().unwrap() {
        seen.push((tap, walk.view(tap).unwrap().values.to_vec()));
    }
    assert_eq!(seen.iter().map(|s| s.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(seen[1].1, [2.0, 6.5]);
    assert_eq!(walk.view(0).unwrap().values, [3.0, 1.0], "held");
    assert!(walk.view(1).is_err(), "not held");
    walk.release(0);
    assert!(walk.view(0).is_err());
    assert_eq!(walk.outputs().unwrap(), engine.run(&x, &mut |_, _| {}).unwrap());
}

#[test]
fn what_a_walk_replaces_is_what_follows_sees() {
    let (graph, taps) = two_layers(&A, &B);
    let engine = Engine::new(&graph, &taps, &Options::default()).unwrap();
    for (made, hold) in [(&[][..], &[][..]), (&[1], &[]), (&[1], &[1])] {
        let mut walk = engine.walk(&sample(&[1, 2], &[3.0, 1.0]), hold, made).unwrap();
        while let Some(tap) = walk.advance().unwrap() {
            if tap == 1 {
                assert_eq!(walk.view(1).is_ok(), made.is_empty(), "what the caller makes is not computed");
                walk.replace(&[1, 2], vec![1.0, -1.0]).unwrap();
                assert_eq!(walk.view(1).unwrap().values, [1.0, -1.0]);
            }
        }
        assert_eq!(walk.view(1).is_ok_and(|v| v.values == [1.0, -1.0]), !hold.is_empty(), "what is replaced is held");
        // r = [1, 0], q = [1, -2], y = q + r.
        assert_eq!(walk.outputs().unwrap()[0].as_f32().unwrap(), [2.0, -2.0]);
    }
}

#[test]
fn a_network_that_reads_no_input_is_walked_too() {
    let nodes = vec![node("MatMul", &["a", "b"], &["p"]), node("Relu", &["p"], &["y"])];
    let constants = vec![from_floats("a", &[2, 2], &A), from_floats("b", &[2, 2], &B)];
    let graph = Model::new(&["1", "2"], nodes, constants, &["y"]).graph();
    let engine = Engine::new(&graph, &["p".to_owned()], &Options::default()).unwrap();
    let x = sample(&[1, 2], &[3.0, 1.0]);
    let run = engine.run(&x, &mut |_, _| {}).unwrap();
    let mut walk = engine.walk(&x, &[], &[]).unwrap();
    assert_eq!(walk.advance().unwrap(), Some(0));
    assert_eq!(walk.view(0).unwrap().values, [2.0, 4.0, -0.75, 3.5]);
    assert_eq!(walk.advance().unwrap(), None);
    assert_eq!(walk.outputs().unwrap(), run);
    let mut trace = engine.trace(&x).unwrap();
    let site = Site { tap: 0, input: None, makes: false };
    let changed = trace.rerun(&[site], &mut |edit| {
        edit.values.fill(5.0);
        Ok(())
    });
    assert_eq!(changed.unwrap()[0].as_f32().unwrap(), [5.0; 4]);
}

/// A tap that the caller should have replaced and did not is an error of what reads it, never another value.
#[test]
fn what_nobody_makes_is_missed() {
    let (graph, taps) = two_layers(&A, &B);
    let engine = Engine::new(&graph, &taps, &Options::default()).unwrap();
    let mut walk = engine.walk(&sample(&[1, 2], &[3.0, 1.0]), &[], &[1]).unwrap();
    let end = std::iter::from_fn(|| walk.advance().transpose()).find(Result::is_err);
    assert_eq!(end.unwrap().unwrap_err().code(), Code::Engine);
}

/// Changing the output of a layer through a trace is the same as running the network with the other weight, whether
/// the network computes what is changed or the change makes it.
#[test]
fn a_rerun_equals_a_run_with_the_change() {
    let x = sample(&[1, 2], &[3.0, 1.0]);
    let (graph, taps) = two_layers(&A, &B);
    let engine = Engine::new(&graph, &taps, &Options::default()).unwrap();
    let (other, last) = ([1.5, 2.0, -1.0, 1.0], [0.5, 1.0, -2.0, 0.25]);
    let product = |input: &[f32], weight: [f32; 4], out: &mut [f32]| {
        for (j, v) in out.iter_mut().enumerate() {
            *v += (0..2).map(|i| input[i] * weight[i * 2 + j]).sum::<f32>();
        }
    };
    for makes in [false, true] {
        let mut trace = engine.trace(&x).unwrap();
        let mut seen = vec![];
        let mut change = |edit: Edit| -> Result<()> {
            let input = edit.input.unwrap().values.to_vec();
            let (from, to) = if edit.tap == 1 { (A, other) } else { (B, last) };
            let weight = if edit.blank { to } else { std::array::from_fn(|i| to[i] - from[i]) };
            product(&input, weight, edit.values);
            seen.push((edit.tap, edit.blank, input));
            Ok(())
        };
        let first = Site { tap: 1, input: Some(0), makes };
        let both = [first, Site { tap: 3, input: Some(2), makes }];
        let changed = trace.rerun(&both, &mut change).unwrap();
        let alone = trace.rerun(&[first], &mut change).unwrap();
        // p = [3.5, 7.0] = r; the first layer reads what nothing changed, so its own product is there.
        let r = vec![3.5, 7.0];
        assert_eq!(seen, [(1, false, vec![3.0, 1.0]), (3, makes, r), (1, false, vec![3.0, 1.0])]);
        let run = |a: &[f32], b: &[f32]| {
            let wanted = Engine::new(&two_layers(a, b).0, &[], &Options::default()).unwrap();
            wanted.run(&x, &mut |_, _| {}).unwrap()
        };
        assert_eq!(changed, run(&other, &last));
        assert_eq!(alone, run(&other, &B));
        assert_eq!(trace.rerun(&[], &mut |_| Ok(())).unwrap(), run(&A, &B), "the trace itself stays as it was");
    }
}
