//! From a question to a chat: what a model is shown.

use super::{Example, Task, Templates, Told};
use crate::discover::{Ask, Template};
use crate::random::SplitMix64;
use llm_chain::Parameters;
use llm_chain::prompt::{ChatMessageCollection, Data, StringTemplate, StringTemplateError};

/// How many examples a question shows.
const EXAMPLES: usize = 3;

/// What is drawn for one question, from its seed alone: replies spread because questions differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draw {
    /// Indices of the features that the question is about, ascending; at least one differs between bit-widths.
    pub focus: Vec<usize>,
    /// Indices of the examples shown, in the order shown: the pool is cut into runs of neighbours, of which one is
    /// drawn. A third as many beginnings as examples are soon read by a local model, which keeps them.
    pub examples: Vec<usize>,
}

impl Draw {
    pub fn new(task: &Task, seed: u64) -> Draw {
        // Another stream than the sampler's, which starts at the same seed.
        let mut random = SplitMix64(seed ^ 0x70_72_6F_6D_70_74);
        let mut order = sample(&mut random, task.features.len(), task.features.len());
        let count = task.focus.clamp(1, order.len().max(1));
        let per_bits = |&at: &usize| task.features.get(at).is_some_and(|f| f.per_bits);
        if let Some(first) = order.iter().position(per_bits) {
            let feature = order.remove(first);
            order.insert(0, feature);
        }
        order.truncate(count);
        order.sort_unstable();
        let pool = task.examples.len();
        let start = EXAMPLES * random.below(pool.div_ceil(EXAMPLES).max(1));
        Draw { focus: order, examples: (0..pool.min(EXAMPLES)).map(|at| (start + at) % pool).collect() }
    }
}

/// `count` different numbers below `total`, in the order drawn (Fisher-Yates, cut short).
fn sample(random: &mut SplitMix64, total: usize, count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..total).collect();
    let count = count.min(total);
    for at in 0..count {
        all.swap(at, at + random.below(total - at));
    }
    all.truncate(count);
    all
}

/// The chat of a question, not yet filled in: the system's turn, the examples as turns of their own, the question.
pub(super) fn chat(
    templates: &Templates,
    task: &Task,
    ask: &Ask,
    draw: &Draw,
) -> Result<Data<StringTemplate>, StringTemplateError> {
    let mut chat = ChatMessageCollection::new().with_system(StringTemplate::tera(templates.system()));
    for example in draw.examples.iter().filter_map(|&at| task.examples.get(at)) {
        let (asked, said) = example_turns(templates, task, example)?;
        chat = chat.with_user(StringTemplate::static_string(asked)).with_assistant(StringTemplate::static_string(said));
    }
    Ok(Data::Chat(chat.with_user(StringTemplate::tera(templates.user(ask.template)))))
}

/// What one would have asked to get the example, and the example as an answer.
fn example_turns(
    templates: &Templates,
    task: &Task,
    example: &Example,
) -> Result<(String, String), StringTemplateError> {
    let holds = |name: &&str| identifiers(&example.formula).any(|word| word == *name);
    let names: Vec<_> = task.features.iter().map(|f| f.name.as_str()).filter(holds).collect();
    let ask = Ask { template: Template::Initialise, parents: vec![], seed: 0, complaint: None };
    let filled = parameters(task, &ask, &Draw { focus: vec![], examples: vec![] }).with("focus", names.join(", "));
    let asked = StringTemplate::tera(templates.user(Template::Initialise)).format(&filled)?;
    Ok((asked, format!("Thought: {}\nFormula: {}", one_line(&example.thought), one_line(&example.formula))))
}

/// What fills it in. Values are inserted as they are: a parent's text is never read as a template.
pub(super) fn parameters(task: &Task, ask: &Ask, draw: &Draw) -> Parameters {
    let described = |names: &[&str]| {
        let told = task.features.iter().filter(|f| names.contains(&f.name.as_str()));
        told.map(|f| format!("{}: {}", f.name, one_line(&f.about))).collect::<Vec<_>>().join("\n")
    };
    let (features, meanings) = match task.told {
        Told::Beforehand => (task.features.iter().map(|f| f.name.as_str()).collect(), vec![]),
        Told::WithQuestion => (vec![], allowed(task, ask, draw)),
    };
    Parameters::new()
        .with("features", described(&features))
        .with("meanings", described(&meanings))
        .with("functions", one_line(&task.functions))
        .with("focus", names(task, &draw.focus).join(", "))
        .with("parents", parents(ask))
        .with("complaint", ask.complaint.as_deref().map(one_line).unwrap_or_default())
}

/// Names of the features that this question's formula may use: those drawn, and those its parents hold.
pub(super) fn allowed<'a>(task: &'a Task, ask: &Ask, draw: &Draw) -> Vec<&'a str> {
    let in_parents = |name: &str| ask.parents.iter().any(|p| identifiers(&p.formula).any(|word| word == name));
    let keep = |(at, name): (usize, &'a str)| (draw.focus.contains(&at) || in_parents(name)).then_some(name);
    task.features.iter().map(|f| f.name.as_str()).enumerate().filter_map(keep).collect()
}

fn identifiers(formula: &str) -> impl Iterator<Item = &str> {
    formula.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

fn names<'a>(task: &'a Task, at: &[usize]) -> Vec<&'a str> {
    at.iter().filter_map(|&at| task.features.get(at)).map(|f| f.name.as_str()).collect()
}

fn parents(ask: &Ask) -> String {
    let show = |p: &crate::discover::Parent| {
        format!("Thought: {}\nFormula: {}\nFitness: {:.3}", one_line(&p.thought), one_line(&p.formula), p.fitness)
    };
    ask.parents.iter().map(show).collect::<Vec<_>>().join("\n")
}

/// White space to single blanks: a value keeps to its line, whatever a model once wrote.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
