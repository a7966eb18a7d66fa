//! Networks of well-known shapes with random weights: what calibration costs does not depend on what they learned.

use std::fmt::Write;
use tapq::Result;
use tapq::graph::Graph;
use tapq::onnx::{ExternalData, Tensor, from_floats, from_i64s, parse_text};
use tapq::random::SplitMix64;

/// A graph in the making: nodes as text, weights as tensors.
struct Builder {
    text: String,
    tensors: Vec<Tensor>,
    random: SplitMix64,
    values: usize,
}

impl Builder {
    fn new() -> Self {
        Builder { text: String::new(), tensors: vec![], random: SplitMix64(7), values: 0 }
    }

    /// A weight of unit gain: elements uniform, with the variance 2 / fan-in.
    fn weight(&mut self, dims: &[usize], fan_in: usize) -> String {
        let reach = (6.0 / fan_in as f64).sqrt();
        let values: Vec<f32> =
            (0..dims.iter().product()).map(|_| ((self.random.unit() * 2.0 - 1.0) * reach) as f32).collect();
        let name = format!("w{}", self.tensors.len());
        self.tensors.push(from_floats(&name, dims, &values));
        name
    }

    fn constant(&mut self, dims: &[usize], value: f32) -> String {
        let name = format!("c{}", self.tensors.len());
        self.tensors.push(from_floats(&name, dims, &vec![value; dims.iter().product()]));
        name
    }

    fn integers(&mut self, values: &[i64]) -> String {
        let name = format!("i{}", self.tensors.len());
        self.tensors.push(from_i64s(&name, &[values.len()], values));
        name
    }

    /// A node with one output, whose name it gives; `op` holds the attributes.
    fn node(&mut self, op: &str, inputs: &[&str]) -> String {
        self.values += 1;
        let name = format!("v{}", self.values);
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "  [n{}] {name} = {op} ({})", self.values, inputs.join(", "));
        name
    }

    fn conv(&mut self, x: &str, [from, to, kernel, stride]: [usize; 4]) -> String {
        let (w, b) = (self.weight(&[to, from, kernel, kernel], from * kernel * kernel), self.constant(&[to], 0.0));
        let pad = (kernel - 1) / 2;
        let op = format!("Conv <strides = [{stride}, {stride}], pads = [{pad}, {pad}, {pad}, {pad}]>");
        self.node(&op, &[x, &w, &b])
    }

    fn linear(&mut self, x: &str, from: usize, to: usize) -> String {
        let (w, b) = (self.weight(&[from, to], 2 * from), self.constant(&[to], 0.0));
        let product = self.node("MatMul", &[x, &w]);
        self.node("Add", &[&product, &b])
    }

    fn norm(&mut self, x: &str, size: usize) -> String {
        let (scale, shift) = (self.constant(&[size], 1.0), self.constant(&[size], 0.0));
        self.node("LayerNormalization <axis = -1, epsilon = 0.000001>", &[x, &scale, &shift])
    }

    fn finish(self, output: &str) -> Result<Graph> {
        let head = "<ir_version: 8, opset_import: [\"\" : 17]>\nshapes (float[1,3,224,224] x) => (float[1,1000] y)";
        let text = format!("{head} {{\n{}  [last] y = Identity ({output})\n}}\n", self.text);
        let mut model = parse_text(&text)?;
        model.graph.mut_or_insert_default().initializer.extend(self.tensors);
        Ok(Graph::new(model, ExternalData::none()))
    }
}

/// ResNet-50 with folded BatchNormalization (He et al., "Deep Residual Learning", 2016; stride in the 3 x 3 layer).
pub fn resnet50() -> Result<Graph> {
    let mut net = Builder::new();
    let stem = net.conv("x", [3, 64, 7, 2]);
    let stem = net.node("Relu", &[&stem]);
    let mut x = net.node("MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>", &[&stem]);
    let mut channels = 64;
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let (width, wide) = (64 << stage, 256 << stage);
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let a = net.conv(&x, [channels, width, 1, 1]);
            let a = net.node("Relu", &[&a]);
            let b = net.conv(&a, [width, width, 3, stride]);
            let b = net.node("Relu", &[&b]);
            let c = net.conv(&b, [width, wide, 1, 1]);
            let beside = if block == 0 { net.conv(&x, [channels, wide, 1, stride]) } else { x };
            let sum = net.node("Add", &[&c, &beside]);
            x = net.node("Relu", &[&sum]);
            channels = wide;
        }
    }
    let pooled = net.node("GlobalAveragePool", &[&x]);
    let flat = net.node("Flatten <axis = 1>", &[&pooled]);
    let (w, b) = (net.weight(&[1000, 2048], 2048), net.constant(&[1000], 0.0));
    let logits = net.node("Gemm <transB = 1>", &[&flat, &w, &b]);
    net.finish(&logits)
}

