//! Random arithmetic around Clips, most of it nearly a HardSigmoid or HardSwish: whatever the passes make of it computes
//! the same, here and in ONNX Runtime. The second is skipped, in words, where Python has none.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use tapq::array::{Array, Values};
use tapq::engine::{Engine, Options};
use tapq::graph::Graph;
use tapq::onnx::{ExternalData, parse_text, print_text, to_bytes};
use tapq::random::SplitMix64;
use tapq::samples::Sample;
use tapq_passes::{Driver, FoldRamp, FormHardSigmoid, FormHardSwish, Prune};

/// Graphs that are tried: seconds, all of them.
const GRAPHS: u64 = 600;
/// How far an output may move, in parts of the largest one.
const SAME: f32 = 1e-6;
const DIMS: [usize; 4] = [1, 1, 8, 32];

/// One of several.
fn one<T: Copy>(dice: &mut SplitMix64, of: &[T]) -> T {
    of[dice.below(of.len())]
}

/// A graph in textual syntax under construction.
struct Text {
    dice: SplitMix64,
    constants: Vec<String>,
    nodes: String,
    values: Vec<String>,
    /// Axes of what the last node makes.
    rank: usize,
    /// Whether constants may miss what makes a HardSigmoid.
    loose: bool,
}

impl Text {
    fn new(seed: u64) -> Self {
        let dice = SplitMix64(seed);
        Text {
            dice,
            constants: vec![],
            nodes: String::new(),
            values: vec!["x".into()],
            rank: DIMS.len(),
            loose: !seed.is_multiple_of(3),
        }
    }

    /// A constant of one value, sometimes nearly it, sometimes in a shape that is no scalar.
    fn constant(&mut self, value: f32) -> String {
        let near = [0.999, 1.0001, 1.000_001, -1.0, 2.0, 1.5];
        let value = if self.loose && self.dice.below(8) == 0 { value * one(&mut self.dice, &near) } else { value };
        let dims: &[usize] = match self.dice.below(if self.loose { 40 } else { 20 }) {
            0 | 1 => &[1],
            2 => &[1, 1, 1, 1],
            3 => &[32],
            4 => &[8, 1],
            20 => &[1, 1, 1, 1, 1],
            21 => &[2, 1, 1, 1],
            _ => &[],
        };
        let mut values = vec![value; dims.iter().product()];
        if self.loose && self.dice.below(40) == 0 {
            values[0] += 0.25;
        }
        self.rank = self.rank.max(dims.len());
        self.declare(dims, &values)
    }

    fn declare(&mut self, dims: &[usize], values: &[f32]) -> String {
        let name = format!("c{}", self.constants.len());
        let listed: Vec<String> = values.iter().map(|v| format!("{v:?}")).collect();
        let dims = dims.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let dims = if dims.is_empty() { String::new() } else { format!("[{dims}]") };
        self.constants.push(format!("float{dims} {name} = {{{}}}", listed.join(", ")));
        name
    }

    fn node(&mut self, op: &str, inputs: &[&str]) -> String {
        let name = format!("v{}", self.values.len());
        writeln!(self.nodes, "  {name} = {op} ({})", inputs.join(", ")).unwrap();
        self.values.push(name.clone());
        name
    }

    /// An operator of a value and a constant, in either order where that is the same.
    fn with(&mut self, op: &str, x: &str, value: f32) -> String {
        let c = self.constant(value);
        match matches!(op, "Add" | "Mul" | "Min" | "Max") && self.dice.below(2) == 0 {
            true => self.node(op, &[&c, x]),
            false => self.node(op, &[x, &c]),
        }
    }

    fn clip(&mut self, x: &str, low: f32, high: f32) -> String {
        match self.dice.below(4) {
            0 => {
                let x = self.with("Max", x, low);
                self.with("Min", &x, high)
            }
            1 if low == 0.0 => {
                let x = self.node("Relu", &[x]);
                self.with("Min", &x, high)
            }
            _ => {
                let (low, high) = (self.declare(&[], &[low]), self.declare(&[], &[high]));
                self.node("Clip", &[x, &low, &high])
            }
        }
    }

    fn scale(&mut self, x: &str, by: f32) -> String {
        match self.dice.below(2) {
            0 => self.with("Mul", x, by),
            _ => self.with("Div", x, 1.0 / by),
        }
    }

