use super::*;
use crate::Code;
use crate::quant::Granularity;
use std::path::{Path, PathBuf};

fn named(name: &str) -> Target {
    Target::named(name).unwrap_or_else(|e| panic!("{e}"))
}

fn all() -> Vec<Target> {
    names().map(named).collect()
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The cpu profile with one edit must be refused with exactly this message.
#[track_caller]
fn check_broken(from: &str, to: &str, want: &str) {
    let text = std::fs::read_to_string(folder("targets/cpu.yaml")).unwrap();
    assert!(text.contains(from), "the edit does not apply: {from}");
    let error = Target::parse(&text.replacen(from, to, 1), "my.yaml").unwrap_err();
    assert_eq!(error.code(), Code::Config);
    assert_eq!(error.to_string(), format!("{want} [TQ401]"));
}

#[test]
fn every_file_is_compiled_in_and_sorted() {
    let mut files: Vec<String> = std::fs::read_dir(folder("targets"))
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().into_string().unwrap().strip_suffix(".yaml").map(str::to_string))
        .collect();
    files.sort();
    assert_eq!(names().collect::<Vec<_>>(), files);
    for target in all() {
        assert_eq!(named(&target.name), target, "the file is named as its profile");
    }
}

#[test]
fn what_is_printed_reads_back() {
    for target in all() {
        let text = crate::yaml::print(&target).unwrap();
        assert_eq!(Target::parse(&text, "printed").unwrap(), target);
    }
}

#[test]
fn sentences_end_and_brackets_point_to_sources() {
    for target in all() {
        let sentences = target.refuse.iter().map(|r| &r.because).chain([&target.float_fallback.because]);
        for sentence in sentences {
            assert!(sentence.ends_with('.') && !sentence.contains(". "), "{}: one sentence: {sentence}", target.name);
        }
        let cited = target.operators.iter().map(|r| &r.source).chain(target.facts.iter().map(|f| &f.source));
        for source in cited {
            for number in source.split('[').skip(1).filter_map(|s| s.split(']').next()) {
                let mark = format!("[{number}] ");
                assert!(target.sources.iter().any(|s| s.starts_with(&mark)), "{}: {mark}in {source}", target.name);
            }
        }
    }
}

/// A user asks for any width of any layer and gets it, or a sentence that was written for it.
#[test]
fn every_width_is_offered_or_refused_with_a_sentence() {
    for target in all() {
        for rule in target.operators.iter().filter(|r| r.role == Role::Compute) {
            for activation in target.activations.bits.clone() {
                for bits in [2, 3, 4, 5, 6, 7, 8, 16] {
                    let offered = target.weight_widths(&rule.op, 64, activation).contains(&bits);
                    let refused = target.refusal(&rule.op, Some(bits), Some(activation)).is_some();
                    assert!(offered != refused, "{} {} w{bits} a{activation}", target.name, rule.op);
                }
            }
        }
        for bits in [2, 3, 4, 5, 6, 7, 8, 16] {
            let refused = target.refuse.iter().any(|r| r.op.is_none() && r.covers("", None, Some(bits)));
            assert!(target.activations.bits.contains(&bits) != refused, "{} a{bits}", target.name);
        }
    }
}

