//! Training-free mixed-precision quantization for ONNX, as a compiler pass.
//!
//! A float ONNX model, a handful of unlabelled samples and the name of a device go in; a standard ONNX file
//! with QuantizeLinear/DequantizeLinear nodes comes out, with a plan that says what was chosen and why.
//!
//! # Data flow
//!
//! ```text
//! model.onnx ── onnx::read ──> Graph ── float passes (crate tapq-passes), verified after every patch
//!                                │
//! samples ── engine (tract) ──> stats     one pass per sample: extremes, moments, histogram, Gram matrices
//!                                │        (of each half of the samples, so that one can check the other)
//!                                │
//! target ── plan::place ────────>│        which values carry Q/DQ, who reads them, who shares a scale and a width;
//!                                │        layers with weights in blocks multiply in float, outside of all that
//!                                │  channel factors move between layers where the output measures better
//!                                ▼
//!              rounding on one half, its noise on the other; gains of layers by few partial runs
//!                                ▼
//!              proxy: a formula over features of each layer says what each width costs
//!                                ▼
//!              quant::choose_range, allocate::solve, for weights and activations; each choice is compared with
//!                                │                one width for all
//!                                │  where a fidelity is asked for: what harms the output most for its cost gets more
//!                                │  bits, or stays in float
//!                                ▼
//!                              Plan       plan.yaml: reviewable, editable, replayable
//!                                ▼
//! rounding: float and quantized network walk layer by layer on the samples; each weight answers for what the
//!           layers before it did (where any weight has less than 8 bits, or it measures better)
//!                                ▼
//! quantizing passes ──> Graph ── onnx::write ──> model.TARGET.onnx
//!                                │
//!                         engine: the written graph against the float one ──> Report
//! ```
//!
//! # Rooms
//!
//! [`onnx`] files; [`graph`] index, patches, verifier; [`fused`] what operators of ONNX Runtime's own are made of; [`samples`] what the network is shown; [`engine`] runs it;
//! [`stats`] measures it, on the processor or a GPU; [`quant`] what a quantized number means; [`rounding`] which
//! integers a weight becomes;
//! [`target`] what a device accepts; [`plan`] decisions as data, and the analyses of structure they rest on;
//! [`proxy`] the language of formulas that score layers, and the bench they are judged by; [`discover`] the search for
//! new ones; [`llm`] language models that propose them; [`allocate`] chooses; [`report`] shows. The rewrites live in
//! the crate `tapq-passes`, the command line in `xtask`.
//!
//! # Invariants
//!
//! - Analyses write the plan, rewrites obey it. No rewrite looks at a sample, no analysis edits a graph.
//! - A pass never writes to a graph: it returns a [`graph::Patch`] with reasons, and the driver verifies the
//!   result of each, in release builds too.
//! - Nothing in an output depends on thread count, hash order, clock, path or locale: sums run in sample order,
//!   maps that are iterated are ordered.
//! - Only [`onnx`] names onnx-protobuf, only [`engine`] names tract, only [`yaml`] names serde_yaml, only
//!   [`stats::cuda`] names cudarc. `unsafe` stands where the CUDA driver is called and where files are mapped.
//! - A formula is data: parsed, typed, bounded, total, never run as code. [`discover`] knows neither language models
//!   nor formulas: whoever proposes and whoever judges are traits. No default build holds a language model.
//! - What a quantized file does is simulated from the written graph, not from the plan, so a defect of the
//!   rewrite shows in the measured fidelity.
//!
//! # Deliberately absent
//!
//! Training, gradients and labels in the choice; a second intermediate representation beside the model;
//! a registry that hides the order of passes; guesses about widths a device cannot run.

pub mod allocate;
pub mod array;
pub mod discover;
mod elementary;
pub mod engine;
mod error;
pub mod fused;
pub mod graph;
pub mod llm;
pub mod onnx;
pub mod plan;
mod plane;
mod product;
pub mod proxy;
pub mod quant;
pub mod random;
pub mod report;
pub mod rounding;
pub mod samples;
pub mod stats;
pub mod target;
mod wide;
pub mod yaml;

pub use error::{Code, Context, Error, Result, clean};
