//! `xtask proxies`: lists the proxies that are built in, explains one, or the language they are written in.

use crate::Verdict;
use std::path::Path;
use tapq::proxy::{DEFAULT_PROXY, Formula, ProxyFile, baseline, baselines, reference};
use tapq::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    /// Proxy to explain: a name, a YAML file, or a formula
    pub proxy: Option<String>,
    /// Print the reference of the language: features, functions, limits
    #[arg(long, conflicts_with = "proxy")]
    pub language: bool,
}

pub fn run(args: &Args) -> Result<Verdict> {
    if args.language {
        print!("{}", reference()?);
        return Ok(Verdict::Done);
    }
    match &args.proxy {
        Some(proxy) => print!("{}", find(proxy)?.print()?),
        None => list()?,
    }
    Ok(Verdict::Done)
}

fn list() -> Result<()> {
    for proxy in baselines()? {
        let mark = if proxy.name == DEFAULT_PROXY { "*" } else { " " };
        let runs = if proxy.formula.needs_runs() { "  (runs the network)" } else { "" };
        println!("{mark} {:24} {}{runs}", proxy.name, proxy.formula);
    }
    println!(
        "\n* is the default. `xtask proxies NAME` says where a formula comes from, `--language` what one may hold."
    );
    Ok(())
}

/// The proxy that a person means: a built-in name, else a file, else a formula.
///
/// # Errors
/// What is wrong with the file or the formula.
pub fn find(proxy: &str) -> Result<ProxyFile> {
    if let Some(found) = baseline(proxy)? {
        return Ok(found);
    }
    let path = Path::new(proxy);
    let named_as_file = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    if named_as_file || path.is_file() {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, "read the proxy", &e))?;
        return ProxyFile::parse(&text, proxy);
    }
    let help = "a proxy is a name (`xtask proxies` lists them), a YAML file, or a formula";
    let formula = Formula::parse(proxy).map_err(|e| {
        let error = Error::from(e).at(format!("proxy '{proxy}'"));
        if error.advice().is_some() { error } else { error.help(help) }
    })?;
    Ok(ProxyFile::of_formula(formula))
}
