//! `xtask experiments`: what the method's own questions come out as, on real networks, as one page.
//!
//! Every figure is a cell: a small JSON file in the work folder. A cell that is there is not computed again, so the
//! command can be stopped, and run in pieces with `--only`. The page is written from all cells that are there.

mod assets;
mod cells;
mod files;
mod materials;
mod page;
mod prepare;
mod questions;
mod score;
mod search;
mod table;

use crate::Verdict;
use crate::discover_args::SearchSize;
use crate::files::write_text;
use assets::Assets;
use cells::Cells;
use std::cell::RefCell;
use std::path::PathBuf;
use tapq::Result;
use tapq::target::Target;

#[derive(clap::Args, Clone)]
pub struct Args {
    /// Folder with manifest.yaml, which names networks with their preprocessing, calibration and evaluation samples
    #[arg(long, value_name = "DIR")]
    pub assets: PathBuf,
    /// Device: a name (`xtask targets` lists them) or a YAML profile
    #[arg(long, value_name = "NAME|FILE", default_value = "fpga")]
    pub target: String,
    /// Folder of fitness benches; those of the small networks are built where they are missing
    #[arg(long, value_name = "DIR", default_value = "bench")]
    pub bench: PathBuf,
    /// Folder of what was computed already
    #[arg(long, value_name = "DIR", default_value = "bench/experiments")]
    pub work: PathBuf,
    /// The page
    #[arg(short, long, value_name = "FILE", default_value = "docs/experiments.md")]
    pub output: PathBuf,
    /// Only this question (repeatable) [default: all but controller-model]
    #[arg(long, value_enum, value_name = "NAME")]
    pub only: Vec<Question>,
    /// The language model that the search without one is held against
    #[arg(long, value_name = "SPEC", default_value = "local")]
    pub model: String,
    /// Runs of every search, with seeds from 1
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub seeds: u64,
    #[command(flatten)]
    pub size: SearchSize,
    /// Configurations of benches
    #[arg(long, value_name = "N", default_value_t = 120)]
    pub configurations: usize,
    /// Samples that benches hold apart
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub held_out: usize,
    /// Samples to calibrate on, where that is not the question
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub samples: usize,
    /// Evaluation samples that files are compared on
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub eval: usize,
    /// Print no progress bars
    #[arg(short, long)]
    pub quiet: bool,
}

/// What is asked.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Does the controller help the search without a model?
    Controller,
    /// Does it help the search with one? (slow)
    ControllerModel,
    /// Does a language model find better formulas than tree mutation, at equal evaluations?
    Model,
    /// Which rank correlation says how well a formula allocates?
    Correlation,
    /// How many samples do features need?
    Samples,
    /// Is what was found on one network of use on others?
    Transfer,
    /// And on a network that is not about images?
    Speech,
    /// What do outliers in the samples do?
    Outliers,
    /// How far down do widths go?
    Narrow,
}

/// In the order of the page.
const QUESTIONS: [Question; 9] = [
    Question::Controller,
    Question::ControllerModel,
    Question::Model,
    Question::Correlation,
    Question::Samples,
    Question::Transfer,
    Question::Speech,
    Question::Outliers,
    Question::Narrow,
];

/// What all questions share.
struct Lab<'a> {
    args: &'a Args,
    target: Target,
    assets: Assets,
    cells: Cells,
    /// What could not be computed, and why.
    skipped: RefCell<Vec<String>>,
}

impl Lab<'_> {
    /// Says that something is left out.
    fn skip(&self, what: &str, why: &str) {
        let line = format!("{what}: {why}");
        if !self.skipped.borrow().contains(&line) {
            eprintln!("skipped {line}");
            self.skipped.borrow_mut().push(line);
        }
    }
}

pub fn run(args: &Args) -> Result<Verdict> {
    let lab = Lab {
        args,
        target: Target::named_or_read(&args.target)?,
        assets: Assets::read(&args.assets, &args.work)?,
        cells: Cells::open(&args.work)?,
        skipped: RefCell::default(),
    };
    let mut sections = vec![];
    for question in QUESTIONS {
        let wanted = match args.only.is_empty() {
            true => question != Question::ControllerModel,
            false => args.only.contains(&question),
        };
        lab.cells.compute(wanted);
        if wanted {
            eprintln!("# {question:?}");
        }
        sections.extend(lab.answer(question)?);
    }
    let skipped = lab.skipped.borrow();
    write_text(&args.output, &page::page(args, &sections, &skipped))?;
    println!("wrote {}", args.output.display());
    Ok(Verdict::Done)
}
