//! The features of one network, by layer and width.

use super::column::{Column, Dims};
use super::feature::{FEATURES, Feature, Shape, feature};
use super::limits::limited;
use crate::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Widths that a table may hold, in bits.
const WIDTHS: std::ops::RangeInclusive<u32> = 1..=32;

/// Features that follow from the layers' order and the widths.
const DERIVED: [&str; 8] = ["n_layers", "index", "depth", "is_first", "is_last", "bits", "step", "quarter"];

/// Values of features: what a formula is evaluated on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Table {
    layers: Vec<String>,
    widths: Vec<u32>,
    columns: BTreeMap<&'static str, Column>,
}

impl Table {
    /// A table of these layers, in execution order, at these widths, ascending.
    ///
    /// `bits`, `step`, `quarter`, `n_layers`, `index`, `depth`, `is_first` and `is_last` are filled in.
    ///
    /// # Errors
    /// [`Code::Proxy`] where there is no layer or no width, or the widths are not ascending from 1 to 32.
    pub fn new(layers: Vec<String>, widths: Vec<u32>) -> Result<Table> {
        if layers.is_empty() || widths.is_empty() {
            return Err(Error::new(Code::Proxy, "a table of features needs a layer and a width"));
        }
        if !widths.is_sorted_by(|a, b| a < b) || widths.iter().any(|w| !WIDTHS.contains(w)) {
            let message = format!("widths {widths:?} are not ascending from {} to {}", WIDTHS.start(), WIDTHS.end());
            return Err(Error::new(Code::Proxy, message));
        }
        let mut table = Table { layers, widths, columns: BTreeMap::new() };
        table.derive();
        Ok(table)
    }

    fn derive(&mut self) {
        let count = self.layers.len();
        let last = (count - 1).max(1) as f64;
        let is = |yes: bool| if yes { 1.0 } else { 0.0 };
        let none = self.dims(Shape::Constant);
        let (layer, width) = (Dims { by_layer: true, ..none }, Dims { by_width: true, ..none });
        let by_layer = |f: &dyn Fn(usize) -> f64| Column { dims: layer, values: (0..count).map(f).collect() };
        let by_width = |f: &dyn Fn(f64) -> f64| Column {
            dims: width,
            values: self.widths.iter().map(|b| f(f64::from(*b))).collect(),
        };
        self.columns = BTreeMap::from([
            ("n_layers", Column { dims: none, values: vec![count as f64] }),
            ("index", by_layer(&|i| i as f64)),
            ("depth", by_layer(&|i| i as f64 / last)),
            ("is_first", by_layer(&|i| is(i == 0))),
            ("is_last", by_layer(&|i| is(i + 1 == count))),
            ("bits", by_width(&|b| b)),
            ("step", by_width(&|b| (-b).exp2())),
            ("quarter", by_width(&|b| (-2.0 * b).exp2())),
        ]);
    }

    fn dims(&self, shape: Shape) -> Dims {
        Dims {
            by_layer: shape != Shape::Constant,
            by_width: shape == Shape::Width,
            layers: self.layers.len(),
            widths: self.widths.len(),
        }
    }

    /// Names of the layers, in execution order.
    pub fn layers(&self) -> &[String] {
        &self.layers
    }

    /// Widths in bits, ascending.
    pub fn widths(&self) -> &[u32] {
        &self.widths
    }

    /// Whether the feature of that name has values.
    pub fn has(&self, name: &str) -> bool {
        self.columns.contains_key(name)
    }

