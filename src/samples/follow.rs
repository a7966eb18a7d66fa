//! Inputs of a language model that follow from its tokens: masks, positions, an empty cache.
//!
//! Exporters give a decoder a dozen inputs or more, and there is one thing to say: what it reads. Names are those that
//! Hugging Face's exporters and ONNX Runtime's generators use.

use super::{InputSpec, SampleSet};
use crate::array::{Array, Values};
use crate::onnx::DataType;
use crate::{Code, Error, Result};

/// What holds the tokens, or what they were looked up as.
const TOKENS: [&str; 3] = ["input_ids", "decoder_input_ids", "inputs_embeds"];

/// How an input follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Every token counts.
    Ones,
    /// One kind of tokens.
    Zeros,
    /// Tokens stand one behind the other from the beginning.
    Positions,
    /// Nothing came before.
    Empty,
}

fn rule(spec: &InputSpec) -> Option<Rule> {
    let whole = [DataType::INT64, DataType::INT32].iter().any(|t| *t as i32 == spec.data_type);
    match (spec.name.as_str(), spec.dims.len()) {
        ("attention_mask", 2) if whole || spec.data_type == DataType::BOOL as i32 => Some(Rule::Ones),
        ("position_ids", 2) if whole => Some(Rule::Positions),
        ("token_type_ids", 2) if whole => Some(Rule::Zeros),
        (name, 3..=5) if name.starts_with("past") && spec.is_float() => past_axis(spec).map(|_| Rule::Empty),
        _ => None,
    }
}

/// The axis of a cache that counts what came before.
fn past_axis(spec: &InputSpec) -> Option<usize> {
    let counts = |axis: &usize| spec.dims[*axis].is_none() && spec.symbol(*axis).is_some_and(|s| s.contains("past"));
    (1..spec.dims.len()).find(counts)
}

/// The inputs that samples must hold, where they hold arrays of these names: all but those that follow from tokens.
pub(super) fn held(inputs: &[InputSpec], names: &[String]) -> Vec<InputSpec> {
    let has = |name: &str| names.iter().any(|n| n == name);
    if !inputs.iter().any(|spec| has(&spec.name)) {
        return held_alone(inputs);
    }
    let tokens = inputs.iter().any(|spec| TOKENS.contains(&spec.name.as_str()) && has(&spec.name));
    let needed = |spec: &&InputSpec| !tokens || has(&spec.name) || rule(spec).is_none();
    inputs.iter().filter(needed).cloned().collect()
}

/// Whether an input is one that follows from tokens.
pub(super) fn is_followed(spec: &InputSpec) -> bool {
    rule(spec).is_some()
}

/// Names of the inputs that take tokens.
pub(super) fn tokens(inputs: &[InputSpec]) -> Vec<String> {
    inputs.iter().map(|spec| &spec.name).filter(|name| TOKENS.contains(&name.as_str())).cloned().collect()
}

/// The inputs that samples of one array must hold: the tokens, where every other input follows from them.
pub(super) fn held_alone(inputs: &[InputSpec]) -> Vec<InputSpec> {
    only_tokens(inputs).map_or(inputs.to_vec(), |tokens| vec![tokens.clone()])
}

fn only_tokens(inputs: &[InputSpec]) -> Option<&InputSpec> {
    let is_tokens = |spec: &InputSpec| TOKENS.contains(&spec.name.as_str());
    let mut tokens = inputs.iter().filter(|spec| is_tokens(spec));
    let (only, None) = (tokens.next()?, tokens.next()) else { return None };
    inputs.iter().all(|spec| is_tokens(spec) || rule(spec).is_some()).then_some(only)
}

