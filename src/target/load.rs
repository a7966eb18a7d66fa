//! Profiles by name (compiled in) or from a file of the user's own.

use super::Target;
use crate::{Code, Context, Error, Result, yaml};
use std::path::Path;

/// The profiles in the binary, sorted by name.
const COMPILED_IN: [(&str, &str); 6] = [
    ("cpu", include_str!("../../targets/cpu.yaml")),
    ("cpu-vnni", include_str!("../../targets/cpu-vnni.yaml")),
    ("esp32-s3", include_str!("../../targets/esp32-s3.yaml")),
    ("fpga", include_str!("../../targets/fpga.yaml")),
    ("hexagon", include_str!("../../targets/hexagon.yaml")),
    ("jetson", include_str!("../../targets/jetson.yaml")),
];

/// Names of the profiles in the binary, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    COMPILED_IN.iter().map(|(name, _)| *name)
}

impl Target {
    /// The profile of that name in the binary.
    ///
    /// # Errors
    /// [`Code::Config`] for an unknown name; the help names the closest one.
    pub fn named(name: &str) -> Result<Target> {
        Target::parse(compiled_in(name)?, &format!("targets/{name}.yaml"))
    }

    /// A profile from a YAML file.
    ///
    /// # Errors
    /// [`Code::Io`] where the file cannot be read, [`Code::Config`] where it is not a sound profile.
    pub fn read(path: &Path) -> Result<Target> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, "read the target profile", &e))?;
        Target::parse(&text, &path.display().to_string())
    }

    /// The profile that a command line means: a name, or a path when it ends in `.yaml` or `.yml`.
    ///
    /// # Errors
    /// Those of [`Target::named`] and [`Target::read`].
    pub fn named_or_read(name_or_path: &str) -> Result<Target> {
        let path = Path::new(name_or_path);
        match path.extension().and_then(|e| e.to_str()) {
            Some("yaml" | "yml") => Target::read(path),
            _ => Target::named(name_or_path),
        }
    }

    pub(super) fn parse(text: &str, place: &str) -> Result<Target> {
        let target: Target = yaml::parse_extended(text, place, ("operators", "op"), &compiled_in)?;
        target.check().at(|| place.to_string())?;
        Ok(target)
    }
}

fn compiled_in(name: &str) -> Result<&'static str> {
    COMPILED_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Error {
    let known = names().collect::<Vec<_>>().join(", ");
    let error = Error::new(Code::Config, format!("unknown target `{name}`; known: {known}"));
    match closest(name) {
        Some(close) => error.help(format!("did you mean `{close}`? A profile of your own is given as a path: my.yaml")),
        None => error.help("a profile of your own is given as a path: my.yaml"),
    }
}

/// The known name that is at most two edits (or a third of the name) away, or that `name` is a part of.
fn closest(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let limit = (name.len() / 3).max(2);
    let part = names().find(|known| name.len() >= 3 && (known.contains(&name) || name.contains(known)));
    part.or_else(|| {
        names().map(|known| (edits(&name, known), known)).filter(|(d, _)| *d <= limit).min().map(|(_, known)| known)
    })
}

/// Levenshtein distance in bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.bytes().zip(row.iter_mut().skip(1)) {
            let best = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
    }
    if b.is_empty() { a.len() } else { row.last().copied().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_levenshtein_distance() {
        for (a, b, want) in [("", "abc", 3), ("jetson", "jetson", 0), ("kitten", "sitting", 3), ("cup", "cpu", 2)] {
            assert_eq!(edits(a, b), want, "{a} {b}");
            assert_eq!(edits(b, a), want, "{b} {a}");
        }
    }

    #[test]
    fn closest_name_is_offered() {
        for (typed, want) in [
            ("jeston", Some("jetson")),
            ("esp32", Some("esp32-s3")),
            ("ESP32-S2", Some("esp32-s3")),
            ("hexogan", Some("hexagon")),
            ("coral-tpu-v2", None),
        ] {
            assert_eq!(closest(typed), want, "{typed}");
        }
    }
}
