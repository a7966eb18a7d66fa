//! Training-free mixed-precision quantization for ONNX, as a compiler pass.

pub mod allocate;
pub mod array;
mod error;
pub mod graph;
pub mod onnx;
pub mod samples;
pub mod target;
pub mod yaml;

pub use error::{Code, Context, Error, Result};
