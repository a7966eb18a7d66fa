//! Searches: one cell a network, proposer, controller and seed.

use super::Lab;
use super::cells::Cell;
use crate::discover::{proposer, run_on, task};
use crate::live::Live;
use tapq::discover::{Controller, Dpo, Outcome, Settings};
use tapq::llm::Spec;
use tapq::{Error, Result};
use tapq_passes::pipeline::NetworkJudges;

/// One search.
#[derive(Clone, Debug)]
pub struct Search {
    /// Who proposes.
    pub spec: Spec,
    /// Whether the controller learns.
    pub learns: bool,
    /// Its seed.
    pub seed: u64,
}

impl Lab<'_> {
    /// Searches with every seed, the controller on or off.
    pub fn seeds(&self, spec: &Spec, learns: bool) -> Vec<Search> {
        (1..=self.args.seeds).map(|seed| Search { spec: spec.clone(), learns, seed }).collect()
    }

    /// The winners of searches on a network; those that are missing are searched for, where that is asked for.
    pub fn searches(&self, network: &str, searches: &[Search]) -> Result<Vec<Cell>> {
        let keys: Vec<String> = searches.iter().map(|s| self.search_key(network, s)).collect();
        let missing = keys.iter().map(|key| Ok(self.cells.known(key)?.is_none())).collect::<Result<Vec<bool>>>()?;
        if self.cells.computes()
            && missing.contains(&true)
            && let Some(subject) = self.subject(network)
        {
            self.judged(subject, |judges| {
                let judge = NetworkJudges::new(judges);
                for (search, key) in searches.iter().zip(&keys) {
                    if let Err(why) = self.cells.get(key, || self.search(search, key, &judge)) {
                        let what = format!("search with `{}` on {network}", search.spec);
                        self.skip(&what, &sentence(&why));
                        break;
                    }
                }
                Ok(())
            })?;
        }
        keys.iter().filter_map(|key| self.cells.known(key).transpose()).collect()
    }

    fn search(&self, search: &Search, key: &str, judge: &NetworkJudges) -> Result<Cell> {
        let args = self.args;
        let settings = Settings {
            population: args.size.population,
            generations: args.size.generations,
            children: args.size.children,
            seed: search.seed,
            controller: if search.learns { Controller::Dpo(Dpo::default()) } else { Controller::Uniform },
            // Every run asks as often as the others.
            patience: 0,
            ..Settings::default()
        };
        let folder = args.work.join("transcripts");
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create the work folder", &e))?;
        let mut proposer = proposer(&search.spec, judge, None, Default::default())?;
        let mut live = Live::new(&settings, args.quiet);
        let task = task(settings, judge, &[]);
        let path = folder.join(format!("{key}.jsonl"));
        let found = run_on(&task, &path, judge, proposer.as_mut(), &mut live);
        live.finish();
        Ok(cell(&found?.0))
    }

    fn search_key(&self, network: &str, search: &Search) -> String {
        let a = self.args;
        let controller = if search.learns { "dpo" } else { "uniform" };
        let name: String = search.spec.to_string().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        let size = format!("{}x{}x{}", a.size.population, a.size.generations, a.size.children);
        format!("search.{network}.{}.{name}.{controller}.{size}.seed{}", self.bench_words(), search.seed)
    }

    /// What tells benches of one network apart.
    pub fn bench_words(&self) -> String {
        let a = self.args;
        format!("{}-n{}-c{}-h{}", self.target.name, a.samples, a.configurations, a.held_out)
    }
}

/// Message and places, without the code and the advice of a terminal.
fn sentence(error: &Error) -> String {
    error.places().chain([error.message()]).collect::<Vec<_>>().join(": ")
}

fn cell(outcome: &Outcome) -> Cell {
    let mut cell = Cell::default();
    let mut best = f64::NEG_INFINITY;
    for candidate in &outcome.candidates {
        best = best.max(candidate.total);
        cell.trace.push(best);
        if let Some(on) = candidate.fitness.networks.first() {
            cell.candidates.push([on.spearman, on.equal_size.unwrap_or(0.0), on.fidelity]);
        }
    }
    cell.set("questions", outcome.counts.asked as f64);
    cell.set("parsed", outcome.counts.parsed() as f64);
    cell.set("formulas", outcome.counts.accepted as f64);
    cell.set("tokens", outcome.counts.tokens as f64);
    if let Some(winner) = outcome.winner() {
        cell.formula = Some(winner.formula.clone());
        cell.set("fitness", winner.total);
        cell.set("fidelity", winner.fitness.fidelity);
        cell.set("spearman", winner.fitness.correlation);
        cell.set("held out", winner.fitness.held_out.unwrap_or(f64::NAN));
        let on = winner.fitness.networks.first();
        cell.set("equal size", on.and_then(|on| on.equal_size).unwrap_or(f64::NAN));
    }
    cell
}
