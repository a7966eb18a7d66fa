//! Every case of `fixtures/quantize/` on every target: where Q/DQ went, what was stored, what was planned.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tapq::engine::{Engine, Options as EngineOptions};
use tapq::graph::Graph;
use tapq::onnx::{ExternalData, parse_text, print_text};
use tapq::plan::{Plan, RoundingMethod};
use tapq::samples::{Preprocess, SampleSet, input_specs, synthetic};
use tapq::target::{self, Target};
use tapq::{Code, Result};
use tapq_passes::pipeline::{Effort, Options, Outcome, Silent, Widths, quantize};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/quantize");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 7);
    files
}

fn graph(file: &Path) -> Graph {
    let text = std::fs::read_to_string(file).unwrap();
    Graph::new(parse_text(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display())), ExternalData::none())
}

fn samples(graph: &Graph) -> SampleSet {
    synthetic(&input_specs(graph, &BTreeMap::new()), &Preprocess::default(), 4, 7).unwrap()
}

fn run(graph: &Graph, target: &Target, widths: Widths, plan: Option<Plan>) -> Result<Outcome> {
    let calibration = samples(graph);
    let options = Options { widths, plan, verify: true, ..Options::new(target, &calibration).unwrap() };
    quantize(graph.clone(), &options, &Silent)
}

/// The text with its fractions cut to four digits: processors differ in the last bits of a sum.
fn legible(text: &str) -> String {
    let mut words: Vec<String> = vec![String::new()];
    for c in text.chars() {
        let part = c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
        match words.last_mut() {
            Some(last)
                if part
                    == last.ends_with(|l: char| l.is_ascii_alphanumeric() || matches!(l, '.' | '-' | '_' | '/')) =>
            {
                last.push(c)
            }
            _ => words.push(c.to_string()),
        }
    }
    let short = |word: &String| match word.parse::<f64>() {
        Ok(v) if word.contains('.') || word.contains("e-") => format!("{:.3e}", v),
        _ => word.clone(),
    };
    words.iter().map(short).collect()
}

#[test]
fn each_case_matches_its_snapshot_on_each_target() {
    for file in cases() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        for target in target::names() {
            let outcome = run(&graph(&file), &Target::named(target).unwrap(), Widths::default(), None)
                .unwrap_or_else(|e| panic!("{name} on {target}: {e}"));
            let decisions: Vec<String> =
                outcome.plan.activations.iter().map(|a| format!("{} <- {:?}", a.value, a.readers)).collect();
            let mut model = outcome.graph.model().clone();
            model.metadata_props.retain(|p| p.key != "tapq.plan");
            let text = format!("{}\n\n{}", decisions.join("\n"), legible(&print_text(&model)));
            insta::with_settings!({
                snapshot_path => "../../snapshots",
                prepend_module_to_snapshot => false,
                omit_expression => true,
            }, { insta::assert_snapshot!(format!("quantize@{name}@{target}"), text) });
        }
    }
}

#[test]
fn eight_bits_stay_close_to_float() {
    for file in cases() {
        for target in target::names() {
            let outcome = run(&graph(&file), &Target::named(target).unwrap(), Widths::default(), None).unwrap();
            let fidelity = outcome.report.fidelity.unwrap();
            assert!(fidelity.sqnr_db > 20.0, "{} on {target}: {:.1} dB", file.display(), fidelity.sqnr_db);
        }
    }
}

#[test]
fn ranges_follow_the_rule_that_measured_better() {
    let mut asked = 0;
    for file in cases() {
        let graph = graph(&file);
        let calibration = samples(&graph);
        for name in target::names() {
            let target = Target::named(name).unwrap();
            let options = Options { effort: Effort::Balanced, ..Options::new(&target, &calibration).unwrap() };
            let plan = quantize(graph.clone(), &options, &Silent).unwrap().plan;
            let measured = |what: &str| plan.allocation.compared.iter().find(|c| c.what.starts_with(what));
            let wide = plan.activations.iter().any(|a| a.because.starts_with("extremes seen, since"));
            match measured("ranges of everything").zip(measured("ranges of least")) {
                Some((all, least)) => {
                    asked += 1;
                    assert_eq!(wide, all.sqnr_db >= least.sqnr_db + 0.5, "{} on {name}", file.display());
                }
                None => assert!(!wide, "{} on {name}", file.display()),
            }
        }
    }
    assert!(asked > 0, "no case has an output with channels");
}