#[test]
fn refusals_are_the_profiles_own_words() {
    let jetson = named("jetson");
    assert!(jetson.check_weight_bits("Conv", 8).is_ok());
    let error = jetson.check_weight_bits("Conv", 4).unwrap_err();
    assert_eq!(error.code(), Code::Refused);
    insta::assert_snapshot!(error, @r"
    target jetson: TensorRT takes INT4 weights only with one scale per block of 64 or 128 along one of the last two dimensions of a MatMul or Gemm, which no convolution has, so a 4-bit Conv cannot be built [TQ402]
      help: Conv takes 8-bit weights on jetson
    ");
    insta::assert_snapshot!(jetson.check_activation_bits(16).unwrap_err(), @r"
    target jetson: TensorRT quantizes activations to 8 bits only; keep a layer in float and it runs in FP16 [TQ402]
      help: jetson takes 8-bit activations
    ");
    insta::assert_snapshot!(jetson.check_weight_bits("LSTM", 8).unwrap_err(), @"target jetson: jetson runs no LSTM with integer weights, so it stays in float [TQ402]");
    insta::assert_snapshot!(named("fpga").check_weight_bits("Conv", 9).unwrap_err(), @r"
    target fpga: Conv takes no 9-bit weights on fpga [TQ402]
      help: Conv takes 2- to 8-bit weights on fpga
    ");
}

/// Beside an integer kernel narrower widths are stored in blocks, and all of them where activations stay in float.
#[test]
fn blocks_are_narrower_than_the_integer_kernel() {
    let cpu = named("cpu");
    assert_eq!(cpu.weight_widths("MatMul", 64, 8), [4, 7]);
    assert_eq!(named("cpu-vnni").weight_widths("MatMul", 64, 8), [4, 8]);
    assert_eq!((cpu.block_size("MatMul", 64, 4), cpu.block_size("MatMul", 64, 8)), (Some(64), None));
    assert_eq!((cpu.block_size("Gemm", 40, 4), cpu.block_size("Conv", 64, 4)), (Some(64), None));
    let jetson = named("jetson");
    assert_eq!((jetson.block_size("MatMul", 128, 4), jetson.block_size("MatMul", 96, 4)), (Some(64), None));
    assert_eq!((jetson.weight_widths("MatMul", 96, 8), cpu.weight_widths("Conv", 64, 8)), (vec![8], vec![7]));
    assert_eq!(cpu.granularity("MatMul", 64, 4), Granularity::Block(64));
    assert_eq!(cpu.granularity("MatMul", 64, 7), Granularity::Channel);
    let alone =
        cpu.clone().narrowed(Variant { weight_only: true, block_size: Some(32), ..Default::default() }).unwrap();
    assert_eq!(alone.block_size("MatMul", 64, 8), Some(32));
    assert_eq!(
        (alone.block_size("MatMul", 96, 8), alone.only_blocks("MatMul"), alone.computes("Conv")),
        (Some(32), true, false)
    );
    assert!(alone.rule("Gather").is_some() && alone.rule("Add").is_none());
    assert_eq!(cpu.clone().narrowed(Variant::default()).unwrap(), cpu);
}

#[test]
fn blocks_that_are_not_there_are_refused_in_words() {
    let alone = Variant { weight_only: true, block_size: None, ..Default::default() };
    insta::assert_snapshot!(named("fpga").narrowed(alone).unwrap_err(), @r"
    fpga has no weights in blocks beside activations in float [TQ402]
      help: cpu, cpu-vnni, jetson have; leave --weight-only and --block-size out
    ");
    let size = Variant { weight_only: false, block_size: Some(32), ..Default::default() };
    insta::assert_snapshot!(named("jetson").narrowed(size).unwrap_err(), @r"
    jetson has no blocks of 32 weights [TQ402]
      help: it has blocks of 64, 128
    ");
    let jetson = named("jetson");
    assert!(jetson.check_weights("MatMul", 64, 4, 8).is_ok() && jetson.check_weights("MatMul", 10, 8, 8).is_ok());
    insta::assert_snapshot!(jetson.check_weights("MatMul", 96, 4, 8).unwrap_err(), @"target jetson: 4-bit weights of MatMul come in blocks of 64 or 128 on jetson, and 96 weights of a channel are no multiple [TQ402]");
    insta::assert_snapshot!(named("cpu").narrowed(alone).unwrap().check_weights("MatMul", 64, 3, 8).unwrap_err(), @r"
    target cpu: MatMul takes no 3-bit weights in blocks on cpu [TQ402]
      help: MatMul takes 4- or 8-bit weights
    ");
}

#[test]
fn weight_choices_depend_on_the_activation_width() {
    let hexagon = named("hexagon");
    assert_eq!(hexagon.weight_choices("Conv"), [8]);
    assert_eq!(hexagon.weight_choices_at("Conv", 16), [4, 8]);
    assert!(hexagon.check_weight_bits("Conv", 4).is_err());
    assert!(hexagon.check_weight_bits_at("Conv", 4, 16).is_ok());
    assert_eq!(hexagon.weight_choices("Softmax"), [] as [u32; 0]);
    assert!(hexagon.per_channel("Conv") && !hexagon.per_channel("MatMul"));
    assert_eq!(named("fpga").weight_choices("Gemm"), [2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn broken_profiles_name_the_place() {
    check_broken(
        "name: cpu",
        "nam: cpu",
        "my.yaml:1:1: unknown field `nam`, expected one of `name`, `title`, `runtime`, `onnx`, `activations`, `weights`, `bias`, `bias_bits`, `float_fallback`, `residual_add`, `operators`, `refuse`, `facts`, `sources`",
    );
    check_broken("bits: [8]", "bits: []", "my.yaml: activations.bits: must hold at least one width");
    check_broken("bits: [8]", "bits: [8, 9]", "my.yaml: activations.bits: 9 is no width: 2 to 8 and 16 are");
    check_broken("bits: [8]", "bits: [8, 8]", "my.yaml: activations.bits: holds 8 a second time");
    check_broken(
        "weight_bits: [7]",
        "weight_bits: [7, 4]",
        "my.yaml: operators[0] (Conv).weight_bits: must be ascending",
    );
    check_broken(
        "weight_bits: [7]",
        "weight_bits: []",
        "my.yaml: operators[0] (Conv).weight_bits: must hold at least one width",
    );
    check_broken("op: Gemm", "op: Conv", "my.yaml: operators[1] (Conv): names an operator a second time");
    check_broken("op: Add", "op: Sum", "my.yaml: residual_add: `both-inputs` needs a rule for Add under `operators`");
    check_broken(
        "role: arithmetic",
        "role: same-scale\n    weight_bits: [8]",
        "my.yaml: operators[3] (Add): weight_bits, weight_bits_at, where_all_have, blocks and two_activations are for `role: compute` only",
    );
    check_broken(
        "weight_bits: [4]",
        "weight_bits: [4, 7]",
        "my.yaml: refuse[0]: forbids Conv with 7-bit weights and 8-bit activations, which `operators` allows",
    );
    check_broken("op: Pad", "op: Conv", "my.yaml: refuse[6]: refuses Conv as a whole, which `operators` allows");
    check_broken(
        "role: arithmetic",
        "role: arithmetic\n    fixed_output: [{bits: 5, scale: 0.5, zero_point: 0}]",
        "my.yaml: operators[3] (Add).fixed_output: needs bits that activations have, and a positive scale",
    );
    check_broken(
        "max_opset: 26",
        "max_opset: 12",
        "my.yaml: onnx.max_opset: must be at least 13, where Q/DQ gained per-channel scales",
    );
}

#[test]
fn unknown_names_list_the_known_ones() {
    insta::assert_snapshot!(Target::named("jeston").unwrap_err(), @r"
    unknown target `jeston`; known: cpu, cpu-vnni, esp32-s3, fpga, hexagon, jetson [TQ401]
      help: did you mean `jetson`? A profile of your own is given as a path: my.yaml
    ");
    assert_eq!(Target::named_or_read("nowhere/my.yaml").unwrap_err().code(), Code::Io);
    let own = folder("targets/fpga.yaml");
    assert_eq!(Target::named_or_read(own.to_str().unwrap()).unwrap(), named("fpga"));
}

/// Where all activations have one width, operators take what they take beside it alone, and no other width is left.
#[test]
fn one_width_of_activations_narrows_the_profile() {
    let hexagon = named("hexagon");
    let wide = Variant { activation_bits: Some(16), ..Default::default() };
    let all = hexagon.clone().narrowed(wide).unwrap();
    assert_eq!((all.variant, all.default_activation_bits()), (wide, 16));
    assert_eq!((hexagon.per_channel("MatMul"), all.per_channel("MatMul")), (false, true));
    assert_eq!((all.weight_choices("MatMul"), all.weight_choices("Conv")), (&[4, 8][..], &[4, 8][..]));
    assert!(all.check_activation_bits(8).is_err() && hexagon.check_weight_bits_at("MatMul", 4, 16).is_err());
    for (name, bits) in [("hexagon", 8), ("esp32-s3", 16), ("cpu", 16)] {
        let asked = Variant { activation_bits: Some(bits), ..Default::default() };
        assert_eq!(named(name).narrowed(asked).unwrap(), named(name), "{name}: nothing hangs on it");
    }
}

#[test]
fn a_profile_completes_another() {
    let own = "extends: cpu-vnni\nname: mine\nonnx: {max_opset: 17, max_ir: 8}\noperators:\n- op: Add\n  role: same-scale\n\
               - {op: Erf, role: arithmetic, source: '[1]'}\n";
    let (mine, vnni) = (Target::parse(own, "my.yaml").unwrap(), named("cpu-vnni"));
    assert_eq!((mine.name.as_str(), mine.title.as_str(), mine.onnx.max_opset), ("mine", vnni.title.as_str(), 17));
    assert_eq!(
        mine.rule("Add").map(|rule| (rule.role, &rule.source)),
        vnni.rule("Add").map(|r| (Role::SameScale, &r.source))
    );
    assert_eq!((mine.operators.len(), mine.rule("Conv")), (vnni.operators.len() + 1, vnni.rule("Conv")));
    assert_eq!((vnni.facts, vnni.weights), (named("cpu").facts, named("cpu").weights));
    let refused = |text: &str| Target::parse(text, "my.yaml").unwrap_err().to_string();
    assert!(refused("extends: cpv\n").contains("my.yaml: unknown target `cpv`"), "{}", refused("extends: cpv\n"));
    assert!(refused("extends: 7\n").contains("must be the name"));
    assert!(refused("extends: cpu\nnam: x\n").contains("unknown field `nam`"));
}

#[test]
fn explanations() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        insta::assert_snapshot!("targets_table", table().unwrap());
        for target in all() {
            let page = target.explain();
            assert!(page.lines().all(|line| line.len() <= 96), "{page}");
            insta::assert_snapshot!(format!("target_{}", target.name), page);
        }
    });
}

#[test]
fn readme_is_generated() {
    let path = folder("targets/README.md");
    let want = readme().unwrap();
    if std::env::var_os("TAPQ_BLESS").is_some() {
        std::fs::write(&path, &want).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == want,
        "targets/README.md is not what the profiles say; run `cargo xtask targets --write-readme` or `TAPQ_BLESS=1 cargo test -p tapq --lib target::`"
    );
}
