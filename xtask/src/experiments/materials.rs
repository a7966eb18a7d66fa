//! Questions about what a choice is made from: how many samples, spoilt ones, and how narrow widths may get.

use super::Lab;
use super::cells::Cell;
use super::files::{File, Samples};
use super::page::Section;
use super::questions::SEARCHED;
use super::score::{BASELINES, SMALL, ranks};
use super::table::{Table, figure};
use tapq::Result;
use tapq::proxy::{BUDGETS, DEFAULT_PROXY};
use tapq_passes::pipeline::Widths;

/// Numbers of samples that are compared.
const COUNTS: [usize; 4] = [16, 32, 64, 128];
/// Networks that are small enough to be quantized over and over.
const QUICK: [&str; 2] = [SEARCHED, "kws_dscnn"];
/// Average widths below three bits, and the next whole ones.
const NARROW: [f64; 4] = [2.0, 2.25, 2.5, 3.0];

impl Lab<'_> {
    /// 16 to 128 samples.
    pub fn sample_counts(&self) -> Result<Option<Section>> {
        let kinds: Vec<Samples> = COUNTS.into_iter().map(Samples::First).collect();
        let about = format!(
            "Features from more or fewer calibration samples, against the same measured damage; and files at {} average \
             bits calibrated on them, on the same evaluation samples.",
            BUDGETS[1]
        );
        self.of_samples("How many samples", &about, &kinds)
    }

    /// Samples with outliers.
    pub fn outliers(&self) -> Result<Option<Section>> {
        let kinds = [Samples::First(self.args.samples), Samples::WithOutliers, Samples::OutliersLeftOut];
        let about = "In every fourth calibration sample one value of a hundred is eight times the greatest magnitude of \
             the sample; evaluation samples are clean.";
        self.of_samples("Outliers in the samples", about, &kinds)
    }

    fn of_samples(&self, title: &str, about: &str, kinds: &[Samples]) -> Result<Option<Section>> {
        let mut head = vec!["network".to_owned(), "calibration".to_owned()];
        head.extend(BASELINES.iter().flat_map(|b| [format!("{b}: Spearman"), format!("{b}: equal size")]));
        head.extend(["file dB".to_owned(), "agreement".to_owned()]);
        let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
        for network in QUICK {
            for kind in kinds {
                let ranked = self.ranked(network, *kind)?;
                let Some(subject) = self.subject(network) else { continue };
                let widths = Widths { average: Some(BUDGETS[1]), ..Widths::default() };
                let file = File { widths, proxy: DEFAULT_PROXY, ternary: false, samples: *kind };
                let file = self.file(subject, &file)?;
                if ranked.is_none() && file.is_none() {
                    continue;
                }
                let (ranked, file) = (ranked.unwrap_or_default(), file.unwrap_or_default());
                let mut row = vec![network.to_owned(), kind.word()];
                for name in BASELINES {
                    row.extend(["spearman", "equal size"].map(|f| figure(ranked.figure(&format!("{name} {f}")), 3)));
                }
                row.extend([figure(file.figure("dB"), 2), figure(file.figure("agreement"), 3)]);
                table.row(row);
            }
        }
        Ok(Section::of(title, about, table, vec![]))
    }

    /// How the built-in proxies rank the usual bench with features from other samples.
    fn ranked(&self, network: &str, samples: Samples) -> Result<Option<Cell>> {
        let key = format!("features.{network}.{}.{}", self.bench_words(), samples.word().replace(' ', "-"));
        if self.cells.known(&key)?.is_some() || !self.cells.computes() {
            return self.cells.known(&key);
        }
        let Some(subject) = self.subject(network) else { return Ok(None) };
        let Some(calibration) = self.calibration(subject, samples)? else { return Ok(None) };
        self.cells.get(&key, || {
            let base = self.judged(subject, |judges| Ok(judges.iter().map(|j| j.bench().clone()).next()))?;
            let mut cell = Cell::default();
            let Some(base) = base else { return Ok(cell) };
            let bench = self.with_features_of(subject, &base, &calibration)?;
            for proxy in self.built_in(&BASELINES)? {
                for (name, value) in ranks(&bench, &proxy.formula)?.figures {
                    cell.set(&format!("{} {name}", proxy.name), value);
                }
            }
            Ok(cell)
        })
    }

    /// Widths of two and three bits, and ternary weights.
    pub fn narrow(&self) -> Result<Option<Section>> {
        let head = [
            "network",
            "average bits",
            "uniform dB",
            "agreement",
            "default dB",
            "agreement",
            "output-error dB",
            "agreement",
            "default, ternary below 3 bits, dB",
            "agreement",
        ];
        let mut table = Table::new(&head);
        for network in SMALL {
            let Some(subject) = self.subject(network) else { continue };
            for bits in NARROW {
                let mut row = vec![network.to_owned(), format!("{bits}")];
                let mut any = false;
                let average = Widths { average: Some(bits), ..Widths::default() };
                let uniform = Widths { uniform: Some(bits as u32), ..Widths::default() };
                let whole = bits.fract() == 0.0;
                for (widths, proxy, ternary, asked) in [
                    (uniform, DEFAULT_PROXY, false, whole),
                    (average, DEFAULT_PROXY, false, bits > 2.0),
                    (average, "output-error", false, bits > 2.0),
                    (average, DEFAULT_PROXY, true, true),
                ] {
                    let file = File { widths, proxy, ternary, samples: Samples::First(self.args.samples) };
                    let cell = if asked { self.file(subject, &file)? } else { None };
                    any |= cell.is_some();
                    let cell = cell.unwrap_or_default();
                    row.extend([figure(cell.figure("dB"), 2), figure(cell.figure("agreement"), 3)]);
                }
                if any {
                    table.row(row);
                }
            }
        }
        let about = "Files of so many average bits, widths from 2 to 8, on evaluation samples; in the last columns weights \
             of 2 bits are -1, 0 and 1 times their scale, and at 2.0 average bits all are. A choice that measures no \
             better than one width for all is that width.";
        Ok(Section::of("Narrow widths and ternary weights", about, table, vec![]))
    }
}
