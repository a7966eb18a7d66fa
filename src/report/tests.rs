//! The renderings of made-up reports.

use super::*;
use crate::plan::Compared;
use crate::proxy::Sensitivity;
use std::collections::BTreeSet;

/// A residual network of `n` layers with figures like real ones.
fn report(n: usize) -> Report {
    let layers: Vec<LayerReport> = (0..n).map(|i| layer(i, n)).collect();
    let params: u64 = layers.iter().map(|l| l.params as u64).sum();
    let float = layers.iter().filter(|l| l.bits.is_none());
    let refused = float.map(|l| Refused { what: format!("{} '{}'", l.op, l.name), because: l.because.clone() });
    Report {
        schema: REPORT_SCHEMA,
        tapq: "0.1.0".into(),
        model: "resnet_cifar10.onnx".into(),
        target: "fpga".into(),
        target_title: "FPGA dataflow with FINN, Q-Clip-DQ".into(),
        proxy: "gain".into(),
        calibration: Calibration { source: "cifar10_calib".into(), samples: 16, digest: "9f86d081884c7d65".repeat(4) },
        fixed_inputs: [("training".to_owned(), "false".to_owned())].into(),
        widened: Some("float16 is computed and stored as float32; x, y keep their type".into()),
        warnings: vec!["fidelity was measured on the calibration samples: it flatters".into()],
        size: Size {
            float_file: params * 4 + 21_000,
            quantized_file: params * 7 / 10 + 30_500,
            float_weights: params * 4,
            stored_weights: params * 7 / 10,
            nominal_weights: params * 52 / 80,
            elsewhere: 352_000,
            average_bits: 5.2,
            macs: layers.iter().map(|l| l.macs).sum(),
        },
        allocation: allocation(),
        activation_allocation: Some(allocation()),
        goal: Some(GoalRecord {
            sqnr_db: 20.0,
            from_db: 14.25,
            reached_db: 20.5,
            macs: 0.043,
            values: 31,
            relieved: 6,
            operators: (1..=5).map(|i| format!("/layer{i}/Add")).collect(),
            ..Default::default()
        }),
        fidelity: Some(Fidelity {
            samples: 32,
            held_out: Some(false),
            sqnr_db: 21.37,
            cosine: 0.99641,
            agreement: 0.96875,
            outputs: vec![
                ValueFidelity { value: "boxes".into(), sqnr_db: 24.0, cosine: 0.998 },
                ValueFidelity { value: "scores".into(), sqnr_db: 13.8, cosine: 0.98 },
            ],
            values: vec![ValueFidelity { value: "relu_0".into(), sqnr_db: 31.0, cosine: 0.9996 }],
            channels: vec![WorstChannel {
                value: "boxes".into(),
                axis: 1,
                channels: 22,
                channel: 7,
                sqnr_db: 2.3,
                whole_db: 24.0,
            }],
            caches: vec!["present.0.key".into(), "present.0.value".into()],
            says_nothing: None,
        }),
        activations: (0..n.min(20)).map(activation).collect(),
        refused: refused.collect(),
        passes: vec![PassReport {
            pass: "fold-batchnorm".into(),
            reasons: vec!["BatchNormalization 'bn1' into Conv '/conv1/Conv'".into()],
        }],
        layers,
    }
}

fn allocation() -> AllocationRecord {
    AllocationRecord {
        method: "knapsack".into(),
        budgets: [("average bits".to_owned(), 5.25)].into(),
        used: [("average bits".to_owned(), 5.2)].into(),
        sensitivity: Some(0.012345),
        proof: "optimal".into(),
        compared: vec![Compared {
            what: "uniform".into(),
            average_bits: Some(5.0),
            average_activation_bits: Some(8.0),
            sqnr_db: 12.5,
            taken: true,
        }],
    }
}

