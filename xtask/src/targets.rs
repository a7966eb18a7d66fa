//! `xtask targets`: lists the targets, or explains one.

use crate::{Verdict, files};
use std::path::PathBuf;
use tapq::target::{self, Target};
use tapq::{Code, Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Target to explain: a name or a YAML profile
    pub name: Option<String>,
    /// Print the profile as JSON
    #[arg(long, requires = "name")]
    pub json: bool,
    /// Write targets/README.md from the profiles (for developers of tapq)
    #[arg(long, hide = true, conflicts_with = "name")]
    pub write_readme: Option<Option<PathBuf>>,
}

pub fn run(args: &Args) -> Result<Verdict> {
    if let Some(path) = &args.write_readme {
        let path = path.clone().unwrap_or_else(|| PathBuf::from("targets/README.md"));
        files::write_text(&path, &target::readme()?)?;
        return Ok(Verdict::Done);
    }
    match &args.name {
        None => print!("{}", target::table()?),
        Some(name) => {
            let target = Target::named_or_read(name)?;
            match args.json {
                true => println!("{}", json(&target)?),
                false => print!("{}", target.explain()),
            }
        }
    }
    Ok(Verdict::Done)
}

fn json(target: &Target) -> Result<String> {
    serde_json::to_string_pretty(target).map_err(|e| Error::new(Code::Io, format!("cannot write JSON: {e}")))
}
