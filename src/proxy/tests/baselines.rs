use crate::proxy::made_up::made_up;
use crate::proxy::{ProxyFile, Shape, baseline, baselines, reference, sensitivities};

#[test]
fn baselines_are_sound_and_sorted() {
    let all = baselines().unwrap();
    assert_eq!(all.len(), 14);
    assert!(all.is_sorted_by(|a, b| a.name < b.name));
    for file in &all {
        assert_eq!(baseline(&file.name).unwrap().as_ref(), Some(file));
        assert_eq!(file.formula.shape(), Shape::Width, "{}", file.name);
        assert!(!file.formula.is_degenerate(), "{}", file.name);
        assert!(file.source.len() > 20 && file.thought.ends_with('.'), "{}", file.name);
        assert_eq!(&ProxyFile::parse(&file.print().unwrap(), "again").unwrap(), file);
    }
    assert_eq!(baseline("nothing").unwrap(), None);
    let runs: Vec<&str> = all.iter().filter(|f| f.formula.needs_runs()).map(|f| f.name.as_str()).collect();
    assert_eq!(runs, ["gain", "one-at-a-time", "operating-point", "tempered-gain"]);
}

#[test]
fn baselines_are_different_proxies() {
    let mut prints: Vec<String> = baselines().unwrap().iter().map(|f| f.formula.fingerprint()).collect();
    prints.sort();
    prints.dedup();
    assert_eq!(prints.len(), 14);
}

#[test]
fn more_bits_cost_less_in_every_baseline() {
    let table = made_up(5, 9).unwrap();
    for file in baselines().unwrap() {
        for layer in sensitivities(&file.formula, &table).unwrap() {
            assert!(layer.first() > layer.last() && layer.iter().all(|x| *x >= 0.0), "{}: {layer:?}", file.name);
        }
    }
}

#[test]
fn the_reference_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/proxy-language.md");
    let page = reference().unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == page, "{path} is not what the code says: run the tests with UPDATE_DOCS=1");
}
