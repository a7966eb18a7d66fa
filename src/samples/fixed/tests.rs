//! Texts as values, shapes and types.

use super::*;
use crate::onnx::{ExternalData, array, parse_text};
use proptest::prelude::*;

const INPUTS: &str = "float[N,2] x, int64 rate, bool on, float temperature, int64[2] size, int32[ids] tokens, \
                      uint8[1,3] mask, double[2] d, float16 h, string s, float[N] batch";

fn graph(inputs: &str) -> Graph {
    let text = format!("<ir_version: 8, opset_import: [\"\" : 13]> g ({inputs}) => (y) {{ y = Relu (x) }}");
    Graph::new(parse_text(&text).unwrap(), ExternalData::none())
}

fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn fix(pairs: &[(&str, &str)]) -> Result<Vec<FixedInput>> {
    fixed_inputs(&graph(INPUTS), &given(pairs), &BTreeMap::new())
}

fn one(name: &str, text: &str) -> FixedInput {
    fix(&[(name, text)]).unwrap().remove(0)
}

fn check(name: &str, text: &str, dims: &[usize], values: &Values, shown: &str) {
    let fixed = one(name, text);
    let found = array(&fixed.tensor, &ExternalData::none()).unwrap();
    assert_eq!(found, Array { dims: dims.to_vec(), values: values.clone() }, "{name}={text}");
    assert_eq!((fixed.name(), fixed.text.as_str()), (name, shown), "{name}={text}");
}

#[test]
fn values_have_the_type_and_shape_that_the_input_declares() {
    check("rate", "16000", &[], &Values::I64(vec![16_000]), "16000");
    check("on", "false", &[], &Values::Bool(vec![false]), "false");
    check("on", "1", &[], &Values::Bool(vec![true]), "true");
    check("temperature", "1", &[], &Values::F32(vec![1.0]), "1");
    check("temperature", "-1e-3", &[], &Values::F32(vec![-0.001]), "-0.001");
    check("size", "224,320", &[2], &Values::I64(vec![224, 320]), "224,320");
    check("size", " [224, 320] ", &[2], &Values::I64(vec![224, 320]), "224,320");
    check("size", "224", &[2], &Values::I64(vec![224, 224]), "224,224");
    check("mask", "1", &[1, 3], &Values::U8(vec![1, 1, 1]), "1,1,1");
    check("d", "0.1,2", &[2], &Values::F64(vec![0.1, 2.0]), "0.1,2");
    check("h", "0.1", &[], &Values::F32(vec![0.099_975_586]), "0.099975586");
}

#[test]
fn a_list_says_the_extent_of_a_row() {
    check("tokens", "[5]", &[1], &Values::I32(vec![5]), "[5]");
    check("tokens", "5,5,6", &[3], &Values::I32(vec![5, 5, 6]), "5,5,6");
    let named = fixed_inputs(&graph(INPUTS), &given(&[("tokens", "7")]), &[("ids".to_owned(), 9)].into()).unwrap();
    assert_eq!((named[0].tensor.dims.as_slice(), named[0].text.as_str()), ([9].as_slice(), "7"));
}

#[test]
fn what_does_not_fit_is_said() {
    let refused = |name: &str, text: &str, wanted: &[&str]| {
        let error = fix(&[(name, text)]).unwrap_err();
        assert_eq!(error.code(), Code::Config);
        let text = error.to_string();
        wanted.iter().for_each(|want| assert!(text.contains(want), "{want} in: {text}"));
    };
    refused("sr", "1", &["no input 'sr'", "its inputs are: x, rate, on, temperature, size, tokens"]);
    refused("rate", "16k", &["fixed input 'rate': '16k' is no int64: it is not a whole number"]);
    refused("rate", "", &["'' is no int64"]);
    refused("rate", "9223372036854775808", &["beyond the type's range", "to 9223372036854775807"]);
    refused("rate", "1,2", &["2 values were given, and it is a single value"]);
    refused("mask", "256", &["'256' is no uint8", "from 0 to 255"]);
    refused("mask", "1,2", &["2 values were given, and its shape is [1, 3]"]);
    refused("on", "yes", &["'yes' is no bool", "true or false"]);
    refused("temperature", "nan", &["'nan' is no float: it is not a finite number"]);
    refused("temperature", "1e39", &["beyond the type's range"]);
    refused("h", "70000", &["'70000' is no float16: it is beyond the type's range"]);
    refused("s", "a", &["takes string, and only numbers and bool can be fixed"]);
    refused("tokens", "5", &["leaves the extent of axis 0 open", "--dim ids=N, or write a list: [VALUE]"]);
    refused("x", "0", &["leaves the extent of axis 0 open", "--dim N=N"]);
}

