use crate::proxy::made_up::made_up;
use crate::proxy::{FEATURES, Shape, Table, feature};

fn table() -> Table {
    Table::new(vec!["a".into(), "b".into()], vec![2, 4, 8]).unwrap()
}

#[test]
fn what_follows_from_layers_and_widths_is_there() {
    let names: Vec<&str> = table().features().iter().map(|f| f.name).collect();
    assert_eq!(names, ["n_layers", "index", "depth", "is_first", "is_last", "bits", "step", "quarter"]);
    assert_eq!(table().get("bits", 0, 2), Some(8.0));
    assert_eq!(table().get("index", 1, 0), Some(1.0));
    assert_eq!(table().get("n_layers", 1, 1), Some(2.0));
    assert_eq!(
        (table().get("n_layers", 2, 0), table().get("bits", 0, 3), table().get("params", 0, 0)),
        (None, None, None)
    );
}

#[test]
fn values_that_do_not_fit_are_refused() {
    let error = |values: Vec<f64>, name: &str| table().set_layer(name, values).unwrap_err().to_string();
    assert_eq!(error(vec![1.0], "params"), "feature `params` has 1 values, not 2 [TQ601]");
    assert_eq!(error(vec![1.0; 2], "parms"), "unknown feature `parms` [TQ601]");
    assert_eq!(error(vec![1.0; 2], "w_err"), "feature `w_err` has shape width, not layer [TQ601]");
    assert_eq!(error(vec![1.0; 2], "index"), "feature `index` follows from the layers and widths [TQ601]");
    assert_eq!(error(vec![1.0, f64::NAN], "params"), "feature `params` of layer `b` is not finite [TQ601]");
    assert_eq!(error(vec![f64::INFINITY, 1.0], "params"), "feature `params` of layer `a` is not finite [TQ601]");
    let error = |values: Vec<Vec<f64>>, name: &str| table().set_width(name, values).unwrap_err().to_string();
    assert_eq!(error(vec![vec![1.0; 3]], "w_err"), "feature `w_err` has 1 layers, not 2 [TQ601]");
    assert_eq!(error(vec![vec![1.0; 3], vec![1.0; 2]], "w_err"), "feature `w_err` has 2 values a layer, not 3 [TQ601]");
    assert_eq!(error(vec![vec![1.0; 3]; 2], "params"), "feature `params` has shape layer, not width [TQ601]");
    assert_eq!(
        error(vec![vec![1.0; 3], vec![1.0, f64::NAN, 1.0]], "w_err"),
        "feature `w_err` of layer `b` is not finite [TQ601]"
    );
    assert_eq!(error(vec![vec![1.0; 3]; 2], "bits"), "feature `bits` follows from the layers and widths [TQ601]");
}

#[test]
fn tables_that_cannot_be_are_refused() {
    let error =
        |layers: usize, widths: &[u32]| Table::new(vec!["a".into(); layers], widths.to_vec()).unwrap_err().to_string();
    assert_eq!(error(0, &[4]), "a table of features needs a layer and a width [TQ601]");
    assert_eq!(error(1, &[]), "a table of features needs a layer and a width [TQ601]");
    assert_eq!(error(1, &[4, 4]), "widths [4, 4] are not ascending from 1 to 32 [TQ601]");
    assert_eq!(error(1, &[8, 4]), "widths [8, 4] are not ascending from 1 to 32 [TQ601]");
    assert_eq!(error(1, &[0]), "widths [0] are not ascending from 1 to 32 [TQ601]");
    assert_eq!(error(1, &[33]), "widths [33] are not ascending from 1 to 32 [TQ601]");
}

#[test]
fn a_table_in_a_file() {
    let mut small = table();
    small.set_layer("params", vec![1.0, 2.5]).unwrap();
    small.set_width("w_err", vec![vec![0.5, 0.25, 0.125], vec![1.0, 2.0, 3.0]]).unwrap();
    let text = serde_json::to_string(&small).unwrap();
    assert_eq!(
        text,
        r#"{"layers":["a","b"],"widths":[2,4,8],"layer":{"params":[1.0,2.5]},"width":{"w_err":[[0.5,0.25,0.125],[1.0,2.0,3.0]]}}"#
    );
    assert_eq!(serde_json::from_str::<Table>(&text).unwrap(), small);
    // Reading may miss the last bit of a number, but always in the same way; benches are always read from their text.
    let text_of_full = serde_json::to_string(&made_up(9, 4).unwrap()).unwrap();
    let full: Table = serde_json::from_str(&text_of_full).unwrap();
    assert_eq!(serde_json::from_str::<Table>(&text_of_full).unwrap(), full);
    let wide = |t: &Table| FEATURES.iter().map(|f| t.get(f.name, 3, 1)).collect::<Vec<_>>();
    for (read, made) in wide(&full).into_iter().zip(wide(&made_up(9, 4).unwrap())) {
        assert!(read == made || (read.unwrap() - made.unwrap()).abs() <= made.unwrap().abs() * 1e-15);
    }
    let broken = text.replace("[1.0,2.5]", "[1.0]");
    let error = serde_json::from_str::<Table>(&broken).unwrap_err().to_string();
    assert!(error.starts_with("feature `params` has 1 values, not 2"), "{error}");
    assert!(serde_json::from_str::<Table>(&text.replace("\"layer\"", "\"layr\"")).is_err());
}

#[test]
fn features_are_named_once_and_families_stay_together() {
    for (i, f) in FEATURES.iter().enumerate() {
        assert_eq!(feature(f.name), Some(f));
        assert!(FEATURES[..i].iter().all(|g| g.name != f.name), "{}", f.name);
        assert!(FEATURES.iter().skip(i).skip_while(|g| g.family == f.family).all(|g| g.family != f.family));
    }
    assert_eq!(FEATURES.iter().filter(|f| f.shape == Shape::Constant).count(), 1);
    let runs: Vec<&str> = FEATURES.iter().filter(|f| f.costs_runs).map(|f| f.name).collect();
    assert_eq!(runs, ["gain", "net_err", "one_err", "point_err"]);
}
