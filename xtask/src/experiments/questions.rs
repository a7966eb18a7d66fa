//! Questions about the search: controller, model, correlation, and what its winners are worth elsewhere.

use super::cells::Cell;
use super::page::Section;
use super::score::BASELINES;
use super::table::{Spread, Table, code, figure, verdict};
use super::{Lab, Question};
use tapq::llm::Spec;
use tapq::proxy::{Formula, spearman};
use tapq::{Error, Result};

/// The network that is searched on.
pub const SEARCHED: &str = "resnet20_cifar10";
/// A network that is not about images: keyword spotting.
const SPEECH: &str = "kws_dscnn";
/// Where winners are tried without another search.
const OTHERS: [&str; 5] =
    ["vit_cifar10_op17ln", SPEECH, "efficientnet_lite0", "mobilenet_v1_075_224", "resnet56_cifar10"];

impl Lab<'_> {
    /// The section of a question; none where no cell of it is there.
    pub fn answer(&self, question: Question) -> Result<Option<Section>> {
        match question {
            Question::Controller => self.controller(&Spec::None, "The controller, without a language model"),
            Question::ControllerModel => {
                self.controller(&self.args.model.parse()?, "The controller, with a language model")
            }
            Question::Model => self.model(),
            Question::Correlation => self.correlation(),
            Question::Samples => self.sample_counts(),
            Question::Transfer => self.transfer(),
            Question::Speech => self.speech(),
            Question::Outliers => self.outliers(),
            Question::Narrow => self.narrow(),
        }
    }

    fn controller(&self, spec: &Spec, title: &str) -> Result<Option<Section>> {
        let on = self.searches(SEARCHED, &self.seeds(spec, true))?;
        let off = self.searches(SEARCHED, &self.seeds(spec, false))?;
        let about = "The same search with the learned controller and with templates drawn equally often; mean and standard \
             deviation over seeds. Best fitness after as many new formulas as the shortest run found.";
        Ok(compared(title, about, &[("controller on", on), ("controller off", off)]))
    }

    fn model(&self) -> Result<Option<Section>> {
        let spec: Spec = self.args.model.parse()?;
        let without = self.searches(SEARCHED, &self.seeds(&Spec::None, true))?;
        let with = self.searches(SEARCHED, &self.seeds(&spec, true))?;
        let about = "Tree mutation against a language model, the controller on; at equal evaluations: best fitness after \
             as many new formulas as the shortest run found.";
        let with_name = format!("`{spec}`");
        Ok(compared("A language model", about, &[(&with_name, with), ("`none`", without)]))
    }

    /// Over all formulas of the searches: which correlation goes with how well they allocate.
    fn correlation(&self) -> Result<Option<Section>> {
        let mut table =
            Table::new(&["network", "formulas", "all", "equal size", "all, best half", "equal size, best half"]);
        for network in [SEARCHED, SPEECH] {
            let found = self.searches(network, &self.seeds(&Spec::None, true))?;
            let mut all: Vec<[f64; 3]> = found.into_iter().flat_map(|c| c.candidates).collect();
            if all.is_empty() {
                continue;
            }
            let of = |all: &[[f64; 3]], k: usize| {
                spearman(&all.iter().map(|c| c[k]).collect::<Vec<_>>(), &all.iter().map(|c| c[2]).collect::<Vec<_>>())
            };
            let whole = [of(&all, 0), of(&all, 1)];
            let count = all.len();
            all.sort_by(|a, b| b[2].total_cmp(&a[2]));
            all.truncate(count.div_ceil(2));
            let best = [of(&all, 0), of(&all, 1)];
            let figures = whole.iter().chain(&best).map(|x| figure(*x, 3));
            table.row([network.to_owned(), count.to_string()].into_iter().chain(figures).collect());
        }
        let about = "Which rank correlation of a formula with the bench says how good its allocations are: Spearman's over \
             the formulas of the searches without a model, between either correlation and the fidelity of the network as \
             the formula allocates it; over all formulas, and over the half with the greater fidelity.";
        Ok(Section::of("Which correlation belongs into the fitness", about, table, vec![]))
    }

    /// The winners of the searches on one network, on others.
    fn transfer(&self) -> Result<Option<Section>> {
        let mut rows = self.winners(SEARCHED, &Spec::None)?;
        rows.extend(self.winners(SEARCHED, &self.args.model.parse()?)?);
        let mut networks = vec![SEARCHED];
        networks.extend(OTHERS);
        let about = format!(
            "Formulas that were found on {SEARCHED}, on networks that the search did not see, beside built-in proxies: \
             Spearman over the bench, at equal size, and SQNR of the formula's own allocations at 3.5, 4.0 and 5.0 \
             average bits on samples held apart."
        );
        self.scored("Transfer", &about, rows, &networks)
    }

    fn speech(&self) -> Result<Option<Section>> {
        let mut rows = self.winners(SPEECH, &Spec::None)?;
        rows.extend(self.winners(SEARCHED, &Spec::None)?);
        let about = "Keyword spotting on MFCC features: formulas found on the network itself, and on an image network.";
        self.scored("A network that is not about images", about, rows, &[SPEECH])
    }

    /// Where each winner was found, and the winner.
    fn winners(&self, network: &str, spec: &Spec) -> Result<Vec<(String, Formula)>> {
        let found = self.searches(network, &self.seeds(spec, true))?;
        let name = |seed: usize| format!("found on {network}, `{spec}`, seed {}", seed + 1);
        let formulas = found.iter().enumerate().filter_map(|(i, c)| Some((name(i), c.formula.as_ref()?)));
        formulas.map(|(name, text)| Ok((name, Formula::parse(text).map_err(Error::from)?))).collect()
    }

    /// A table of formulas and built-in proxies by network.
    fn scored(
        &self,
        title: &str,
        about: &str,
        mut rows: Vec<(String, Formula)>,
        networks: &[&str],
    ) -> Result<Option<Section>> {
        rows.extend(self.built_in(&BASELINES)?.into_iter().map(|p| (format!("built-in {}", p.name), p.formula)));
        let formulas: Vec<Formula> = rows.iter().map(|(_, f)| f.clone()).collect();
        let names = ["spearman", "equal size", "held out", "dB at 3.5", "dB at 4.0", "dB at 5.0"];
        let head: Vec<&str> = ["network", "proxy", "formula"].into_iter().chain(names).collect();
        let mut table = Table::new(&head);
        for network in networks {
            for ((name, formula), cell) in rows.iter().zip(self.scores(network, &formulas)?) {
                let Some(cell) = cell else { continue };
                let digits = |name: &str| if name.starts_with("dB") { 2 } else { 3 };
                let figures = names.iter().map(|n| figure(cell.figure(n), digits(n)));
                let text = code(&formula.to_string());
                table.row([(*network).to_owned(), name.clone(), text].into_iter().chain(figures).collect());
            }
        }
        Ok(Section::of(title, about, table, vec![]))
    }
}

