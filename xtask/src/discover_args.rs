//! What `xtask discover` is told.

use crate::files;
use crate::inputs::ManySampleArgs;
use crate::laboratory::{BenchArgs, Network};
use std::path::{Path, PathBuf};
use tapq::Result;
use tapq::discover::{Controller, Correlation, Dpo, Settings};
use tapq::target::Target;

#[derive(clap::Args)]
pub struct Args {
    /// The float ONNX models; fitness is the mean over them
    #[arg(value_name = "MODEL", required_unless_present = "replay")]
    pub models: Vec<PathBuf>,
    /// Device: a name (`xtask targets` lists them) or a YAML profile
    #[arg(long, value_name = "NAME|FILE", required_unless_present = "replay")]
    pub target: Option<String>,
    #[command(flatten)]
    pub samples: ManySampleArgs,
    #[command(flatten)]
    pub how: BenchArgs,
    /// Who proposes formulas: none, local, local:FILE.gguf, openai:MODEL@http://HOST:PORT/v1
    #[arg(long, value_name = "SPEC", default_value = "none")]
    pub proposer: String,
    /// Repeat a recorded run with its settings, without any language model, and check that every line comes out the
    /// same; without MODEL, what formulas were worth is taken from the transcript, too
    #[arg(long, value_name = "FILE", conflicts_with_all = ["proposer", "transcript"])]
    pub replay: Option<PathBuf>,
    #[command(flatten)]
    pub size: SearchSize,
    /// Weight of the rank correlation in the fitness; the rest is fidelity
    #[arg(long, value_name = "X", default_value_t = 0.1)]
    pub alpha: f64,
    /// Over which configurations of the bench that is
    #[arg(long, value_enum, default_value_t = CorrelationArg::All)]
    pub correlation: CorrelationArg,
    /// Seed of the search
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub search_seed: u64,
    /// How templates are drawn: learned from what paid off, or equally often
    #[arg(long, value_enum, default_value_t = ControllerArg::Dpo)]
    pub controller: ControllerArg,
    /// A formula to start from (repeatable)
    #[arg(long, value_name = "FORMULA", allow_hyphen_values = true)]
    pub given: Vec<String>,
    /// Everything that was asked and answered; an unfinished one is gone on with
    /// [default: MODELS.TARGET.discover.jsonl]
    #[arg(long, value_name = "FILE")]
    pub transcript: Option<PathBuf>,
    /// The winner [default: MODELS.TARGET.proxy.yaml]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Folder of prompt templates in place of the built-in ones
    #[arg(long, value_name = "DIR")]
    pub prompts: Option<PathBuf>,
    /// How a server is held to the grammar of formulas; what it refuses is left out
    #[arg(long, value_enum, default_value_t = ServerGrammar::Auto)]
    pub server_grammar: ServerGrammar,
    /// Write discover.html into this folder
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Print what came of it as JSON
    #[arg(long)]
    pub json: bool,
}

/// How much is searched.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct SearchSize {
    /// Formulas that are kept, and asked for at first
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub population: usize,
    /// Generations after the first
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub generations: usize,
    /// Formulas asked for in each generation
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub children: usize,
}

/// How templates are drawn.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControllerArg {
    /// Learned by direct preference optimisation
    Dpo,
    /// Equally often, always
    Uniform,
}

/// Which rank correlation is a part of the fitness.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CorrelationArg {
    /// All of them
    All,
    /// Those of 3.5, 4.0 and 5.0 average bits, each size by itself
    EqualSize,
}

/// How a server is held to the grammar of formulas.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerGrammar {
    /// As the server says that it can
    #[default]
    Auto,
    /// GBNF, as llama.cpp and vLLM take it
    Gbnf,
    /// A JSON schema of the reply
    JsonSchema,
    /// Not at all
    Off,
}

impl Args {
    /// Settings of the search.
    pub fn settings(&self) -> Settings {
        Settings {
            population: self.size.population,
            generations: self.size.generations,
            children: self.size.children,
            alpha: self.alpha,
            correlation: match self.correlation {
                CorrelationArg::All => Correlation::All,
                CorrelationArg::EqualSize => Correlation::EqualSize,
            },
            seed: self.search_seed,
            controller: match self.controller {
                ControllerArg::Dpo => Controller::Dpo(Dpo::default()),
                ControllerArg::Uniform => Controller::Uniform,
            },
            ..Default::default()
        }
    }

    /// A file beside the first model, named by all of them; without models beside the transcript.
    pub fn beside(&self, suffix: &str) -> Result<PathBuf> {
        let Some((first, target)) = self.models.first().zip(self.target.as_ref()) else {
            return Ok(files::beside(self.replay.as_deref().unwrap_or(Path::new("run")), suffix));
        };
        let target = Target::named_or_read(target)?;
        let names: Vec<String> = self.models.iter().map(|m| files::stem(m)).collect();
        Ok(first.with_file_name(format!("{}.{}.{suffix}", names.join("+"), target.name)))
    }

    /// The networks with their samples.
    pub fn networks(&self) -> Result<Vec<Network>> {
        Network::many(&self.models, self.target.as_deref().unwrap_or_default(), &self.samples)
    }
}
