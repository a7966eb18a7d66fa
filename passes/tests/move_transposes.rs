//! Random regions between Transposes: every output keeps every bit, and no node that moves axes is added.

use std::fmt::Write;
use tapq::array::{Array, Values};
use tapq::engine::{Engine, Options};
use tapq::graph::Graph;
use tapq::onnx::{ExternalData, parse_text, print_text};
use tapq::random::SplitMix64;
use tapq::samples::Sample;
use tapq_passes::{Driver, MergeTransposes, MoveTransposes, RemoveIdentity};

/// Graphs that are tried: seconds, all of them.
const GRAPHS: u64 = 400;

/// One of several.
fn one<'a, T>(dice: &mut SplitMix64, of: &'a [T]) -> &'a T {
    &of[dice.below(of.len())]
}

type Value = (String, Vec<usize>);

/// A graph in textual syntax under construction; all extents are known.
struct Text {
    dice: SplitMix64,
    constants: Vec<String>,
    nodes: String,
    values: Vec<Value>,
}

impl Text {
    fn new(seed: u64) -> Self {
        let inputs = vec![("x".to_owned(), vec![1, 2, 3, 4]), ("z".to_owned(), vec![1, 3, 4, 2])];
        Text { dice: SplitMix64(seed), constants: vec![], nodes: String::new(), values: inputs }
    }

    fn ints(&mut self, values: &[i64]) -> String {
        let name = format!("i{}", self.constants.len());
        let listed = values.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        self.constants.push(format!("int64[{}] {name} = {{{listed}}}", values.len()));
        name
    }

    fn floats(&mut self, dims: &[usize]) -> String {
        let (name, count) = (format!("f{}", self.constants.len()), dims.iter().product());
        let listed: Vec<String> = (0..count).map(|_| format!("{:?}", self.dice.below(33) as f32 / 8.0 - 2.0)).collect();
        let dims = dims.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let dims = if dims.is_empty() { String::new() } else { format!("[{dims}]") };
        self.constants.push(format!("float{dims} {name} = {{{}}}", listed.join(", ")));
        name
    }

    /// `y = op (inputs)`; the new value.
    fn node(&mut self, op: &str, inputs: &[&str], dims: Vec<usize>) {
        let name = format!("v{}", self.values.len());
        writeln!(self.nodes, "  {name} = {op} ({})", inputs.join(", ")).unwrap();
        self.values.push((name, dims));
    }

    fn grow(&mut self) {
        // Late values mostly, so that long regions come about.
        let most = self.values.len();
        let at = if self.dice.below(3) == 0 { self.dice.below(most) } else { most - 1 - self.dice.below(most.min(3)) };
        let (x, dims) = self.values[at].clone();
        match self.dice.below(17) {
            0..=4 => self.transpose(&x, &dims),
            5 => {
                let op = *one(&mut self.dice, &["Relu", "Neg", "Abs", "Identity"]);
                self.node(op, &[&x], dims);
            }
            6 | 7 => self.with_constant(&x, &dims),
            8 => self.with_value(&x, &dims),
            9 => self.concat(&x, &dims),
            10 => self.pad(&x, &dims),
            11 | 12 => self.reduce(&x, &dims),
            13 => self.slice(&x, &dims),
            14 => self.squeeze(&x, &dims),
            15 => self.unsqueeze(&x, &dims),
            _ => self.conv(&x, &dims),
        }
    }

    fn transpose(&mut self, x: &str, dims: &[usize]) {
        let rank = dims.len();
        let mut perm: Vec<usize> = (0..rank).collect();
        match self.dice.below(8) {
            0..=2 if rank > 2 => perm[1..].rotate_left(1),
            3..=5 if rank > 2 => perm[1..].rotate_right(1),
            _ => (1..rank).for_each(|i| perm.swap(i, self.dice.below(i + 1))),
        }
        let dims = perm.iter().map(|p| dims[*p]).collect();
        self.node(&format!("Transpose <perm = {perm:?}>"), &[x], dims);
    }