/// ViT-B/16 (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021): 197 tokens of 768 features, 12 blocks.
pub fn vit_b16() -> Result<Graph> {
    const SIZE: usize = 768;
    let mut net = Builder::new();
    let (w, b) = (net.weight(&[SIZE, 3, 16, 16], SIZE), net.constant(&[SIZE], 0.0));
    let patches = net.node("Conv <strides = [16, 16]>", &["x", &w, &b]);
    let tokens = net.integers(&[1, 768, 196]);
    let flat = net.node("Reshape", &[&patches, &tokens]);
    let rows = net.node("Transpose <perm = [0, 2, 1]>", &[&flat]);
    let (class, position) = (net.weight(&[1, 1, SIZE], SIZE), net.weight(&[1, 197, SIZE], SIZE));
    let all = net.node("Concat <axis = 1>", &[&class, &rows]);
    let mut x = net.node("Add", &[&all, &position]);
    let (heads, joined) = (net.integers(&[1, 197, 12, 64]), net.integers(&[1, 197, 768]));
    let (scale, half, one, root) = (
        net.constant(&[], 0.125),
        net.constant(&[], 0.5),
        net.constant(&[], 1.0),
        net.constant(&[], std::f32::consts::SQRT_2),
    );
    for _ in 0..12 {
        let n = net.norm(&x, SIZE);
        let [q, k, v] = ["[0, 2, 1, 3]", "[0, 2, 3, 1]", "[0, 2, 1, 3]"].map(|turn| {
            let y = net.linear(&n, SIZE, SIZE);
            let y = net.node("Reshape", &[&y, &heads]);
            net.node(&format!("Transpose <perm = {turn}>"), &[&y])
        });
        let scores = net.node("MatMul", &[&q, &k]);
        let scores = net.node("Mul", &[&scores, &scale]);
        let shares = net.node("Softmax <axis = -1>", &[&scores]);
        let mixed = net.node("MatMul", &[&shares, &v]);
        let mixed = net.node("Transpose <perm = [0, 2, 1, 3]>", &[&mixed]);
        let mixed = net.node("Reshape", &[&mixed, &joined]);
        let out = net.linear(&mixed, SIZE, SIZE);
        x = net.node("Add", &[&x, &out]);
        let n = net.norm(&x, SIZE);
        let up = net.linear(&n, SIZE, 4 * SIZE);
        // Gelu, as exporters spell it at this opset.
        let inner = net.node("Div", &[&up, &root]);
        let inner = net.node("Erf", &[&inner]);
        let inner = net.node("Add", &[&inner, &one]);
        let gated = net.node("Mul", &[&up, &inner]);
        let gated = net.node("Mul", &[&gated, &half]);
        let down = net.linear(&gated, 4 * SIZE, SIZE);
        x = net.node("Add", &[&x, &down]);
    }
    let n = net.norm(&x, SIZE);
    let (start, end, axis) = (net.integers(&[0]), net.integers(&[1]), net.integers(&[1]));
    let first = net.node("Slice", &[&n, &start, &end, &axis]);
    let shape = net.integers(&[1, 768]);
    let first = net.node("Reshape", &[&first, &shape]);
    let (w, b) = (net.weight(&[1000, SIZE], SIZE), net.constant(&[1000], 0.0));
    let logits = net.node("Gemm <transB = 1>", &[&first, &w, &b]);
    net.finish(&logits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameters as published: 25.56 and 86.57 million, of which BatchNormalization's are folded.
    #[test]
    fn networks_have_the_parameters_that_are_published() {
        let millions = |graph: &Graph| {
            let elements = graph.proto().initializer.iter().map(|t| t.dims.iter().product::<i64>()).sum::<i64>();
            elements as f64 / 1e6
        };
        assert!((millions(&resnet50().unwrap()) - 25.53).abs() < 0.01);
        assert!((millions(&vit_b16().unwrap()) - 86.57).abs() < 0.01);
    }
}
