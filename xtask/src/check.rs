//! `xtask check`: the regression check of build pipelines.
//!
//! A snapshot is three text files in a folder: the plan, a digest of the quantized graph, and fidelity
//! rounded so that only a real change shows.

use crate::inputs::SampleArgs;
use crate::quantize::{ChoiceArgs, Job};
use crate::{Verdict, files};
use similar::{ChangeTag, TextDiff};
use std::path::{Path, PathBuf};
use tapq::plan::Plan;
use tapq::report::Fidelity;
use tapq::target::Target;
use tapq::{Code, Error, Result, onnx};
use tapq_passes::pipeline::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// The float ONNX model
    pub model: PathBuf,
    /// Device: a name or a YAML profile
    #[arg(long, value_name = "NAME|FILE")]
    pub target: String,
    /// Folder that holds the committed snapshot
    #[arg(long, value_name = "DIR")]
    pub snapshot: PathBuf,
    #[command(flatten)]
    pub samples: SampleArgs,
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Record the present result as the snapshot
    #[arg(long)]
    pub accept: bool,
    /// Held-out samples to compare float and quantized on
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub verify_samples: usize,
    /// Print no progress
    #[arg(short, long)]
    pub quiet: bool,
}

pub fn run(args: &Args) -> Result<Verdict> {
    let target = Target::named_or_read(&args.target)?.narrowed(args.choice.variant())?;
    let job = Job {
        model: &args.model,
        target: &target,
        samples: &args.samples,
        choice: &args.choice,
        plan: None,
        verify_samples: args.verify_samples,
        quiet: args.quiet,
        fuel: None,
    };
    let found = snapshot(args, &target, &job.run()?)?;
    if args.accept {
        std::fs::create_dir_all(&args.snapshot).map_err(|e| Error::io(&args.snapshot, "create the folder", &e))?;
        for (name, text) in &found {
            files::write_text(&args.snapshot.join(name), text)?;
            println!("recorded {}", args.snapshot.join(name).display());
        }
        return Ok(Verdict::Done);
    }
    let mut changed = false;
    for (name, text) in &found {
        changed |= compare(&args.snapshot, name, text)?;
    }
    match changed {
        false => println!("unchanged: {} on {}", files::name(&args.model), target.name),
        true => println!("\nchanged; review the difference, then record it with --accept"),
    }
    Ok(if changed { Verdict::Changed } else { Verdict::Done })
}

/// File names and texts of a snapshot.
fn snapshot(args: &Args, target: &Target, outcome: &Outcome) -> Result<Vec<(String, String)>> {
    let stem = args.model.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let name = |suffix: &str| format!("{stem}.{}.{suffix}", target.name);
    // The version of the tool may change without changing a decision.
    let plan = Plan { tapq: String::new(), ..outcome.plan.clone() };
    let mut model = outcome.graph.model().clone();
    model.metadata_props.retain(|p| !matches!(p.key.as_str(), "tapq.version" | "tapq.plan"));
    let graph = tapq::plan::text_digest(&onnx::print_text(&model));
    let mut facts = format!("graph: {graph}\nnodes: {}\n", outcome.graph.nodes().len());
    if let Some(fidelity) = &outcome.report.fidelity {
        facts += &fidelity_text(fidelity);
    }
    Ok(vec![(name("plan.yaml"), plan.to_yaml()?), (name("result.yaml"), facts)])
}

/// Fidelity to the digits that survive another machine's arithmetic.
fn fidelity_text(fidelity: &Fidelity) -> String {
    let held_out = fidelity.held_out.unwrap_or_default();
    let mut text = format!("samples: {}\nheld_out: {held_out}\n", fidelity.samples);
    text += &format!("sqnr_db: {:.1}\nagreement: {:.3}\nvalues:\n", fidelity.sqnr_db, fidelity.agreement);
    for value in &fidelity.values {
        text += &format!("  {}: {:.1}\n", serde_json::Value::from(value.value.as_str()), value.sqnr_db);
    }
    text
}

/// Whether the committed text differs; the difference is printed.
fn compare(folder: &Path, name: &str, found: &str) -> Result<bool> {
    let path = folder.join(name);
    let committed = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::new(Code::Io, "there is no snapshot yet")
                .at(path.display().to_string())
                .help("record the present result with --accept"));
        }
        Err(e) => return Err(Error::io(&path, "read the snapshot", &e)),
    };
    if committed == found {
        return Ok(false);
    }
    println!("{}", console::style(format!("--- {}", path.display())).bold());
    let diff = TextDiff::from_lines(committed.as_str(), found);
    for group in diff.grouped_ops(2) {
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let line = format!("{}{}", change.tag(), change.to_string().trim_end_matches('\n'));
            match change.tag() {
                ChangeTag::Delete => println!("{}", console::style(line).red()),
                ChangeTag::Insert => println!("{}", console::style(line).green()),
                ChangeTag::Equal => println!("{line}"),
            }
        }
    }
    Ok(true)
}