    fn with_constant(&mut self, x: &str, dims: &[usize]) {
        let from = self.dice.below(dims.len() + 1);
        let kept: Vec<usize> = dims[from..].iter().map(|d| if self.dice.below(2) == 0 { 1 } else { *d }).collect();
        let c = self.floats(&kept);
        let op = *one(&mut self.dice, &["Add", "Mul", "Sub", "Max", "PRelu"]);
        match op != "PRelu" && self.dice.below(3) == 0 {
            true => self.node(op, &[&c, x], dims.to_vec()),
            false => self.node(op, &[x, &c], dims.to_vec()),
        }
    }

    fn with_value(&mut self, x: &str, dims: &[usize]) {
        let fits = |other: &[usize]| other.iter().rev().zip(dims.iter().rev()).all(|(o, d)| o == d || *o == 1);
        let others = self.values.iter().filter(|(_, other)| other.len() <= dims.len() && fits(other));
        let names: Vec<String> = others.map(|(name, _)| name.clone()).collect();
        let other = one(&mut self.dice, &names).clone();
        let op = *one(&mut self.dice, &["Add", "Mul", "Sub", "Min"]);
        self.node(op, &[x, &other], dims.to_vec());
    }

    fn concat(&mut self, x: &str, dims: &[usize]) {
        let axis = self.dice.below(dims.len());
        let mut joined = dims.to_vec();
        joined[axis] *= 2;
        if joined.iter().product::<usize>() < 2000 {
            let negative = axis as i64 - dims.len() as i64;
            self.node(&format!("Concat <axis = {negative}>"), &[x, x], joined);
        }
    }

    fn pad(&mut self, x: &str, dims: &[usize]) {
        let pads: Vec<i64> = (0..2 * dims.len()).map(|_| (self.dice.below(4) == 0).into()).collect();
        let padded: Vec<usize> = (0..dims.len()).map(|i| dims[i] + (pads[i] + pads[i + dims.len()]) as usize).collect();
        if padded.iter().product::<usize>() < 2000 {
            let pads = self.ints(&pads);
            self.node("Pad", &[x, &pads], padded);
        }
    }

    fn reduce(&mut self, x: &str, dims: &[usize]) {
        let axes: Vec<usize> = (0..dims.len()).filter(|_| self.dice.below(2) == 0).collect();
        let keep = self.dice.below(3) != 0;
        if axes.is_empty() || (!keep && axes.len() + 1 >= dims.len()) {
            return;
        }
        let extent = |i: usize| if axes.contains(&i) { keep.then_some(1) } else { Some(dims[i]) };
        let left = (0..dims.len()).filter_map(extent).collect();
        self.node(&format!("ReduceMax <axes = {axes:?}, keepdims = {}>", i32::from(keep)), &[x], left);
    }

    fn slice(&mut self, x: &str, dims: &[usize]) {
        let axis = self.dice.below(dims.len());
        if dims[axis] > 1 {
            let (start, end, axes) = (self.ints(&[1]), self.ints(&[9]), self.ints(&[axis as i64]));
            let mut cut = dims.to_vec();
            cut[axis] -= 1;
            self.node("Slice", &[x, &start, &end, &axes], cut);
        }
    }

    fn squeeze(&mut self, x: &str, dims: &[usize]) {
        let units: Vec<usize> = (0..dims.len()).filter(|i| dims[*i] == 1).collect();
        if dims.len() > 2 && !units.is_empty() {
            let axis = *one(&mut self.dice, &units);
            let axes = self.ints(&[axis as i64 - dims.len() as i64]);
            self.node("Squeeze", &[x, &axes], [&dims[..axis], &dims[axis + 1..]].concat());
        }
    }

    fn unsqueeze(&mut self, x: &str, dims: &[usize]) {
        if dims.len() < 5 {
            let axis = self.dice.below(dims.len() + 1);
            let axes = self.ints(&[axis as i64]);
            self.node("Unsqueeze", &[x, &axes], [&dims[..axis], &[1], &dims[axis..]].concat());
        }
    }

