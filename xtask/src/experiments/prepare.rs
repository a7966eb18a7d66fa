//! Networks prepared for judging, and features from other samples than theirs.

use super::Lab;
use super::assets::Subject;
use crate::inputs::{Inputs, read_graph};
use crate::laboratory::{BenchArgs, with_judges};
use crate::progress::Bars;
use tapq::discover::Correlation;
use tapq::graph::Graph;
use tapq::proxy::Bench;
use tapq::samples::{Sample, SampleSet};
use tapq::target::Target;
use tapq::{Code, Context, Error, Result};
use tapq_passes::pipeline::{Effort, NetworkJudge, Options, with_workbench};

impl Lab<'_> {
    /// How benches are made.
    pub fn how(&self) -> BenchArgs {
        BenchArgs {
            configurations: self.args.configurations,
            held_out: self.args.held_out,
            reference: false,
            bench_seed: 0,
            act_bits: None,
            bench: self.args.bench.clone(),
            quiet: self.args.quiet,
        }
    }

    /// A network of the manifest; none, and said, where it is not there.
    pub fn subject(&self, name: &str) -> Option<&Subject> {
        self.assets.get(name).map_err(|why| self.skip(name, &why)).ok()
    }

    /// Prepares a network, completes its bench, and hands a judge to `then`.
    pub fn judged<T>(&self, subject: &Subject, then: impl FnOnce(&[&NetworkJudge]) -> Result<T>) -> Result<T> {
        let networks = [subject.network(&self.target, self.args.samples)];
        let bars = Bars::new(self.args.quiet);
        let result = with_judges(&networks, &self.how(), Correlation::All, &bars, then);
        bars.finish();
        result
    }

    /// The bench's configurations with features from other samples.
    pub fn with_features_of(&self, subject: &Subject, base: &Bench, calibration: &SampleSet) -> Result<Bench> {
        let inputs = self.inputs(subject, self.args.samples)?;
        let options = self.options(&inputs, calibration, &[], Effort::Balanced, &self.target)?;
        let bars = Bars::new(self.args.quiet);
        let header = with_workbench(inputs.graph.clone(), &subject.name, &options, &bars, |workbench| {
            workbench.header(base.header.seed, false, &bars)
        });
        bars.finish();
        let header = header.at(|| subject.name.clone())?;
        if header.offered != base.header.offered {
            return Err(Error::new(Code::Config, "other samples changed the widths that layers may have"));
        }
        Ok(Bench { header, rows: base.rows.clone() })
    }

    /// The model with its first calibration samples.
    pub fn inputs(&self, subject: &Subject, count: usize) -> Result<Inputs> {
        subject.samples(&subject.calib, count).load(&subject.model, read_graph(&subject.model)?, 0)
    }

    /// Samples that files are judged on.
    pub fn evaluation(&self, subject: &Subject, graph: Graph) -> Result<Vec<Sample>> {
        let inputs = subject.samples(&subject.eval, self.args.eval).load(&subject.model, graph, 0)?;
        Ok(inputs.calibration.samples)
    }

    /// Options of the pipeline with the default proxy.
    pub fn options<'o>(
        &self,
        inputs: &'o Inputs,
        calibration: &'o SampleSet,
        held_out: &'o [Sample],
        effort: Effort,
        target: &'o Target,
    ) -> Result<Options<'o>> {
        Ok(Options {
            held_out,
            effort,
            dims: inputs.dims.clone(),
            fixed: &inputs.fixed,
            input_range: inputs.input_range,
            verify: !held_out.is_empty(),
            ..Options::new(target, calibration)?
        })
    }
}
