//! Who proposes formulas, as the command line names it.

use crate::{Code, Error, Result};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The forms that exist, for error messages and help texts.
pub(crate) const FORMS: &str = "`none` (tree mutation, no model), `replay:FILE`, `local`, `local:FILE.gguf`, or \
     `openai:MODEL@http://HOST:PORT/v1` (any server that speaks OpenAI's chat protocol)";

/// Who proposes formulas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// No model: formulas are changed as trees.
    None,
    /// Replies of a transcript.
    Replay(PathBuf),
    /// A model on this machine: a GGUF file, or the one in the cache.
    Local(Option<PathBuf>),
    /// A server that speaks OpenAI's chat protocol.
    OpenAi {
        /// The model's name, as the server knows it.
        model: String,
        /// Address up to and with `/v1`, without a slash at its end.
        base: String,
    },
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Spec> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        match (kind, rest) {
            ("none", None) => Ok(Spec::None),
            ("replay", Some(file)) if !file.is_empty() => Ok(Spec::Replay(file.into())),
            ("replay", _) => Err(wrong("`replay` names no transcript")),
            ("local", None) => Ok(Spec::Local(None)),
            ("local", Some(file)) if !file.is_empty() => Ok(Spec::Local(Some(file.into()))),
            ("local", _) => Err(wrong("`local:` names no file")),
            ("openai", rest) => server(rest.unwrap_or_default()),
            _ => Err(wrong(format!("`{text}` is not a proposer"))),
        }
    }
}

fn server(rest: &str) -> Result<Spec> {
    // A model's name may hold `@`, `:` and `/`; the address starts at the last `@http`.
    let at = rest.rfind("@http://").or_else(|| rest.rfind("@https://"));
    let Some((model, base)) = at.and_then(|at| Some((rest.get(..at)?, rest.get(at + 1..)?))) else {
        return Err(wrong("`openai` names no address: after the model comes `@http://` or `@https://`"));
    };
    if model.is_empty() {
        return Err(wrong("`openai` names no model"));
    }
    let base = base.trim_end_matches('/');
    let base = base.strip_suffix("/chat/completions").unwrap_or(base).trim_end_matches('/');
    let host = base.split_once("://").map_or("", |(_, host)| host).split('/').next().unwrap_or_default();
    if host.is_empty() || base.contains(|c: char| c.is_whitespace() || c.is_control() || c == '?' || c == '#') {
        return Err(wrong("`openai` names no usable address"));
    }
    if host.contains('@') {
        return Err(wrong("an address may hold no user or password: keys come from the environment"));
    }
    Ok(Spec::OpenAi { model: model.to_owned(), base: base.to_owned() })
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(Code::Config, message).help(format!("a proposer is {FORMS}"))
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spec::None => f.write_str("none"),
            Spec::Replay(file) => write!(f, "replay:{}", file.display()),
            Spec::Local(None) => f.write_str("local"),
            Spec::Local(Some(file)) => write!(f, "local:{}", file.display()),
            Spec::OpenAi { model, base } => write!(f, "openai:{model}@{base}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Spec {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_is_read_and_written_back() {
        assert_eq!(parse("none"), Spec::None);
        assert_eq!(parse("replay:runs/a:b.jsonl"), Spec::Replay("runs/a:b.jsonl".into()));
        assert_eq!(parse("local"), Spec::Local(None));
        assert_eq!(parse("local:/m/x.gguf"), Spec::Local(Some("/m/x.gguf".into())));
        for text in ["none", "replay:a", "local", "local:b.gguf", "openai:qwen2:7b@http://localhost:11434/v1"] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn a_model_may_hold_signs_and_an_address_is_trimmed() {
        let of = |text: &str| match parse(text) {
            Spec::OpenAi { model, base } => (model, base),
            other => panic!("{other:?}"),
        };
        let want = |model: &str, base: &str| (model.to_owned(), base.to_owned());
        assert_eq!(of("openai:org/m@rev:q4@https://h/v1/"), want("org/m@rev:q4", "https://h/v1"));
        assert_eq!(of("openai:m@http://[::1]:80/v1/chat/completions"), want("m", "http://[::1]:80/v1"));
    }

    #[test]
    fn anything_else_says_what_exists() {
        let bad = ["", "gpt", "none:x", "replay", "replay:", "local:", "openai", "openai:m", "openai:@http://h/v1"];
        let worse = ["openai:m@http://", "openai:m@http:///v1", "openai:m@http://u:p@h/v1", "openai:m@http://h /v1"];
        for text in bad.iter().chain(&worse).chain(&["openai:m@http://h/v1?k=v", "openai:m@ftp://h/v1"]) {
            let error = text.parse::<Spec>().unwrap_err();
            assert_eq!(error.code(), Code::Config);
            let advice = error.advice().unwrap();
            assert!(
                ["`none`", "`replay:FILE`", "`local`", "`openai:MODEL@"].iter().all(|f| advice.contains(f)),
                "{text}"
            );
        }
        let error = "openai:m@http://user:secret@h/v1".parse::<Spec>().unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
