//! X'X against the processor's, bit by bit where it fuses multiplications and additions, and against float64.

use super::data::{Kind, elements};
use crate::product::fuses;
use crate::random::SplitMix64;
use crate::stats::cuda::gram::{self, Resident, Task, add_at, fetch};
use crate::stats::cuda::kernels::Kernel;
use crate::stats::cuda::lane::Lane;
use crate::stats::cuda::machine::Machine;
use crate::stats::{Gram, GramRequest, Patches, Scratch};

fn conv(kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2], pads: [usize; 4], groups: usize) -> Patches {
    Patches::Conv { kernel, stride, dilation, pads, groups }
}

fn cases() -> Vec<(Vec<usize>, Patches)> {
    vec![
        (vec![5, 3], Patches::Last),
        (vec![2, 9, 68], Patches::Last),
        (vec![77, 130], Patches::Last),
        (vec![700, 6], Patches::Last),
        (vec![1, 3, 9, 11], conv([3, 3], [1, 1], [1, 1], [1; 4], 1)),
        (vec![2, 4, 7, 6], conv([3, 2], [2, 1], [1, 2], [2, 0, 1, 3], 2)),
        (vec![1, 9, 8, 8], conv([3, 3], [1, 1], [1, 1], [1; 4], 9)),
        (vec![2, 70, 5, 5], conv([1, 1], [1, 1], [1, 1], [0; 4], 1)),
        (vec![1, 8, 6, 7], conv([3, 3], [2, 3], [2, 2], [0, 2, 3, 1], 1)),
        (vec![3, 2, 50], conv([1, 5], [1, 2], [1, 3], [0, 4, 0, 1], 1)),
        // Only some rows of the image are taken.
        (vec![1, 2, 40, 33], conv([1, 1], [1, 1], [1, 1], [0; 4], 1)),
        (vec![1, 1, 60, 41], conv([3, 3], [1, 1], [1, 1], [1; 4], 1)),
        // No output position, and a kernel too far apart for the device.
        (vec![1, 1, 2, 2], conv([3, 3], [1, 1], [1, 1], [0; 4], 1)),
        (vec![1, 1, 1, 40_010], conv([1, 2], [1, 1], [1, 40_000], [0; 4], 1)),
    ]
}

/// Groups of few columns: as many groups as fill blocks or not, several shares, windows that see nothing but padding.
fn grouped() -> Vec<(Vec<usize>, Patches, Kernel)> {
    let square = |side: usize, groups: usize| conv([side; 2], [1; 2], [1; 2], [side / 2; 4], groups);
    let (few, some) = (Kernel::GramGroups9, Kernel::GramGroups27);
    vec![
        (vec![2, 70, 9, 8], square(3, 70), few),
        (vec![1, 6, 40, 33], square(3, 6), few),
        (vec![3, 5, 7, 6], conv([3, 2], [2, 1], [1, 2], [2, 0, 1, 3], 5), few),
        (vec![1, 4, 5, 5], conv([3, 3], [1, 2], [1, 1], [4, 3, 4, 5], 4), few),
        (vec![2, 33, 160], conv([1, 5], [1, 2], [1, 3], [0, 4, 0, 1], 33), few),
        (vec![1, 40, 12, 12], square(1, 40), few),
        (vec![1, 8, 20, 19], conv([2, 2], [3, 3], [1, 1], [0; 4], 4), few),
        (vec![2, 40, 6, 6], square(1, 4), some),
        (vec![3, 66, 5, 6], square(3, 33), some),
        (vec![2, 4, 11, 10], conv([5, 5], [2, 2], [1, 1], [2, 1, 2, 3], 4), some),
        (vec![1, 12, 9, 9], square(3, 4), some),
        (vec![1, 16, 4, 4], square(3, 4), Kernel::GramConvolution),
        (vec![1, 3, 4, 4], square(3, 3), Kernel::GramConvolution),
    ]
}

/// Columns of a group decide which kernel reads them.
#[test]
fn groups_of_few_columns_have_kernels_of_their_own() {
    for (dims, patches, kernel) in grouped() {
        let task = Task::of(&dims, dims.iter().product(), &patches).unwrap().unwrap();
        assert_eq!(task.kernel, kernel, "{dims:?} {patches:?}");
    }
}

/// Sums of two samples, on the device and one at a time.
pub(super) fn check<M: Machine>(lane: &mut Lane<M>) {
    let mut random = SplitMix64(59);
    let grouped = grouped().into_iter().map(|(dims, patches, _)| (dims, patches));
    for (dims, patches) in cases().into_iter().chain(grouped) {
        lane.forget();
        for kind in [Kind::Plain, Kind::Relu, Kind::Constant] {
            let request = GramRequest { layer: 0, patches: patches.clone() };
            let samples = [0; 2].map(|_| elements(kind, dims.iter().product(), &mut random));
            let (mut wanted, mut resident) = (Gram::default(), Resident::default());
            for sample in &samples {
                wanted.add(&dims, sample, &request, &mut Scratch::default()).unwrap();
                add(lane, &dims, sample, &request, &mut resident).unwrap();
            }
            let found = fetch(lane, resident).unwrap();
            wanted.finish();
            let shape = |g: &Gram| (g.size, g.groups, g.rows, g.samples.count());
            assert_eq!(shape(&found), shape(&wanted), "{dims:?} {patches:?} {kind:?}");
            // What depends on sums is decided alike on either side.
            assert!(found == wanted || !fuses(), "{dims:?} {patches:?} {kind:?}");
            against_float64(&dims, &samples, &patches, &found);
        }
        starts_anywhere(lane, &dims, &patches, &mut random);
    }
    refuses_another_size(lane);
}

