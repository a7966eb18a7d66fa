//! What a plan remembers of its samples.

use super::{Sample, SampleSet};
use crate::array::Values;
use sha2::{Digest, Sha256};

impl SampleSet {
    /// Digest of the values as the network sees them, after preprocessing.
    pub fn digest(&self) -> String {
        digest(&self.samples)
    }
}

/// The same of any samples.
pub fn digest(samples: &[Sample]) -> String {
    let mut hash = Sha256::new();
    for (name, array) in samples.iter().flat_map(|s| &s.inputs) {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update((array.dims.len() as u64).to_le_bytes());
        array.dims.iter().for_each(|d| hash.update((*d as u64).to_le_bytes()));
        add_values(&mut hash, &array.values);
    }
    hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
}

fn add_values(hash: &mut Sha256, values: &Values) {
    match values {
        Values::F32(v) => add_all(hash, v, f32::to_le_bytes),
        Values::F64(v) => add_all(hash, v, f64::to_le_bytes),
        Values::I64(v) => add_all(hash, v, i64::to_le_bytes),
        Values::I32(v) => add_all(hash, v, i32::to_le_bytes),
        Values::U8(v) => hash.update(v),
        Values::I8(v) => add_all(hash, v, i8::to_le_bytes),
        Values::Bool(v) => v.iter().for_each(|x| hash.update([u8::from(*x)])),
    }
}

fn add_all<T: Copy, const N: usize>(hash: &mut Sha256, values: &[T], bytes: fn(T) -> [u8; N]) {
    for block in values.chunks(1024) {
        hash.update(block.iter().flat_map(|v| bytes(*v)).collect::<Vec<u8>>());
    }
}
