//! Errors for people: what is wrong, where, and what to do about it.

use std::fmt;

/// Stable, greppable classes of failure; the first two digits are the room.
///
/// A code never changes its meaning; the command line prints it and `xtask` maps it to an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// A file could not be read, written or renamed.
    Io,
    /// The bytes are not an ONNX model, or break a limit that protects the parser.
    MalformedModel,
    /// The graph breaks an invariant of the ONNX specification.
    InvalidGraph,
    /// The model already holds QuantizeLinear/DequantizeLinear nodes.
    AlreadyQuantized,
    /// No layer that the target can run with integers was found.
    NothingToQuantize,
    /// A weight or a sample holds NaN or infinity.
    NonFinite,
    /// The engine cannot run the model.
    Engine,
    /// The GPU or its driver is missing, too old, or failed.
    Device,
    /// Samples are missing, of the wrong shape, or unreadable.
    Samples,
    /// A YAML file (sidecar, preprocess, target, plan) does not say what it should.
    Config,
    /// The target profile refuses what was asked.
    Refused,
    /// No assignment of bits fits the budget.
    Infeasible,
    /// A plan does not match the model it is replayed on.
    PlanMismatch,
    /// An operator's meaning changes between opsets in a way that cannot be converted.
    Opset,
    /// A proxy's formula cannot be read, or the table of features does not hold what it asks for.
    Proxy,
    /// Whoever proposes formulas does not answer.
    Proposer,
    /// A transcript of a discovery run is damaged, or belongs to another run.
    Transcript,
}

impl Code {
    /// The stable identifier that is printed, `TQ` and three digits.
    pub fn id(self) -> &'static str {
        match self {
            Code::Io => "TQ001",
            Code::MalformedModel => "TQ101",
            Code::InvalidGraph => "TQ102",
            Code::AlreadyQuantized => "TQ103",
            Code::NothingToQuantize => "TQ104",
            Code::NonFinite => "TQ105",
            Code::Opset => "TQ106",
            Code::Engine => "TQ201",
            Code::Device => "TQ202",
            Code::Samples => "TQ301",
            Code::Config => "TQ401",
            Code::Refused => "TQ402",
            Code::PlanMismatch => "TQ403",
            Code::Infeasible => "TQ501",
            Code::Proxy => "TQ601",
            Code::Proposer => "TQ602",
            Code::Transcript => "TQ603",
        }
    }
}

/// One failure: a class, a sentence, the place, and advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    code: Code,
    message: String,
    places: Vec<String>,
    help: Option<String>,
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure of class `code`; `message` has no full stop at its end.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { code, message: message.into(), places: vec![], help: None }))
    }

    /// Adds where it happened; the innermost place is added first (tensor, then node, then file).
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.0.places.push(place.into());
        self
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn help(mut self, advice: impl Into<String>) -> Self {
        self.0.help = Some(advice.into());
        self
    }

    /// The class of the failure.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The sentence that says what is wrong.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where it happened, outermost first.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.0.places.iter().rev().map(String::as_str)
    }

    /// What the user can do about it.
    pub fn advice(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// An input/output failure on `path`.
    pub fn io(path: &std::path::Path, what: &str, source: &std::io::Error) -> Self {
        Error::new(Code::Io, format!("cannot {what}: {source}")).at(path.display().to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.places() {
            write!(f, "{}: ", clean(place))?;
        }
        write!(f, "{} [{}]", clean_lines(&self.0.message), self.0.code.id())?;
        match &self.0.help {
            Some(help) => write!(f, "\n  help: {}", clean_lines(help)),
            None => Ok(()),
        }
    }
}

/// A compiler's complaint, for one, takes several lines.
fn clean_lines(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

/// A name from a file, without what could steer a terminal or turn the line around.
pub fn clean(text: &str) -> String {
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

impl std::error::Error for Error {}

/// Adds a place to the error of a result.
pub trait Context<T> {
    /// Adds where it happened, computed only on failure.
    fn at(self, place: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn at(self, place: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| e.at(place()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_steer_the_terminal() {
        let error = Error::new(Code::InvalidGraph, "reads '\u{1b}[31mred\r'\nand more")
            .at("node '\u{1b}[2J\n\u{202e}'")
            .help("rename '\u{7f}'");
        let shown = "node '\u{fffd}[2J\u{fffd}\u{fffd}': reads '\u{fffd}[31mred\u{fffd}'\nand more [TQ102]\n  help: rename '\u{fffd}'";
        assert_eq!(error.to_string(), shown);
    }
}
