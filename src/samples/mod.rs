//! Samples: what the network is shown. Images, arrays, ONNX test data; preprocessing; sidecars.

use crate::array::Array;

/// One sample: an array for each named graph input, batch axis of extent 1 included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Input name and its array, in the order of the graph's inputs.
    pub inputs: Vec<(String, Array)>,
}
