//! What tapq does not touch survives reading and writing, and no input makes it panic.

use proptest::prelude::*;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tapq::Code;
use tapq::onnx::{ExternalData, ModelProto, floats, parse, parse_text, print_text, read, to_bytes, write};

fn shared_models() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/assets/models");
    let Ok(entries) = fs::read_dir(folder) else {
        eprintln!("skipped: shared assets are absent");
        return vec![];
    };
    let mut paths: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    paths.sort();
    paths
}

#[test]
fn real_models_survive() {
    let folder = tempfile::tempdir().unwrap();
    for path in shared_models() {
        let (model, external) = read(&path).unwrap();
        assert_eq!(parse(&to_bytes(&model).unwrap()).unwrap(), model, "{}", path.display());
        let copy = folder.path().join("copy.onnx");
        write(&model, &external, &copy).unwrap();
        assert_eq!(fs::read(&copy).unwrap(), to_bytes(&model).unwrap());
        print_text(&model);
    }
}

const GENERATED: &str = r#"
<ir_version: 8, opset_import: ["" : 17, "local" : 1], producer_name: "test", metadata_props: ["a": "b"]>
main (float[N,2] x, bool c) => (float[N,2] y)
<float[2,2] W = {1, 2.5, -3, 1e-7}, int64[2] axes = {-1, 0}, float[N,2] t>
{
   [first] t = local.Twice <alpha = 0.5> (x)
   y = If (c) <
      then_branch = then () => (float[N,2] a) { a = MatMul (t, W) },
      else_branch = else () => (float[N,2] b) <float k = {2}> { b = Mul (t, k) }
   >
   z = Clip <kinds = ["a", "b"], sizes: ints = [], v: tensor = uint8[3] {1, 2, 255}> (t, "", k)
}
<domain: "local", opset_import: ["" : 17]>
Twice <alpha> (x) => (y) { y = LeakyRelu <alpha: float = @alpha> (x) }
"#;

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = vec![];
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// Length-delimited field `number` with this content.
fn field(number: u64, content: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

#[track_caller]
fn check_survives(bytes: &[u8]) -> ModelProto {
    let model = parse(bytes).unwrap();
    let written = to_bytes(&model).unwrap();
    assert_eq!(parse(&written).unwrap(), model);
    assert_eq!(written, to_bytes(&parse(bytes).unwrap()).unwrap(), "not deterministic");
    assert_eq!(written.len(), bytes.len(), "something was lost or added");
    model
}

#[test]
fn functions_subgraphs_and_metadata_survive() {
    let model = parse_text(GENERATED).unwrap();
    assert_eq!(check_survives(&to_bytes(&model).unwrap()), model);
}

#[test]
fn unknown_fields_survive_in_every_message() {
    let unknown = [field(900, b"unknown payload"), vec![0xc8, 0x3e, 0x07], field(901, &[0x0b; 4])].concat();
    let attribute = [field(1, b"a"), unknown.clone()].concat();
    let node = [field(1, b"x"), field(2, b"y"), field(4, b"Relu"), field(5, &attribute), unknown.clone()].concat();
    let tensor = [field(8, b"W"), unknown.clone()].concat();
    let graph = [field(1, &node), field(5, &tensor), unknown.clone()].concat();
    let function = [field(1, b"f"), field(7, &node), unknown.clone()].concat();
    let training = [field(1, &graph), field(2, &graph), unknown.clone()].concat();
    let model = [vec![0x08, 10], field(7, &graph), field(20, &training), field(25, &function), unknown].concat();
    let parsed = check_survives(&model);
    assert_eq!(parsed.training_info.len(), 1);
    let written = to_bytes(&parsed).unwrap();
    let count = written.windows(15).filter(|w| w == b"unknown payload").count();
    // Three graphs of four messages, a training info, a function of three, the model.
    assert_eq!(count, 3 * 4 + 1 + 3 + 1);
}

#[test]
fn numbers_that_no_enum_names_survive() {
    let attribute = [field(1, b"a"), vec![0xa0, 0x01, 99]].concat();
    let node = [field(4, b"Op"), field(5, &attribute)].concat();
    let tensor = [field(8, b"W"), vec![0x10, 26, 0x70, 7]].concat();
    let model = check_survives(&field(7, &[field(1, &node), field(5, &tensor)].concat()));
    assert_eq!(model.graph.initializer[0].data_type, 26);
    assert_eq!(model.graph.node[0].attribute[0].type_.value(), 99);
}

/// A model with a weight in the graph, one in a subgraph and one in a Constant node, all at `place`.
fn external_model(place: &str) -> ModelProto {
    let text = format!(
        r#"<ir_version: 8, opset_import: ["" : 17]>
        main (bool c) => (float[2] y) <float[2] W = [{place}]>
        {{
           k = Constant <value = float[2] K [{place}]> ()
           y = If (c) <then_branch = then () => (float[2] a) <float[2] S = [{place}]> {{ a = Add (S, k) }},
                       else_branch = else () => (float[2] b) {{ b = Add (W, k) }}>
        }}"#
    );
    parse_text(&text).unwrap()
}

fn with_files(place: &str, weights: Option<&[u8]>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    fs::write(&path, to_bytes(&external_model(place)).unwrap()).unwrap();
    if let Some(weights) = weights {
        fs::write(folder.path().join("weights.bin"), weights).unwrap();
    }
    (folder, path)
}

#[test]
fn external_tensors_are_read_where_they_are() {
    let bytes: Vec<u8> = [9.0f32, 1.5, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let (folder, path) = with_files(r#""location": "weights.bin", "offset": "4", "length": "8""#, Some(&bytes));
    let (model, external) = read(&path).unwrap();
    let check = |model: &ModelProto, external: &ExternalData| {
        let graph = &model.graph;
        let subgraph = &graph.node[1].attribute[0].g;
        for tensor in [&graph.initializer[0], &subgraph.initializer[0], graph.node[0].attribute[0].t.as_ref().unwrap()]
        {
            assert_eq!(floats(tensor, external).unwrap(), [1.5, -2.0]);
        }
    };
    check(&model, &external);
    // Too small to be worth a second file: the copy holds them.
    let copy = folder.path().join("copy.onnx");
    write(&model, &external, &copy).unwrap();
    assert!(!folder.path().join("copy.onnx.data").exists());
    check(&read(&copy).unwrap().0, &ExternalData::none());
    let error = floats(&model.graph.initializer[0], &ExternalData::none()).unwrap_err().to_string();
    assert!(error.contains("not part of the model as read"), "{error}");
}

#[test]
fn bad_external_data_is_refused_when_the_model_is_read() {
    let check = |place: &str, weights: Option<&[u8]>, code: Code, expected: &str| {
        let (_folder, path) = with_files(place, weights);
        let error = read(&path).unwrap_err();
        assert_eq!(error.code(), code);
        let error = error.to_string();
        assert!(error.contains("m.onnx: tensor \"W\": ") && error.contains(expected), "{error}");
    };
    let here = r#""location": "weights.bin""#;
    check(here, None, Code::Io, "weights.bin: No such file");
    check(here, Some(&[0; 7]), Code::InvalidGraph, "weights.bin, which has 7 bytes");
    check(&format!("{here}, \"offset\": \"4\""), Some(&[0; 8]), Code::InvalidGraph, "ends at byte 12");
    check(&format!("{here}, \"offset\": \"-4\""), Some(&[0; 8]), Code::InvalidGraph, "\"-4\", which is no size");
    let huge = format!("{here}, \"offset\": \"{}\", \"length\": \"{}\"", u64::MAX, u64::MAX);
    check(&huge, Some(&[0; 8]), Code::InvalidGraph, "which has 8 bytes");
    check(r#""location": "../weights.bin""#, None, Code::InvalidGraph, "leads out of the model's folder");
    check(r#""location": "/etc/passwd""#, None, Code::InvalidGraph, "leads out of the model's folder");
    check(r#""location": ".""#, None, Code::InvalidGraph, "not a regular file");
    check(r#""offset": "0""#, None, Code::InvalidGraph, "names no location");
    check(&format!("{here}, \"length\": \"4\""), Some(&[0; 8]), Code::InvalidGraph, "4 bytes, but shape [2] takes 8");
}

/// What allocates by shape must not meet a shape that the data does not fill.
#[test]
fn tensors_hold_as_much_as_their_shape_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let check = |damage: &dyn Fn(&mut ModelProto), expected: &str| {
        let mut model = parse_text(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            main (float[2] x) => (float[2] y) <float[2] W = {1, 2}, int4[3] P = {1, 2, 3}>
            {
               k = Constant <value = int64[2] {1, 2}> ()
               y = Add (x, W)
            }"#,
        )
        .unwrap();
        damage(&mut model);
        fs::write(&path, to_bytes(&model).unwrap()).unwrap();
        match read(&path) {
            Ok(_) => assert!(expected.is_empty(), "{expected}"),
            Err(error) => {
                assert_eq!(error.code(), Code::InvalidGraph);
                let error = error.to_string();
                assert!(!expected.is_empty() && error.contains("m.onnx: ") && error.contains(expected), "{error}");
            }
        }
    };
    check(&|_| {}, "");
    check(&|m| m.graph.as_mut().unwrap().initializer[0].dims = vec![1 << 40], "but shape [1099511627776] takes");
    check(&|m| m.graph.as_mut().unwrap().initializer[0].dims = vec![i64::MAX, 4], "more elements than memory can");
    check(&|m| m.graph.as_mut().unwrap().initializer[0].dims = vec![-2], "tensor \"W\": dimension -2 is negative");
    check(&|m| m.graph.as_mut().unwrap().initializer[1].dims = vec![5], "tensor \"P\"");
    check(
        &|m| m.graph.as_mut().unwrap().node[0].attribute[0].t.as_mut().unwrap().dims = vec![3],
        "attribute 'value' of Constant 'k'",
    );
}

#[test]
fn files_that_are_no_models_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, expected: &str| {
        let error = read(&folder.path().join(name)).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(expected), "{error}");
    };
    check("missing.onnx", "cannot read the model: No such file");
    fs::create_dir(folder.path().join("folder.onnx")).unwrap();
    check("folder.onnx", "it is a folder");
    fs::write(folder.path().join("empty.onnx"), b"").unwrap();
    check("empty.onnx", "the model is empty");
    fs::write(folder.path().join("text.onnx"), b"<ir_version: 8> g () => () {}").unwrap();
    check("text.onnx", "a text file");
    let bytes = to_bytes(&parse_text(GENERATED).unwrap()).unwrap();
    fs::write(folder.path().join("cut.onnx"), &bytes[..bytes.len() - 9]).unwrap();
    check("cut.onnx", "the file is truncated or damaged");
}

#[test]
fn truncation_anywhere_is_an_error_or_a_shorter_model() {
    let bytes = to_bytes(&parse_text(GENERATED).unwrap()).unwrap();
    let errors = (0..bytes.len()).filter(|end| parse(&bytes[..*end]).is_err()).count();
    assert!(errors > bytes.len() * 9 / 10, "{errors} of {}", bytes.len());
}

#[test]
fn hostile_models_cost_little() {
    assert!(parse(&vec![0x0b; 2 << 20]).is_err());
    assert!(parse(&field(7, &vec![0x0b; 2 << 20])).is_err());
    let deep = (0..20_000).fold(vec![], |inner, _| field(1, &field(5, &field(6, &inner))));
    assert!(parse(&field(7, &deep)).unwrap_err().to_string().contains("nested more than"));
    let allowed = (0..32).fold(vec![], |inner, _| field(1, &field(5, &field(6, &inner))));
    check_survives(&field(7, &allowed));
    let negative = vec![0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
    for dims in [negative, [vec![0x08], varint(1 << 62)].concat()] {
        let tensor = [dims, vec![0x10, 1], field(8, b"W"), field(9, &[0; 4])].concat();
        let model = parse(&field(7, &field(5, &tensor))).unwrap();
        assert!(floats(&model.graph.initializer[0], &ExternalData::none()).is_err());
        print_text(&model);
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
        let _ = parse(&field(7, &bytes));
        let _ = parse(&field(7, &field(1, &field(5, &bytes))));
    }

    #[test]
    fn damaged_models_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = to_bytes(&parse_text(GENERATED).unwrap()).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(model) = parse(&bytes) {
            let written = to_bytes(&model).unwrap();
            let text = print_text(&model);
            prop_assert_eq!(written.len() as u64, protobuf::Message::compute_size(&model));
            prop_assert!(parse(&written).unwrap() == model || text.contains("nan"));
            let _ = parse_text(&text);
        }
    }
}

/// What a Python script with `onnx` makes of `input`; `None`, said in words, where that package is absent.
fn python(script: &str, input: &[u8]) -> Option<Vec<u8>> {
    let run = |script: &str, input: &[u8]| {
        let mut command = Command::new("python3");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().ok()?;
        // A script that fails early closes its end; its exit status says so below.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().ok()
    };
    if !run("import onnx.parser, onnx.printer", b"").is_some_and(|o| o.status.success()) {
        eprintln!("skipped: python3 with the package onnx is absent");
        return None;
    }
    let output = run(script, input).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

const PARSE: &str = "import sys, onnx.parser
model = onnx.parser.parse_model(sys.stdin.buffer.read().decode())
sys.stdout.buffer.write(model.SerializeToString())";

const PRINT: &str = "import sys, onnx, onnx.printer
model = onnx.load_from_string(sys.stdin.buffer.read())
sys.stdout.buffer.write(onnx.printer.to_text(model).encode())";

/// Everything that both syntaxes have and that neither side abbreviates.
const COMMON: &str = r#"
<ir_version: 10, opset_import: ["" : 21, "local" : 1], producer_name: "a \"b\" \\", metadata_props: ["a": "b"]>
main (float[N,3] x, float["a+b",?] p, float[] any, seq(map(int64, optional(string))) q, float s) => (float[N,3] y)
<float[2,2] W = {1, -0.5, 1e-7, 3e38}, float[2] odd = {nan, -inf}, double d = {0.1}, int64[1] axes = {-1}, int32 i = {-7},
 uint64 big = {18446744073709551615}, uint32 u = {4294967295}, int8[2] b = {-128, 127}, uint8 c = {255}, int16 e = {-5},
 bool[2] mask = {1, 0}, float16[2] h = {15360, 0}, bfloat16 g = {16256}, string[2] names = {"a", "b\"c"}, float s = {1.5},
 float[3] v>
{
   [n1] t = Add (x, W)
   ["n/2"] "t/1", "" = local.Twice <alpha: float = 1.0, k: ints = [1, 2], none: floats = [], f: floats = [0.1, inf], s: string = "x",
      ss: strings = ["x", "y"], c: tensor = int8[2] {1, 2}, tp: type_proto = float[3]> (t, "", "t.9")
   y = If (s) <then_branch: graph = then () => (float[N,3] a) { a = Identity (t) },
               else_branch: graph = else () => (float[N,3] b) <float k = {2}> { b = Mul (t, k) }>
}
<domain: "local", opset_import: ["" : 21]>
Twice <alpha> (x, z, w) => (y) { y = LeakyRelu <alpha: float = @alpha> (x) }
"#;

#[test]
fn python_reads_what_we_print() {
    let ours = parse_text(COMMON).unwrap();
    let Some(bytes) = python(PARSE, print_text(&ours).as_bytes()) else { return };
    // Python keeps constants in typed fields; printing compares the values.
    assert_eq!(print_text(&parse(&bytes).unwrap()), print_text(&ours));
}

#[test]
fn we_read_what_python_prints() {
    let mut models = vec![parse_text(COMMON).unwrap()];
    models.extend(shared_models().iter().filter(|p| p.ends_with("kws_dscnn.onnx")).map(|p| read(p).unwrap().0));
    for model in models {
        let Some(text) = python(PRINT, &to_bytes(&model).unwrap()) else { return };
        let read_back = parse_text(std::str::from_utf8(&text).unwrap()).unwrap();
        assert_eq!(print_text(&read_back), print_text(&model));
    }
}