/// Shapes of which a block reads many rows: too much for an emulation.
pub(super) fn large<M: Machine>(lane: &mut Lane<M>) {
    let mut random = SplitMix64(67);
    let cases = [
        (vec![9000, 70], Patches::Last),
        (vec![5, 10, 28, 28], conv([3, 3], [1, 1], [1, 1], [1; 4], 1)),
        (vec![9, 24, 20, 20], conv([3, 3], [2, 2], [1, 1], [0, 0, 1, 1], 24)),
        (vec![64, 512, 14, 14], conv([3, 3], [1, 1], [1, 1], [1; 4], 512)),
        (vec![8, 240, 28, 28], conv([5, 5], [2, 2], [1, 1], [2; 4], 240)),
    ];
    for (dims, patches) in cases {
        starts_anywhere(lane, &dims, &patches, &mut random);
    }
}

/// The kernels need no alignment, and little memory.
fn starts_anywhere<M: Machine>(lane: &mut Lane<M>, dims: &[usize], patches: &Patches, random: &mut SplitMix64) {
    let values = elements(Kind::Plain, dims.iter().product(), random);
    let Some(task) = Task::of(dims, values.len(), patches).unwrap() else { return };
    let shifted = [&[f32::NAN; 3][..], &values, &[f32::NAN; 3]].concat();
    let address = lane.put_values(&shifted).unwrap() + 12;
    let mut sum = |task: Task| {
        let mut resident = Resident::default();
        add_at(lane, address, task, &mut resident).unwrap();
        fetch(lane, resident).unwrap()
    };
    let found = sum(task);
    against_float64(dims, std::slice::from_ref(&values), patches, &found);
    assert_eq!(sum(task), found, "the same bytes every run");
    // Where memory is short, images are summed up in several passes.
    assert_eq!(sum(Task { partial: 0, ..task }), found, "passes");
    // Where an image is one block's.
    assert_eq!(sum(Task { blocks: 0, ..task }), found, "whole images");
    let (request, mut wanted) = (GramRequest { layer: 0, patches: patches.clone() }, Gram::default());
    wanted.add(dims, &values, &request, &mut Scratch::default()).unwrap();
    wanted.finish();
    assert!(found == wanted || !fuses(), "{dims:?} {patches:?}");
}

fn add<M: Machine>(
    lane: &mut Lane<M>,
    dims: &[usize],
    values: &[f32],
    request: &GramRequest,
    into: &mut Resident<M>,
) -> crate::Result<()> {
    let address = lane.put_values(values)?;
    gram::add(lane, address, dims, values, request, into)
}

fn refuses_another_size<M: Machine>(lane: &mut Lane<M>) {
    let request = GramRequest { layer: 0, patches: Patches::Last };
    let mut resident = Resident::default();
    add(lane, &[2, 3], &[1.0; 6], &request, &mut resident).unwrap();
    assert!(add(lane, &[2, 4], &[1.0; 8], &request, &mut resident).is_err());
    let found = fetch(lane, resident).unwrap();
    assert_eq!((found.rows, found.group(0)), (2, &[2.0; 9][..]));
}

fn against_float64(dims: &[usize], samples: &[Vec<f32>], patches: &Patches, found: &Gram) {
    let extent = patches.extent(dims).unwrap();
    let n = extent.size;
    let (mut matrix, mut sums) = (vec![0f64; extent.groups * n * n], vec![0f64; extent.groups * n]);
    for sample in samples {
        let mut see = |tile: crate::stats::Tile| {
            for (i, a) in tile.columns.rows().into_iter().enumerate() {
                sums[tile.group * n + i] += a.iter().map(|v| f64::from(*v)).sum::<f64>();
                for (j, b) in tile.columns.rows().into_iter().enumerate() {
                    let dot: f64 = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                    matrix[(tile.group * n + i) * n + j] += dot;
                }
            }
            Ok(())
        };
        patches.each_tile(dims, sample, patches.coarse_step(dims), &mut see).unwrap();
    }
    for g in 0..extent.groups {
        let at = |i: usize, j: usize| matrix[(g * n + i) * n + j];
        for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let (value, scale) = (f64::from(found.group(g)[i * n + j]), (at(i, i) * at(j, j)).sqrt());
            assert!((value - at(i, j)).abs() <= 1e-5 * scale, "{dims:?} {patches:?} {g} {i} {j}: {value} {}", at(i, j));
        }
        for i in 0..n {
            let (value, wanted) = (found.sums[g * n + i], sums[g * n + i]);
            let scale = (at(i, i) * found.rows as f64).sqrt();
            assert!((value - wanted).abs() <= 1e-5 * scale, "{dims:?} {patches:?} sum {i}: {value} {wanted}");
        }
    }
}