fn layer(i: usize, n: usize) -> LayerReport {
    let wide = 16usize << (3 * i / n.max(1));
    let last = i + 1 == n;
    let bits = match i {
        _ if last => None,
        0 => Some(8),
        _ => Some([4, 5, 4, 6, 8, 3][i % 6]),
    };
    let because = match bits {
        None => "the profile keeps the classifier in float because its input is a single vector and nothing is gained",
        _ => "least total sensitivity within the budget",
    };
    let jitter = ((i * 37) % 11) as f64;
    let error = |b: u32| 0.4 * 4f64.powi(-(b as i32)) * (1.0 + jitter);
    let widths: Vec<u32> = (2..=8).collect();
    LayerReport {
        name: if last {
            "/fc/Gemm".into()
        } else {
            format!("/layer{}/layer{}.{i}/conv/Conv", 1 + 3 * i / n, 1 + 3 * i / n)
        },
        op: if last { "Gemm" } else { "Conv" }.into(),
        shape: if last { vec![10, wide] } else { vec![wide, wide, 3, 3] },
        params: if last { 10 * wide } else { wide * wide * 9 },
        macs: if last { 10 * wide as u64 } else { 2_359_296 },
        bits,
        block: None,
        stored: match bits {
            None => "float32",
            Some(0..=4) => "int4",
            Some(_) => "int8",
        }
        .into(),
        rounding: bits.map(|_| RoundingError { nearest: 0.02, rounded: 0.01, corrected: 0.008 }),
        sensitivity: bits.map(|_| Sensitivity { error: widths.iter().map(|b| error(*b)).collect(), bits: widths }),
        output_sqnr_db: (i % 7 != 5).then(|| 38.0 - 17.0 * i as f64 / n as f64 - jitter * 0.9),
        because: because.into(),
    }
}

fn activation(i: usize) -> ActivationReport {
    let greatest = 1.5 + (i % 5) as f32;
    ActivationReport {
        value: format!("/layer1/layer1.{i}/relu/Relu_output_0"),
        bits: 8,
        scale: greatest / 255.0,
        zero_point: 0,
        range: [0.0, greatest],
        seen: [0.0, greatest * 1.07],
        sqnr_db: Some(30.0 - i as f64 * 0.4),
        because: "least error on samples left out: percentile 99.99".into(),
    }
}

fn snapshots(assert: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(assert);
}

#[test]
fn terminal() {
    snapshots(|| insta::assert_snapshot!("report-terminal", text(&report(6), 100, false, false)));
}

#[test]
fn terminal_of_a_long_network_lists_what_deserves_a_look() {
    snapshots(|| insta::assert_snapshot!("report-terminal-long", text(&report(50), 80, false, false)));
    assert!(text(&report(50), 80, false, true).lines().count() > 60);
}

#[test]
fn terminal_lines_fit() {
    for columns in [60, 80, 100, 140] {
        for n in [0, 1, 6, 50] {
            let shown = text(&report(n), columns, false, true);
            let longest = shown.lines().map(|l| l.chars().count()).max();
            assert!(longest <= Some(columns), "{columns} columns, {n} layers:\n{shown}");
        }
    }
}

#[test]
fn colours_are_all_that_color_changes() {
    let coloured = text(&report(6), 100, true, false);
    assert!(coloured.contains("\u{1b}[1;33m"));
    let mut plain = String::new();
    for (i, part) in coloured.split('\u{1b}').enumerate() {
        plain.push_str(if i == 0 { part } else { part.split_once('m').map_or("", |(_, rest)| rest) });
    }
    assert_eq!(plain, text(&report(6), 100, false, false));
}

/// Puts `evil` wherever a report holds text.
fn hostile(evil: &str) -> Report {
    let mut report = report(3);
    let mut evils = vec![&mut report.model, &mut report.target, &mut report.target_title, &mut report.proxy];
    evils.extend([&mut report.calibration.source, &mut report.calibration.digest, &mut report.tapq]);
    evils.extend(&mut report.warnings);
    evils.extend([&mut report.allocation.method, &mut report.allocation.proof]);
    report.layers.iter_mut().for_each(|l| evils.extend([&mut l.name, &mut l.op, &mut l.stored, &mut l.because]));
    report.fidelity.iter_mut().flat_map(|f| &mut f.channels).for_each(|c| evils.push(&mut c.value));
    report.activations.iter_mut().for_each(|a| evils.extend([&mut a.value, &mut a.because]));
    report.refused.iter_mut().for_each(|r| evils.extend([&mut r.what, &mut r.because]));
    report.passes.iter_mut().for_each(|p| evils.extend(std::iter::once(&mut p.pass).chain(&mut p.reasons)));
    evils.into_iter().for_each(|text| *text = evil.to_owned());
    report.allocation.budgets = [(evil.to_owned(), 1.0)].into();
    report
}

