use super::super::types::INT2;
use super::super::{
    AttributeType, DataType, ExternalData, ModelProto, NodeProto, StringStringEntryProto, floats, from_floats,
    from_ints, ints,
};
use super::*;
use proptest::prelude::*;

const EVERYTHING: &str = r#"<
   ir_version: 10,
   opset_import: ["" : 21, "local" : 1],
   producer_name: "a \"quoted\" \\ name",
   model_version: 3,
   metadata_props: ["key": "value", "empty": ""]
>
main (float[N,3] x, float["a+b",?] p, float[] any, seq(map(int64, optional(string))) q, float s) => (float[N,3] y)
   <
      float[2,2] W = {1, -0.5, 1e-7, nan},
      int64[1] axes = {-1},
      uint64 big = {18446744073709551615},
      int4[3] four = {-8, 0, 7},
      uint4[2] ufour = {15, 1},
      int2[3] two = {-2, 1, 0},
      bool[2] mask = {1, 0},
      float16[1] h = {15360},
      string[2] names = {"a", "b\"c"},
      double d = {0.1},
      float[2] e = ["location": "w.bin", "length": "8"],
      float s = {1.5},
      float[2] v,
      "untyped.value"
   >
   {
      [n1] t = Add (x, W)
      ["n/2"] "t/1", "" = local.Twice:over <alpha: float = 1.0, k: ints = [1, 2], none: floats = [], f: floats = [1.0, inf], s: string = "x", ss: strings = ["x", "y"], c: tensor = int8[2] {1, 2}, tp: type_proto = float[3]> (t, "", "float")
      y = If (s) <then_branch: graph = then () => (float[N,3] a)
         {
            a = Identity (t)
         }, else_branch: graph = else () => (float[N,3] b)
         <
            float k = {2}
         >
         {
            b = Mul (t, k)
         }>
   }
<
   domain: "local",
   opset_import: ["" : 21],
   overload: "over"
>
Twice <alpha, beta: float = 0.5> (x, z, w) => (y)
{
   y = LeakyRelu <alpha: float = @alpha> (x)
}
"#;

#[test]
fn printing_undoes_parsing() {
    let model = parse_text(EVERYTHING).unwrap();
    let printed = print_text(&model);
    assert_eq!(parse_text(&printed).unwrap(), model, "{printed}");
    assert_eq!(print_text(&parse_text(&printed).unwrap()), printed);
    assert_eq!(normal(&printed), normal(EVERYTHING));
}

