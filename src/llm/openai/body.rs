//! The JSON that goes to a server and comes back.

use super::dialect::Dialect;
use crate::llm::{ReplyGrammar, Sampling};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// `system`, `user` or `assistant`.
    pub role: &'static str,
    pub content: String,
}

/// What a server has refused before and is not sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    pub grammar: bool,
    /// `max_tokens`; newer models want `max_completion_tokens`.
    pub max_tokens: bool,
    /// Optional fields by name.
    pub fields: Vec<&'static str>,
}

/// Fields that a server may refuse and a question can do without.
const OPTIONAL: [&str; 4] = ["temperature", "top_p", "seed", "stop"];

impl Refused {
    /// Learns from the text of a refusal; false where nothing more can be left out.
    pub fn learn(&mut self, sent: &Value, complaint: &str) -> bool {
        let had_grammar = ["grammar", "structured_outputs", "response_format"].iter().any(|f| sent.get(*f).is_some());
        if had_grammar && !self.grammar {
            self.grammar = true;
            return true;
        }
        if complaint.contains("max_completion_tokens") && !self.max_tokens {
            self.max_tokens = true;
            return true;
        }
        let blamed = OPTIONAL.iter().find(|name| sent.get(**name).is_some() && complaint.contains(**name));
        blamed.inspect(|name| self.fields.push(name)).is_some()
    }
}

/// The body of a question.
pub(super) fn request(
    model: &str,
    chat: &[Message],
    sampling: &Sampling,
    dialect: Dialect,
    refused: &Refused,
) -> Value {
    let messages: Vec<_> = chat.iter().map(|m| json!({ "role": m.role, "content": m.content })).collect();
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    body.insert("messages".to_owned(), json!(messages));
    body.insert("temperature".to_owned(), json!(round(sampling.temperature)));
    body.insert("top_p".to_owned(), json!(round(sampling.top_p)));
    let limit = if refused.max_tokens { "max_completion_tokens" } else { "max_tokens" };
    body.insert(limit.to_owned(), json!(sampling.max_tokens));
    // Some servers read a seed as 32 bits, the highest one as a sign.
    body.insert("seed".to_owned(), json!((sampling.seed ^ (sampling.seed >> 32)) & 0x7FFF_FFFF));
    if !sampling.stop.is_empty() {
        body.insert("stop".to_owned(), json!(sampling.stop));
    }
    refused.fields.iter().for_each(|name| drop(body.remove(*name)));
    if let Some(gbnf) = sampling.grammar.as_ref().and_then(reply_gbnf).filter(|_| !refused.grammar) {
        match dialect {
            Dialect::LlamaCpp => drop(body.insert("grammar".to_owned(), json!(gbnf))),
            Dialect::Vllm => drop(body.insert("structured_outputs".to_owned(), json!({ "grammar": gbnf }))),
            Dialect::Schema => drop(body.insert("response_format".to_owned(), reply_schema())),
            Dialect::Plain => {}
        }
    }
    Value::Object(body)
}

/// Three decimals, so that 0.9 is sent as 0.9 wherever it came from.
fn round(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

/// The grammar of the two lines around that of a formula.
fn reply_gbnf(grammar: &ReplyGrammar) -> Option<String> {
    let formula = grammar.gbnf.as_ref()?;
    Some(format!("root ::= \"Thought: \" thought \"\\nFormula: \" formula\nthought ::= [^\\n]{{8,120}}\n{formula}"))
}

/// A reply as an object of two texts, which the reader of replies takes, too.
fn reply_schema() -> Value {
    let schema = json!({
        "type": "object",
        "properties": { "thought": { "type": "string" }, "formula": { "type": "string" } },
        "required": ["thought", "formula"],
        "additionalProperties": false,
    });
    json!({ "type": "json_schema", "json_schema": { "name": "proxy", "strict": true, "schema": schema } })
}

/// What is read of an answer.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    message: Said,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl Answer {
    /// The text of the first choice and the tokens read and written, or what is missing.
    pub fn said(self) -> Result<(String, u64), String> {
        let Some(choice) = self.choices.into_iter().next() else {
            return Err("holds no choice".to_owned());
        };
        let tokens = self.usage.map_or(0, |u| u.prompt_tokens.saturating_add(u.completion_tokens));
        match choice.message.content.filter(|text| !text.trim().is_empty()) {
            Some(text) => Ok((text, tokens)),
            None => Err(format!("holds no text (finish_reason {})", choice.finish_reason.as_deref().unwrap_or("?"))),
        }
    }
}

/// The sentence in a server's error, in the shapes that servers use, else the beginning of what it said.
pub(super) fn complaint(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let json: Option<Value> = serde_json::from_str(&text).ok();
    let found = json.as_ref().and_then(|v| {
        let error = v.get("error").unwrap_or(v);
        let message = error.get("message").or_else(|| error.get("detail")).unwrap_or(error);
        message.as_str().map(str::to_owned)
    });
    let text = found.unwrap_or_else(|| text.into_owned());
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(300).collect()
}
