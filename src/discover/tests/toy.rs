//! A toy language of weighted sums such as `a*3+b*1`, with a hidden optimum.

use crate::discover::*;
use crate::random::SplitMix64;
use crate::{Code, Error, Result};

/// Features of the language.
const NAMES: [char; 3] = ['a', 'b', 'c'];
/// The weights that the judge likes best.
const OPTIMUM: [i64; 3] = [7, 2, 12];

pub struct Toy {
    /// Subtracted from the correlation on the samples held apart.
    pub overfit: f64,
    /// Formulas with this weight of `a` have no fitness.
    pub breaks_at: Option<i64>,
}

impl Default for Toy {
    fn default() -> Self {
        Toy { overfit: 0.05, breaks_at: None }
    }
}

pub fn weights(text: &str) -> Result<[i64; 3], String> {
    let mut weights = [0; 3];
    for term in text.split('+') {
        let (name, number) = term.trim().split_once('*').ok_or_else(|| format!("`{term}` is no `feature*number`"))?;
        let feature = NAMES.iter().position(|n| name.trim() == n.to_string());
        let feature = feature.ok_or_else(|| format!("unknown feature `{}`", name.trim()))?;
        let number: i64 = number.trim().parse().map_err(|_| format!("`{}` is no number", number.trim()))?;
        if !(0..=20).contains(&number) {
            return Err(format!("{number} is not in 0..20"));
        }
        weights[feature] += number;
    }
    Ok(weights)
}

pub fn sum(weights: [i64; 3]) -> String {
    let terms: Vec<String> = NAMES.iter().zip(weights).map(|(n, w)| format!("{n}*{w}")).collect();
    terms.join("+")
}

impl Judge for Toy {
    fn parse(&self, formula: &str) -> Result<Parsed, String> {
        let weights = weights(formula)?;
        Ok(Parsed {
            canonical: sum(weights),
            fingerprint: format!("{weights:?}"),
            degenerate: weights.iter().all(|w| *w == 0),
        })
    }

    fn fitness(&self, canonical: &str) -> Result<Fitness> {
        let weights = weights(canonical).map_err(|e| Error::new(Code::Config, e))?;
        if Some(weights[0]) == self.breaks_at {
            return Err(Error::new(Code::Infeasible, "no allocation fits").at("bench"));
        }
        let distance: i64 = weights.iter().zip(OPTIMUM).map(|(w, o)| (w - o).abs()).sum();
        let correlation = 1.0 - distance as f64 / 25.0;
        Ok(Fitness {
            fidelity: 1.0 / (1.0 + distance as f64 / 10.0),
            correlation,
            held_out: Some(correlation - self.overfit),
            ..Fitness::default()
        })
    }

    fn random(&self, seed: u64) -> String {
        let mut random = SplitMix64(seed);
        sum([0; 3].map(|_| random.below(21) as i64))
    }

    fn mutate(&self, formula: &str, seed: u64) -> String {
        let mut random = SplitMix64(seed);
        let mut weights = weights(formula).unwrap_or_default();
        let step = [-2, -1, 1, 2][random.below(4)];
        let weight = &mut weights[random.below(3)];
        *weight = (*weight + step).clamp(0, 20);
        sum(weights)
    }

    fn crossover(&self, a: &str, b: &str, seed: u64) -> String {
        let mut random = SplitMix64(seed);
        let (a, b) = (weights(a).unwrap_or_default(), weights(b).unwrap_or_default());
        let mut child = a;
        for (i, weight) in child.iter_mut().enumerate() {
            *weight = if random.below(2) == 0 { a[i] } else { b[i] };
        }
        sum(child)
    }
}

/// A proposer by a function of the question and its number.
pub struct Script<F>(pub F, pub usize);

impl<F: FnMut(&Ask, usize) -> Result<Reply>> Proposer for Script<F> {
    fn name(&self) -> String {
        "script".to_owned()
    }

    fn propose(&mut self, ask: &Ask) -> Result<Reply> {
        self.1 += 1;
        (self.0)(ask, self.1)
    }
}

pub fn says(text: impl Into<String>) -> Result<Reply> {
    Ok(Reply { prompt: "prompt".to_owned(), text: text.into(), tokens: 10 })
}

/// A proposer that mostly does well, says nonsense at times, and is down at times.
pub fn moody(ask: &Ask, number: usize) -> Result<Reply> {
    let toy = Toy::default();
    match (number % 13, number % 7) {
        (5, _) => says("I am not sure what you want."),
        (_, 3) => Err(Error::new(Code::Proposer, "the server is busy").at("http")),
        (9, _) => says("Formula: d*3"),
        _ => match ask.template {
            Template::Initialise => says(format!("Thought: a start\nFormula: {}", toy.random(ask.seed))),
            Template::Mutate => says(format!("```\n{}\n```", toy.mutate(&ask.parents[0].formula, ask.seed))),
            Template::Crossover => {
                says(format!("Formula: {}", toy.crossover(&ask.parents[0].formula, &ask.parents[1].formula, ask.seed)))
            }
        },
    }
}

pub fn task() -> Task {
    let settings = Settings { generations: 8, patience: 0, seed: 1, ..Settings::default() };
    Task { settings, judge: "toy".to_owned(), ..Task::default() }
}

/// Outcome and transcript of a run.
pub fn play(task: &Task, judge: &dyn Judge, proposer: &mut dyn Proposer) -> (Outcome, Vec<u8>) {
    let mut bytes = vec![];
    let outcome = run(task, judge, proposer, &mut Recorder::new(&mut bytes), &mut ()).unwrap();
    (outcome, bytes)
}

pub fn play_moody(task: &Task) -> (Outcome, Vec<u8>) {
    play(task, &Toy::default(), &mut Script(moody, 0))
}
