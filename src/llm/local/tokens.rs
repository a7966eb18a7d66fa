//! Text to tokens and back, the chat form, and the tree of tokens that a grammar walks.

use crate::llm::openai::Message;
use crate::{Code, Error, Result};
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::tokenizer::TokenizerFromGguf as _;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{PreTokenizerWrapper, Tokenizer};

/// Starts a turn of a chat in ChatML form.
const START: &str = "<|im_start|>";
/// Ends it.
const END: &str = "<|im_end|>";

/// The tokenizer of a model, from the GGUF file itself.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    tokenizer: Tokenizer,
    /// Bytes of each token; a control token's begin with the marker of the tree, which no text holds.
    bytes: Vec<Vec<u8>>,
    start: u32,
    end: u32,
}

/// A chat as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChatTokens {
    /// All turns, and the head of the answer.
    pub tokens: Vec<u32>,
    /// Lengths of beginnings that other questions share: the system's turn, and everything before the last turn.
    pub shared: Vec<usize>,
}

impl Vocabulary {
    /// # Errors
    /// [`Code::Proposer`] where the file has no byte-level BPE vocabulary or no ChatML turns.
    pub(super) fn read(content: &Content) -> Result<Vocabulary> {
        let mut tokenizer = Tokenizer::from_gguf(content).map_err(|e| broken(&e.to_string()))?;
        correct(&mut tokenizer, content);
        let texts = strings(content, "tokenizer.ggml.tokens")?;
        let kinds = content.metadata.get("tokenizer.ggml.token_type").and_then(|v| v.to_vec().ok());
        let bytes_of = byte_table();
        let bytes = (0..).zip(&texts).map(|(at, text): (usize, &&String)| {
            // Kinds 2 to 5 are unknown, control, user-defined and unused (llama.cpp, llama_token_type).
            let kind =
                kinds.and_then(|k| k.get(at)).and_then(|v| v.to_i32().or_else(|_| v.to_u32().map(|k| k as i32)).ok());
            let plain = || text.chars().map(|c| bytes_of.get(&c).copied()).collect::<Option<Vec<u8>>>();
            match plain().filter(|_| !matches!(kind, Some(2..=5))) {
                Some(bytes) => bytes,
                None => [&[TokTrie::SPECIAL_TOKEN_MARKER], text.as_bytes()].concat(),
            }
        });
        let bytes: Vec<_> = bytes.collect();
        let turn = |name: &str| {
            let id = tokenizer.token_to_id(name).filter(|&id| (id as usize) < bytes.len());
            id.ok_or_else(|| broken(&format!("it has no `{name}`, so it is no chat model in ChatML form")))
        };
        let (start, end) = (turn(START)?, turn(END)?);
        Ok(Vocabulary { tokenizer, bytes, start, end })
    }

    /// Tokens of a text; names of control tokens in it are text like any other.
    ///
    /// # Errors
    /// [`Code::Proposer`] where the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        // The tokenizer would take `<|im_end|>` for the end of a turn, wherever the text comes from.
        let text = text.replace("<|", "< |");
        let encoded = self.tokenizer.encode_fast(text, false);
        Ok(encoded.map_err(|e| broken(&e.to_string()))?.get_ids().to_vec())
    }

    /// Tokens of a text in which names of control tokens are those tokens.
    #[cfg(test)]
    pub(super) fn encode_raw(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec()
    }

    /// Text of tokens; control tokens have none, and bytes that are no text become U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let bytes = tokens.iter().filter_map(|&t| self.bytes.get(t as usize));
        let plain = bytes.filter(|b| b.first() != Some(&TokTrie::SPECIAL_TOKEN_MARKER));
        String::from_utf8_lossy(&plain.flatten().copied().collect::<Vec<u8>>()).into_owned()
    }

    /// The token that ends an answer.
    pub(super) fn end(&self) -> u32 {
        self.end
    }

    /// A chat in ChatML form.
    pub(super) fn chat(&self, chat: &[Message]) -> Result<ChatTokens> {
        let (mut tokens, mut shared) = (vec![], vec![]);
        for (at, message) in chat.iter().enumerate() {
            if at > 0 && (at == 1 || at + 1 == chat.len()) {
                shared.push(tokens.len());
            }
            tokens.push(self.start);
            tokens.extend(self.encode(&format!("{}\n{}", message.role, message.content))?);
            tokens.push(self.end);
            tokens.extend(self.encode("\n")?);
        }
        tokens.push(self.start);
        tokens.extend(self.encode("assistant\n")?);
        shared.dedup();
        Ok(ChatTokens { tokens, shared })
    }

    /// The tree of tokens, as `llguidance` wants it. Its own cut of a text into tokens is only near to this one's,
    /// which is enough: grammars are matched byte by byte.
    pub(super) fn tree(&self) -> Result<TokEnv> {
        let size = u32::try_from(self.bytes.len()).map_err(|_| broken("its vocabulary is too large"))?;
        let trie = TokTrie::from(&TokRxInfo::new(size, self.end), &self.bytes);
        Ok(Arc::new(ApproximateTokEnv::new(trie)))
    }
}

/// The engine falls back to a cut that puts a blank before every text, where GPT-2's and SmolLM's put none; SmolLM's
/// also takes digits one by one (llama.cpp, llama_vocab pre-types `gpt-2` and `smollm`).
fn correct(tokenizer: &mut Tokenizer, content: &Content) {
    let kind = content.metadata.get("tokenizer.ggml.pre").and_then(|v| v.to_string().ok()).map(String::as_str);
    let words = ByteLevel::new(false, true, true);
    match kind {
        Some("smollm") => {
            let parts: Vec<PreTokenizerWrapper> = vec![Digits::new(true).into(), words.into()];
            tokenizer.with_pre_tokenizer(Some(Sequence::new(parts)));
        }
        // The engine knows these.
        Some("qwen2" | "smaug-bpe" | "lfm2" | "llama3") => {}
        _ => drop(tokenizer.with_pre_tokenizer(Some(words))),
    }
}

fn strings<'a>(content: &'a Content, key: &str) -> Result<Vec<&'a String>> {
    let values = content.metadata.get(key).and_then(|v| v.to_vec().ok());
    let texts = values.and_then(|values| values.iter().map(|v: &Value| v.to_string().ok()).collect());
    texts.ok_or_else(|| broken(&format!("it has no `{key}`")))
}

/// The byte behind each sign of a byte-level vocabulary: printable bytes stand for themselves, the others are moved
/// up from U+0100 in order (GPT-2, `bytes_to_unicode`).
fn byte_table() -> BTreeMap<char, u8> {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let moved = (0..=255).filter(|&b| !printable(b)).zip('\u{100}'..).map(|(b, c)| (c, b));
    (0..=255).filter(|&b| printable(b)).map(|b| (char::from(b), b)).chain(moved).collect()
}

fn broken(what: &str) -> Error {
    Error::new(Code::Proposer, format!("the model's vocabulary cannot be used: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_sign() {
        let table = byte_table();
        assert_eq!(table.len(), 256);
        assert_eq!((table[&'A'], table[&'Ġ'], table[&'Ċ'], table[&'ÿ']), (b'A', b' ', b'\n', 255));
        let mut bytes: Vec<u8> = table.values().copied().collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
    }
}
