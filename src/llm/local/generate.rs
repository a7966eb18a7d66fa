//! One reply: read the question, then draw token after token within the grammar.

use super::sampler::Sampler;
use super::tokens::ChatTokens;
use super::{LocalModel, failed, first_line, grammar};
use crate::llm::Sampling;
use crate::llm::openai::Message;
use crate::{Code, Error, Result};
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::{MAX_SEQ_LEN, ModelWeights};
use llguidance::Matcher;
use std::sync::PoisonError;

/// How many beginnings are kept read. Each token of one takes 46 KB in the default model.
const KEPT: usize = 10;

/// Models that have read the beginning of a chat, last used last. A copy shares the weights and costs nothing, so a
/// question goes on from the longest of these that it begins with.
#[derive(Default)]
pub(super) struct Prefixes(Vec<(Vec<u32>, ModelWeights)>);

/// See [`LocalModel::reply`].
pub(super) fn reply(model: &LocalModel, chat: &[Message], sampling: &Sampling) -> Result<(String, u64)> {
    let ChatTokens { tokens, shared } = model.vocabulary.chat(chat)?;
    let asked = tokens.len();
    let room = MAX_SEQ_LEN.saturating_sub(asked).min(sampling.max_tokens);
    if room == 0 {
        let message = format!("the question has {asked} tokens, and the model reads {MAX_SEQ_LEN} with its answer");
        return Err(Error::new(Code::Proposer, message).help("shorten the prompt templates"));
    }
    let matcher = sampling.grammar.as_ref().map(|g| grammar::compile(&model.factory, g)).transpose()?;
    let (mut weights, read) = after_prefix(model, &tokens, &shared)?;
    let logits = forward(&mut weights, tokens.get(read..).unwrap_or_default(), read)?;
    let written = write(model, &mut weights, logits, asked, room, sampling, matcher)?;
    Ok((model.vocabulary.decode(&written), (asked + written.len()) as u64))
}

/// A model that has read the longest shared beginning, and its length. Beginnings are read part by part whether or
/// not they are kept, so the numbers do not depend on what was asked before.
fn after_prefix(model: &LocalModel, tokens: &[u32], shared: &[usize]) -> Result<(ModelWeights, usize)> {
    let mut kept = model.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
    let begins = |(_, (prefix, _)): &(usize, &(Vec<u32>, ModelWeights))| {
        shared.contains(&prefix.len()) && tokens.starts_with(prefix)
    };
    let best = kept.0.iter().enumerate().filter(begins).max_by_key(|(_, (prefix, _))| prefix.len()).map(|(at, _)| at);
    let (mut weights, mut read) = (model.weights.clone(), 0);
    if let Some(at) = best {
        let found = kept.0.remove(at);
        (read, weights) = (found.0.len(), found.1.clone());
        kept.0.push(found);
    }
    for &cut in shared {
        if cut <= read {
            continue;
        }
        forward(&mut weights, tokens.get(read..cut).unwrap_or_default(), read)?;
        read = cut;
        if kept.0.len() == KEPT {
            kept.0.remove(0);
        }
        kept.0.push((tokens.get(..cut).unwrap_or_default().to_vec(), weights.clone()));
    }
    Ok((weights, read))
}

/// Draws until the grammar or the model ends, or there is no room.
fn write(
    model: &LocalModel,
    weights: &mut ModelWeights,
    mut logits: Vec<f32>,
    asked: usize,
    room: usize,
    sampling: &Sampling,
    mut matcher: Option<Matcher>,
) -> Result<Vec<u32>> {
    let mut sampler = Sampler::new(sampling.seed, sampling.temperature, sampling.top_p);
    let mut written = vec![];
    while written.len() < room {
        let mask = matcher.as_mut().map(Matcher::compute_mask).transpose().map_err(|e| failed(&format!("{e:#}")))?;
        let allowed = |id: u32| mask.as_ref().is_none_or(|m| m.is_allowed(id));
        let token = sampler.draw(&logits, allowed).ok_or_else(|| failed("no token fits the grammar"))?;
        if token == model.vocabulary.end() {
            break;
        }
        written.push(token);
        if let Some(matcher) = matcher.as_mut() {
            matcher.consume_token(token).map_err(|e| failed(&format!("{e:#}")))?;
            if matcher.is_stopped() {
                break;
            }
        }
        if written.len() < room {
            logits = forward(weights, &[token], asked + written.len() - 1)?;
        }
    }
    Ok(written)
}

/// Logits of the token after `tokens`, which stand at `position`.
fn forward(weights: &mut ModelWeights, tokens: &[u32], position: usize) -> Result<Vec<f32>> {
    let mut run = || -> candle_core::Result<Vec<f32>> {
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        weights.forward(&input, position)?.squeeze(0)?.to_vec1()
    };
    run().map_err(|e| failed(first_line(&e.to_string())))
}