#[test]
fn a_replayed_plan_gives_the_same_bytes() {
    for file in cases() {
        for (target, widths) in [
            ("cpu", Widths::default()),
            ("hexagon", Widths::default()),
            ("fpga", Widths { average: Some(4.5), ..Default::default() }),
        ] {
            let target = Target::named(target).unwrap();
            let first = run(&graph(&file), &target, widths, None).unwrap();
            let yaml = first.plan.to_yaml().unwrap();
            let plan = Plan::from_yaml(&yaml, "plan.yaml").unwrap();
            assert_eq!(plan, first.plan);
            let again = run(&graph(&file), &target, Widths::default(), Some(plan)).unwrap();
            let bytes = |o: &Outcome| tapq::onnx::to_bytes(o.graph.model()).unwrap();
            assert!(bytes(&first) == bytes(&again), "{} on {}", file.display(), target.name);
        }
    }
}

#[test]
fn a_plan_for_another_model_names_the_layer() {
    let files = cases();
    let (a, b) = (graph(&files[0]), graph(&files[files.len() - 1]));
    let target = Target::named("cpu").unwrap();
    let plan = run(&a, &target, Widths::default(), None).unwrap().plan;
    let error = run(&b, &target, Widths::default(), Some(plan)).err().unwrap();
    assert_eq!(error.code(), Code::PlanMismatch);
    assert!(error.to_string().contains("layer '"), "{error}");
}

#[test]
fn a_budget_is_kept_and_infeasible_ones_are_refused() {
    let file = cases().into_iter().find(|f| f.ends_with("residual.onnxtxt")).unwrap();
    let target = Target::named("fpga").unwrap();
    for average in [2.0, 3.1, 4.0, 6.7] {
        let plan =
            run(&graph(&file), &target, Widths { average: Some(average), ..Default::default() }, None).unwrap().plan;
        assert!(plan.average_weight_bits() <= average + 1e-9, "{} > {average}", plan.average_weight_bits());
        assert!(plan.average_weight_bits() > average - 1.5, "{} is far below {average}", plan.average_weight_bits());
    }
    let error = run(&graph(&file), &target, Widths { average: Some(1.0), ..Default::default() }, None).err().unwrap();
    assert_eq!(error.code(), Code::Infeasible, "{error}");
}

#[test]
fn layers_inside_a_body_are_said_to_be_there() {
    let text = r#"<ir_version: 8, opset_import: ["" : 13]>
branches (bool c, float[1,2] x) => (float[1,2] y)
<float[2,2] w = {0.5, -0.4, 0.3, 0.9}>
{
  [fork] y = If (c) <then_branch = t () => (float[1,2] p) { p = MatMul (x, w) }, else_branch = e () => (float[1,2] q) { q = Neg (x) }>
}
"#;
    let graph = Graph::new(parse_text(text).unwrap(), ExternalData::none());
    let error = run(&graph, &Target::named("cpu").unwrap(), Widths::default(), None).err().unwrap();
    assert_eq!(error.code(), Code::NothingToQuantize);
    assert!(error.to_string().contains("in the body of If 'fork'"), "{error}");
}

#[test]
fn a_quantized_model_is_not_quantized_again() {
    let target = Target::named("cpu").unwrap();
    for file in cases() {
        let outcome = run(&graph(&file), &target, Widths::default(), None).unwrap();
        let error = run(&outcome.graph, &target, Widths::default(), None).err().unwrap();
        assert_eq!(error.code(), Code::AlreadyQuantized, "{error}");
    }
}

/// HardSwish came with opset 14: a target that reads none gets the parts.
#[test]
fn hard_swish_is_formed_where_the_target_reads_it() {
    let file = cases().into_iter().find(|f| f.ends_with("hard_swish_gate.onnxtxt")).unwrap();
    for (most, formed) in [(13, 0), (14, 1), (26, 1)] {
        let mut target = Target::named("cpu").unwrap();
        target.onnx.max_opset = most;
        let outcome = run(&graph(&file), &target, Widths::default(), None).unwrap();
        let found = outcome.graph.nodes().iter().filter(|n| n.op_type == "HardSwish").count();
        assert_eq!((outcome.graph.opset(), found), (13 + formed as i64, formed), "up to {most}");
    }
}

