//! The proposer that asks a model: fills a template, runs a chain of one step, returns what was said.

use super::prompt::{self, Draw};
use super::{ModelExecutor, Task, Templates};
use crate::discover::{Ask, Proposer, Reply};
use crate::{Code, Error, Result};
use llm_chain::chains::sequential::SequentialChainError;
use llm_chain::frame::FormatAndExecuteError;
use llm_chain::prompt::{Data, StringTemplateError};
use llm_chain::step::Step;
use llm_chain::traits::ExecutorError;
use tokio::runtime::{Builder, Runtime};

/// A model as a [`Proposer`].
#[derive(Debug)]
pub struct ChainProposer {
    executor: ModelExecutor,
    templates: Templates,
    task: Task,
    runtime: Runtime,
}

impl ChainProposer {
    /// A proposer over `executor`, whose sampling options hold for every question save seed and grammar.
    ///
    /// # Errors
    /// [`Code::Proposer`] where the system has no means for a runtime.
    pub fn new(executor: ModelExecutor, templates: Templates, task: Task) -> Result<ChainProposer> {
        let runtime = Builder::new_current_thread().build();
        let runtime = runtime.map_err(|e| Error::new(Code::Proposer, format!("cannot start a runtime: {e}")))?;
        Ok(ChainProposer { executor, templates, task, runtime })
    }
}

impl Proposer for ChainProposer {
    fn name(&self) -> String {
        self.executor.name()
    }

    fn propose(&mut self, ask: &Ask) -> Result<Reply> {
        let draw = Draw::new(&self.task, ask.seed);
        let parameters = prompt::parameters(&self.task, ask, &draw);
        let names = prompt::allowed(&self.task, ask, &draw);
        self.executor.sampling.seed = ask.seed;
        self.executor.sampling.grammar = self.task.grammar.as_ref().map(|of| of(&names));
        let step =
            Step::for_prompt_template(prompt::chat(&self.templates, &self.task, ask, &draw).map_err(|e| unfilled(&e))?);
        let shown = step.format(&parameters).map(|p| p.to_text()).map_err(|e| unfilled(&e))?;
        let run = step.to_chain();
        let run = self
            .runtime
            .block_on(async { run.run(parameters, &self.executor).await?.to_immediate().await.map_err(execute) });
        let text = run.map_err(unwrap)?.as_content();
        Ok(Reply { prompt: shown, text: body(text), tokens: self.executor.take_tokens() })
    }
}

fn body(data: Data<String>) -> String {
    match data {
        Data::Text(text) => text,
        chat => chat.extract_last_body().cloned().unwrap_or_default(),
    }
}

fn execute(error: ExecutorError) -> SequentialChainError {
    SequentialChainError::FormatAndExecuteError(FormatAndExecuteError::Execute(error))
}

/// The back end's own error, out of the layers around it.
fn unwrap(error: SequentialChainError) -> Error {
    match error {
        SequentialChainError::FormatAndExecuteError(FormatAndExecuteError::Execute(ExecutorError::InnerError(e))) => {
            match e.downcast::<Error>() {
                Ok(own) => *own,
                Err(other) => Error::new(Code::Proposer, other.to_string()),
            }
        }
        SequentialChainError::FormatAndExecuteError(FormatAndExecuteError::Format(e)) => unfilled(&e),
        other => Error::new(Code::Proposer, other.to_string()),
    }
}

fn unfilled(error: &StringTemplateError) -> Error {
    Error::new(Code::Config, format!("a prompt template cannot be filled in: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::Template;
    use crate::llm::{Backend, Feature, ReplyGrammar, Told};
    use std::sync::Arc;

    fn proposer(text: &str) -> ChainProposer {
        let feature = |name: &str| Feature { name: name.to_owned(), about: "a number".to_owned(), per_bits: true };
        let task = Task {
            features: ["qerr", "a_l2", "w_l2"].map(feature).to_vec(),
            functions: "+ - * /".to_owned(),
            examples: vec![],
            told: Told::Beforehand,
            focus: 2,
            grammar: Some(Arc::new(|names| ReplyGrammar { lark: names.join(" "), gbnf: None })),
        };
        let executor = ModelExecutor::over(Backend::Fixed(text.to_owned()));
        ChainProposer::new(executor, Templates::load(None).unwrap(), task).unwrap()
    }

    fn ask(seed: u64) -> Ask {
        Ask { template: Template::Initialise, parents: vec![], seed, complaint: None }
    }

    #[test]
    fn a_question_goes_through_the_chain_and_its_answer_comes_back_untouched() {
        let mut proposer = proposer(" {{ text }}\n");
        let reply = proposer.propose(&ask(3)).unwrap();
        assert_eq!((reply.text.as_str(), reply.tokens), (" {{ text }}\n", 2));
        assert!(reply.prompt.contains("qerr: a number\na_l2: a number"), "{}", reply.prompt);
        assert_eq!(proposer.name(), "fixed");
    }

    #[test]
    fn seed_and_grammar_follow_the_question() {
        let mut proposer = proposer("x");
        let mut grammars = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let reply = proposer.propose(&ask(seed)).unwrap();
            assert_eq!(proposer.executor.sampling.seed, seed);
            let names = proposer.executor.sampling.grammar.clone().unwrap().lark;
            assert!(reply.prompt.contains(&format!("some of: {}.", names.replace(' ', ", "))), "{names}");
            grammars.insert(names);
        }
        assert_eq!(grammars.len(), 3);
    }

    #[test]
    fn the_back_ends_own_error_comes_through_the_layers() {
        let error = proposer("").propose(&ask(0)).unwrap_err();
        assert_eq!(error, Error::new(Code::Proposer, "no text"));
    }
}