    fn conv(&mut self, x: &str, dims: &[usize]) {
        if dims.len() == 4 {
            let w = self.floats(&[2, dims[1], 1, 1]);
            self.node("Conv", &[x, &w], vec![dims[0], 2, dims[2], dims[3]]);
        }
    }

    /// Everything that nothing reads is an output, and a few values besides.
    fn finish(mut self) -> Graph {
        let read = |name: &str| {
            let words = self.nodes.lines().filter_map(|l| l.split_once(" = ")).map(|(_, r)| r.to_owned());
            words.flat_map(|r| r.split([' ', ',', '(', ')']).map(str::to_owned).collect::<Vec<_>>()).any(|w| w == name)
        };
        let unread: Vec<bool> = self.values.iter().map(|(name, _)| !read(name)).collect();
        let mut outputs = vec![];
        for (i, unread) in unread.into_iter().enumerate().skip(2) {
            if unread || self.dice.below(8) == 0 {
                let dims = self.values[i].1.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
                outputs.push(format!("float[{dims}] {}", self.values[i].0));
            }
        }
        let text = format!(
            "<ir_version: 8, opset_import: [\"\" : 13]>\ng (float[1,2,3,4] x, float[1,3,4,2] z) => ({})\n<{}>\n{{\n{}}}",
            outputs.join(", "),
            self.constants.join(", "),
            self.nodes
        );
        let text = text.replace("\n<>", "");
        Graph::new(parse_text(&text).unwrap_or_else(|e| panic!("{e}\n{text}")), ExternalData::none())
    }
}

fn outputs(graph: &Graph) -> tapq::Result<Vec<Array>> {
    let numbers = |n: usize| Values::F32((0..n).map(|i| ((i * 37 + 11) % 64) as f32 / 16.0 - 2.0).collect());
    let array = |dims: [usize; 4]| Array { dims: dims.to_vec(), values: numbers(dims.iter().product()) };
    let inputs = [("x".to_owned(), array([1, 2, 3, 4])), ("z".to_owned(), array([1, 3, 4, 2]))];
    // All outputs, those too that are an input in another layout.
    let outputs: Vec<String> = graph.proto().output.iter().map(|v| v.name.clone()).collect();
    let engine = Engine::with_outputs(graph, &outputs, &[], &Options::default())?;
    engine.run(&Sample { inputs: inputs.into_iter().collect() }, &mut |_, _| {})
}

/// Nodes that move axes.
fn moves(graph: &Graph) -> usize {
    let moves = |op: &str| matches!(op, "Transpose" | "Squeeze" | "Unsqueeze");
    graph.nodes().iter().filter(|n| moves(&n.op_type)).count()
}

#[test]
fn random_regions_keep_every_bit() {
    let (mut changed, mut fewer) = (0, 0);
    for seed in 0..GRAPHS {
        let mut text = Text::new(seed);
        (0..8 + seed % 25).for_each(|_| text.grow());
        if text.nodes.is_empty() {
            continue;
        }
        let before = text.finish();
        // Of a hundred graphs the engine cannot run one or two.
        let Ok(expected) = outputs(&before) else { continue };
        let mut driver = Driver::default();
        let mut after = before.clone();
        driver.run(&mut after, &[&MergeTransposes, &RemoveIdentity]).unwrap();
        let merged = moves(&after);
        driver.run(&mut after, &[&MoveTransposes]).unwrap_or_else(|e| panic!("{e}\n{}", print_text(before.model())));
        let texts = || format!("seed {seed}\n{}\n{}", print_text(before.model()), print_text(after.model()));
        assert!(moves(&after) <= merged, "{}", texts());
        let computed = outputs(&after).unwrap_or_else(|e| panic!("{e}\n{}", texts()));
        assert_eq!(expected, computed, "{}", texts());
        changed += usize::from(driver.applied.iter().any(|p| p.pass == "move_transposes"));
        fewer += merged - moves(&after);
    }
    assert!(changed > 50 && fewer > 100, "{changed} graphs changed, {fewer} nodes less");
}
