//! Language models for `xtask discover`, as far as they are compiled in, and `xtask llm`.

#[cfg(not(feature = "llm"))]
use crate::discover_args::ServerGrammar;
#[cfg(not(feature = "llm"))]
use std::path::Path;
#[cfg(not(feature = "llm"))]
use tapq::discover::Proposer;
#[cfg(not(feature = "llm"))]
use tapq::llm::Spec;
#[cfg(not(feature = "llm"))]
use tapq::{Code, Error, Result};
#[cfg(not(feature = "llm"))]
use tapq_passes::pipeline::NetworkJudges;

#[cfg(feature = "llm")]
pub use with_models::*;

/// Says which feature brings language models.
#[cfg(not(feature = "llm"))]
pub fn proposer<'j>(
    spec: &Spec,
    _judge: &'j NetworkJudges<'j>,
    _prompts: Option<&Path>,
    _grammar: ServerGrammar,
) -> Result<Box<dyn Proposer + 'j>> {
    Err(without(spec))
}

#[cfg(not(feature = "llm"))]
fn without(spec: &Spec) -> Error {
    let feature = if matches!(spec, Spec::Local(_)) { "local" } else { "llm" };
    let what = format!("`{spec}` needs language models, and this program was built without them");
    Error::new(Code::Config, what).help(format!(
        "build it with `cargo run --release -p xtask --features {feature} -- discover ...`, or search with --proposer none"
    ))
}

#[cfg(feature = "llm")]
mod with_models {
    use crate::discover_args::ServerGrammar;
    use std::path::Path;
    use std::sync::Arc;
    use tapq::discover::Proposer;
    use tapq::llm::openai::{GrammarUse, Server, Settings};
    use tapq::llm::{
        Backend, ChainProposer, Example, Feature, GrammarOf, ModelExecutor, ReplyGrammar, Spec, Task, Templates, Told,
    };
    use tapq::proxy::{Feature as Known, Shape, baselines, feature, gbnf, grammar};
    use tapq::{Code, Error, Result};
    use tapq_passes::pipeline::NetworkJudges;

    /// Features that each question draws: small models copy what they are shown.
    const FOCUS: usize = 6;
    /// What a model is told of the language; `xtask proxies --language` has the whole.
    const FUNCTIONS: &str = "+ - * / ** sqrt(x) log1p(x) exp(x) square(x) min(x, y) max(x, y) rank(x) norm(x)";

    /// A proposer that asks a language model.
    pub fn proposer<'j>(
        spec: &Spec,
        judge: &'j NetworkJudges<'j>,
        prompts: Option<&Path>,
        grammar: ServerGrammar,
    ) -> Result<Box<dyn Proposer + 'j>> {
        let backend = match spec {
            Spec::OpenAi { model, base } => {
                let grammar = match grammar {
                    ServerGrammar::Auto => GrammarUse::Auto,
                    ServerGrammar::Gbnf => GrammarUse::Gbnf,
                    ServerGrammar::JsonSchema => GrammarUse::JsonSchema,
                    ServerGrammar::Off => GrammarUse::Off,
                };
                let settings = Settings { grammar, ..Settings::new(model.clone(), base.clone()) };
                Backend::Server(Box::new(Server::new(settings)?))
            }
            Spec::Local(path) => local(path.as_deref())?,
            Spec::None | Spec::Replay(_) => return Err(Error::new(Code::Config, format!("`{spec}` is no model"))),
        };
        let told = match spec {
            Spec::Local(_) => Told::WithQuestion,
            _ => Told::Beforehand,
        };
        let task = task(judge.features(), told)?;
        Ok(Box::new(ChainProposer::new(ModelExecutor::over(backend), Templates::load(prompts)?, task)?))
    }

    #[cfg(feature = "local")]
    fn local(path: Option<&Path>) -> Result<Backend> {
        use tapq::llm::local::{LocalModel, cache, fast_copy};
        let folder = cache::folder()?;
        let found = match path {
            Some(path) => fast_copy(path, &folder, &mut |line| eprintln!("{line}"))?,
            None => cache::find(None, &folder).map_err(|e| e.help("fetch it once: `xtask llm fetch`"))?,
        };
        Ok(Backend::Local(Arc::new(LocalModel::load(&found)?)))
    }

    #[cfg(not(feature = "local"))]
    fn local(_path: Option<&Path>) -> Result<Backend> {
        Err(Error::new(Code::Config, "this program was built without the local model")
            .help("build it with `--features local`"))
    }

    fn task(features: &[&'static Known], told: Told) -> Result<Task> {
        let feature_of = |f: &&Known| Feature {
            name: f.name.to_owned(),
            about: f.about.to_owned(),
            per_bits: f.shape == Shape::Width,
        };
        let examples = baselines()?.into_iter().filter(|b| !b.formula.needs_runs());
        let of_names: GrammarOf = Arc::new(|names: &[&str]| {
            let known: Vec<&Known> = names.iter().filter_map(|name| feature(name)).collect();
            ReplyGrammar { lark: grammar(&known), gbnf: Some(gbnf(&known)) }
        });
        Ok(Task {
            features: features.iter().map(feature_of).collect(),
            functions: FUNCTIONS.to_owned(),
            examples: examples.map(|b| Example { thought: b.thought, formula: b.formula.to_string() }).collect(),
            told,
            focus: FOCUS,
            grammar: Some(of_names),
        })
    }
}
