//! What several test files need.

use tapq::graph::Graph;
use tapq::onnx::print_text;

/// The text of a graph without metadata and numbers: types and shapes tell how things are stored.
pub fn without_numbers(graph: &Graph) -> String {
    let mut model = graph.model().clone();
    model.metadata_props.clear();
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        tensor.raw_data.clear();
        tensor.float_data.clear();
        tensor.int32_data.clear();
    }
    print_text(&model)
}
