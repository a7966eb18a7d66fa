//! The laboratory end to end: benches, discovery, experiments, on the networks in `fixtures/`.

mod common;

use assert_cmd::Command;
use common::{bytes, fixtures, xtask};
use predicates::prelude::*;
use predicates::str::contains;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn laboratory(command: &[&str], bench: &Path, configurations: &str) -> Command {
    let mut all = xtask();
    all.args(command).arg(fixtures().join("dwcnn_digits.onnx"));
    all.args(["--target", "fpga", "--samples", "6", "--held-out", "3", "-q", "--configurations", configurations]);
    all.arg("--bench").arg(bench);
    all
}

fn only_file(folder: &Path) -> PathBuf {
    let files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn a_bench_goes_on_where_it_was_cut_and_ranks_proxies() {
    let (whole, cut) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    laboratory(&["bench", "build"], whole.path(), "24").assert().success();
    laboratory(&["bench", "build"], cut.path(), "9").assert().success();
    let file = only_file(cut.path());
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &text[..text.len() - 20]).unwrap();
    laboratory(&["bench", "build"], cut.path(), "24").env("RAYON_NUM_THREADS", "1").assert().success();
    assert_eq!(bytes(&only_file(cut.path())), bytes(&only_file(whole.path())));

    let ranked = xtask().args(["bench", "rank", "--json", "--proxy", "quarter * params"]).arg(whole.path()).output();
    let ranked: serde_json::Value = serde_json::from_slice(&ranked.unwrap().stdout).unwrap();
    let of = |name: &str| {
        let rows = ranked["proxies"].as_array().unwrap();
        let row = rows.iter().find(|r| r["name"] == name).unwrap_or_else(|| panic!("{name}"));
        row["rankings"][0]["spearman"].as_f64().unwrap()
    };
    assert!(of("output-error") > 0.9, "{}", of("output-error"));
    assert_eq!(of("param-count"), of("quarter * params"));
    assert!(ranked["skipped"].as_array().unwrap().iter().any(|n| n == "operating-point"));
    std::fs::write(&file, "no bench\n").unwrap();
    xtask().args(["bench", "rank"]).arg(&file).assert().code(2).stderr(contains("line 1"));
}

#[test]
fn proxies_are_compared_by_what_they_choose() {
    let bench = TempDir::new().unwrap();
    let choose = |extra: &[&str]| {
        let mut command = laboratory(&["bench", "choose"], bench.path(), "12");
        command.arg(fixtures().join("resnet_digits.onnx")).args(["--proxy", "10 * out_err"]).args(extra);
        command.output().unwrap().stdout
    };
    let choices: serde_json::Value = serde_json::from_slice(&choose(&["--json"])).unwrap();
    assert_eq!(choices["networks"].as_array().unwrap().len(), 2);
    let of = |name: &str| {
        let rows = choices["proxies"].as_array().unwrap();
        rows.iter().find(|r| r["name"] == name).unwrap_or_else(|| panic!("{name}"))["sqnr_db"].clone()
    };
    assert_eq!(of("output-error"), of("10 * out_err"), "a factor changes no choice");
    assert_ne!(of("output-error"), of("ompq"));
    let uniform = &choices["uniform_db"];
    assert_eq!(uniform[0].as_array().unwrap().len(), 3);
    assert!(uniform[0][0].as_f64() < uniform[0][1].as_f64() && uniform[0][1].as_f64() < uniform[0][2].as_f64());
    let text = String::from_utf8(choose(&[])).unwrap();
    assert!(text.contains("one width for all") && text.contains("[2] resnet_digits on fpga"), "{text}");
}

#[test]
fn discovery_over_two_networks_names_both() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let discover = |extra: &[&str]| {
        let mut command = laboratory(&["discover"], &path("bench"), "36");
        command.arg(fixtures().join("resnet_digits.onnx")).args(["--correlation", "equal-size", "--population", "3"]);
        command.args(["--generations", "1", "--children", "2", "--transcript"]).arg(path("a.jsonl"));
        command.arg("-o").arg(path("a.yaml")).arg("--report").arg(folder.path()).args(extra);
        command
    };
    discover(&[]).assert().success().stdout(contains("resnet_digits on fpga").and(contains("dwcnn_digits on fpga")));
    let transcript = std::fs::read_to_string(path("a.jsonl")).unwrap();
    let header = transcript.lines().next().unwrap();
    assert!(header.contains("\"name\":\"dwcnn_digits\"") && header.contains("\"name\":\"resnet_digits\""), "{header}");
    assert!(header.contains("\"correlation\":\"equal-size\""), "{header}");
    assert!(std::fs::read_to_string(path("a.yaml")).unwrap().contains("network: dwcnn_digits, resnet_digits"));
    assert!(std::fs::read_to_string(path("discover.html")).unwrap().contains("The winner on each network"));
    // Samples are told apart by their order; any other number is a slip.
    discover(&["--calib", "a", "--calib", "b", "--calib", "c"]).assert().code(2).stderr(contains("3 times for 2"));
}

