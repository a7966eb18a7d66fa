//! Which server it is, as far as grammars are concerned.

use serde_json::Value;

/// How a server takes a grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// llama.cpp: `grammar` beside the messages.
    LlamaCpp,
    /// vLLM since 0.12: `structured_outputs.grammar`.
    Vllm,
    /// OpenAI, Ollama: a JSON schema in `response_format`, which holds the form of a reply, not the formula in it.
    Schema,
    /// Any other: nothing.
    Plain,
}

impl Dialect {
    /// From a server's answer to `GET /models`, whose entries say who owns them.
    pub fn of(models: &Value) -> Dialect {
        let entries = models.get("data").and_then(Value::as_array);
        let owner = entries.and_then(|e| e.first()).and_then(|m| m.get("owned_by")).and_then(Value::as_str);
        match owner {
            Some("llamacpp") => Dialect::LlamaCpp,
            Some("vllm") => Dialect::Vllm,
            Some("openai" | "openai-internal" | "system" | "library") => Dialect::Schema,
            _ => Dialect::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_owner_of_a_model_tells_the_server() {
        let of = |owner: &str| Dialect::of(&json!({ "object": "list", "data": [{ "id": "m", "owned_by": owner }] }));
        assert_eq!(of("llamacpp"), Dialect::LlamaCpp);
        assert_eq!(of("vllm"), Dialect::Vllm);
        assert_eq!((of("library"), of("openai")), (Dialect::Schema, Dialect::Schema));
        assert_eq!(of("somebody"), Dialect::Plain);
        assert_eq!(Dialect::of(&json!([1, 2])), Dialect::Plain);
        assert_eq!(Dialect::of(&json!({ "data": [] })), Dialect::Plain);
    }
}
