//! One exchange with the server, and what can go wrong in it.

use super::key::{Key, is_loopback};
use super::{Settings, body, retry};
use crate::{Code, Error};
use serde_json::Value;
use std::fmt;
use std::io::Read as _;
use std::time::Duration;
use ureq::http::{Response, header};
use ureq::{Agent, Body};

/// Most bytes that are read of an answer.
const MOST: u64 = 1 << 20;

/// The client, with its key.
pub(super) struct Http {
    agent: Agent,
    base: String,
    key: Key,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// Nothing listens there.
    Refused,
    /// The name of the host has no address.
    NoHost,
    /// The time of one try is over.
    Timeout,
    /// A status other than success, with the server's sentence and how long it wants to be left alone.
    Status { status: u16, complaint: String, demand: Option<Duration> },
    /// More bytes than an answer can have.
    TooLong,
    /// Anything else, as the client says it.
    Other(String),
    /// The failure of the last of several tries.
    After(u32, Box<Failure>),
}

impl Http {
    pub fn new(settings: &Settings, key: Key) -> Http {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirected question would lose its body, and could carry the key elsewhere.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(settings.connect))
            .timeout_global(Some(settings.total))
            .user_agent(concat!("tapq/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&settings.base) {
            config = config.proxy(None);
        }
        Http { agent: config.build().new_agent(), base: settings.base.clone(), key }
    }

    pub fn get(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        if let Some(bearer) = self.key.bearer() {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        self.read(request.call())
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Vec<u8>, Failure> {
        let mut request = self.agent.post(format!("{}{path}", self.base)).content_type("application/json");
        if let Some(bearer) = self.key.bearer() {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        self.read(request.send(body.to_string().as_bytes()))
    }

    /// The text without the key.
    pub fn redact(&self, text: &str) -> String {
        self.key.redact(text)
    }

    fn read(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<Vec<u8>, Failure> {
        let mut answer = answer.map_err(|e| self.failure(&e))?;
        let status = answer.status();
        let demand = answer.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok());
        let demand = retry::demand(demand);
        let mut bytes = vec![];
        let read = answer.body_mut().as_reader().take(MOST + 1).read_to_end(&mut bytes);
        read.map_err(|e| self.failure(&ureq::Error::from(e)))?;
        if bytes.len() as u64 > MOST {
            return Err(Failure::TooLong);
        }
        if status.is_success() {
            return Ok(bytes);
        }
        let complaint = self.key.redact(&body::complaint(&bytes));
        Err(Failure::Status { status: status.as_u16(), complaint, demand })
    }

    fn failure(&self, error: &ureq::Error) -> Failure {
        use std::io::ErrorKind;
        match error {
            ureq::Error::Timeout(_) => Failure::Timeout,
            ureq::Error::HostNotFound => Failure::NoHost,
            ureq::Error::ConnectionFailed => Failure::Refused,
            ureq::Error::Io(e) if e.kind() == ErrorKind::ConnectionRefused => Failure::Refused,
            ureq::Error::Io(e) if e.kind() == ErrorKind::TimedOut => Failure::Timeout,
            other => Failure::Other(self.key.redact(&other.to_string())),
        }
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("base", &self.base).field("key", &self.key).finish()
    }
}

impl Failure {
    /// Whether asking again may help; a refused connection only where the server has answered before.
    pub fn may_pass(&self, answered: bool) -> bool {
        match self {
            Failure::Status { status, .. } => retry::may_pass(*status),
            Failure::Refused | Failure::NoHost => answered,
            Failure::Timeout | Failure::Other(_) => true,
            Failure::TooLong | Failure::After(..) => false,
        }
    }

    /// How long the server wants to be left alone.
    pub fn demand(&self) -> Option<Duration> {
        match self {
            Failure::Status { demand, .. } => *demand,
            _ => None,
        }
    }

    /// The same, knowing how many tries it took.
    pub fn after(self, tries: u32) -> Failure {
        match (tries, self) {
            // The caller looks at these, and one try needs no words.
            (_, status @ Failure::Status { status: 400 | 422, .. }) => status,
            (0 | 1, failure) => failure,
            (tries, failure) => Failure::After(tries, Box::new(failure)),
        }
    }

    /// The error that a person reads.
    pub fn explain(self, settings: &Settings) -> Error {
        self.error(settings, "").at(settings.base.clone())
    }

    fn error(&self, settings: &Settings, tries: &str) -> Error {
        let new = |message: String| Error::new(Code::Proposer, format!("{message}{tries}"));
        match self {
            Failure::Refused => new("nothing listens there".to_owned()).help(
                "start the server first, for example `llama-server -m MODEL.gguf --port 8080`, `vllm serve MODEL` or \
                 `ollama serve`, or correct the address",
            ),
            Failure::NoHost => new("the host's name is not known".to_owned()).help("correct the address"),
            Failure::Timeout => new(format!("no answer within {} s", settings.total.as_secs_f64()))
                .help("a slower model needs a longer time limit"),
            Failure::TooLong => new(format!("the answer is longer than {MOST} bytes")),
            Failure::Other(what) => new(format!("the exchange failed: {what}")),
            Failure::After(count, last) => last.error(settings, &format!(", after {count} tries")),
            Failure::Status { status, complaint, .. } => {
                let said = if complaint.is_empty() { String::new() } else { format!(": {complaint}") };
                let error = new(format!("the server answered {status}{said}"));
                let variable = settings.key_variable.as_deref().unwrap_or(super::KEY_VARIABLE);
                match status {
                    401 | 403 => error.help(format!("set the environment variable {variable} to a key of this server")),
                    404 => error.help(format!(
                        "is `{}` a model that it has, and does the address end before /chat/completions?",
                        settings.model
                    )),
                    300..=399 => error.help("use the address that the server redirects to"),
                    429 => error.help("the limit of requests or the credit is used up"),
                    _ => error,
                }
            }
        }
    }
}