/// Adds to each sample what follows, in the order of the graph's inputs.
pub(super) fn complete(set: &mut SampleSet, inputs: &[InputSpec]) -> Result<()> {
    let Some(first) = set.samples.first() else { return Ok(()) };
    let missing: Vec<&InputSpec> =
        inputs.iter().filter(|spec| first.inputs.iter().all(|(name, _)| *name != spec.name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for sample in &mut set.samples {
        let tokens = sample.inputs.iter().find(|(name, _)| TOKENS.contains(&name.as_str()));
        let count = tokens.and_then(|(_, array)| array.dims.get(1).copied()).unwrap_or(0);
        for spec in &missing {
            sample.inputs.push((spec.name.clone(), made(spec, count)?));
        }
        let place = |(name, _): &(String, Array)| inputs.iter().position(|spec| spec.name == *name);
        sample.inputs.sort_by_key(place);
    }
    set.followed = missing.into_iter().map(|spec| spec.name.clone()).collect();
    Ok(())
}

/// The array of one input beside `count` tokens.
fn made(spec: &InputSpec, count: usize) -> Result<Array> {
    let whole = |value: fn(usize) -> i64| {
        let values = (0..count).map(value);
        let values = match spec.data_type {
            t if t == DataType::INT32 as i32 => Values::I32(values.map(|v| v as i32).collect()),
            t if t == DataType::BOOL as i32 => Values::Bool(values.map(|v| v != 0).collect()),
            _ => Values::I64(values.collect()),
        };
        super::check::fitted(Array { dims: vec![1, count], values }, spec)
    };
    match rule(spec) {
        Some(Rule::Ones) => whole(|_| 1),
        Some(Rule::Zeros) => whole(|_| 0),
        Some(Rule::Positions) => whole(|at| at as i64),
        Some(Rule::Empty) => {
            let past = past_axis(spec);
            let extent = |(axis, dim): (usize, &Option<usize>)| match dim {
                Some(n) => Ok(*n),
                None if Some(axis) == past => Ok(0),
                None if spec.symbol(axis).is_some_and(|s| s.contains("batch")) => Ok(1),
                None => Err(open(spec, axis)),
            };
            Ok(Array::from_f32(spec.dims.iter().enumerate().map(extent).collect::<Result<_>>()?, vec![]))
        }
        None => Err(Error::new(Code::Samples, format!("no array for input `{}`", spec.name))),
    }
}

fn open(spec: &InputSpec, axis: usize) -> Error {
    let error = Error::new(Code::Samples, format!("input `{}` has no fixed extent on axis {axis}", spec.name));
    match spec.symbol(axis) {
        Some(name) => error.help(format!("hold the cache in the samples, or give the extent with --dim {name}=VALUE")),
        None => error.help("hold the cache in the samples"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Sample;

    fn cache(dims: &[Option<usize>], symbols: &[&str]) -> InputSpec {
        let mut spec = InputSpec::new("past_key_values.0.key", dims, DataType::FLOAT);
        spec.symbols = symbols.iter().map(|s| (*s).to_owned()).collect();
        spec
    }

    fn decoder() -> Vec<InputSpec> {
        let whole = |name: &str| InputSpec::new(name, &[Some(1), None], DataType::INT64);
        let past = cache(&[Some(1), Some(2), None, Some(8)], &["batch", "", "past_sequence_length", ""]);
        vec![whole("input_ids"), whole("attention_mask"), past, whole("position_ids")]
    }

    fn sample(inputs: &[InputSpec], tokens: &[i64]) -> Result<SampleSet> {
        let array = Array { dims: vec![1, tokens.len()], values: Values::I64(tokens.to_vec()) };
        let inputs_given = vec![("input_ids".to_owned(), array)];
        let mut set = SampleSet { samples: vec![Sample { inputs: inputs_given }], ..Default::default() };
        complete(&mut set, inputs).map(|()| set)
    }

    #[test]
    fn a_decoder_needs_its_tokens_alone() {
        let inputs = decoder();
        assert_eq!(held(&inputs, &["input_ids".to_owned()]), [inputs[0].clone()]);
        assert_eq!(held(&inputs, &["x".to_owned()]), [inputs[0].clone()]);
        assert_eq!(only_tokens(&inputs), Some(&inputs[0]));
        let set = sample(&inputs, &[7, 8, 9]).unwrap();
        let arrays: Vec<&Array> = set.samples[0].inputs.iter().map(|(_, array)| array).collect();
        assert_eq!(arrays[1].values, Values::I64(vec![1, 1, 1]));
        assert_eq!((arrays[2].dims.as_slice(), arrays[2].values.len()), (&[1, 2, 0, 8][..], 0));
        assert_eq!(arrays[3].values, Values::I64(vec![0, 1, 2]));
        assert_eq!(set.followed, ["attention_mask", "past_key_values.0.key", "position_ids"]);
    }

    #[test]
    fn what_is_held_is_taken_and_what_does_not_follow_is_needed() {
        let mut inputs = decoder();
        let names = ["input_ids", "attention_mask"].map(str::to_owned);
        assert_eq!(held(&inputs, &names).len(), 2);
        inputs.push(InputSpec::new("encoder_hidden_states", &[Some(1), None, Some(8)], DataType::FLOAT));
        assert!(held(&inputs, &names).iter().any(|spec| spec.name == "encoder_hidden_states"));
        assert!(only_tokens(&inputs).is_none());
        assert_eq!(held(&inputs, &["attention_mask".to_owned()]).len(), inputs.len(), "nothing follows without tokens");
    }

    #[test]
    fn an_extent_that_nothing_says_is_asked_for() {
        let mut inputs = decoder();
        inputs[2] = cache(&[Some(1), Some(2), None, None], &["batch", "", "past_sequence_length", "head_dim"]);
        let error = sample(&inputs, &[1]).unwrap_err();
        assert!(error.advice().unwrap().contains("--dim head_dim=VALUE"), "{error}");
    }
}