    /// `factor * HardSigmoid (x)`, in one of its spellings.
    fn hard_sigmoid(&mut self, x: &str, alpha: f32, beta: f32, factor: f32) -> String {
        match self.dice.below(5) {
            0 => {
                let a = self.with("Add", x, beta / alpha);
                let c = self.clip(&a, 0.0, 1.0 / alpha);
                self.scale(&c, alpha * factor)
            }
            1 => {
                let a = self.scale(x, alpha * factor);
                let b = self.with("Add", &a, beta * factor);
                self.clip(&b, 0.0, factor)
            }
            2 => {
                let a = self.scale(x, alpha * factor);
                let c = self.clip(&a, -beta * factor, (1.0 - beta) * factor);
                self.with("Add", &c, beta * factor)
            }
            3 => {
                let c = self.clip(x, -beta / alpha, (1.0 - beta) / alpha);
                let a = self.with("Sub", &c, -beta / alpha);
                self.scale(&a, alpha * factor)
            }
            _ => {
                let h = self.node(&format!("HardSigmoid <alpha = {alpha:?}, beta = {beta:?}>"), &[x]);
                if factor == 1.0 { h } else { self.scale(&h, factor) }
            }
        }
    }

    fn anything(&mut self, x: &str) -> String {
        let value: f32 = one(&mut self.dice, &[0.0, 0.5, 1.0, 3.0, 6.0, 1.0 / 6.0, 0.2, -1.0, 2.0, -3.0]);
        match self.dice.below(6) {
            0 => self.clip(x, value.min(1.0), value.max(1.0)),
            1 => self.node("HardSigmoid", &[x]),
            2 if value != 0.0 => self.with("Div", x, value),
            3 => {
                let c = self.constant(value);
                self.node("Sub", &[&c, x])
            }
            _ => {
                let op = one(&mut self.dice, &["Add", "Mul", "Min", "Max"]);
                self.with(op, x, value)
            }
        }
    }

    fn grow(&mut self) {
        let mut x = "x".to_owned();
        if self.dice.below(2) == 0 {
            let (w, b) = (self.declare(&[1, 1, 1, 1], &[0.75]), self.declare(&[1], &[-1.25]));
            x = self.node("Conv", &[&x, &w, &b]);
        }
        if self.dice.below(5) == 0 {
            x = self.anything(&x);
        }
        let (alpha, beta) =
            one(&mut self.dice, &[(1.0 / 6.0, 0.5), (1.0 / 6.0, 0.5), (0.2, 0.5), (1.0, 0.0), (0.7, 0.3)]);
        match self.dice.below(8) {
            0..=2 => drop(self.hard_sigmoid(&x, alpha, beta, 1.0)),
            3 => {
                let mut y = x;
                for _ in 0..3 + self.dice.below(4) {
                    y = self.anything(&y);
                }
            }
            _ => {
                // The factor before the product and the one behind it; the gate has the rest.
                let factors = [(1.0, 1.0), (1.0, 1.0), (1.0, 1.0 / 6.0), (1.0 / 6.0, 1.0), (0.5, 1.0 / 3.0)];
                let (before, behind) = one(&mut self.dice, &factors);
                let inner = 1.0 / (before * behind);
                let line = if before == 1.0 { x.clone() } else { self.scale(&x, before) };
                let gate = self.hard_sigmoid(&x, alpha, beta, inner);
                let product = match self.dice.below(2) {
                    0 => self.node("Mul", &[&gate, &line]),
                    _ => self.node("Mul", &[&line, &gate]),
                };
                if behind != 1.0 {
                    self.scale(&product, behind);
                }
            }
        }
        if self.loose && self.dice.below(6) == 0 {
            let at = self.dice.below(self.values.len());
            let other = self.values[at].clone();
            self.node("Neg", &[&other]);
        }
    }

    fn finish(self) -> Graph {
        let read = |name: &String| {
            let listed = [format!("({name},"), format!("({name})"), format!(", {name},"), format!(", {name})")];
            listed.iter().any(|text| self.nodes.contains(text))
        };
        let open = ["N", "M", "P", "Q", "R"];
        let outputs = self.values.iter().filter(|name| !read(name));
        let outputs: Vec<String> = outputs.map(|n| format!("float[{}] {n}", open[..self.rank].join(","))).collect();
        let text = format!(
            "<ir_version: 8, opset_import: [\"\" : 13]>\ng (float[1,1,8,32] x) => ({})\n<{}>\n{{\n{}}}",
            outputs.join(", "),
            self.constants.join(", "),
            self.nodes
        );
        Graph::new(parse_text(&text).unwrap_or_else(|e| panic!("{e}\n{text}")), ExternalData::none())
    }
}