#[test]
fn discovery_repeats_goes_on_and_names_its_winner() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let discover = |transcript: &Path, winner: &Path| {
        let mut command = laboratory(&["discover"], &path("bench"), "16");
        command.args(["--population", "4", "--generations", "2", "--children", "4", "--transcript"]).arg(transcript);
        command.arg("-o").arg(winner);
        command
    };
    discover(&path("a.jsonl"), &path("a.yaml")).arg("--report").arg(folder.path()).assert().success();
    assert!(std::fs::read_to_string(path("discover.html")).unwrap().contains("<svg"));
    let winner = std::fs::read_to_string(path("a.yaml")).unwrap();
    assert!(winner.contains("model: none") && winner.contains("network: dwcnn_digits"));

    // Cut in the middle of a line, and gone on with.
    let whole = bytes(&path("a.jsonl"));
    std::fs::write(path("b.jsonl"), &whole[..whole.len() / 2]).unwrap();
    discover(&path("b.jsonl"), &path("b.yaml")).assert().success();
    assert_eq!(bytes(&path("b.jsonl")), whole);

    // Repeated by the transcript alone: its settings are those of the run.
    laboratory(&["discover"], &path("bench"), "16")
        .arg("--replay")
        .arg(path("a.jsonl"))
        .arg("-o")
        .arg(path("c.yaml"))
        .assert()
        .success()
        .stderr(contains("every one the same"));
    assert_eq!(std::fs::read_to_string(path("c.yaml")).unwrap(), winner);

    // The same with neither network nor samples: what formulas were worth stands in the transcript.
    let alone = |transcript: &Path| {
        let mut command = xtask();
        command.args(["discover", "-q", "--replay"]).arg(transcript).arg("-o").arg(path("f.yaml"));
        command
    };
    alone(&path("a.jsonl")).assert().success().stderr(contains("taken from the transcript"));
    assert_eq!(std::fs::read_to_string(path("f.yaml")).unwrap(), winner);
    let text = String::from_utf8(whole.clone()).unwrap();
    std::fs::write(path("g.jsonl"), text.replacen("\"total\":0.", "\"total\":0.9", 1)).unwrap();
    alone(&path("g.jsonl")).assert().code(2).stderr(contains("departs from the transcript"));

    std::fs::write(path("d.jsonl"), "{}\n{}\n").unwrap();
    discover(&path("d.jsonl"), &path("d.yaml")).assert().code(2).stderr(contains("line 1"));
    discover(&path("e.jsonl"), &path("e.yaml"))
        .args(["--proposer", "nobody"])
        .assert()
        .code(2)
        .stderr(contains("openai:"));
}

#[test]
fn experiments_go_on_where_they_were_left_and_say_what_is_missing() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let manifest = format!(
        "models:\n  resnet20_cifar10:\n    file: {0}/resnet_digits.onnx\n    preprocess: {{kind: image, mean: [84, 84, 84], \
         std: [56, 56, 56]}}\n    calib: {0}/digits_calib.npz\n    eval: {0}/digits_eval.npz\n  kws_dscnn:\n    file: \
         nowhere.onnx\n    preprocess: {{kind: tensor}}\n    calib: {0}/digits_calib.npz\n    eval: {0}/digits_eval.npz\n",
        fixtures().canonicalize().unwrap().display()
    );
    std::fs::write(path("manifest.yaml"), manifest).unwrap();
    let run = |only: &[&str]| {
        let mut command = xtask();
        command.args(["experiments", "-q", "--assets"]).arg(folder.path()).arg("--bench").arg(path("bench"));
        command.arg("--work").arg(path("work")).arg("-o").arg(path("page.md"));
        command.args(["--seeds", "2", "--population", "3", "--generations", "1", "--children", "2", "--samples", "6"]);
        command.args(["--configurations", "36", "--held-out", "4", "--eval", "20"]);
        for name in only {
            command.args(["--only", name]);
        }
        command.assert().success()
    };
    run(&["controller"]).stderr(contains("search.resnet20_cifar10"));
    let first = std::fs::read_to_string(path("page.md")).unwrap();
    assert!(first.contains("| controller off | 2 |") && first.contains("Equal evaluations"), "{first}");
    // What is there is not computed again, and stays on the page when another question is asked.
    run(&["controller"]).stderr(contains(".json").not().and(contains("search.").not()));
    assert_eq!(std::fs::read_to_string(path("page.md")).unwrap(), first);
    run(&["model", "narrow"]).stderr(contains("built without them").and(contains("nowhere.onnx is not there")));
    let page = std::fs::read_to_string(path("page.md")).unwrap();
    assert!(page.contains("| controller off | 2 |") && page.contains("## Narrow widths"), "{page}");
    assert!(
        page.contains("- kws_dscnn: the model") && page.contains("vit_cifar10_op17ln: the manifest does not name it")
    );
}
