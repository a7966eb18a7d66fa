//! The controller: which template is asked next, learned by direct preference optimisation (DPO).
//!
//! A softmax policy over the three templates, three numbers and no context.
//! After each generation, every two children whose templates and results differ are a preference pair, and the
//! policy takes gradient steps on the mean of
//!
//! ```text
//! L(w, l) = -log s(m),  m = beta ((log p(w) - log r(w)) - (log p(l) - log r(l))),  s the logistic function
//! ```
//!
//! with `p` the softmax, `r` the frozen reference, `w` the template whose child did better, `l` the other
//! (Rafailov et al. 2023, arXiv 2305.18290, applied to templates as TAP does, arXiv 2512.07419; TAP gives no formula
//! for its controller, so this one is ours).
//! The normaliser of the softmax cancels in `m`, so the gradient is closed: `dL/dw = -beta s(-m)`, `dL/dl` the
//! negative of it.
//! The reference is the policy that drew the generation: it is frozen while the steps are taken, and slides to the
//! next policy after them.
//! What is drawn from is `(1 - epsilon) p + epsilon / 3`, so that no template dies.

use super::ask::Template;
use super::per_template::{PerTemplate, Policy, TEMPLATES};
use crate::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// How templates are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Controller {
    /// Learned.
    Dpo(Dpo),
    /// Equally often, always: the ablation.
    Uniform,
}

/// Settings of the learned controller.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dpo {
    /// Strength of the pull to the reference, above 0: the greater, the sooner a margin counts as learned.
    pub beta: f64,
    /// Step length.
    pub rate: f64,
    /// Gradient steps after each generation.
    pub steps: usize,
    /// Share of the draws that is uniform, 0 to 1.
    pub epsilon: f64,
}

impl Default for Dpo {
    fn default() -> Self {
        Dpo { beta: 1.0, rate: 0.5, steps: 4, epsilon: 0.1 }
    }
}

impl Default for Controller {
    fn default() -> Self {
        Controller::Dpo(Dpo::default())
    }
}

impl Controller {
    /// `dpo` or `uniform`.
    pub fn name(&self) -> &'static str {
        match self {
            Controller::Dpo(_) => "dpo",
            Controller::Uniform => "uniform",
        }
    }

    /// # Errors
    /// [`Code::Config`] for a value out of its range.
    pub(super) fn check(&self) -> Result<()> {
        let Controller::Dpo(Dpo { beta, rate, epsilon, .. }) = self else { return Ok(()) };
        let within = |x: f64, least: f64, most: f64| x >= least && x <= most;
        if within(*beta, 1e-6, 1e3) && within(*rate, 0.0, 1e3) && within(*epsilon, 0.0, 1.0) {
            return Ok(());
        }
        let message = format!("controller: beta {beta}, rate {rate}, epsilon {epsilon} make no sense together");
        Err(Error::new(Code::Config, message).help("beta in 0.000001..1000, rate in 0..1000, epsilon in 0..1"))
    }
}

/// What came of one child.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Yield {
    /// No reply could be read as a formula.
    Unparsed,
    /// A formula, but nothing new: degenerate, known already, or without a fitness.
    Spent,
    /// A new formula of this fitness.
    Scored(f64),
}

impl Yield {
    /// Less is worse. A formula that teaches nothing is worse than any new one, and better than no formula.
    pub fn compare(&self, other: &Yield) -> Ordering {
        let class = |y: &Yield| match y {
            Yield::Unparsed => 0,
            Yield::Spent => 1,
            Yield::Scored(_) => 2,
        };
        match (self, other) {
            (Yield::Scored(a), Yield::Scored(b)) => a.total_cmp(b),
            _ => class(self).cmp(&class(other)),
        }
    }
}

/// A template that did better than another in one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preference {
    /// The template whose child did better.
    pub winner: Template,
    /// The template whose child did worse.
    pub loser: Template,
}

/// Preference pairs of the children of one generation, those of the same parents among them.
pub fn preferences(children: &[(Template, Yield)]) -> Vec<Preference> {
    let mut pairs = vec![];
    for (i, (a, of_a)) in children.iter().enumerate() {
        for (b, of_b) in children.iter().skip(i + 1).filter(|(b, _)| b != a) {
            match of_a.compare(of_b) {
                Ordering::Greater => pairs.push(Preference { winner: *a, loser: *b }),
                Ordering::Less => pairs.push(Preference { winner: *b, loser: *a }),
                Ordering::Equal => {}
            }
        }
    }
    pairs
}

