//! What is measured.

use super::super::driver::describe;
use super::super::gram::{self, Target, Task};
use super::super::machine::Machine;
use super::super::measure::{self, Cut};
use super::super::{fake, range};
use super::{BenchRow, Cublas, Stopwatch, failure};
use crate::Result;
use crate::random::SplitMix64;
use crate::stats::{Histogram, Patches};

/// Elements of the tensors: 64 and 256 MB.
const SMALL: usize = 16 << 20;
const LARGE: usize = 64 << 20;
/// Bytes of the results of statistics, for any of the shapes below.
const RESULT: usize = 1 << 20;

/// All rows; `cublas` where it is installed.
pub(super) fn all(watch: &mut Stopwatch, cublas: Option<&Cublas>) -> Result<Vec<BenchRow>> {
    let (against, mut rows) = copies(watch)?;
    let (moments, pass) = statistics(watch, against)?;
    rows.extend(moments);
    rows.extend(fakes(watch, against)?);
    rows.push(ranges(watch, pass)?);
    rows.extend(grams(watch, cublas)?);
    Ok(rows)
}

/// Bandwidths that others are compared with, of copies of either size: what is large enough for one is not for the
/// other, since every launch has a beginning and an end.
#[derive(Clone, Copy)]
struct Against {
    small: f64,
    large: f64,
}

impl Against {
    /// Of what reads, or reads and writes, `bytes` of a tensor of `n` elements.
    fn row(self, what: &str, n: usize, bytes: usize, milliseconds: f64, bar: Option<f64>) -> BenchRow {
        let rate = bytes as f64 / milliseconds / 1e6;
        let (gigabytes, size) = if n < LARGE { (self.small, "64") } else { (self.large, "256") };
        let (what, against) = (what.to_owned(), format!("a copy of {size} MB"));
        let (rate, ratio) = (format!("{rate:.0} GB/s"), Some(rate / gigabytes));
        BenchRow { what, on: megabytes(n), milliseconds, rate, against, ratio, bar }
    }
}

fn megabytes(elements: usize) -> String {
    format!("{} MB", elements >> 18)
}

fn tensor(n: usize) -> Vec<f32> {
    let mut random = SplitMix64(1);
    (0..n).map(|_| (random.next() >> 40) as f32 / 8_388_608.0 - 1.0).collect()
}

/// The bandwidths of copies.
fn copies(watch: &mut Stopwatch) -> Result<(Against, Vec<BenchRow>)> {
    let mut rows = vec![];
    let mut bandwidth = |n: usize| -> Result<f64> {
        let (from, mut to) = (watch.allocate(4 * n)?, watch.allocate(4 * n)?);
        let milliseconds = watch.time(|lane| {
            let stream = lane.machine.stream().clone();
            stream.memcpy_dtod(&from, &mut to).map_err(|e| failure(format!("the GPU could not copy: {}", describe(e))))
        })?;
        let gigabytes = 8.0 * n as f64 / milliseconds / 1e6;
        rows.push(BenchRow {
            what: "device-to-device copy".to_owned(),
            on: megabytes(n),
            milliseconds,
            rate: format!("{gigabytes:.0} GB/s"),
            against: String::new(),
            ratio: None,
            bar: None,
        });
        Ok(gigabytes)
    };
    let against = Against { large: bandwidth(LARGE)?, small: bandwidth(SMALL)? };
    Ok((against, rows))
}

/// Statistics of several shapes, and the time of one pass over 64 MB.
fn statistics(watch: &mut Stopwatch, against: Against) -> Result<(Vec<BenchRow>, f64)> {
    let x = watch.lane.put_values(&tensor(LARGE))?;
    let result = watch.lane.result.reserve(&mut watch.lane.machine, RESULT)?;
    let whole = |n| Cut { outer: 1, channels: 1, inner: n, wanted: false };
    let planes = Cut { outer: 64, channels: 64, inner: 64 * 64, wanted: true };
    let odd = Cut { outer: 70, channels: 512, inner: 7 * 7 * 10 + 1, wanted: true };
    let features = Cut { outer: SMALL.div_ceil(768), channels: 768, inner: 1, wanted: true };
    let mut rows = vec![];
    for (what, cut) in [
        ("moments", whole(SMALL)),
        ("moments", whole(LARGE)),
        ("moments by channel", planes),
        ("moments by channel, odd planes", odd),
        ("moments by feature", features),
    ] {
        let milliseconds = watch.time(|lane| measure::launch_moments(lane, x, cut, result))?;
        rows.push(against.row(what, cut.len(), 4 * cut.len(), milliseconds, Some(0.8)));
    }
    let all = (1, LARGE.div_ceil(256));
    let milliseconds = watch.time(|lane| measure::launch_histogram(lane, x, whole(LARGE), all, result))?;
    rows.push(against.row("histogram of all elements", LARGE, 4 * LARGE, milliseconds, Some(0.8)));
    let mut pass = f64::INFINITY;
    for n in [LARGE, SMALL] {
        pass = watch.time(|lane| measure::queue(lane, x, whole(n), result))?;
        rows.push(against.row("statistics as calibration takes them", n, 4 * n, pass, Some(0.8)));
        let both = watch.time_of_two(|lane| {
            let result = lane.result.reserve(&mut lane.machine, RESULT)?;
            measure::queue(lane, x, whole(n), result)
        })?;
        rows.push(against.row("the same for two samples at once", n, 4 * n, both, Some(0.8)));
    }
    Ok((rows, pass))
}

