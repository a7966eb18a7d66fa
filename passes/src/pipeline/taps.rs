//! Lists of values that an engine taps.

/// Index of a value among the taps, added if it is not there yet.
pub fn tap(taps: &mut Vec<String>, value: &str) -> usize {
    taps.iter().position(|t| t == value).unwrap_or_else(|| {
        taps.push(value.to_owned());
        taps.len() - 1
    })
}
