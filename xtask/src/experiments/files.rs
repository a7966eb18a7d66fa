//! Files: whole networks quantized, and compared with the float ones on evaluation samples.

use super::Lab;
use super::assets::Subject;
use super::cells::Cell;
use crate::progress::Bars;
use crate::proxies;
use tapq::Result;
use tapq::array::Values;
use tapq::random::SplitMix64;
use tapq::samples::SampleSet;
use tapq::target::Target;
use tapq_passes::pipeline::{Effort, Widths, quantize};

/// One file.
pub struct File {
    /// What is asked of its widths.
    pub widths: Widths,
    /// What chooses them.
    pub proxy: &'static str,
    /// Whether weights of 2 bits are ternary.
    pub ternary: bool,
    /// What it is calibrated on.
    pub samples: Samples,
}

/// What a file is calibrated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Samples {
    /// The first so many.
    First(usize),
    /// As many as usual, some with outliers that count like the others.
    WithOutliers,
    /// The same, where what stands out is left out.
    OutliersLeftOut,
}

/// Of every so many samples one has outliers.
const SPOILT: usize = 4;
/// Of every so many values of such a sample one is an outlier.
const RARE: usize = 100;
/// So many times the greatest magnitude of the sample.
const FAR: f32 = 8.0;

impl Samples {
    /// The word in keys and tables.
    pub fn word(self) -> String {
        match self {
            Samples::First(n) => format!("{n} samples"),
            Samples::WithOutliers => "with outliers".to_owned(),
            Samples::OutliersLeftOut => "outliers left out".to_owned(),
        }
    }
}

impl Lab<'_> {
    /// The samples themselves; none where the source does not hold as many.
    pub fn calibration(&self, subject: &Subject, samples: Samples) -> Result<Option<SampleSet>> {
        let count = match samples {
            Samples::First(n) => n,
            Samples::WithOutliers | Samples::OutliersLeftOut => self.args.samples,
        };
        let mut set = self.inputs(subject, count)?.calibration;
        if set.samples.len() < count {
            let why = format!("there are only {} calibration samples", set.samples.len());
            self.skip(&format!("{} with {}", subject.name, samples.word()), &why);
            return Ok(None);
        }
        if samples != Samples::First(count) {
            spoil(&mut set);
        }
        if samples == Samples::OutliersLeftOut {
            set.leave_out_outliers(None);
        }
        Ok(Some(set))
    }

    /// SQNR and agreement of a file, where its samples are there.
    pub fn file(&self, subject: &Subject, file: &File) -> Result<Option<Cell>> {
        let widths = match (file.widths.uniform, file.widths.average) {
            (Some(bits), _) => format!("uniform{bits}"),
            (None, Some(bits)) => format!("average{bits}.{}", file.proxy),
            (None, None) => "default".to_owned(),
        };
        let kind = if file.ternary { "ternary" } else { "plain" };
        let samples = file.samples.word().replace(' ', "-");
        let key = format!("file.{}.{}.{kind}.{widths}.{samples}.e{}", subject.name, self.target.name, self.args.eval);
        if self.cells.known(&key)?.is_none() && self.cells.computes() {
            let Some(calibration) = self.calibration(subject, file.samples)? else { return Ok(None) };
            return self.cells.get(&key, || self.measure(subject, file, &calibration));
        }
        self.cells.known(&key)
    }

    fn measure(&self, subject: &Subject, file: &File, calibration: &SampleSet) -> Result<Cell> {
        let inputs = self.inputs(subject, 1)?;
        let held_out = self.evaluation(subject, inputs.graph.clone())?;
        let mut target: Target = self.target.clone();
        target.weights.narrow_range |= file.ternary;
        let mut options = self.options(&inputs, calibration, &held_out, Effort::Fast, &target)?;
        (options.widths, options.proxy) = (file.widths, proxies::find(file.proxy)?);
        let bars = Bars::new(self.args.quiet);
        let outcome = quantize(inputs.graph.clone(), &options, &bars);
        bars.finish();
        let report = outcome?.report;
        let mut cell = Cell::default();
        if let Some(fidelity) = &report.fidelity {
            cell.set("dB", fidelity.sqnr_db);
            cell.set("agreement", fidelity.agreement);
        }
        cell.set("average bits", report.size.average_bits);
        Ok(cell)
    }
}

/// Puts outliers into some samples, the same ones every time.
fn spoil(set: &mut SampleSet) {
    for (i, sample) in set.samples.iter_mut().enumerate().filter(|(i, _)| i % SPOILT == SPOILT - 1) {
        for (_, array) in &mut sample.inputs {
            let Values::F32(values) = &mut array.values else { continue };
            let most = values.iter().fold(0f32, |m, x| m.max(x.abs()));
            let mut random = SplitMix64::at(1, &[i as u64]);
            for _ in 0..values.len().div_ceil(RARE) {
                let at = random.below(values.len());
                values[at] = if random.below(2) == 0 { FAR * most } else { -FAR * most };
            }
        }
    }
}
