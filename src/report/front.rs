//! The size/fidelity front of one model on one target: a table, JSON and a plot.

use super::columns::{Align, Column, table};
use super::format::{bytes, db};
use super::svg::Svg;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What widths can be had at which size, and what they cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Front {
    /// Version of the JSON schema.
    pub schema: u32,
    /// File name of the float model, without folder.
    pub model: String,
    /// Name of the target.
    pub target: String,
    /// What scored the layers.
    pub proxy: String,
    /// Samples that the measured figures come from.
    pub samples: usize,
    /// Corners of the lower convex hull of predicted error against size, smallest first, and the uniform widths.
    pub points: Vec<FrontPoint>,
}

/// One configuration of widths.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FrontPoint {
    /// The width, where every layer has the same.
    pub uniform: Option<u32>,
    /// Average nominal bits over the weights.
    pub average_bits: f64,
    /// Bytes at the nominal widths.
    pub nominal_bytes: u64,
    /// Bytes of stored weights and scales.
    pub stored_bytes: u64,
    /// SQNR in dB of the outputs that the layers' sensitivities add up to.
    pub predicted_db: f64,
    /// SQNR in dB of the outputs, weights alone, on samples that they were not rounded with; where it was measured.
    pub measured_db: Option<f64>,
    /// Width of each layer by name; absent is float.
    pub bits: BTreeMap<String, Option<u32>>,
}

/// The front as a terminal table of the measured points.
pub fn front_text(front: &Front, columns: usize) -> String {
    let rows: Vec<&FrontPoint> = front.points.iter().filter(|p| p.measured_db.is_some()).collect();
    let column = |head, align, cell: &dyn Fn(&FrontPoint) -> String| Column {
        head,
        align,
        cells: rows.iter().map(|p| cell(p)).collect(),
    };
    let list = [
        column("bits", Align::Right, &|p| format!("{:.2}", p.average_bits)),
        column("nominal", Align::Right, &|p| bytes(p.nominal_bytes)),
        column("stored", Align::Right, &|p| bytes(p.stored_bytes)),
        column("predicted dB", Align::Right, &|p| db(Some(p.predicted_db))),
        column("measured dB", Align::Right, &|p| db(p.measured_db)),
        column("", Align::Left, &|p| p.uniform.map_or(String::new(), |b| format!("every layer at {b} bits"))),
    ];
    let mut text = format!(
        "{} → {}: {} configurations, {} measured (weights alone, {} samples that they were not rounded with)\n\n",
        front.model,
        front.target,
        front.points.len(),
        rows.len(),
        front.samples
    );
    for line in table(&list, columns.max(60)) {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 52.0;
const TOP: f64 = 30.0;
const STYLE: &str = "text{font:12px sans-serif;fill:#333}.axis{stroke:#999}.grid{stroke:#ddd}\
.front{fill:none;stroke:#2563eb;stroke-width:1.5;stroke-dasharray:4 3}.chosen{fill:#2563eb}.uniform{fill:#d97706}";

/// The front as a self-contained SVG file: predicted dashed, measured as dots, uniform widths in another colour.
pub fn front_svg(front: &Front) -> String {
    let figures = || front.points.iter().flat_map(|p| [Some(p.predicted_db), p.measured_db]).flatten();
    let sizes = || front.points.iter().map(|p| p.average_bits);
    let low = (figures().fold(f64::INFINITY, f64::min) / 5.0).floor() * 5.0;
    let high = ((figures().fold(f64::NEG_INFINITY, f64::max) / 5.0).ceil() * 5.0).max(low + 5.0);
    let (small, large) = (sizes().fold(f64::INFINITY, f64::min).floor(), sizes().fold(0.0, f64::max).ceil());
    let x = |bits: f64| LEFT + (WIDTH - LEFT - 20.0) * (bits - small) / (large - small).max(1.0);
    let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value - low) / (high - low);
    let mut svg = Svg::new(WIDTH, HEIGHT, "Output SQNR against average bits of the weights");
    if front.points.is_empty() {
        return svg.file(STYLE);
    }
    let mut value = low;
    while value <= high + 1e-9 {
        svg.line((LEFT, y(value)), (WIDTH - 20.0, y(value)), "grid");
        svg.text((LEFT - 8.0, y(value) + 4.0), "end", "", &format!("{value:.0}"));
        value += 5.0;
    }
    let mut bits = small;
    while bits <= large {
        svg.line((x(bits), HEIGHT - BOTTOM), (x(bits), HEIGHT - BOTTOM + 5.0), "axis");
        svg.text((x(bits), HEIGHT - BOTTOM + 20.0), "middle", "", &format!("{bits:.0}"));
        bits += 1.0;
    }
    svg.text((WIDTH / 2.0, HEIGHT - 8.0), "middle", "", "average bits of the weights");
    svg.text((8.0, 18.0), "start", "", &format!("output SQNR in dB: {} on {}", front.model, front.target));
    let chosen: Vec<&FrontPoint> = front.points.iter().filter(|p| p.uniform.is_none()).collect();
    for pair in chosen.windows(2) {
        let at = |p: &FrontPoint| (x(p.average_bits), y(p.predicted_db));
        svg.line(at(pair[0]), at(pair[1]), "front");
    }
    for point in &front.points {
        let Some(measured) = point.measured_db else { continue };
        let (class, name) = match point.uniform {
            Some(b) => ("uniform", format!("every layer at {b} bits")),
            None => ("chosen", "chosen".to_owned()),
        };
        let title = format!(
            "{name}: {:.2} bits, {measured:.1} dB measured, {:.1} dB predicted",
            point.average_bits, point.predicted_db
        );
        svg.dot((x(point.average_bits), y(measured)), 4.5, class, &title);
    }
    svg.dot((WIDTH - 300.0, 14.0), 4.5, "chosen", "");
    svg.text((WIDTH - 290.0, 18.0), "start", "", "chosen, measured");
    svg.dot((WIDTH - 170.0, 14.0), 4.5, "uniform", "");
    svg.text((WIDTH - 160.0, 18.0), "start", "", "uniform, measured");
    svg.file(STYLE)
}
