//! The one executor that `llm-chain` sees, over every back end.
//!
//! Its trait is not dyn-compatible, so the back end is a variant. Its options are a closed list without seed and
//! grammar, so [`Sampling`] is a field, and options given through the trait are not looked at.

use super::Sampling;
#[cfg(feature = "local")]
use super::local::LocalModel;
use super::openai::{Message, Server};
use crate::Result;
use llm_chain::options::Options;
use llm_chain::output::Output;
use llm_chain::prompt::{ChatRole, Data, Prompt};
use llm_chain::tokens::{PromptTokensError, TokenCollection, TokenCount, Tokenizer, TokenizerError};
use llm_chain::traits::{Executor, ExecutorCreationError, ExecutorError};
#[cfg(feature = "local")]
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who answers.
#[derive(Debug)]
pub enum Backend {
    /// A server that speaks OpenAI's chat protocol.
    Server(Box<Server>),
    /// A model on this machine's processor.
    #[cfg(feature = "local")]
    Local(Arc<LocalModel>),
    /// The same text to every question.
    #[cfg(test)]
    Fixed(String),
}

/// A back end with how to draw from it.
#[derive(Debug)]
pub struct ModelExecutor {
    backend: Backend,
    /// How the next reply is drawn.
    pub sampling: Sampling,
    tokens: AtomicU64,
}

impl ModelExecutor {
    /// An executor over a back end, with the default sampling.
    pub fn over(backend: Backend) -> ModelExecutor {
        ModelExecutor { backend, sampling: Sampling::default(), tokens: AtomicU64::new(0) }
    }

    /// What transcripts call it.
    pub fn name(&self) -> String {
        match &self.backend {
            Backend::Server(server) => format!("openai:{}", server.model()),
            #[cfg(feature = "local")]
            Backend::Local(model) => format!("local:{}", model.name()),
            #[cfg(test)]
            Backend::Fixed(_) => "fixed".to_owned(),
        }
    }

    /// Tokens read and written since this was last asked; the trait's output has no place for them.
    pub fn take_tokens(&self) -> u64 {
        self.tokens.swap(0, Ordering::Relaxed)
    }

    fn answer(&self, chat: &[Message]) -> Result<String> {
        let (text, tokens) = match &self.backend {
            Backend::Server(server) => server.ask(chat, &self.sampling)?,
            #[cfg(feature = "local")]
            Backend::Local(model) => model.reply(chat, &self.sampling)?,
            #[cfg(test)]
            Backend::Fixed(text) if text.is_empty() => {
                return Err(crate::Error::new(crate::Code::Proposer, "no text"));
            }
            #[cfg(test)]
            Backend::Fixed(text) => (text.clone(), chat.len() as u64),
        };
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
        Ok(text)
    }
}

/// The chat of a filled-in prompt; a text alone is what a user says.
fn messages(prompt: &Prompt) -> Vec<Message> {
    let role = |role: &ChatRole| match role {
        ChatRole::System => "system",
        ChatRole::Assistant => "assistant",
        ChatRole::User | ChatRole::Other(_) => "user",
    };
    prompt.to_chat().iter().map(|m| Message { role: role(m.role()), content: m.body().trim().to_owned() }).collect()
}

#[async_trait::async_trait]
impl Executor for ModelExecutor {
    type StepTokenizer<'a> = StepTokenizer<'a>;

    fn new_with_options(_: Options) -> Result<Self, ExecutorCreationError> {
        Err(ExecutorCreationError::FieldRequiredError("back end; use ModelExecutor::over".to_owned()))
    }

    /// Blocks its thread: the runtime it runs on has no other task.
    async fn execute(&self, _: &Options, prompt: &Prompt) -> Result<Output, ExecutorError> {
        let text = self.answer(&messages(prompt)).map_err(|e| ExecutorError::InnerError(Box::new(e)))?;
        Ok(Output::new_immediate(Data::text(text)))
    }

    fn tokens_used(&self, options: &Options, prompt: &Prompt) -> Result<TokenCount, PromptTokensError> {
        let tokens = self.get_tokenizer(options)?.tokenize_str(&prompt.to_text())?.len();
        let used = i32::try_from(tokens).map_err(|_| PromptTokensError::UnableToCompute)?;
        Ok(TokenCount::new(self.max_tokens_allowed(options), used))
    }

    /// Tokens of question and answer together. A server does not say, so it gets what any model has today.
    fn max_tokens_allowed(&self, _: &Options) -> i32 {
        4096
    }

    fn answer_prefix(&self, _: &Prompt) -> Option<String> {
        None
    }

    fn get_tokenizer(&self, _: &Options) -> Result<StepTokenizer<'_>, TokenizerError> {
        match &self.backend {
            #[cfg(feature = "local")]
            Backend::Local(model) => Ok(StepTokenizer(model)),
            _ => Err(TokenizerError::TokenizerCreationError),
        }
    }
}

/// The tokenizer of a local model; a server's is not known, so without the feature there is none.
pub struct StepTokenizer<'a>(
    #[cfg(feature = "local")] &'a LocalModel,
    #[cfg(not(feature = "local"))] std::convert::Infallible,
    #[cfg(not(feature = "local"))] std::marker::PhantomData<&'a ()>,
);

impl Tokenizer for StepTokenizer<'_> {
    #[cfg(feature = "local")]
    fn tokenize_str(&self, text: &str) -> Result<TokenCollection, TokenizerError> {
        let tokens = self.0.vocabulary().encode(text).map_err(|_| TokenizerError::TokenizationError)?;
        Ok(TokenCollection::from(tokens.into_iter().map(|t| t as usize).collect::<Vec<_>>()))
    }

    #[cfg(feature = "local")]
    fn to_string(&self, tokens: TokenCollection) -> Result<String, TokenizerError> {
        let tokens = tokens.as_usize()?.into_iter().map(u32::try_from).collect::<Result<Vec<_>, _>>();
        Ok(self.0.vocabulary().decode(&tokens.map_err(|_| TokenizerError::ToStringError)?))
    }

    #[cfg(not(feature = "local"))]
    fn tokenize_str(&self, _: &str) -> Result<TokenCollection, TokenizerError> {
        match self.0 {}
    }

    #[cfg(not(feature = "local"))]
    fn to_string(&self, _: TokenCollection) -> Result<String, TokenizerError> {
        match self.0 {}
    }
}
