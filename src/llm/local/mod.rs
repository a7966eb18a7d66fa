//! A language model on this machine's processor: candle's quantized llama, held to a grammar by llguidance.
//!
//! The same question with the same seed gets the same reply on the same machine. Another processor may round
//! differently and draw another token; a run that is to be repeated elsewhere is replayed from its transcript.

pub mod cache;
mod generate;
mod gguf;
mod grammar;
mod sampler;
mod tokens;

pub use gguf::fast_copy;
pub use tokens::Vocabulary;

use super::Sampling;
use super::openai::Message;
use crate::{Code, Context as _, Error, Result};
use candle_core::Device;
use candle_transformers::models::quantized_llama::ModelWeights;
use generate::Prefixes;
use gguf::Gguf;
use llguidance::ParserFactory;
use llguidance::toktrie::InferenceCapabilities;
use std::fmt;
use std::path::Path;
use std::sync::Mutex;

/// A model in memory, ready to answer.
///
/// The engine's own pool for quantized products is sized once a process by the environment variable
/// `CANDLE_NUM_THREADS`, else by the processor. Its threads spin while they wait: a second one helps where a core is
/// free, and on a busy machine 1 is the better value. Replies are the same with any number.
pub struct LocalModel {
    name: String,
    weights: ModelWeights,
    vocabulary: Vocabulary,
    factory: ParserFactory,
    prefixes: Mutex<Prefixes>,
    pool: rayon::ThreadPool,
}

impl LocalModel {
    /// Loads a GGUF file of the llama architecture with a ChatML vocabulary; [`fast_copy`] makes one that runs fast.
    ///
    /// # Errors
    /// [`Code::Io`] where it cannot be read, [`Code::Proposer`] where it is not such a model.
    pub fn load(path: &Path) -> Result<LocalModel> {
        LocalModel::read(path).at(|| path.display().to_string())
    }

    fn read(path: &Path) -> Result<LocalModel> {
        let gguf = Gguf::open(path)?;
        gguf.check()?;
        let name = name(path, &gguf);
        let vocabulary = Vocabulary::read(&gguf.content)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(|e| failed(&e.to_string()))?;
        let Gguf { mut reader, content } = gguf;
        let weights = pool.install(|| ModelWeights::from_gguf(content, &mut reader, &Device::Cpu));
        let weights = weights.map_err(|e| failed(first_line(&e.to_string())))?;
        let tree = vocabulary.tree()?;
        let mut factory =
            ParserFactory::new(&tree, InferenceCapabilities::default(), &[]).map_err(|e| failed(&format!("{e:#}")))?;
        factory.quiet();
        Ok(LocalModel { name, weights, vocabulary, factory, prefixes: Mutex::default(), pool })
    }

    /// Name and type of the weights, e.g. `SmolLM2-135M-Instruct-Q8_0`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its tokenizer.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Answers a chat, and returns the text with the tokens read and written. A reply that reaches the limit of
    /// tokens is returned as far as it got.
    ///
    /// # Errors
    /// [`Code::Config`] where the grammar is not one, [`Code::Proposer`] where the question is too long or the
    /// engine fails.
    pub(crate) fn reply(&self, chat: &[Message], sampling: &Sampling) -> Result<(String, u64)> {
        self.pool.install(|| generate::reply(self, chat, sampling))
    }
}

/// What the file says of itself, else its name; the digest in a cached name is no part of it.
fn name(path: &Path, gguf: &Gguf) -> String {
    let kind = gguf.weight_type();
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    match stem.find(&format!("-{kind}")) {
        Some(at) => format!("{}-{kind}", stem.get(..at).unwrap_or_default()),
        None => format!("{stem}-{kind}"),
    }
}

fn failed(what: &str) -> Error {
    Error::new(Code::Proposer, format!("the local model failed: {what}"))
}

/// The engine's errors carry a backtrace below their first line.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

impl fmt::Debug for LocalModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalModel").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
