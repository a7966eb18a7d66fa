//! `targets/README.md`, generated from the profiles.

use super::{Target, names};
use crate::Result;
use std::fmt::Write;

const HEAD: &str = "\
# Targets

<!-- Generated from the YAML files beside it; `cargo xtask targets --write-readme` writes it again. -->

One file a device: what it runs with integers, what it refuses and why, each with its source.
`cargo xtask targets` lists them and `cargo xtask targets NAME` explains one.
A profile of your own is a file of the same form: `--target ./my.yaml`; an unknown key is an error.
Numbers in brackets point to the sources at the end of each profile.

| target | activations | weights | in float | what |
|---|---|---|---|---|
";

/// The text of `targets/README.md`.
///
/// # Errors
/// None for the profiles as committed; those of [`Target::named`].
pub fn readme() -> Result<String> {
    let targets = names().map(Target::named).collect::<Result<Vec<_>>>()?;
    let mut page = HEAD.to_string();
    for target in &targets {
        let [name, rest @ ..] = target.row();
        page += &format!("| [{name}](#{name}) | {} |\n", rest.join(" | "));
    }
    for target in &targets {
        // Writing into a String cannot fail.
        let _ = target.chapter(&mut page);
    }
    Ok(page)
}

impl Target {
    fn chapter(&self, page: &mut String) -> std::fmt::Result {
        writeln!(page, "\n## {}\n\n{}.\n{}\n", self.name, self.title, self.runtime)?;
        for (key, words) in self.formats() {
            writeln!(page, "- {key}: {words}")?;
        }
        writeln!(page, "\n| operator | with integers | source |\n|---|---|---|")?;
        for rule in &self.operators {
            let blocks = rule.blocks.as_ref().map_or(String::new(), |b| format!(". In blocks: {}", b.source));
            let all = rule.where_all_have.iter().map(|w| format!(". Where all have one width: {}", w.source));
            let all = all.collect::<String>();
            writeln!(page, "| {} | {} | {}{all}{blocks} |", rule.op, self.rule_words(rule), rule.source)?;
        }
        if !self.refuse.is_empty() {
            writeln!(page, "\n| refused | because |\n|---|---|")?;
        }
        for refusal in &self.refuse {
            writeln!(page, "| {} | {} |", refusal.subject(), refusal.because)?;
        }
        if !self.facts.is_empty() {
            writeln!(page, "\n| number | value | source |\n|---|---|---|")?;
        }
        for fact in &self.facts {
            writeln!(page, "| {} | {} {} | {} |", fact.what, fact.value, fact.unit, fact.source)?;
        }
        writeln!(page, "\nSources:\n")?;
        for source in &self.sources {
            writeln!(page, "- {source}")?;
        }
        Ok(())
    }
}