#[test]
fn html_escapes_hostile_names() {
    for evil in [
        "</title><script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "a & b ' \u{1b}[2J",
        "{{ 7919 * 7919 }}",
    ] {
        let page = html(&hostile(evil)).unwrap();
        let calm = html(&hostile("calm")).unwrap();
        let tags = |page: &str| page.matches(['<', '>', '"']).count() - page.matches("<wbr>").count() * 2;
        assert_eq!(tags(&page), tags(&calm), "{evil}");
        assert!(!page.contains('\u{1b}'), "{evil}");
        assert!(!page.contains("62710561"), "{evil}");
    }
}

#[test]
fn terminal_cannot_be_steered() {
    let shown = text(&hostile("\u{1b}[2J\r\u{202e}evil"), 100, false, true);
    assert!(!shown.contains(['\u{1b}', '\r', '\u{202e}']), "{shown:?}");
}

#[test]
fn nothing_comes_from_elsewhere() {
    let page = html(&report(50)).unwrap();
    for load in ["http:", "https:", "url(", "@import", "<link", "src="] {
        assert!(!page.contains(load), "{load}");
    }
}

#[test]
fn empty_report() {
    let page = html(&Report::default()).unwrap();
    assert!(page.contains("fidelity was not measured") && !page.contains("<svg"), "{page}");
    assert!(!text(&Report::default(), 80, false, false).is_empty());
}

#[test]
fn odd_figures_are_shown() {
    let mut report = report(6);
    report.layers[0].output_sqnr_db = Some(200.0);
    report.layers[1].output_sqnr_db = Some(-12.0);
    report.layers[2].output_sqnr_db = Some(f64::NAN);
    report.layers[3].sensitivity = Some(Sensitivity { bits: vec![2, 4], error: vec![f64::INFINITY, 0.0] });
    report.layers[4].params = 0;
    report.activations[0].seen = [0.0, 0.0];
    let page = html(&report).unwrap();
    assert!(page.contains("exact") && page.contains("-12.0"));
    let (shown, _script) = page.split_once("<script>").unwrap();
    assert!(!shown.contains("NaN") && !shown.contains(">inf"), "{shown}");
}

#[test]
fn figures_that_mean_nothing_are_not_shown() {
    let mut report = report(6);
    let why = "every float output stays below 1e-6".to_owned();
    report.fidelity.as_mut().unwrap().says_nothing = Some(why.clone());
    let shown = text(&report, 100, false, false);
    assert!(shown.contains("fidelity   says nothing, on 32 samples") && !shown.contains("top-1"), "{shown}");
    let page = html(&report).unwrap();
    assert!(page.contains(&why) && !page.contains("top-1 agreement"), "{page}");
}

#[test]
fn the_same_report_gives_the_same_page() {
    assert_eq!(html(&report(50)).unwrap(), html(&report(50)).unwrap());
}

/// Dotted paths of all leaves: `layers[].bits`; keys of maps that users name become `*`.
fn paths(value: &serde_json::Value, path: &str, out: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                let named =
                    ["allocation.budgets", "allocation.used", "fixed_inputs"].iter().any(|map| path.ends_with(map));
                let key = if named { "*" } else { key.as_str() };
                paths(value, &if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }, out);
            }
        }
        serde_json::Value::Array(items) if items.iter().any(serde_json::Value::is_object) => {
            items.iter().for_each(|item| paths(item, &format!("{path}[]"), out));
        }
        _ => _ = out.insert(path.to_owned()),
    }
}

#[test]
fn schema_document_is_complete() {
    let document = include_str!("../../docs/report-schema.md");
    let rows = document.lines().filter_map(|l| l.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<String> = rows.map(|(path, _)| path.to_owned()).collect();
    let mut written = BTreeSet::new();
    paths(&serde_json::to_value(report(6)).unwrap(), "", &mut written);
    assert_eq!(documented, written);
}

/// Writes examples to the folder TAPQ_LOOK, for eyes; does nothing without it.
#[test]
fn look() {
    let Ok(folder) = std::env::var("TAPQ_LOOK") else { return };
    let folder = std::path::Path::new(&folder);
    for n in [6, 50, 180] {
        std::fs::write(folder.join(format!("index{n}.html")), html(&report(n)).unwrap()).unwrap();
    }
    for columns in [80, 100, 140] {
        println!("{}\n", text(&report(50), columns, true, false));
    }
}
