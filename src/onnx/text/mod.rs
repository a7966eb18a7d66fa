//! ONNX textual syntax (onnx/onnx docs/Syntax.md): what fixtures and snapshots are written in.
//!
//! `onnx.parser` reads what is printed here and the parser here reads what `onnx.printer` prints, except that
//!
//! - constants of more than 16 elements are printed as type, shape, digest and range, which no parser reads;
//! - elements of 2 and 4 bits are listed one by one here, which `onnx.parser` stores unpacked;
//! - float16 and bfloat16 are listed as bit patterns, as there; the parser also takes them with a decimal point.
//!
//! Node metadata has no syntax: it is printed as a comment.

mod attribute;
mod constant;
mod cursor;
mod parse;
mod print;
#[cfg(test)]
mod tests;
mod value;
mod words;

pub use parse::parse_text;
pub use print::print_text;
