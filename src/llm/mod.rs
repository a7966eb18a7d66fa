//! Language models that propose formulas: a local model or a server, behind `llm-chain`'s executor trait.
//!
//! [`Spec`] reads what the command line names. With the feature `llm`, `ChainProposer` fills a prompt template
//! with a [`Task`] and a question, runs it as a chain of one step, and returns what the model said, untouched.
//! With the feature `local` the model can run on this machine's processor, held to a grammar token by token.
//!
//! What a model says is text and stays text here: it is parsed elsewhere and never executed.

#[cfg(feature = "llm")]
mod chain;
#[cfg(feature = "llm")]
mod executor;
#[cfg(feature = "local")]
mod fetch;
#[cfg(feature = "local")]
pub mod local;
#[cfg(feature = "llm")]
pub mod openai;
#[cfg(feature = "llm")]
mod prompt;
mod sampling;
mod spec;
mod task;
#[cfg(feature = "llm")]
mod templates;

#[cfg(feature = "llm")]
pub use chain::ChainProposer;
#[cfg(feature = "llm")]
pub use executor::{Backend, ModelExecutor};
#[cfg(feature = "local")]
pub use fetch::{fetch, install};
pub use sampling::Sampling;
pub use spec::Spec;
pub use task::{Example, Feature, GrammarOf, ReplyGrammar, Task, Told};
#[cfg(feature = "llm")]
pub use templates::Templates;