/// Kinds of runs against each other, the first against the second in words; none where a kind has no run.
fn compared(title: &str, about: &str, kinds: &[(&str, Vec<Cell>)]) -> Option<Section> {
    if kinds.iter().any(|(_, cells)| cells.is_empty()) {
        return None;
    }
    let all = || kinds.iter().flat_map(|(_, cells)| cells);
    let evaluations = all().map(|c| c.trace.len()).min().filter(|n| *n > 0)?;
    let at_equal = |c: &Cell| c.trace.get(evaluations - 1).copied().unwrap_or(f64::NAN);
    let head = [
        "",
        "runs",
        "fitness at equal evaluations",
        "fitness at the end",
        "fidelity",
        "Spearman",
        "equal size",
        "held out",
        "parsed",
        "new formulas",
        "tokens",
    ];
    let mut table = Table::new(&head);
    for (name, cells) in kinds {
        let spread = |of: &str, digits: usize| Spread::of(cells.iter().map(|c| c.figure(of))).text(digits);
        let sum = |of: &str| cells.iter().map(|c| c.figure(of)).sum::<f64>();
        let runs = cells.len().to_string();
        let equal = Spread::of(cells.iter().map(at_equal)).text(4);
        let parsed = format!("{} of {}", sum("parsed"), sum("questions"));
        table.row(vec![
            (*name).to_owned(),
            runs,
            equal,
            spread("fitness", 4),
            spread("fidelity", 4),
            spread("spearman", 3),
            spread("equal size", 3),
            spread("held out", 3),
            parsed,
            sum("formulas").to_string(),
            sum("tokens").to_string(),
        ]);
    }
    let mut notes = vec![format!("Equal evaluations: {evaluations} new formulas.")];
    if let [(name, a), (_, b), ..] = kinds {
        let of = |cells: &[Cell]| Spread::of(cells.iter().map(at_equal));
        notes.push(verdict(&format!("Fitness at equal evaluations, {name} against the other"), of(a), of(b)));
    }
    Section::of(title, about, table, notes)
}
