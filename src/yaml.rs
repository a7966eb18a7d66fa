//! YAML text in and out: the only module that names `serde_yaml`.

use crate::report::format::shorten;
use crate::{Code, Error, Result};
use serde::{Serialize, de::DeserializeOwned};

/// Characters of a message.
const LONGEST: usize = 600;

/// Reads one YAML document; `place` (a file name) stands before the message, with line and column where known.
///
/// # Errors
/// [`Code::Config`] where the text is not YAML, or does not say what `T` asks for.
pub fn parse<T: DeserializeOwned>(text: &str, place: &str) -> Result<T> {
    serde_yaml::from_str(text).map_err(|e| refused(&e, place))
}

/// Prints `value` as one YAML document that [`parse`] reads back.
///
/// # Errors
/// [`Code::Config`] where `value` has no YAML form.
pub fn print<T: Serialize>(value: &T) -> Result<String> {
    serde_yaml::to_string(value).map_err(|e| Error::new(Code::Config, format!("cannot print YAML: {e}")))
}

fn refused(error: &serde_yaml::Error, place: &str) -> Error {
    let Some(location) = error.location() else {
        return Error::new(Code::Config, error.to_string()).at(place);
    };
    let (line, column) = (location.line(), location.column());
    let message = error.to_string();
    let message = message.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&message);
    // A file that is no YAML of ours is quoted whole where it reads as one scalar.
    Error::new(Code::Config, shorten(message, LONGEST)).at(format!("{place}:{line}:{column}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Point {
        x: i32,
        #[serde(default)]
        y: i32,
    }

    fn check(text: &str, want: &str) {
        assert_eq!(parse::<Point>(text, "p.yaml").unwrap_err().to_string(), want);
    }

    #[test]
    fn messages_name_file_line_and_column() {
        check("x: 1\nz: 2\n", "p.yaml:2:1: unknown field `z`, expected `x` or `y` [TQ401]");
        check("x: red\n", "p.yaml:1:4: x: invalid type: string \"red\", expected i32 [TQ401]");
        check("y: 1\n", "p.yaml:1:1: missing field `x` [TQ401]");
    }

    #[test]
    fn a_foreign_file_is_not_quoted_whole() {
        let error = parse::<Point>(&"secret ".repeat(10_000), "p.yaml").unwrap_err().to_string();
        assert!(
            error.len() < 700 && error.contains("invalid type") && error.contains("expected struct Point"),
            "{error}"
        );
    }

    #[test]
    fn deep_nesting_is_an_error() {
        assert!(parse::<Point>(&"[".repeat(100_000), "p.yaml").is_err());
    }

    #[test]
    fn what_is_printed_reads_back() {
        let point = Point { x: -3, y: 7 };
        assert_eq!(parse::<Point>(&print(&point).unwrap(), "p").unwrap(), point);
    }
}
