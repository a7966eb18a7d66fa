//! Operators that tract refuses or misreads, put in other words or written out here.

use super::*;

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
