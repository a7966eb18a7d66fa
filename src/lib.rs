//! Training-free mixed-precision quantization for ONNX, as a compiler pass.

pub mod allocate;
pub mod array;
pub mod engine;
mod error;
pub mod graph;
pub mod onnx;
pub mod plan;
pub mod proxy;
pub mod quant;
pub mod report;
pub mod samples;
pub mod stats;
pub mod target;
pub mod yaml;

pub use error::{Code, Context, Error, Result};