/// Without indentation.
fn normal(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

#[test]
fn constants_have_their_values() {
    let model = parse_text(EVERYTHING).unwrap();
    let constant = |name: &str| model.graph.initializer.iter().find(|t| t.name == name).unwrap();
    let none = ExternalData::none();
    assert_eq!(floats(constant("W"), &none).unwrap()[..3], [1.0, -0.5, 1e-7]);
    assert_eq!(ints(constant("four"), &none).unwrap(), [-8, 0, 7]);
    assert_eq!(ints(constant("two"), &none).unwrap(), [-2, 1, 0]);
    assert_eq!(floats(constant("h"), &none).unwrap(), [1.0]);
    let half = parse_text("g () => () <float16[2] h = {1.5, -2.0}> {}").unwrap();
    assert_eq!(floats(&half.graph.initializer[0], &none).unwrap(), [1.5, -2.0]);
}

#[test]
fn attributes_need_no_types() {
    let text =
        "g (x) => (y) { y = Op (x) <i = 1, f = 1.0, l = [1, 2.5], m = [2.5, 1], s = \"t\", d: float = 1, n = -inf> }";
    let model = parse_text(text).unwrap();
    let attributes = &model.graph.node[0].attribute;
    let kinds: Vec<_> = attributes.iter().map(|a| a.type_.unwrap()).collect();
    use AttributeType::*;
    assert_eq!(kinds, [INT, FLOAT, FLOATS, FLOATS, STRING, FLOAT, FLOAT]);
    assert_eq!((&attributes[2].floats, &attributes[3].floats), (&vec![1.0, 2.5], &vec![2.5, 1.0]));
    assert_eq!(attributes[6].f, f32::NEG_INFINITY);
}

#[test]
fn long_constants_are_abbreviated_whatever_their_storage() {
    let values: Vec<f32> = (0..20).map(|i| i as f32 / 4.0 - 1.0).collect();
    let raw = from_floats("W", &[4, 5], &values);
    let mut typed = raw.clone();
    typed.raw_data.clear();
    typed.float_data = values;
    let print = |t: &super::super::Tensor| format!("{} {}", constant::type_and_shape(t), constant::value(t));
    let text = print(&raw);
    assert!(text.starts_with("float[4,5] {... sha256:") && text.ends_with(", min -1, max 3.75}"), "{text}");
    assert_eq!(text, print(&typed));
    let many: Vec<i32> = (0..17).map(|i| i % 4 - 2).collect();
    let text = print(&from_ints("W", INT2, &[17], &many));
    assert!(text.ends_with(", min -2, max 1}"), "{text}");
    let mut bytes = from_ints("W", DataType::INT8 as i32, &[17], &many);
    let text = print(&bytes);
    bytes.raw_data.clear();
    bytes.int32_data = many;
    assert_eq!(print(&bytes), text);
    bytes.int32_data.pop();
    assert!(print(&bytes).starts_with("int8[17] {... sha256:"));
}

#[test]
fn node_metadata_is_a_comment() {
    let mut model = parse_text("g (x) => (y) { y = Relu (x) }").unwrap();
    let entry = StringStringEntryProto { key: "tapq.weight_bits".into(), value: "4\n5".into(), ..Default::default() };
    model.graph.as_mut().unwrap().node[0].metadata_props.push(entry);
    let printed = print_text(&model);
    assert!(printed.contains("y = Relu (x)  # tapq.weight_bits: 4\\n5\n"), "{printed}");
    assert_eq!(parse_text(&printed).unwrap().graph.node.len(), 1);
}

#[test]
fn names_that_are_no_identifiers_survive() {
    let node = NodeProto {
        op_type: "Op".into(),
        domain: "a-b.c".into(),
        output: vec!["float".into(), "é".into()],
        ..Default::default()
    };
    let mut model = ModelProto::default();
    model.graph.mut_or_insert_default().node = vec![node];
    assert_eq!(parse_text(&print_text(&model)).unwrap(), model);
}

#[test]
fn mistakes_are_placed() {
    let check = |text: &str, expected: &str| {
        let error = parse_text(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("", "line 1, column 1: expected the name of a graph, found the end");
    check("g (float x) -> ()", "line 1, column 13: expected '=', found '-'");
    check("g () => () {\n  y = Add(x y)\n}", "line 2, column 13: expected ')', found 'y'");
    check("g () => () <float[2] W = {1}> {}", "constant \"W\" has 1 values, but shape [2] takes 2");
    check("g () => () <int4 W = {8}> {}", "8 is not an integer from -8 to 7");
    check("g () => () <float[N] W = {8}> {}", "needs a shape of numbers");
    check("g () => () <float[-1] W = {8}> {}", "negative");
    check("g () => () { y = Op <a: ints = 1> () }", "another type");
    check("g () => () { y = Op <a = []> () }", "empty list needs a type");
    check("g () => () { y = Op <a = \"x> () }", "no closing quote");
    check("<ir_version: 99999999999999999999> g () => () {}", "column 14: expected an integer in range");
    check("<nonsense: 1> g () => () {}", "no key \"nonsense\"");
    check(&format!("g ({} x) => () {{}}", "seq(".repeat(10_000)), "nested more than 64 deep");
    check(&"g () => () { y = If (c) <b = ".repeat(10_000), "nested more than 64 deep");
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,80}") {
        let _ = parse_text(&text);
    }

    #[test]
    fn no_edit_of_a_model_panics(at in 0..EVERYTHING.len(), length in 0..40usize, replacement in "[-{}<>\\[\\]()=,:@#.\"0-9a-z ]{0,3}") {
        let mut text = EVERYTHING.to_owned();
        let end = (at + length).min(text.len());
        text.replace_range(at..end, &replacement);
        if let Ok(model) = parse_text(&text) {
            print_text(&model);
        }
    }

    #[test]
    fn floats_print_exactly(bits in any::<u32>()) {
        let value = f32::from_bits(bits);
        let tensor = from_floats("W", &[1], &[value]);
        let text = format!("g () => () <float[1] W = {}> {{}}", constant::value(&tensor));
        let back = floats(&parse_text(&text).unwrap().graph.initializer[0], &ExternalData::none()).unwrap()[0];
        prop_assert!(back.to_bits() == bits || (back.is_nan() && value.is_nan()), "{}", text);
    }
}
