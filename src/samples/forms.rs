//! Values with several spellings in YAML. Written by hand, since the errors of serde's untagged enums have no line.

use super::preprocess::{Crop, Preprocess, Resize, Shorter};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor, value};
use std::collections::BTreeMap;
use std::fmt;

impl<'de> Deserialize<'de> for Resize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyResize)
    }
}

struct AnyResize;

impl<'de> Visitor<'de> for AnyResize {
    type Value = Resize;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("N, [HEIGHT, WIDTH] or {shorter: N}")
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Resize, E> {
        usize::try_from(n).map(Resize::Square).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Resize, A::Error> {
        Deserialize::deserialize(value::SeqAccessDeserializer::new(list)).map(Resize::Exact)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Resize, A::Error> {
        Shorter::deserialize(value::MapAccessDeserializer::new(map)).map(Resize::Shorter)
    }
}

impl<'de> Deserialize<'de> for Crop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyCrop)
    }
}

struct AnyCrop;

impl<'de> Visitor<'de> for AnyCrop {
    type Value = Crop;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("N or [HEIGHT, WIDTH]")
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Crop, E> {
        usize::try_from(n).map(Crop::Square).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Crop, A::Error> {
        Deserialize::deserialize(value::SeqAccessDeserializer::new(list)).map(Crop::Exact)
    }
}

/// One number, or a list of numbers.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    deserializer.deserialize_any(OneOrMany)
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Vec<f32>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number, or a list with a number for each channel")
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Vec<f32>, E> {
        Ok(vec![n as f32])
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Vec<f32>, E> {
        Ok(vec![n as f32])
    }

    fn visit_f64<E: de::Error>(self, x: f64) -> Result<Vec<f32>, E> {
        Ok(vec![x as f32])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<f32>, A::Error> {
        Deserialize::deserialize(value::SeqAccessDeserializer::new(list))
    }
}

/// Preprocessing steps, or the name of a preset.
pub(super) fn steps_or_preset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Preprocess>, D::Error> {
    deserializer.deserialize_any(StepsOrPreset).map(Some)
}

struct StepsOrPreset;

impl<'de> Visitor<'de> for StepsOrPreset {
    type Value = Preprocess;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("preprocessing steps or the name of a preset")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Preprocess, E> {
        Preprocess::preset(name).map_err(|e| E::custom(format!("{}; {}", e.message(), e.advice().unwrap_or_default())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Preprocess, A::Error> {
        Preprocess::deserialize(value::MapAccessDeserializer::new(map))
    }
}

/// Values by name, as their text: a number, a switch, or a list of them.
pub(super) fn values<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let found: BTreeMap<String, AnyValue> = Deserialize::deserialize(deserializer)?;
    Ok(found.into_iter().map(|(name, AnyValue(text))| (name, text)).collect())
}

struct AnyValue(String);

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneValue { of_a_list: false }).map(AnyValue)
    }
}

struct OfAList(String);

impl<'de> Deserialize<'de> for OfAList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneValue { of_a_list: true }).map(OfAList)
    }
}

struct OneValue {
    of_a_list: bool,
}

impl<'de> Visitor<'de> for OneValue {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(if self.of_a_list {
            "a number, true or false"
        } else {
            "a number, true or false, or a list of them"
        })
    }

    fn visit_bool<E: de::Error>(self, x: bool) -> Result<String, E> {
        Ok(x.to_string())
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<String, E> {
        Ok(n.to_string())
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<String, E> {
        Ok(n.to_string())
    }

    fn visit_f64<E: de::Error>(self, x: f64) -> Result<String, E> {
        Ok(x.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<String, A::Error> {
        if self.of_a_list {
            return Err(de::Error::invalid_type(de::Unexpected::Seq, &self));
        }
        let mut parts = vec![];
        while let Some(OfAList(part)) = list.next_element()? {
            parts.push(part);
        }
        Ok(format!("[{}]", parts.join(",")))
    }
}
