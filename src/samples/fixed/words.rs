//! Numbers as people write them, for each type that an input may have.

use crate::onnx::{self, DataType};
use half::{bf16, f16};

/// Numbers as they are in the tensor, one an element.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    Whole(Vec<i128>),
    Real(Vec<f64>),
}

/// What the elements of an input may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Switch,
    Whole { bits: u32, signed: bool },
    Real(DataType),
}

impl Kind {
    pub fn of(data_type: i32) -> Option<Kind> {
        let whole = |bits, signed| Some(Kind::Whole { bits, signed });
        match onnx::data_type(data_type)? {
            DataType::BOOL => Some(Kind::Switch),
            DataType::INT8 => whole(8, true),
            DataType::INT16 => whole(16, true),
            DataType::INT32 => whole(32, true),
            DataType::INT64 => whole(64, true),
            DataType::UINT8 => whole(8, false),
            DataType::UINT16 => whole(16, false),
            DataType::UINT32 => whole(32, false),
            DataType::UINT64 => whole(64, false),
            real @ (DataType::FLOAT | DataType::DOUBLE | DataType::FLOAT16 | DataType::BFLOAT16) => {
                Some(Kind::Real(real))
            }
            _ => None,
        }
    }

    pub fn advice(self) -> String {
        match self {
            Kind::Switch => "say true or false".to_owned(),
            Kind::Whole { bits, signed } => {
                let (least, most) = limits(bits, signed);
                format!("say a whole number from {least} to {most}")
            }
            Kind::Real(_) => "say a number such as 0.5 or 1e-3".to_owned(),
        }
    }

    /// The numbers that the words say, one an element; the word that says none, and why.
    pub fn numbers<'t>(self, words: &[&'t str], count: usize) -> Result<Numbers, (&'t str, &'static str)> {
        fn all<'t, T: Clone>(
            words: &[&'t str],
            count: usize,
            read: impl Fn(&str) -> Result<T, &'static str>,
        ) -> Result<Vec<T>, (&'t str, &'static str)> {
            let found: Vec<T> = words.iter().map(|w| read(w).map_err(|why| (*w, why))).collect::<Result<_, _>>()?;
            match &found[..] {
                [one] => Ok(vec![one.clone(); count]),
                _ => Ok(found),
            }
        }
        match self {
            Kind::Switch => all(words, count, switch).map(Numbers::Whole),
            Kind::Whole { bits, signed } => all(words, count, |w| whole(w, bits, signed)).map(Numbers::Whole),
            Kind::Real(_) => all(words, count, |w| self.read(w)).map(Numbers::Real),
        }
    }

    fn read(self, word: &str) -> Result<f64, &'static str> {
        let x = word.parse::<f64>().ok().filter(|x| x.is_finite()).ok_or("it is not a finite number")?;
        Some(self.rounded(x)).filter(|x| x.is_finite()).ok_or("it is beyond the type's range")
    }

    /// To the nearest that the type holds.
    pub fn rounded(self, x: f64) -> f64 {
        match self {
            Kind::Real(DataType::FLOAT) => f64::from(x as f32),
            Kind::Real(DataType::FLOAT16) => f16::from_f64(x).to_f64(),
            Kind::Real(DataType::BFLOAT16) => bf16::from_f64(x).to_f64(),
            _ => x,
        }
    }

    /// The bytes of the elements, little-endian as ONNX says.
    pub fn encoded(self, numbers: &Numbers) -> Vec<u8> {
        match numbers {
            Numbers::Whole(all) => {
                let bytes = if let Kind::Whole { bits, .. } = self { bits as usize / 8 } else { 1 };
                all.iter().flat_map(|x| x.to_le_bytes().into_iter().take(bytes)).collect()
            }
            Numbers::Real(all) => match self {
                Kind::Real(DataType::DOUBLE) => all.iter().flat_map(|x| x.to_le_bytes()).collect(),
                Kind::Real(DataType::FLOAT16) => all.iter().flat_map(|x| f16::from_f64(*x).to_le_bytes()).collect(),
                Kind::Real(DataType::BFLOAT16) => all.iter().flat_map(|x| bf16::from_f64(*x).to_le_bytes()).collect(),
                _ => all.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect(),
            },
        }
    }

    pub fn words(self, numbers: &Numbers) -> Vec<String> {
        match numbers {
            Numbers::Whole(all) if self == Kind::Switch => all.iter().map(|x| (*x != 0).to_string()).collect(),
            Numbers::Whole(all) => all.iter().map(i128::to_string).collect(),
            // The shortest text that the type reads as this number.
            Numbers::Real(all) => match self {
                Kind::Real(DataType::DOUBLE) => all.iter().map(f64::to_string).collect(),
                _ => all.iter().map(|x| (*x as f32).to_string()).collect(),
            },
        }
    }
}

fn switch(word: &str) -> Result<i128, &'static str> {
    match word {
        "true" | "True" | "1" => Ok(1),
        "false" | "False" | "0" => Ok(0),
        _ => Err("it is neither true nor false"),
    }
}

fn whole(word: &str, bits: u32, signed: bool) -> Result<i128, &'static str> {
    let (least, most) = limits(bits, signed);
    let x: i128 = word.parse().map_err(|_| "it is not a whole number")?;
    if (least..=most).contains(&x) { Ok(x) } else { Err("it is beyond the type's range") }
}

fn limits(bits: u32, signed: bool) -> (i128, i128) {
    let least = if signed { -(1i128 << (bits - 1)) } else { 0 };
    (least, least + (1i128 << bits) - 1)
}
