//! What the kernels reach on this machine's GPU, against what the GPU can do. Times are taken on the device, by events.

mod cublas;
mod rows;

use super::driver::{Driver, Functions, describe};
use super::lane::Lane;
use super::machine::Machine;
use super::{Probe, context, failure, probe};
use crate::Result;
use cublas::Cublas;
use cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use std::fmt;
use std::sync::Arc;

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchRow {
    /// What ran.
    pub what: String,
    /// On what.
    pub on: String,
    /// Time of one run in milliseconds.
    pub milliseconds: f64,
    /// GB/s or TFLOP/s, with the unit.
    pub rate: String,
    /// What is compared: bandwidth of a copy, a pass of statistics, or cuBLAS.
    pub against: String,
    /// The ratio to it: of rates, or, for a pass of statistics, of times.
    pub ratio: Option<f64>,
    /// The bar: at least this ratio, or, for a pass of statistics, at most.
    pub bar: Option<f64>,
}

/// All measurements on one device. Shown as a Markdown table.
#[derive(Clone, Debug, PartialEq)]
pub struct Bench {
    /// Name of the device.
    pub device: String,
    /// What was found on this machine.
    pub probe: Probe,
    /// Why there is no comparison with cuBLAS, if there is none.
    pub without_cublas: Option<String>,
    /// The measurements.
    pub rows: Vec<BenchRow>,
}

impl fmt::Display for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Device: {}\n", self.device)?;
        writeln!(f, "| what | on | ms | rate | against | ratio | bar |")?;
        writeln!(f, "|---|---|---:|---:|---|---:|---:|")?;
        let number = |v: Option<f64>| v.map_or_else(String::new, |v| format!("{v:.2}"));
        for row in &self.rows {
            let BenchRow { what, on, milliseconds, rate, against, ratio, bar } = row;
            let (ratio, bar) = (number(*ratio), number(*bar));
            writeln!(f, "| {what} | {on} | {milliseconds:.3} | {rate} | {against} | {ratio} | {bar} |")?;
        }
        match &self.without_cublas {
            Some(why) => writeln!(f, "\nNo comparison with cuBLAS: {why}"),
            None => Ok(()),
        }
    }
}

/// Measures a device; takes some seconds and about 2 GB of its memory.
///
/// # Errors
/// [`crate::Code::Device`] where no device answers, in one line, or the device fails.
pub fn bench(ordinal: usize) -> Result<Bench> {
    let (device, context) = context(ordinal)?;
    let functions = Arc::new(Functions::load(&context)?);
    let lane = || -> Result<_> { Ok(Lane::new(Driver::new(&context, functions.clone())?)) };
    let mut bench = Stopwatch { lane: lane()?, beside: lane()? };
    let cublas = Cublas::load(bench.lane.machine.stream());
    let without_cublas = cublas.as_ref().err().map(|e| e.message().to_owned());
    let rows = rows::all(&mut bench, cublas.as_ref().ok())?;
    Ok(Bench { device: device.name, probe: probe(), without_cublas, rows })
}

/// Times what is queued on one stream, or on two.
struct Stopwatch {
    lane: Lane<Driver>,
    /// The second stream.
    beside: Lane<Driver>,
}

/// Runs of which the mean is taken, after some that warm up.
const RUNS: usize = 20;
const WARM: usize = 3;

impl Stopwatch {
    /// Milliseconds of one run of `queue`.
    fn time(&mut self, queue: impl FnMut(&mut Lane<Driver>) -> Result<()>) -> Result<f64> {
        time(&mut self.lane, &mut [], queue)
    }

    /// The same where two streams do it at once, as the halves of the samples do: the time of both against the number of
    /// runs of both.
    fn time_of_two(&mut self, queue: impl FnMut(&mut Lane<Driver>) -> Result<()>) -> Result<f64> {
        time(&mut self.lane, std::slice::from_mut(&mut self.beside), queue)
    }

    /// A buffer of its own.
    fn allocate(&mut self, bytes: usize) -> Result<<Driver as Machine>::Buffer> {
        self.lane.machine.allocate(bytes)
    }
}

fn time(
    first: &mut Lane<Driver>,
    beside: &mut [Lane<Driver>],
    mut queue: impl FnMut(&mut Lane<Driver>) -> Result<()>,
) -> Result<f64> {
    let timing = |e| failure(format!("the GPU could not take the time: {}", describe(e)));
    let stream = first.machine.stream().clone();
    let others: Vec<_> = beside.iter().map(|lane| lane.machine.stream().clone()).collect();
    let mut all = |runs: usize| {
        (0..runs).try_for_each(|_| {
            queue(first)?;
            beside.iter_mut().try_for_each(&mut queue)
        })
    };
    all(WARM)?;
    others.iter().try_for_each(|other| stream.join(other)).map_err(timing)?;
    let start = stream.record_event(Some(CU_EVENT_DEFAULT)).map_err(timing)?;
    others.iter().try_for_each(|other| other.join(&stream)).map_err(timing)?;
    all(RUNS)?;
    others.iter().try_for_each(|other| stream.join(other)).map_err(timing)?;
    let end = stream.record_event(Some(CU_EVENT_DEFAULT)).map_err(timing)?;
    let runs = RUNS * (1 + others.len());
    Ok(f64::from(start.elapsed_ms(&end).map_err(timing)?) / runs as f64)
}