fn fakes(watch: &mut Stopwatch, against: Against) -> Result<Vec<BenchRow>> {
    let x = watch.lane.put_values(&tensor(SMALL))?;
    let steps = watch.lane.put_parameters(&[0.01f32, -128.0, 127.0, 0.0, 0.01].repeat(4096))?;
    let y = watch.lane.result.reserve(&mut watch.lane.machine, 4 * SMALL)?;
    let mut rows = vec![];
    for (what, sizes) in [
        ("fake quantization", [1, 1, SMALL]),
        ("fake quantization by channel", [64, 64, 64 * 64]),
        ("fake quantization by feature", [SMALL / 768, 768, 1]),
    ] {
        let n = sizes.iter().product();
        let milliseconds = watch.time(|lane| fake::launch(lane, (x, y), steps, sizes))?;
        rows.push(against.row(what, n, 8 * n, milliseconds, None));
    }
    Ok(rows)
}

fn ranges(watch: &mut Stopwatch, pass: f64) -> Result<BenchRow> {
    let points = Histogram::BINS;
    let near: Vec<f64> = (0..points).map(|i| i as f64 / 512.0 - 2.0).chain(vec![1.0; points]).collect();
    let at = watch.lane.put_values(&near)?;
    let clips = |bits: i32| (1..65).flat_map(move |i| [f64::from(i) / 32.0 / f64::from(1 << bits), -1.0, 1.0]);
    let list: Vec<f64> = (2..9).flat_map(clips).collect();
    let list_at = watch.lane.put_parameters(&list)?;
    let milliseconds = watch.time(|lane| range::launch(lane, at, points, list_at, list.len() / 3))?;
    Ok(BenchRow {
        what: "range search".to_owned(),
        on: "7 widths x 64 clips, 2048 points".to_owned(),
        milliseconds,
        rate: String::new(),
        against: "statistics of 64 MB".to_owned(),
        ratio: Some(milliseconds / pass),
        bar: Some(4.0),
    })
}

fn grams(watch: &mut Stopwatch, cublas: Option<&Cublas>) -> Result<Vec<BenchRow>> {
    let square = |kernel: usize, groups| Patches::Conv {
        kernel: [kernel; 2],
        stride: [1; 2],
        dilation: [1; 2],
        pads: [kernel / 2; 4],
        groups,
    };
    let shapes = [
        (vec![64 * 197, 768], Patches::Last),
        (vec![16 * 197, 3072], Patches::Last),
        (vec![64, 64, 56, 56], square(3, 1)),
        (vec![32, 256, 28, 28], square(3, 1)),
        (vec![32, 512, 14, 14], square(3, 1)),
        (vec![64, 512, 28, 28], square(1, 1)),
        (vec![64, 512, 14, 14], square(3, 512)),
        // As calibration sees it: one sample at a time.
        (vec![1, 512, 14, 14], square(3, 512)),
        (vec![64, 240, 28, 28], square(5, 240)),
    ];
    let mut rows = vec![];
    for (dims, patches) in shapes {
        let n = dims.iter().product();
        let Some(task) = Task::of(&dims, n, &patches)? else { continue };
        let (size, groups) = (task.extent.size, task.extent.groups);
        let x = watch.lane.put_values(&tensor(n))?;
        let (data, sums) = (watch.allocate(4 * groups * size * size)?, watch.allocate(8 * groups * size)?);
        let own = watch.lane.result.reserve(&mut watch.lane.machine, groups * (8 * size + 4 * 128 * 128))?;
        let totals = (watch.lane.machine.address(&data), watch.lane.machine.address(&sums));
        let target = Target { totals, own, add: false };
        let milliseconds = watch.time(|lane| gram::launch(lane, x, task, target))?;
        // As a full product, so that rates compare although ours computes one half.
        let teraflops = |milliseconds: f64| 2e-9 * (groups * size * size * task.rows) as f64 / milliseconds;
        let theirs = match cublas {
            Some(cublas) if groups == 1 => {
                let matrix = watch.allocate(4 * size * task.rows)?;
                let at = watch.lane.machine.address(&matrix);
                Some(watch.time(|_| cublas.gram(at, totals.0, size, task.rows))?)
            }
            _ => None,
        };
        rows.push(BenchRow {
            what: "X'X".to_owned(),
            on: format!("{dims:?}, {groups} x {size} columns, {} rows", task.rows),
            milliseconds,
            rate: format!("{:.1} TFLOP/s", teraflops(milliseconds)),
            against: theirs.map_or_else(String::new, |t| format!("cuBLAS, {:.1} TFLOP/s", teraflops(t))),
            ratio: theirs.map(|t| t / milliseconds),
            bar: theirs.map(|_| 0.5),
        });
    }
    Ok(rows)
}
