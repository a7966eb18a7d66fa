//! YAML text in and out: the only module that names `serde_yaml`.

use crate::report::format::shorten;
use crate::{Code, Context, Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use serde_yaml::{Mapping, Value};

/// Characters of a message.
const LONGEST: usize = 600;

/// Reads one YAML document; `place` (a file name) stands before the message, with line and column where known.
///
/// # Errors
/// [`Code::Config`] where the text is not YAML, or does not say what `T` asks for.
pub fn parse<T: DeserializeOwned>(text: &str, place: &str) -> Result<T> {
    serde_yaml::from_str(text).map_err(|e| refused(&e, place))
}

/// Reads one YAML document that may rest on another: where it has the key `extends`, `base` gives the document of that
/// name, and the keys of this one replace or complete those of that. The list `joined.0` is completed, too: what has the
/// same value of the key `joined.1` is one rule, whose keys replace or complete that of the other document.
///
/// # Errors
/// As for [`parse`], and those of `base`. Lines are known only where nothing is extended.
pub fn parse_extended<T: DeserializeOwned>(
    text: &str,
    place: &str,
    joined: (&str, &str),
    base: &dyn Fn(&str) -> Result<&'static str>,
) -> Result<T> {
    match extended(text, place, joined, base)? {
        Some(whole) => serde_yaml::from_value(Value::Mapping(whole)).map_err(|e| refused(&e, place)),
        None => parse(text, place),
    }
}

/// The document with all that it rests on; `None` where it rests on nothing.
fn extended(
    text: &str,
    place: &str,
    joined: (&str, &str),
    base: &dyn Fn(&str) -> Result<&'static str>,
) -> Result<Option<Mapping>> {
    let Ok(Value::Mapping(mut own)) = serde_yaml::from_str(text) else { return Ok(None) };
    let Some(name) = own.remove("extends") else { return Ok(None) };
    let Some(name) = name.as_str() else {
        return Err(Error::new(Code::Config, "extends must be the name of one that is built in").at(place));
    };
    let below = base(name).at(|| place.to_owned())?;
    let mut whole = match extended(below, name, joined, base)? {
        Some(whole) => whole,
        None => parse(below, name)?,
    };
    for (key, value) in own {
        match (whole.get_mut(&key), value) {
            (Some(Value::Sequence(rules)), Value::Sequence(own)) if key.as_str() == Some(joined.0) => {
                own.into_iter().for_each(|rule| join(rules, rule, joined.1));
            }
            (_, value) => {
                whole.insert(key, value);
            }
        }
    }
    Ok(Some(whole))
}

/// Lays the keys of a rule over those of the one with the same value of `by`, or adds it.
fn join(rules: &mut Vec<Value>, rule: Value, by: &str) {
    let same = rules.iter_mut().find(|other| other.get(by) == rule.get(by));
    match (same, rule) {
        (Some(Value::Mapping(other)), Value::Mapping(rule)) => other.extend(rule),
        (_, rule) => rules.push(rule),
    }
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
