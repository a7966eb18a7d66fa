//! Products against float64, and in the order that the module promises.

use super::*;
use ndarray::Array2;
use proptest::prelude::*;

/// Numbers between -1 and 1.
fn matrix(rows: usize, columns: usize, seed: u64, turned: bool) -> Array2<f32> {
    let mut random = crate::random::SplitMix64(seed);
    let shape = if turned { (columns, rows) } else { (rows, columns) };
    let found = Array2::from_shape_fn(shape, |_| (2.0 * random.unit() - 1.0) as f32);
    if turned { found.reversed_axes() } else { found }
}

fn exact(left: &Array2<f32>, right: &Array2<f32>) -> Array2<f64> {
    left.mapv(f64::from).dot(&right.mapv(f64::from))
}

fn near(found: f32, want: f64, inner: usize) -> bool {
    (f64::from(found) - want).abs() <= 1e-6 * (1.0 + inner as f64)
}

proptest! {
    #[test]
    fn products_are_those_of_doubles(
        rows in 1usize..40, inner in 0usize..1100, columns in 1usize..80, seed: u64,
        turns in [any::<bool>(), any::<bool>(), any::<bool>()],
    ) {
        let (left, right) = (matrix(rows, inner, seed, turns[0]), matrix(inner, columns, !seed, turns[1]));
        let start = matrix(rows, columns, seed ^ 5, turns[2]);
        let (mut once, mut cut) = (start.clone(), start.clone());
        add_product(&left.view(), &right.view(), &mut once.view_mut());
        // What a larger matrix left behind must not be seen.
        let mut panels = Panels::default();
        panels.cut(&matrix(inner + 3, columns + 40, seed, false).view());
        panels.cut(&right.view());
        panels.add_product(&left.view(), &mut cut.view_mut());
        prop_assert_eq!(&once, &cut);
        let want = exact(&left, &right);
        for ((at, found), start) in once.indexed_iter().zip(&start) {
            prop_assert!(near(*found, want[at] + f64::from(*start), inner), "{at:?}: {found} {}", want[at]);
        }
    }

    #[test]
    fn squares_are_those_of_doubles(
        rows in 0usize..1100, columns in 1usize..80, seed: u64, turned: bool,
    ) {
        let x = matrix(rows, columns, seed, turned);
        let start = matrix(columns, columns, !seed, false);
        let mut found = start.clone();
        let mut panels = Panels::default();
        panels.cut(&x.view());
        panels.add_square(&mut found.view_mut());
        let want = exact(&x.t().to_owned(), &x);
        for ((i, j), found) in found.indexed_iter().filter(|((i, j), _)| j <= i) {
            let want = want[[i, j]] + f64::from(start[[i, j]]);
            prop_assert!(near(*found, want, rows), "{i} {j}: {found} {want}");
        }
    }
}

proptest! {
    #[test]
    fn chained_squares_add_up_short_chains(rows in 0usize..300, columns in 1usize..80, seed: u64, turned: bool) {
        let x = matrix(rows, columns, seed, turned);
        let start = matrix(columns, columns, !seed, false);
        let (mut found, mut panels) = (start.clone(), Panels::default());
        let (mut seen, mut sums) = (start.clone(), vec![0f64; columns]);
        panels.cut(&x.view());
        panels.add_sums(CHAIN, &mut sums);
        panels.add_chained_square(CHAIN, &mut found.view_mut(), &mut |block| {
            for (r, line) in block.sums.iter().enumerate() {
                for (c, v) in line.iter().enumerate() {
                    if let Some(to) = seen.get_mut((block.at.0 + r, block.at.1 + c)) {
                        *to += v;
                    }
                }
            }
        });
        let narrow = (columns <= NARROW).then(|| {
            let (mut lines, mut sums) = (Lines::default(), vec![0f64; columns]);
            lines.cut(&x.t());
            (lines.square(columns, CHAIN, &mut sums), sums)
        });
        prop_assert!(narrow.iter().all(|n| n.1 == sums));
        for i in 0..columns {
            let chain = |from: usize| (from..(from + CHAIN).min(rows)).fold(0f32, |sum, k| sum + x[[k, i]]);
            prop_assert_eq!(sums[i], (0..rows).step_by(CHAIN).map(|k| f64::from(chain(k))).sum::<f64>());
            for j in 0..=i {
                let chain = |from: usize| {
                    (from..(from + CHAIN).min(rows)).fold(0f32, |sum, k| x[[k, i]].mul_add(x[[k, j]], sum))
                };
                let want = (0..rows).step_by(CHAIN).fold(0f32, |sum, k| sum + chain(k));
                prop_assert_eq!(found[[i, j]], seen[[i, j]]);
                prop_assert!(narrow.iter().all(|n| start[[i, j]] + n.0[i][j] == found[[i, j]]));
                match fuses() {
                    true => prop_assert_eq!(found[[i, j]], start[[i, j]] + want),
                    false => prop_assert!(near(found[[i, j]], f64::from(start[[i, j]] + want), rows)),
                }
            }
        }
    }
}

const CHAIN: usize = 64;

#[test]
fn narrow_vectors_give_the_same_bits_as_wide_ones() {
    let (left, right) = (matrix(19, 700, 1, false), matrix(700, 45, 2, false));
    let mut found = Array2::zeros((19, 45));
    add_product(&left.view(), &right.view(), &mut found.view_mut());
    // One chain of fused steps for every 512, as the module says.
    for ((i, j), found) in found.indexed_iter() {
        let chain = |from: usize, to: usize| (from..to).fold(0f32, |sum, k| left[[i, k]].mul_add(right[[k, j]], sum));
        let fused = chain(0, 512) + chain(512, 700);
        match fuses() {
            true => assert_eq!(*found, fused, "{i} {j}"),
            false => assert!(near(*found, f64::from(fused), 700), "{i} {j}"),
        }
    }
}
