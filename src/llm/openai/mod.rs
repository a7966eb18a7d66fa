//! A server that speaks OpenAI's chat protocol: hosted models, llama.cpp, vLLM, Ollama and others.
//!
//! `llm-chain`'s own client sends neither temperature nor a limit of tokens, so this one takes its place. A question
//! is bounded in time and in bytes, repeated where that may help, and its key is shown nowhere.

mod body;
mod dialect;
mod http;
mod key;
mod retry;

pub(crate) use body::Message;
use body::{Answer, Refused};
use dialect::Dialect;
use http::{Failure, Http};
pub use key::KEY_VARIABLE;
use key::Key;
pub use retry::Retry;

use super::Sampling;
use crate::{Code, Error, Result};
use serde_json::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How a server is asked to hold its replies to the grammar. What it refuses is left out from then on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GrammarUse {
    /// As the server says that it can, where it says what it is.
    #[default]
    Auto,
    /// As GBNF, as llama.cpp and vLLM take it.
    Gbnf,
    /// As a JSON schema of the reply; the formula in it is free.
    JsonSchema,
    /// Never.
    Off,
}

/// Where the server is and how patient to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The model's name, as the server knows it.
    pub model: String,
    /// Address up to and with `/v1`.
    pub base: String,
    /// Environment variable that holds the key. `None` looks into [`KEY_VARIABLE`], which need not be set, and is
    /// not sent in clear text to another machine.
    pub key_variable: Option<String>,
    /// Whether replies are held to the grammar.
    pub grammar: GrammarUse,
    /// Longest time to a connection.
    pub connect: Duration,
    /// Longest time of one try, from connection to the last byte.
    pub total: Duration,
    /// What happens after a failure that may pass.
    pub retry: Retry,
}

impl Settings {
    /// The defaults: ten seconds to connect, two minutes for a try, four repetitions.
    pub fn new(model: impl Into<String>, base: impl Into<String>) -> Settings {
        Settings {
            model: model.into(),
            base: base.into(),
            key_variable: None,
            grammar: GrammarUse::Auto,
            connect: Duration::from_secs(10),
            total: Duration::from_secs(120),
            retry: Retry::default(),
        }
    }
}

/// A server, not contacted before the first question.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    http: Http,
    known: Mutex<Known>,
}

/// What was learned about the server.
#[derive(Clone, Debug, Default)]
struct Known {
    dialect: Option<Dialect>,
    refused: Refused,
    /// It has answered before, so a refused connection may pass.
    answered: bool,
}

impl Server {
    /// Reads the key from the environment.
    ///
    /// # Errors
    /// [`Code::Config`] where a named variable is not set or holds no key.
    pub fn new(settings: Settings) -> Result<Server> {
        Server::with_environment(settings, |name| std::env::var(name).ok())
    }

    fn with_environment(settings: Settings, look: impl Fn(&str) -> Option<String>) -> Result<Server> {
        let key = Key::read(&settings, look)?;
        let http = Http::new(&settings, key);
        Ok(Server { settings, http, known: Mutex::default() })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.settings.model
    }

    /// Asks, and returns the text with the tokens read and written (0 where the server does not count).
    ///
    /// # Errors
    /// [`Code::Proposer`] where the server does not answer after all repetitions, or not in its protocol.
    pub(crate) fn ask(&self, chat: &[Message], sampling: &Sampling) -> Result<(String, u64)> {
        let dialect = self.dialect(sampling);
        loop {
            let refused = self.known().refused.clone();
            let body = body::request(&self.settings.model, chat, sampling, dialect, &refused);
            match self.post(&body, sampling.seed) {
                Ok(bytes) => return self.read(&bytes),
                // Each turn leaves something out that was there, so this ends.
                Err(Failure::Status { status: 400 | 422, complaint, .. })
                    if self.known().refused.learn(&body, &complaint) => {}
                Err(failure) => return Err(failure.explain(&self.settings)),
            }
        }
    }

    fn read(&self, bytes: &[u8]) -> Result<(String, u64)> {
        let broken = |what: String| {
            Error::new(Code::Proposer, format!("the server's answer {what}"))
                .at(self.settings.base.clone())
                .help("is this the address of an OpenAI-compatible API, up to and with /v1?")
        };
        let answer: Answer = serde_json::from_slice(bytes).map_err(|e| {
            let shown = self.http.redact(&body::complaint(bytes));
            broken(format!("is not that of a chat: {e}; it begins `{}`", first(&shown, 60)))
        })?;
        answer.said().map_err(|what| {
            Error::new(Code::Proposer, format!("the server's answer {what}"))
                .at(self.settings.base.clone())
                .help("a model that thinks first needs a higher limit of tokens")
        })
    }

    /// Posts until it works, the failure cannot pass, or the repetitions are used up.
    fn post(&self, body: &Value, seed: u64) -> Result<Vec<u8>, Failure> {
        let mut attempt = 0;
        let mut timeouts = 0;
        loop {
            let failure = match self.http.post("/chat/completions", body) {
                Ok(bytes) => {
                    self.known().answered = true;
                    return Ok(bytes);
                }
                Err(failure) => failure,
            };
            timeouts += u32::from(matches!(failure, Failure::Timeout));
            // A server that was too slow twice is too slow.
            let hopeless = !failure.may_pass(self.known().answered) || timeouts > 1;
            if hopeless || attempt >= self.settings.retry.count {
                return Err(failure.after(attempt + 1));
            }
            std::thread::sleep(self.settings.retry.wait(attempt, seed, failure.demand()));
            attempt += 1;
        }
    }

    /// How a grammar is sent, where one is at stake. Where the server does not say what it is, none is.
    fn dialect(&self, sampling: &Sampling) -> Dialect {
        let has_grammar = sampling.grammar.as_ref().is_some_and(|g| g.gbnf.is_some());
        match self.settings.grammar {
            _ if !has_grammar => return Dialect::Plain,
            GrammarUse::Off => return Dialect::Plain,
            GrammarUse::JsonSchema => return Dialect::Schema,
            GrammarUse::Gbnf | GrammarUse::Auto => {}
        }
        match (self.settings.grammar, self.named()) {
            (GrammarUse::Gbnf, Dialect::Plain | Dialect::Schema) => Dialect::LlamaCpp,
            (_, named) => named,
        }
    }

    /// What the server says that it is; asked once.
    fn named(&self) -> Dialect {
        if let Some(dialect) = self.known().dialect {
            return dialect;
        }
        match self.http.get("/models") {
            Ok(bytes) => {
                let dialect = serde_json::from_slice(&bytes).map_or(Dialect::Plain, |models| Dialect::of(&models));
                self.known().dialect = Some(dialect);
                dialect
            }
            Err(Failure::Status { .. }) => {
                self.known().dialect = Some(Dialect::Plain);
                Dialect::Plain
            }
            // The question itself will say what is wrong with the connection.
            Err(_) => Dialect::Plain,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn first(text: &str, count: usize) -> String {
    text.chars().take(count).collect()
}

#[cfg(test)]
mod tests;