    /// Features that have values, in the order of [`FEATURES`].
    pub fn features(&self) -> Vec<&'static Feature> {
        FEATURES.iter().filter(|f| self.has(f.name)).collect()
    }

    /// The value of a feature for one layer and one of the widths, by their places in the table.
    pub fn get(&self, name: &str, layer: usize, width: usize) -> Option<f64> {
        (layer < self.layers.len() && width < self.widths.len())
            .then(|| self.columns.get(name).and_then(|c| c.get(layer, width)).copied())
            .flatten()
    }

    /// Sets a feature that has one number a layer.
    ///
    /// # Errors
    /// [`Code::Proxy`] for an unknown feature, one of another shape or one that the constructor fills in,
    /// and for values of the wrong number or that are not finite.
    pub fn set_layer(&mut self, name: &str, values: Vec<f64>) -> Result<()> {
        let known = settable(name, Shape::Layer)?;
        self.set(known, values)
    }

    /// Sets a feature that has one number a layer and width, as `[layer][width]`.
    ///
    /// # Errors
    /// Those of [`Table::set_layer`].
    pub fn set_width(&mut self, name: &str, values: Vec<Vec<f64>>) -> Result<()> {
        let known = settable(name, Shape::Width)?;
        let (layers, widths) = (self.layers.len(), self.widths.len());
        if let Some(wrong) = values.iter().find(|row| row.len() != widths) {
            return Err(wrong_count(name, "values a layer", wrong.len(), widths));
        }
        if values.len() != layers {
            return Err(wrong_count(name, "layers", values.len(), layers));
        }
        let at = |width: usize| values.iter().filter_map(move |row| row.get(width).copied());
        let flat = (0..widths).flat_map(at).collect();
        self.set(known, flat)
    }

    fn set(&mut self, feature: &'static Feature, values: Vec<f64>) -> Result<()> {
        let dims = self.dims(feature.shape);
        if values.len() != dims.len() {
            return Err(wrong_count(feature.name, "values", values.len(), dims.len()));
        }
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            let layer = self.layers.get(at % dims.stride()).map_or("", String::as_str);
            let message = format!("feature `{}` of layer `{layer}` is not finite", feature.name);
            return Err(Error::new(Code::Proxy, message));
        }
        let values = values.into_iter().map(limited).collect();
        self.columns.insert(feature.name, Column { dims, values });
        Ok(())
    }

    /// The column of a feature that a formula names.
    pub(super) fn require(&self, name: &str) -> Result<&Column> {
        self.columns.get(name).ok_or_else(|| {
            let error = Error::new(Code::Proxy, format!("feature `{name}` has no values for this network"));
            match feature(name) {
                Some(known) if known.costs_runs => error.help("it is known only where the network was run for it"),
                _ => error,
            }
        })
    }
}

fn settable(name: &str, shape: Shape) -> Result<&'static Feature> {
    let known = feature(name).ok_or_else(|| Error::new(Code::Proxy, format!("unknown feature `{name}`")))?;
    if DERIVED.contains(&name) {
        return Err(Error::new(Code::Proxy, format!("feature `{name}` follows from the layers and widths")));
    }
    if known.shape != shape {
        let message = format!("feature `{name}` has shape {}, not {}", known.shape.name(), shape.name());
        return Err(Error::new(Code::Proxy, message));
    }
    Ok(known)
}

fn wrong_count(name: &str, what: &str, got: usize, want: usize) -> Error {
    Error::new(Code::Proxy, format!("feature `{name}` has {got} {what}, not {want}"))
}

/// How a table is kept in a file: without what the constructor fills in.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    layers: Vec<String>,
    widths: Vec<u32>,
    layer: BTreeMap<String, Vec<f64>>,
    width: BTreeMap<String, Vec<Vec<f64>>>,
}

impl From<Table> for Stored {
    fn from(table: Table) -> Stored {
        let mut stored = Stored {
            layers: table.layers.clone(),
            widths: table.widths.clone(),
            layer: BTreeMap::new(),
            width: BTreeMap::new(),
        };
        for (name, column) in &table.columns {
            if DERIVED.contains(name) {
                continue;
            }
            if column.dims.by_width {
                let row = |l| (0..table.widths.len()).filter_map(|w| column.get(l, w).copied()).collect();
                stored.width.insert(name.to_string(), (0..table.layers.len()).map(row).collect());
            } else {
                stored.layer.insert(name.to_string(), column.values.clone());
            }
        }
        stored
    }
}

impl TryFrom<Stored> for Table {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Table> {
        let mut table = Table::new(stored.layers, stored.widths)?;
        stored.layer.into_iter().try_for_each(|(name, values)| table.set_layer(&name, values))?;
        stored.width.into_iter().try_for_each(|(name, values)| table.set_width(&name, values))?;
        Ok(table)
    }
}