/// What a person may write into a plan: each edit is refused with the class and a word of the message.
#[test]
fn an_edited_plan_is_held_to_the_target() {
    let file = cases().into_iter().find(|f| f.ends_with("residual.onnxtxt")).unwrap();
    let target = Target::named("jetson").unwrap();
    let plan = run(&graph(&file), &target, Widths::default(), None).unwrap().plan;
    let check = |edit: &dyn Fn(&mut Plan), code: Code, word: &str| {
        let mut edited = plan.clone();
        edit(&mut edited);
        let error = run(&graph(&file), &target, Widths::default(), Some(edited)).err().unwrap();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    };
    check(&|p| p.layers[0].bits = Some(4), Code::Refused, "stem");
    check(&|p| p.activations[0].zero_point = 3, Code::Refused, "zero point");
    check(&|p| p.activations[0].signed = false, Code::Refused, "sign");
    check(&|p| p.activations[0].readers[0].1 = 7, Code::PlanMismatch, "stem");
    check(&|p| p.activations[0].readers[0].0 = "nobody".into(), Code::PlanMismatch, "nobody");
    check(&|p| p.layers.push(p.layers[0].clone()), Code::PlanMismatch, "twice");
    check(&|p| p.layers[0].bias_shift.0.truncate(1), Code::PlanMismatch, "bias_shift");
    check(&|p| p.ir = 999, Code::PlanMismatch, "IR");
    check(&|p| p.target_digest = "0".into(), Code::PlanMismatch, "profile");
    check(&|p| p.model = "0".into(), Code::PlanMismatch, "outside");
}

/// Tiny weights beside a bias that int32 could not hold at their scale: the bias must survive.
#[test]
fn a_bias_that_would_overflow_int32_survives() {
    let text = r#"<ir_version: 8, opset_import: ["" : 13]>
overflow (float["N",1,2,2] x) => (float["N",2,2,2] y)
<float[2,1,1,1] w = {1.0e-9, 0.5}, float[2] b = {300.0, 0.25}>
{
  [conv] y = Conv (x, w, b)
}
"#;
    let graph = Graph::new(parse_text(text).unwrap(), ExternalData::none());
    let outcome = run(&graph, &Target::named("cpu").unwrap(), Widths::default(), None).unwrap();
    let engine = Engine::new(&outcome.graph, &[], &EngineOptions::default()).unwrap();
    let output = engine.run(&samples(&graph).samples[0], &mut |_, _| {}).unwrap();
    let values = output[0].as_f32().unwrap();
    assert!(values[..4].iter().all(|v| (v - 300.0).abs() < 2.0), "{values:?}");
}

/// A Gemm that scales its product and its bias is rounded with regard to its input like any other.
#[test]
fn a_scaled_gemm_is_rounded_as_an_unscaled_one() {
    let gemm = |attributes: &str, weight: &str, bias: &str| {
        let text = format!(
            "<ir_version: 8, opset_import: [\"\" : 13]>\nscaled (float[\"N\",3] x) => (float[\"N\",2] y)\n\
             <float[3,2] w = {{{weight}}}, float[2] c = {{{bias}}}>\n{{\n  [fc] y = Gemm {attributes} (x, w, c)\n}}"
        );
        let graph = Graph::new(parse_text(&text).unwrap(), ExternalData::none());
        let widths = Widths { uniform: Some(4), ..Default::default() };
        run(&graph, &Target::named("fpga").unwrap(), widths, None).unwrap()
    };
    let scaled = gemm("<alpha = 0.5, beta = 2.0>", "0.5, -0.8, 1.2, 0.6, -0.1, 1.8", "0.5, -1.5");
    let plain = gemm("", "0.25, -0.4, 0.6, 0.3, -0.05, 0.9", "1.0, -3.0");
    assert_eq!(scaled.plan.layers[0].rounding, RoundingMethod::SecondOrder);
    assert_eq!(scaled.graph.model(), plain.graph.model());
}