/// From -9.96875 to 9.953125, which no constant has as its end.
fn input() -> Vec<f32> {
    (0..256).map(|i| (i as f32 - 127.5) * 0.078_125).collect()
}

fn outputs(graph: &Graph) -> tapq::Result<Vec<Array>> {
    let x = Array { dims: DIMS.to_vec(), values: Values::F32(input()) };
    let engine = Engine::new(graph, &[], &Options::default())?;
    engine.run(&Sample { inputs: vec![("x".to_owned(), x)] }, &mut |_, _| {})
}

fn same(a: &Array, b: &Array) -> bool {
    let (x, y) = (a.as_f32().unwrap(), b.as_f32().unwrap());
    let most = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    a.dims == b.dims && x.iter().zip(y).all(|(x, y)| (x - y).abs() <= SAME * most)
}

fn counts(graph: &Graph, op: &str) -> usize {
    graph.nodes().iter().filter(|n| n.op_type == op).count()
}

/// A graph before and after the passes, and how many of its operators were formed.
fn pair(seed: u64) -> (Graph, Graph, [usize; 3]) {
    let mut text = Text::new(seed);
    text.grow();
    let before = text.finish();
    let (mut after, mut driver) = (before.clone(), Driver::default());
    driver
        .run(&mut after, &[&FormHardSigmoid, &FormHardSwish, &FoldRamp, &Prune])
        .unwrap_or_else(|e| panic!("seed {seed}: {e}\n{}", print_text(before.model())));
    let ran = |name: &str| driver.applied.iter().filter(|p| p.pass == name).count();
    (before, after, ["form_hard_sigmoid", "form_hard_swish", "fold_ramp"].map(ran))
}

#[test]
fn random_ramps_compute_the_same() {
    let mut formed = [0; 3];
    for seed in 0..GRAPHS {
        let (before, after, ran) = pair(seed);
        formed.iter_mut().zip(ran).for_each(|(sum, n)| *sum += n);
        let texts = || format!("seed {seed}\n{}\n{}", print_text(before.model()), print_text(after.model()));
        let (expected, computed) = (outputs(&before), outputs(&after));
        let Ok(expected) = expected else { continue };
        let computed = computed.unwrap_or_else(|e| panic!("{e}\n{}", texts()));
        assert!(expected.iter().zip(&computed).all(|(a, b)| same(a, b)), "{}", texts());
    }
    assert!(formed.iter().all(|n| *n > 40), "of {GRAPHS} graphs {formed:?} changed");
}

/// Every spelling without a fault in it is found.
#[test]
fn exact_spellings_leave_nothing() {
    let mut found = 0;
    for seed in (0..GRAPHS).step_by(3) {
        let (before, after, _) = pair(seed);
        let swish = counts(&after, "HardSwish") == 1;
        found += usize::from(swish && counts(&after, "Mul") + counts(&after, "Clip") == 0);
        assert!(!swish || after.opset() == 14, "{}", print_text(before.model()));
    }
    assert!(found > 20, "only {found} are nothing but a HardSwish");
}

#[test]
fn onnx_runtime_computes_the_same() {
    let probe = Command::new("python3").args(["-c", "import numpy, onnx, onnxruntime"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: python3 has no onnxruntime");
        return;
    }
    let (folder, mut written) = (tempfile::tempdir().unwrap(), 0);
    let write = |seed: u64, which: &str, graph: &Graph| {
        std::fs::write(folder.path().join(format!("{seed}.{which}.onnx")), to_bytes(graph.model()).unwrap()).unwrap();
    };
    for seed in 0..GRAPHS {
        let (before, after, ran) = pair(seed);
        if ran != [0; 3] {
            write(seed, "before", &before);
            write(seed, "after", &after);
            written += 1;
        }
    }
    let bytes: Vec<u8> = input().iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(folder.path().join("x"), bytes).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ramps.py");
    let judged = Command::new("python3").arg(script).arg(folder.path()).arg(SAME.to_string()).output().unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
    assert_eq!(String::from_utf8_lossy(&judged.stdout).trim(), format!("{written} pairs compared"));
}
