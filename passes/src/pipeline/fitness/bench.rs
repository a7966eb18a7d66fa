//! Building the fitness bench of a network: features of every layer, and the measured damage of configurations.

use crate::pipeline::choice::{Chooser, Configuration, Ground, Unit, quantized, table, units, with_ground};
use crate::pipeline::depth::Depth;
use crate::pipeline::float_graph::simplify;
use crate::pipeline::observed::{Observed, observe_network};
use crate::pipeline::options::Options;
use crate::pipeline::progress::Progress;
use tapq::array::Array;
use tapq::graph::Graph;
use tapq::plan::{model_digest, text_digest};
use tapq::proxy::{BENCH_SCHEMA, BUDGETS, BenchHeader, BenchRow, Drawn, FEATURES, Table, is_reference};
use tapq::samples::Sample;
use tapq::{Code, Error, Result};

/// Configurations measured between two writes: as many sets of changed weights are in memory.
const BATCH: usize = 8;

/// A network that is ready to have configurations measured.
pub struct Workbench<'a> {
    units: &'a [Unit<'a>],
    ground: &'a Ground<'a>,
    chooser: &'a Chooser<'a>,
    held_out: &'a [Sample],
    wanted: Vec<Vec<Array>>,
    options: &'a Options<'a>,
    network: String,
    digest: String,
}

/// Observes the network, rounds candidates, and hands the bench to `then`. `network` is its name for people.
pub fn with_workbench<T>(
    mut graph: Graph,
    network: &str,
    options: &Options,
    progress: &dyn Progress,
    then: impl FnOnce(&Workbench) -> Result<T>,
) -> Result<T> {
    simplify(&mut graph, options)?;
    if options.calibration.samples.len() < 2 {
        let what = "a bench needs at least two samples: weights are rounded on some and judged on others";
        return Err(Error::new(Code::Samples, what));
    }
    let mut observed = observe_network(&graph, options, true, progress)?;
    let grams = std::mem::take(&mut observed.seen.grams);
    let digest = digest(&graph, options, &observed)?;
    let wanted = observed.outputs(options.held_out)?;
    let mut units = units(&observed.placement, options.target, &|_| observed.activation_bits, &observed.macs);
    // What stays in float has no width to speak of.
    units.iter_mut().for_each(|u| u.options.retain(Option::is_some));
    with_ground(&graph, &observed, grams, &mut units, options, progress, |units, ground| {
        let chooser = Chooser::new(units, None, ground, options)?;
        then(&Workbench {
            units,
            ground,
            chooser: &chooser,
            held_out: options.held_out,
            wanted,
            options,
            network: network.to_owned(),
            digest,
        })
    })
}

fn digest(graph: &Graph, options: &Options, observed: &Observed) -> Result<String> {
    let apart = tapq::samples::digest(options.held_out);
    let words = [
        env!("CARGO_PKG_VERSION").to_owned(),
        BENCH_SCHEMA.to_string(),
        model_digest(graph)?,
        text_digest(&tapq::yaml::print(options.target)?),
        options.calibration.digest(),
        apart,
        observed.activation_bits.to_string(),
        format!("{:?}", options.effort),
    ];
    Ok(text_digest(&words.join(" ")))
}

impl Workbench<'_> {
    /// Network, target and digest of everything that decides the figures: what a bench is called.
    pub fn name(&self) -> String {
        format!("{}.{}.{}", self.network, self.options.target.name, self.digest)
    }

    /// Every feature of every layer; those that need a run for each layer and width only as a `reference`.
    fn table(&self, reference: bool, progress: &dyn Progress) -> Result<Table> {
        let all: Vec<_> = FEATURES.iter().filter(|f| reference || !is_reference(f.name)).collect();
        table(self.chooser, self.units, self.ground, &all, &Depth::of(self.options.effort), progress)
    }

    /// The first line of the bench.
    pub fn header(&self, seed: u64, reference: bool, progress: &dyn Progress) -> Result<BenchHeader> {
        let table = self.table(reference, progress)?;
        let place = |b: &Option<u32>| table.widths().iter().position(|w| Some(*w) == *b);
        Ok(BenchHeader {
            schema: BENCH_SCHEMA,
            network: self.network.clone(),
            target: self.options.target.name.clone(),
            digest: self.digest.clone(),
            seed,
            budgets: BUDGETS.to_vec(),
            samples: (self.ground.samples.len(), self.held_out.len()),
            params: self.units.iter().map(|u| u.layers[0].params() as f64).collect(),
            offered: self.units.iter().map(|u| u.options.iter().filter_map(place).collect()).collect(),
            table,
        })
    }

    /// Measures the configurations from `first` to `last` of a header, and hands each row to `write` in order.
    pub fn measure(
        &self,
        header: &BenchHeader,
        (first, last): (usize, usize),
        progress: &dyn Progress,
        mut write: impl FnMut(BenchRow) -> Result<()>,
    ) -> Result<()> {
        progress.stage("measure configurations", last.saturating_sub(first));
        for start in (first..last).step_by(BATCH) {
            let batch: Vec<Drawn> = (start..last.min(start + BATCH)).map(|i| header.configuration(i)).collect();
            let widths = |row: &Drawn| row.widths.iter().map(|w| header.table.widths().get(*w).copied()).collect();
            let configurations: Vec<Configuration> = batch.iter().map(widths).collect();
            let partial: Vec<Vec<(usize, u32)>> = configurations.iter().map(quantized).collect();
            let seen = self.chooser.errors(&partial, self.ground.samples.len(), &|| {})?;
            let apart = self.apart(&configurations)?;
            for (i, Drawn { widths, budget }) in batch.into_iter().enumerate() {
                let held_out = apart.get(i).map(|(error, _)| *error);
                write(BenchRow { widths, budget, damage: seen[i].relative_error(), held_out })?;
                progress.tick();
            }
        }
        Ok(())
    }

    /// Relative squared output error and top-1 agreement of configurations on the samples that were held apart; empty
    /// where there are none.
    pub fn apart(&self, configurations: &[Configuration]) -> Result<Vec<(f64, f64)>> {
        match self.held_out.is_empty() {
            true => Ok(vec![]),
            false => self.chooser.fidelity(configurations, self.held_out, &self.wanted),
        }
    }
}