/// What one generation taught.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lesson {
    /// Preference pairs.
    pub pairs: usize,
    /// Mean loss after the steps, six decimals; log 2 is where it starts. Absent without pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
}

/// The policy and its reference.
#[derive(Clone, Debug)]
pub struct Learner {
    controller: Controller,
    logits: PerTemplate<f64>,
    reference: PerTemplate<f64>,
}

impl Learner {
    /// Starts with all templates alike.
    pub fn new(controller: Controller) -> Self {
        Learner { controller, logits: PerTemplate::default(), reference: PerTemplate::default() }
    }

    /// What the next template is drawn from, six decimals.
    pub fn policy(&self) -> Policy {
        let Controller::Dpo(dpo) = self.controller else {
            return PerTemplate::from_fn(|_| round(1.0 / 3.0, 1e6));
        };
        let softmax = softmax(&self.logits);
        PerTemplate::from_fn(|t| round((1.0 - dpo.epsilon) * softmax.get(t) + dpo.epsilon / 3.0, 1e6))
    }

    /// The template at `unit`, which is uniform in `[0, 1)`.
    pub fn draw(&self, unit: f64) -> Template {
        let policy = self.policy();
        let mut left = unit * TEMPLATES.iter().map(|t| policy.get(*t)).sum::<f64>();
        for template in TEMPLATES {
            left -= policy.get(template);
            if left < 0.0 {
                return template;
            }
        }
        Template::Crossover
    }

    /// Slides the reference to the policy and takes the steps on the generation's pairs.
    pub fn learn(&mut self, children: &[(Template, Yield)]) -> Lesson {
        let pairs = preferences(children);
        self.reference = self.logits;
        let Controller::Dpo(dpo) = self.controller else {
            return Lesson { pairs: pairs.len(), loss: None };
        };
        if pairs.is_empty() {
            return Lesson::default();
        }
        for _ in 0..dpo.steps {
            let gradient = gradient(&pairs, &self.logits, &self.reference, dpo.beta);
            self.logits = PerTemplate::from_fn(|t| self.logits.get(t) - dpo.rate * gradient.get(t));
        }
        // Exponentials differ in their last bits between platforms; a coarse grid keeps runs the same everywhere.
        self.logits = PerTemplate::from_fn(|t| round(*self.logits.get(t), f64::from(1 << 24)));
        let loss = loss(&pairs, &self.logits, &self.reference, dpo.beta);
        Lesson { pairs: pairs.len(), loss: Some(round(loss, 1e6)) }
    }
}

/// Mean loss over the pairs, by the definition.
pub(super) fn loss(pairs: &[Preference], logits: &PerTemplate<f64>, reference: &PerTemplate<f64>, beta: f64) -> f64 {
    let (p, r) = (softmax(logits), softmax(reference));
    let gain = |t: Template| p.get(t).ln() - r.get(t).ln();
    let one = |pair: &Preference| {
        let margin = beta * (gain(pair.winner) - gain(pair.loser));
        // -log s(m) without overflow.
        (-margin).max(0.0) + (-margin.abs()).exp().ln_1p()
    };
    pairs.iter().map(one).sum::<f64>() / pairs.len().max(1) as f64
}

/// Gradient of [`loss`] by the logits, in closed form.
pub(super) fn gradient(
    pairs: &[Preference],
    logits: &PerTemplate<f64>,
    reference: &PerTemplate<f64>,
    beta: f64,
) -> PerTemplate<f64> {
    let mut gradient = PerTemplate::default();
    let gain = |t: Template| logits.get(t) - reference.get(t);
    for pair in pairs {
        let margin = beta * (gain(pair.winner) - gain(pair.loser));
        let push = beta / (1.0 + margin.exp()) / pairs.len() as f64;
        *gradient.get_mut(pair.winner) -= push;
        *gradient.get_mut(pair.loser) += push;
    }
    gradient
}

pub(super) fn softmax(logits: &PerTemplate<f64>) -> PerTemplate<f64> {
    let greatest = TEMPLATES.iter().map(|t| *logits.get(*t)).fold(f64::NEG_INFINITY, f64::max);
    let raised = PerTemplate::from_fn(|t| (logits.get(t) - greatest).exp());
    let sum: f64 = TEMPLATES.iter().map(|t| *raised.get(*t)).sum();
    PerTemplate::from_fn(|t| raised.get(t) / sum)
}

fn round(x: f64, steps: f64) -> f64 {
    (x * steps).round() / steps
}
