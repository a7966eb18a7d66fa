//! The grammar of a whole reply around that of its formula.

use crate::llm::ReplyGrammar;
use crate::{Code, Error, Result};
use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory};

/// The two lines of a reply. The formula's grammar is one of its own, so their rules cannot meet.
const REPLY: &str = r#"
start: "Thought: " THOUGHT "\nFormula: " @formula
THOUGHT: /[^ \n\r][^\n\r]{7,119}/
"#;

/// The grammar, compiled; a copy follows each reply.
pub(super) fn compile(factory: &ParserFactory, grammar: &ReplyGrammar) -> Result<Matcher> {
    let named = |name: &str, lark: &str| GrammarWithLexer {
        name: Some(name.to_owned()),
        lark_grammar: Some(lark.to_owned()),
        json_schema: None,
    };
    let grammars = vec![named("reply", REPLY), named("formula", &grammar.lark)];
    let parser = factory.create_parser(TopLevelGrammar { grammars, max_tokens: None });
    parser.map(|p| Matcher::new(Ok(p))).map_err(|e| {
        Error::new(Code::Config, format!("the grammar of formulas is not one: {e:#}"))
            .help("it is Lark as llguidance reads it, with a start rule named `start`")
    })
}
