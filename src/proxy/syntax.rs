//! What is wrong with the text of a formula, and where.

use crate::{Code, Error};
use std::fmt;

/// Why a text is not a formula.
///
/// `{}` prints one line, `{:#}` adds the text with a caret below the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What is wrong, without a full stop at its end.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    excerpt: String,
    caret: usize,
}

/// Characters that are shown on each side of the place.
const CONTEXT: usize = 40;

impl SyntaxError {
    pub(super) fn new(source: &str, column: usize, message: impl Into<String>) -> SyntaxError {
        let skipped = column.saturating_sub(CONTEXT + 1);
        // What a terminal would not print as itself is replaced, one character for one, so that the caret fits.
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        let excerpt = source.chars().skip(skipped).take(2 * CONTEXT).map(shown).collect();
        SyntaxError { column, message: message.into(), hint: None, excerpt, caret: column - skipped }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> SyntaxError {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        if f.alternate() {
            write!(f, "\n  {}\n  {:>2$}", self.excerpt, '^', self.caret)?;
        }
        Ok(())
    }
}

impl std::error::Error for SyntaxError {}

impl From<SyntaxError> for Error {
    fn from(error: SyntaxError) -> Error {
        let plain = Error::new(Code::Proxy, error.message).at(format!("column {}", error.column));
        match error.hint {
            Some(hint) => plain.help(hint),
            None => plain,
        }
    }
}
