//! The tapq command line.
//!
//! Data goes to stdout, progress and messages to stderr. Exit codes: 0 done; 1 `check` found a change;
//! 2 wrong input, refused request or failure; 3 fidelity below the bar that was asked for.

mod bench;
mod check;
mod device;
mod discover;
mod discover_args;
mod experiments;
mod files;
mod inputs;
mod inspect;
mod laboratory;
mod live;
#[cfg(feature = "local")]
mod llm;
mod models;
mod pareto;
mod progress;
mod proxies;
mod quantize;
mod targets;
mod verify;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tapq::{Code, Error};

/// Training-free mixed-precision quantization for ONNX
#[derive(Parser)]
#[command(name = "xtask", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Quantize a float model for a target: writes the model, its plan and a report
    Quantize(Box<quantize::Args>),
    /// List a model's layers: shapes, parameters, MACs, what is quantizable for a target
    Inspect(inspect::Args),
    /// Show the whole size/fidelity front of a model on a target: a table, JSON and a plot
    Pareto(Box<pareto::Args>),
    /// Compare two models on samples: SQNR, cosine, top-1 agreement
    Verify(verify::Args),
    /// Regression check: compare plan, graph and fidelity with a committed snapshot
    Check(Box<check::Args>),
    /// Measure configurations of a network, and compare proxies by how well they rank them
    Bench(Box<bench::Args>),
    /// Search for a proxy: a language model or tree mutation proposes formulas, the network judges them
    Discover(Box<discover_args::Args>),
    /// Answer the method's own questions on real networks, and write them down as a page
    Experiments(Box<experiments::Args>),
    /// Fetch the language model that proposes formulas on this machine
    #[cfg(feature = "local")]
    Llm(llm::Args),
    /// Say what this machine has: threads, CUDA driver, devices, and why one is not used
    Doctor,
    /// Compile the CUDA kernels and write the PTX that the library is built with (for developers)
    Kernels(device::KernelArgs),
    /// List the proxies that score layers, or explain one or their language
    Proxies(proxies::Args),
    /// List the targets, or explain one
    Targets(targets::Args),
}

/// How a command ended, when it did not fail.
pub enum Verdict {
    /// As asked.
    Done,
    /// `check` found a change.
    Changed,
    /// Fidelity is below the bar.
    BelowBar,
}

fn main() -> ExitCode {
    end_quietly_when_the_reader_is_gone();
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Quantize(args) => quantize::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Pareto(args) => pareto::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Discover(args) => discover::run(&args),
        Command::Experiments(args) => experiments::run(&args),
        #[cfg(feature = "local")]
        Command::Llm(args) => llm::run(&args),
        Command::Doctor => device::doctor(),
        Command::Kernels(args) => device::kernels(&args),
        Command::Proxies(args) => proxies::run(&args),
        Command::Targets(args) => targets::run(&args),
    };
    match result {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::Changed) => ExitCode::from(1),
        Ok(Verdict::BelowBar) => ExitCode::from(3),
        Err(error) => {
            complain(&error);
            ExitCode::from(2)
        }
    }
}

/// `xtask inspect model.onnx | head -1` closes our stdout early, which is not an error of ours; a full disk is one.
fn end_quietly_when_the_reader_is_gone() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        let Some(why) = message.strip_prefix("failed printing to stdout: ") else { return usual(panic) };
        // A closed pipe, as Unix and Windows number it.
        if ["(os error 32)", "(os error 109)", "(os error 232)"].iter().any(|closed| why.ends_with(closed)) {
            std::process::exit(0);
        }
        complain(&Error::new(Code::Io, format!("cannot write to standard output: {why}")));
        std::process::exit(2);
    }));
}

fn complain(error: &Error) {
    let red = console::style("error").red().bold().for_stderr();
    eprintln!("{red}: {error}");
}
