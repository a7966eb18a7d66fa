//! Tensor bytes stored outside the model file, mapped into memory on first use.

/// Resolves tensors whose `data_location` is EXTERNAL.
#[derive(Default)]
pub struct ExternalData {}

impl ExternalData {
    /// For models that hold all their data.
    pub fn none() -> Self {
        Self::default()
    }
}
