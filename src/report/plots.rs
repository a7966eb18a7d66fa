//! The plots of the page. All three share one horizontal axis, so that layers stand under each other.

use super::format::{EXACT_DB, in_db, significant, width};
use super::svg::{Rect, Svg};
use super::tally::tallies;
use super::{LayerReport, Report};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 40.0;

/// CSS class of a width: its colour.
pub fn class(bits: Option<u32>) -> &'static str {
    match bits {
        None => "wf",
        Some(0..=2) => "w2",
        Some(3) => "w3",
        Some(4) => "w4",
        Some(5) => "w5",
        Some(6) => "w6",
        Some(7) => "w7",
        Some(8) => "w8",
        Some(_) => "w16",
    }
}

/// Axes over the layers.
struct Frame {
    svg: Svg,
    height: f64,
    slot: f64,
    count: usize,
}

impl Frame {
    fn new(height: f64, count: usize, label: &str) -> Self {
        let svg = Svg::new(WIDTH, TOP + height + BOTTOM, label);
        let slot = (WIDTH - LEFT - RIGHT) / count.max(1) as f64;
        Frame { svg, height, slot, count }
    }

    fn x(&self, layer: usize) -> f64 {
        LEFT + self.slot * layer as f64
    }

    fn right(&self) -> f64 {
        self.x(self.count)
    }

    fn bottom(&self) -> f64 {
        TOP + self.height
    }

    /// Upper edge of a value on a scale from `least` at the bottom to `greatest` at the top.
    fn y(&self, value: f64, least: f64, greatest: f64) -> f64 {
        let share = (value - least) / (greatest - least).max(1e-9);
        self.bottom() - self.height * share.clamp(0.0, 1.0)
    }

    /// The cell of a layer, with a gap to the next where there is room for one.
    fn bar(&self, layer: usize, top: f64, bottom: f64) -> Rect {
        let gap = if self.slot > 4.0 { (self.slot * 0.15).max(1.0) } else { 0.0 };
        // A few layers do not become a few walls.
        let gap = gap.max(self.slot - 64.0);
        Rect { x: self.x(layer) + gap / 2.0, y: top, w: self.slot - gap, h: (bottom - top).max(0.0) }
    }

    fn rule(&mut self, y: f64, label: &str, class: &str) {
        self.svg.line((LEFT, y), (self.right(), y), class);
        self.svg.text((LEFT - 7.0, y + 4.0), "end", "tick", label);
    }

    fn finish(mut self, unit: &str) -> String {
        self.svg.text((4.0, 14.0), "start", "axis", unit);
        let bottom = self.bottom();
        let step = nice_step(self.count);
        for number in (1..=self.count).filter(|n| *n == 1 || n.is_multiple_of(step)) {
            let x = self.x(number - 1) + self.slot / 2.0;
            self.svg.text((x, bottom + 16.0), "middle", "tick", &number.to_string());
        }
        let middle = (LEFT + self.right()) / 2.0;
        self.svg.text((middle, bottom + 34.0), "middle", "axis", "layer, in file order");
        self.svg.finish()
    }
}

/// Every how many layers a number stands under the axis.
fn nice_step(count: usize) -> usize {
    [1, 5, 10, 20, 50, 100, 200, 500].into_iter().find(|s| count / s <= 30).unwrap_or(1000)
}

fn title(index: usize, layer: &LayerReport, figure: &str) -> String {
    format!("{} · {} ({})\n{figure}", index + 1, layer.name, layer.op)
}

/// Nominal bits, one bar a layer.
pub fn bits(report: &Report) -> String {
    let layers = &report.layers;
    let greatest = layers.iter().filter_map(|l| l.bits).max().unwrap_or(8).max(8);
    let mut frame = Frame::new(150.0, layers.len(), "Nominal bits of each layer's weight");
    let step = if greatest > 8 { 4 } else { 2 };
    for b in (0..=greatest).step_by(step) {
        let y = frame.y(f64::from(b), 0.0, f64::from(greatest));
        frame.rule(y, &b.to_string(), if b == 0 { "base" } else { "grid" });
    }
    for (i, layer) in layers.iter().enumerate() {
        let value = f64::from(layer.bits.unwrap_or(greatest));
        let top = frame.y(value, 0.0, f64::from(greatest));
        let figure = format!("{}, stored as {}", width(layer.bits), layer.stored);
        let bar = frame.bar(i, top, frame.bottom());
        frame.svg.rect(bar, class(layer.bits), 1.0, &title(i, layer, &figure));
    }
    frame.finish("bits")
}

/// SQNR of each layer's output in the quantized network; none where nothing was measured.
pub fn error(report: &Report) -> Option<String> {
    let noisy = |x: f64| x.is_finite() && x < EXACT_DB;
    let figures = || report.layers.iter().filter_map(|l| l.output_sqnr_db).filter(|x| noisy(*x));
    let network = report.fidelity.as_ref().map(|f| f.sqnr_db).filter(|x| noisy(*x));
    let all = || figures().chain(network);
    figures().next()?;
    let least = (all().fold(0.0, f64::min) / 10.0).floor() * 10.0;
    let greatest = (all().fold(10.0, f64::max) / 10.0).ceil() * 10.0;
    let mut frame = Frame::new(190.0, report.layers.len(), "SQNR of each layer's output in dB");
    let ticks = ((greatest - least) / 10.0) as usize;
    for k in (0..=ticks).step_by(ticks.div_ceil(8).max(1)) {
        let value = least + 10.0 * k as f64;
        let y = frame.y(value, least, greatest);
        frame.rule(y, &format!("{value:.0}"), if k == 0 { "base" } else { "grid" });
    }
    let mut before: Option<(f64, f64)> = None;
    let mut dots = vec![];
    for (i, layer) in report.layers.iter().enumerate() {
        let Some(x) = layer.output_sqnr_db.filter(|x| !x.is_nan()) else { continue };
        let at = (frame.x(i) + frame.slot / 2.0, frame.y(x, least, greatest));
        before.inspect(|from| frame.svg.line(*from, at, "path"));
        before = Some(at);
        dots.push((at, class(layer.bits), title(i, layer, &format!("{}, {}", in_db(x), width(layer.bits)))));
    }
    let radius = (frame.slot * 0.3).clamp(2.4, 4.5);
    dots.iter().for_each(|(at, class, title)| frame.svg.dot(*at, radius, class, title));
    if let Some(x) = network {
        let y = frame.y(x, least, greatest);
        frame.svg.line((LEFT, y), (frame.right(), y), "mark");
        frame.svg.line((WIDTH - RIGHT - 180.0, 11.0), (WIDTH - RIGHT - 150.0, 11.0), "mark");
        frame.svg.text((WIDTH - RIGHT - 144.0, 15.0), "start", "tick", &format!("network output, {x:.1} dB"));
    }
    Some(frame.finish("dB, higher is better"))
}

