//! Factors that move between two layers without changing what they compute together.

use serde::{Deserialize, Serialize};

/// Channel `c` of what one node makes is divided by `2^exponents[c]`, and what the layers behind read of it is multiplied
/// by the same: exact in floats, and what lies between has channels of more equal range.
///
/// Nagel, van Baalen, Blankevoort, Welling 2019, "Data-Free Quantization Through Weight Equalization and Bias
/// Correction", section 4.1; between a normalization and layers, Xiao, Lin, Seznec, Wu, Demouth, Han 2023, "SmoothQuant";
/// here with powers of two, so that the float network keeps every bit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Equalized {
    /// Name of the layer, normalization or product whose channels are divided.
    pub from: String,
    /// Names of the layers that make good for it; one alone is written without brackets.
    #[serde(with = "one_or_more")]
    pub to: Vec<String>,
    /// One exponent a channel, each in [`Equalized::EXPONENTS`].
    #[serde(with = "compact")]
    pub exponents: Vec<i8>,
}

impl Equalized {
    /// Least and greatest exponent: beyond a factor of 64 a channel carries nothing that rounding could spoil.
    pub const EXPONENTS: std::ops::RangeInclusive<i8> = -6..=6;
}

/// One name as itself, several as a list.
mod one_or_more {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Names {
        One(String),
        More(Vec<String>),
    }

    pub fn serialize<S: Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        match names {
            [one] => serializer.serialize_str(one),
            more => more.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        Ok(match Names::deserialize(deserializer)? {
            Names::One(one) => vec![one],
            Names::More(more) => more,
        })
    }
}

/// Exponents as one line of numbers: a list of one number a line would bury the rest of the plan.
mod compact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(values: &[i8], serializer: S) -> Result<S::Ok, S::Error> {
        let words: Vec<String> = values.iter().map(i8::to_string).collect();
        serializer.serialize_str(&words.join(" "))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i8>, D::Error> {
        let line = String::deserialize(deserializer)?;
        line.split_whitespace()
            .map(|w| w.parse().map_err(|_| D::Error::custom(format!("'{w}' is no exponent"))))
            .collect()
    }
}
