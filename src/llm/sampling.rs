//! How a reply is drawn from a model.

use super::ReplyGrammar;

/// Options of the drawing. They are fields of the executor because `llm-chain`'s own list of options is closed:
/// it knows neither a seed nor a grammar.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f64,
    /// Share of the probability that is drawn from, most likely tokens first (nucleus sampling, Holtzman 2020).
    pub top_p: f64,
    /// Where the random numbers start.
    pub seed: u64,
    /// Most tokens of a reply.
    pub max_tokens: usize,
    /// Texts that end a reply, for servers; a local model ends with its grammar or its end-of-turn token.
    pub stop: Vec<String>,
    /// What a reply must look like.
    pub grammar: Option<ReplyGrammar>,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 0.9,
            top_p: 0.95,
            seed: 0,
            max_tokens: 160,
            stop: vec!["<|im_end|>".to_owned()],
            grammar: None,
        }
    }
}