/// Relative output error by layer and width on a logarithmic scale, the choice outlined; none without figures.
pub fn sensitivity(report: &Report) -> Option<String> {
    let widths = heat_rows(report)?;
    let (least, greatest) = heat_range(report)?;
    let row = 24.0;
    let mut frame =
        Frame::new(row * widths.len() as f64, report.layers.len(), "Relative output error by layer and width");
    for (r, bits) in widths.iter().enumerate() {
        let y = TOP + row * r as f64;
        let label = bits.map_or("float".to_owned(), |b| b.to_string());
        frame.svg.text((LEFT - 7.0, y + row / 2.0 + 4.0), "end", "tick", &label);
        for (i, layer) in report.layers.iter().enumerate() {
            let cell = Rect { x: frame.x(i), y, w: frame.slot, h: row };
            heat_cell(&mut frame.svg, cell, (i, layer), *bits, (least, greatest));
        }
    }
    // Outlines come last, so that no neighbour covers them.
    for (i, layer) in report.layers.iter().enumerate().filter(|(_, l)| l.sensitivity.is_some()) {
        let Some(r) = widths.iter().position(|b| *b == layer.bits) else { continue };
        let cell = Rect { x: frame.x(i), y: TOP + row * r as f64, w: frame.slot, h: row };
        frame.svg.rect(cell, "pick", 1.0, "");
    }
    heat_legend(&mut frame, least, greatest);
    Some(frame.finish("bits"))
}

/// Widths that were scored or chosen, ascending, float last.
fn heat_rows(report: &Report) -> Option<Vec<Option<u32>>> {
    let scored = report.layers.iter().filter(|l| l.sensitivity.is_some());
    let measured = scored.clone().filter_map(|l| l.sensitivity.as_ref()).flat_map(|s| s.bits.iter().copied().map(Some));
    let mut widths: Vec<Option<u32>> = measured.chain(scored.map(|l| l.bits)).collect();
    widths.sort_by_key(|b| b.unwrap_or(u32::MAX));
    widths.dedup();
    (!widths.is_empty()).then_some(widths)
}

/// Whole powers of ten around all errors above zero.
fn heat_range(report: &Report) -> Option<(f64, f64)> {
    let errors = report.layers.iter().filter_map(|l| l.sensitivity.as_ref()).flat_map(|s| &s.error);
    let logs: Vec<f64> = errors.filter(|e| e.is_finite() && **e > 0.0).map(|e| e.log10()).collect();
    let least = logs.iter().copied().reduce(f64::min)?.floor().max(-12.0);
    let greatest = logs.iter().copied().reduce(f64::max)?.ceil();
    Some((least, greatest.max(least + 1.0)))
}

fn heat_cell(svg: &mut Svg, cell: Rect, (i, layer): (usize, &LayerReport), bits: Option<u32>, range: (f64, f64)) {
    let Some(s) = &layer.sensitivity else { return };
    let Some(error) = s.bits.iter().position(|b| Some(*b) == bits).and_then(|k| s.error.get(k)) else { return };
    let share = if *error > 0.0 { (error.log10() - range.0) / (range.1 - range.0) } else { 0.0 };
    let chosen = if layer.bits == bits { ", chosen" } else { "" };
    let figure = format!("{}: relative output error {}{chosen}", width(bits), significant(*error));
    svg.rect(cell, "heat", 0.04 + 0.96 * share.clamp(0.0, 1.0), &title(i, layer, &figure));
}

fn heat_legend(frame: &mut Frame, least: f64, greatest: f64) {
    let steps = 24;
    let (w, right) = (7.0, WIDTH - RIGHT - 40.0);
    let left = right - w * f64::from(steps);
    for k in 0..steps {
        let share = f64::from(k) / f64::from(steps - 1);
        let cell = Rect { x: left + w * f64::from(k), y: 6.0, w, h: 10.0 };
        frame.svg.rect(cell, "heat", 0.04 + 0.96 * share, "");
    }
    frame.svg.text((left - 6.0, 15.0), "end", "tick", &format!("energy of error / energy of output: {}", power(least)));
    frame.svg.text((right + 6.0, 15.0), "start", "tick", &power(greatest));
}

/// `1e-4`, or 1.
fn power(exponent: f64) -> String {
    if exponent == 0.0 { "1".to_owned() } else { format!("1e{exponent:.0}") }
}

/// Class, name, layers and share of weights of each width that occurs.
pub fn legend(report: &Report) -> Vec<(&'static str, String, usize, f64)> {
    tallies(report).iter().map(|t| (class(t.bits), width(t.bits), t.layers, t.share)).collect()
}
