use crate::proxy::{Formula, Measured, Provenance, ProxyFile};

const TEXT: &str = "\
schema: 1
name: noise-by-depth
thought: Early layers hurt more.
formula: out_err * (2 - depth)
source: found by a search
provenance:
  model: none
  seed: 7
  network: digits
  transcript: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  generation: 3
measured:
- network: digits
  spearman: 0.9
  spearman_best_half: 0.5
  kendall: -0.25
";

fn file() -> ProxyFile {
    ProxyFile {
        schema: 1,
        name: "noise-by-depth".into(),
        thought: "Early layers hurt more.".into(),
        formula: Formula::parse("out_err * (2 - depth)").unwrap(),
        source: "found by a search".into(),
        provenance: Some(Provenance {
            model: "none".into(),
            seed: 7,
            network: "digits".into(),
            transcript: "0123456789abcdef".repeat(4),
            generation: 3,
        }),
        measured: vec![Measured {
            network: "digits".into(),
            spearman: 0.9,
            spearman_best_half: 0.5,
            kendall: -0.25,
            spearman_equal_size: None,
        }],
    }
}

#[test]
fn text_and_value_agree() {
    assert_eq!(ProxyFile::parse(TEXT, "p.yaml").unwrap(), file());
    assert_eq!(file().print().unwrap(), TEXT);
    let short = ProxyFile { provenance: None, measured: vec![], ..file() };
    let text = short.print().unwrap();
    assert_eq!(text, TEXT.split("provenance").next().unwrap());
    assert_eq!(ProxyFile::parse(&text, "p.yaml").unwrap(), short);
}

#[track_caller]
fn fails(from: &str, to: &str, want: &str) {
    assert!(TEXT.contains(from));
    assert_eq!(ProxyFile::parse(&TEXT.replace(from, to), "p.yaml").unwrap_err().to_string(), want);
}

#[test]
fn mistakes_are_placed() {
    fails(
        "out_err * (2 - depth)",
        "out_er * (2 - depth)",
        "p.yaml:4:10: formula: column 1: unknown feature `out_er`; did you mean `out_err`? [TQ401]",
    );
    fails(
        "source:",
        "sauce:",
        "p.yaml:5:1: unknown field `sauce`, expected one of `schema`, `name`, `thought`, `formula`, `source`, `provenance`, `measured` [TQ401]",
    );
    fails("source: found by a search\n", "", "p.yaml:1:1: missing field `source` [TQ401]");
    fails("seed: 7", "seed: -7", "p.yaml:8:9: provenance.seed: invalid type: integer `-7`, expected u64 [TQ401]");
    fails("  seed: 7\n", "", "p.yaml:7:3: provenance: missing field `seed` [TQ401]");
    fails("schema: 1", "schema: 2", "p.yaml: schema: version 2 is not known, only 1 [TQ401]");
    fails(
        "noise-by-depth",
        "Noise by depth",
        "p.yaml: name: not 1 to 64 lower-case letters, digits and hyphens [TQ401]",
    );
    fails("Early layers hurt more.", "' '", "p.yaml: thought: empty [TQ401]");
    fails("abcdef\n", "abcdeg\n", "p.yaml: provenance.transcript: not a SHA-256 of 64 hexadecimal digits [TQ401]");
    fails("kendall: -0.25", "kendall: -1.25", "p.yaml: measured[0].kendall: -1.25 is not from -1 to 1 [TQ401]");
    fails("kendall: -0.25", "kendall: .nan", "p.yaml: measured[0].kendall: NaN is not from -1 to 1 [TQ401]");
}

#[test]
fn what_cannot_be_read_back_is_not_printed() {
    let wrong = ProxyFile { name: "A B".into(), ..file() };
    assert_eq!(
        wrong.print().unwrap_err().to_string(),
        "name: not 1 to 64 lower-case letters, digits and hyphens [TQ401]"
    );
}
