//! Numbers to run small graphs on.

use tapq::array::{Array, Values};
use tapq::graph::Graph;
use tapq::samples::Sample;

/// Numbers that look random and are the same everywhere, for each input that no initializer stands in for.
pub fn sample(graph: &Graph) -> Sample {
    let proto = graph.proto();
    let open = proto.input.iter().filter(|v| graph.index().initializer(&v.name).is_none());
    let inputs = open.map(|value| {
        let tensor = value.type_.tensor_type();
        let dims: Vec<usize> = tensor.shape.dim.iter().map(|d| d.dim_value() as usize).collect();
        let count: usize = dims.iter().product();
        let values = match tensor.elem_type {
            // Exact in 16 bits, too.
            1 | 10 | 16 => Values::F32((0..count).map(|i| ((i * 37 + 11) % 64) as f32 / 16.0 - 2.0).collect()),
            6 => Values::I32((0..count).map(|i| (i * 2 % 3) as i32).collect()),
            7 => Values::I64((0..count).map(|i| (i * 2 % 3) as i64).collect()),
            9 => Values::Bool(vec![true; count]),
            other => panic!("'{}' has element type {other}", value.name),
        };
        (value.name.clone(), Array { dims, values })
    });
    Sample { inputs: inputs.collect() }
}
