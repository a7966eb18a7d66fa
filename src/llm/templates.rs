//! The prompt templates: text that a person can read and change, in Tera's syntax.
//!
//! `system.md` is what every question starts with; `initialise.md`, `mutate.md` and `crossover.md` are the three
//! ways to ask. The system text is the same for every question of a run, so a local model reads it once. Examples are
//! shown as earlier turns of the chat, each asked for with `initialise.md`.

use crate::discover::Template;
use crate::{Code, Context as _, Error, Result};
use std::error::Error as _;
use std::path::Path;

/// What a template may name: `features` and `functions` describe the language, `focus` names the features drawn for
/// this question, `meanings` describes those that its formula may use; `parents` and `complaint` are empty where there
/// are none, and so is either `features` or `meanings` (see [`super::Told`]).
pub(super) const VARIABLES: [&str; 6] = ["features", "functions", "focus", "meanings", "parents", "complaint"];

const SYSTEM: (&str, &str) = ("system.md", include_str!("templates/system.md"));
const INITIALISE: (&str, &str) = ("initialise.md", include_str!("templates/initialise.md"));
const MUTATE: (&str, &str) = ("mutate.md", include_str!("templates/mutate.md"));
const CROSSOVER: (&str, &str) = ("crossover.md", include_str!("templates/crossover.md"));

/// A template longer than this in bytes is refused: no model that is meant here reads so much.
const LONGEST: usize = 64 * 1024;

/// Four texts, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Templates {
    system: String,
    initialise: String,
    mutate: String,
    crossover: String,
}

impl Templates {
    /// The built-in templates; each that `folder` holds under the same name takes the place of its own.
    ///
    /// # Errors
    /// [`Code::Io`] where the folder or a file cannot be read, [`Code::Config`] where a template is not Tera or names
    /// something that no question has. Both name the file, the latter the line.
    pub fn load(folder: Option<&Path>) -> Result<Templates> {
        if let Some(folder) = folder
            && !folder.is_dir()
        {
            return Err(Error::new(Code::Io, "no such folder of prompt templates").at(folder.display().to_string()));
        }
        let one = |built_in| read(folder, built_in);
        let templates = Templates {
            system: one(SYSTEM)?,
            initialise: one(INITIALISE)?,
            mutate: one(MUTATE)?,
            crossover: one(CROSSOVER)?,
        };
        Ok(templates)
    }

    /// The text that every question starts with.
    pub fn system(&self) -> &str {
        &self.system
    }

    /// The text of a question.
    pub fn user(&self, template: Template) -> &str {
        match template {
            Template::Initialise => &self.initialise,
            Template::Mutate => &self.mutate,
            Template::Crossover => &self.crossover,
        }
    }
}

fn read(folder: Option<&Path>, (name, built_in): (&str, &str)) -> Result<String> {
    let Some(path) = folder.map(|f| f.join(name)).filter(|p| p.exists()) else {
        return Ok(built_in.to_owned());
    };
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, "read the prompt template", &e))?;
    check(&text).at(|| path.display().to_string())?;
    Ok(text)
}

/// Renders the text with every variable set and with the optional ones empty, so that both branches are seen.
fn check(text: &str) -> Result<()> {
    if text.len() > LONGEST {
        return Err(Error::new(Code::Config, format!("{} bytes, more than the limit of {LONGEST}", text.len())));
    }
    for value in ["x", ""] {
        let mut context = tera::Context::new();
        VARIABLES.iter().for_each(|name| context.insert(*name, value));
        tera::Tera::one_off(text, &context, false).map_err(|e| explain(text, &e))?;
    }
    Ok(())
}

fn explain(text: &str, error: &tera::Error) -> Error {
    let mut messages = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(inner) = cause {
        messages.push(inner.to_string());
        cause = inner.source();
    }
    let whole = messages.join("\n");
    if let Some(unknown) = whole.split("Variable `").nth(1).and_then(|rest| rest.split('`').next()) {
        let line = text.lines().position(|l| l.contains(unknown)).map_or(1, |at| at + 1);
        let message = format!("`{unknown}` is not something a question has");
        let help = format!("a template may name {}", VARIABLES.map(|v| format!("`{v}`")).join(", "));
        return Error::new(Code::Config, message).at(format!("line {line}")).help(help);
    }
    // Tera's parser says ` --> LINE:COLUMN` and ` = what it expected`.
    let place = whole.lines().find_map(|l| l.trim().strip_prefix("--> ").map(str::to_owned));
    let what = whole.lines().find_map(|l| l.trim().strip_prefix("= ").map(str::to_owned));
    let (line, column) = place.as_deref().and_then(|p| p.split_once(':')).unwrap_or(("1", "1"));
    let what = what.unwrap_or_else(|| messages.last().cloned().unwrap_or_default());
    Error::new(Code::Config, format!("not a Tera template: {what}"))
        .at(format!("line {}, column {}", line.trim(), column.trim()))
        .help("`{{ name }}` inserts a value, `{% if name %} ... {% endif %}` a part that may be absent")
}

#[cfg(test)]
mod tests;