#[test]
fn something_must_stay_open() {
    let all = graph("float[1,2] x, int64 n");
    let error = fixed_inputs(&all, &given(&[("x", "0"), ("n", "1")]), &BTreeMap::new()).unwrap_err();
    assert!(error.message().contains("every input of the model is fixed"), "{error}");
    assert_eq!(fixed_inputs(&all, &given(&[("n", "1")]), &BTreeMap::new()).unwrap().len(), 1);
}

#[test]
fn absurd_shapes_are_refused() {
    for shape in ["1,9000000000,9000000000", "1048577"] {
        let graph = graph(&format!("float[1,2] x, float[{shape}] huge"));
        let error = fixed_inputs(&graph, &given(&[("huge", "0")]), &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("more elements than"), "{error}");
    }
}

#[test]
fn a_weight_that_is_listed_as_an_input_is_none_up_to_ir_3() {
    let text = |ir: u32| {
        format!(
            "<ir_version: {ir}, opset_import: [\"\" : 7]> g (float[1] x, float[1] w) => (y)
                 <float[1] w = {{1}}> {{ y = Add (x, w) }}"
        )
    };
    let fix = |ir| {
        let graph = Graph::new(parse_text(&text(ir)).unwrap(), ExternalData::none());
        fixed_inputs(&graph, &given(&[("w", "2")]), &BTreeMap::new())
    };
    assert!(fix(3).unwrap_err().to_string().contains("its inputs are: x"));
    assert_eq!(fix(4).unwrap()[0].place, None);
    let many: String = (0..20).map(|i| format!(", float w{i}")).collect();
    let weights: Vec<String> = (0..20).map(|i| format!("float w{i} = {{1}}")).collect();
    let text = format!(
        "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1] x{many}, bool on) => (y) <{}> {{ y = Relu (x) }}",
        weights.join(", ")
    );
    let graph = Graph::new(parse_text(&text).unwrap(), ExternalData::none());
    let error = fixed_inputs(&graph, &given(&[("off", "1")]), &BTreeMap::new()).unwrap_err();
    assert!(
        error.to_string().ends_with("its inputs are: x, on, w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, and 10 more"),
        "{error}"
    );
}

#[test]
fn samples_are_held_to_the_value_in_its_own_type() {
    let holds = |name: &str, text: &str, dims: &[usize], values: Values| {
        one(name, text).check(Array { dims: dims.to_vec(), values }).map_err(|e| e.message().to_owned())
    };
    assert_eq!(holds("rate", "8000", &[], Values::I32(vec![8000])), Ok(()));
    let differs = "input `rate` holds 16000, and it is fixed at 8000";
    assert_eq!(holds("rate", "8000", &[], Values::I64(vec![16_000])), Err(differs.to_owned()));
    assert_eq!(holds("on", "true", &[], Values::U8(vec![255])), Ok(()));
    assert_eq!(holds("d", "0.1", &[2], Values::F32(vec![0.1; 2])), Ok(()));
    assert_eq!(holds("h", "0.1", &[], Values::F32(vec![0.1])), Ok(()));
    let differs = "input `size` holds 2 at element 1, and it is fixed at 1,1";
    assert_eq!(holds("size", "1", &[2], Values::I64(vec![1, 2])), Err(differs.to_owned()));
    assert!(holds("size", "1", &[3], Values::I64(vec![1; 3])).is_err());
}

proptest! {
    /// What is shown is read as the same value: plans and files keep the text alone.
    #[test]
    fn the_text_says_the_whole_value(name in "rate|on|temperature|size|tokens|mask|d|h", text in "[-+.,e0-9 \\[\\]]{0,12}|true|false") {
        if let Ok(found) = fix(&[(&name, &text)]) {
            prop_assert_eq!(&found, &fix(&[(&name, &found[0].text)]).unwrap());
        }
    }

    #[test]
    fn floats_keep_every_bit(x in proptest::num::f32::NORMAL | proptest::num::f32::SUBNORMAL) {
        let fixed = one("temperature", &x.to_string());
        prop_assert_eq!(&fixed.tensor.raw_data[..], &x.to_le_bytes()[..]);
        prop_assert_eq!(fixed.text, x.to_string());
    }
}
