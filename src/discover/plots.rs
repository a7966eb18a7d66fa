//! The plots of a run's page. Those over generations share one horizontal axis.

use super::outcome::{Outcome, Scatter};
use super::per_template::TEMPLATES;
use super::population::{Candidate, Origin};
use super::transcript::Generation;
use crate::report::format::{clean, percent, shorten};
use crate::report::svg::{Rect, Svg};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 40.0;

/// CSS class of where a formula comes from: its colour.
pub fn class(origin: Origin) -> String {
    format!("t-{}", origin.name())
}

/// What a mark's tooltip says of a formula.
pub fn title(c: &Candidate) -> String {
    let (formula, thought) = (shorten(&clean(&c.formula), 160), clean(&c.thought));
    format!("#{} · {} · fitness {:.4}\n{formula}\n{thought}", c.id, c.origin.name(), c.total)
}

/// Axes over the generations.
struct Frame {
    svg: Svg,
    height: f64,
    slot: f64,
    count: usize,
}

impl Frame {
    fn new(height: f64, count: usize, label: &str) -> Self {
        let svg = Svg::new(WIDTH, TOP + height + BOTTOM, label);
        Frame { svg, height, slot: (WIDTH - LEFT - RIGHT) / count.max(1) as f64, count }
    }

    /// Middle of a generation's slot.
    fn x(&self, generation: usize) -> f64 {
        LEFT + self.slot * (generation as f64 + 0.5)
    }

    fn y(&self, value: f64, (least, greatest): (f64, f64)) -> f64 {
        let share = (value - least) / (greatest - least).max(1e-9);
        TOP + self.height * (1.0 - share.clamp(0.0, 1.0))
    }

    fn rule(&mut self, y: f64, label: &str, class: &str) {
        self.svg.line((LEFT, y), (WIDTH - RIGHT, y), class);
        self.svg.text((LEFT - 7.0, y + 4.0), "end", "tick", label);
    }

    fn finish(mut self, unit: &str) -> String {
        self.svg.text((4.0, 14.0), "start", "axis", unit);
        let bottom = TOP + self.height;
        let step = self.count.div_ceil(25).max(1);
        for generation in (0..self.count).filter(|g| g.is_multiple_of(step)) {
            self.svg.text((self.x(generation), bottom + 16.0), "middle", "tick", &generation.to_string());
        }
        self.svg.text(
            ((LEFT + WIDTH - RIGHT) / 2.0, bottom + 34.0),
            "middle",
            "axis",
            "generation, 0 is the initial one",
        );
        self.svg.finish()
    }
}

/// A round step so that about five fit between the limits.
fn tick_step(range: f64) -> f64 {
    let raw = (range / 5.0).max(1e-9);
    let power = 10f64.powi(raw.log10().floor() as i32);
    [1.0, 2.0, 5.0].into_iter().map(|m| m * power).find(|s| *s >= raw).unwrap_or(10.0 * power)
}

/// Fitness of every formula, of the best and on average by generation; none without formulas.
pub fn fitness(outcome: &Outcome) -> Option<String> {
    let means = outcome.history.iter().filter_map(|g| g.mean);
    let mut totals: Vec<f64> = outcome.candidates.iter().map(|c| c.total).collect();
    totals.sort_by(f64::total_cmp);
    let greatest = *totals.last()?;
    // A few bad formulas do not press the others against the top; they stand on the axis.
    let least = means.chain(totals.get(totals.len() / 10).copied()).fold(greatest, f64::min);
    let step = tick_step((greatest - least).max(0.01));
    let range = ((least / step).floor() * step, (greatest / step).ceil() * step);

    let count = outcome.history.len().max(outcome.candidates.iter().map(|c| c.generation + 1).max().unwrap_or(0));
    let mut frame = Frame::new(230.0, count, "Fitness by generation");
    let ticks = ((range.1 - range.0) / step).round() as usize;
    let decimals = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    for k in 0..=ticks {
        let value = range.0 + step * k as f64;
        let y = frame.y(value, range);
        frame.rule(y, &format!("{value:.decimals$}"), if k == 0 { "base" } else { "grid" });
    }
    for generation in 0..count {
        let members: Vec<&Candidate> = outcome.candidates.iter().filter(|c| c.generation == generation).collect();
        for (i, c) in members.iter().enumerate() {
            let share = (i as f64 + 0.5) / members.len() as f64 - 0.5;
            let at = (frame.x(generation) + share * (frame.slot * 0.8).min(120.0), frame.y(c.total, range));
            frame.svg.dot(at, 4.0, &class(c.origin), &title(c));
        }
    }
    for (value, name) in [(mean as fn(&Generation) -> Option<f64>, "mean"), (best, "best")] {
        let points: Vec<(f64, f64)> =
            outcome.history.iter().filter_map(|g| Some((frame.x(g.generation), frame.y(value(g)?, range)))).collect();
        frame.svg.polyline(&points, name);
    }
    for (i, (name, text)) in [("best", "best so far"), ("mean", "mean of the population")].iter().enumerate() {
        let x = WIDTH - RIGHT - 310.0 + 120.0 * i as f64;
        frame.svg.line((x, 10.0), (x + 26.0, 10.0), name);
        frame.svg.text((x + 32.0, 14.0), "start", "tick", text);
    }
    Some(frame.finish("fitness, higher is better"))
}

fn best(generation: &Generation) -> Option<f64> {
    generation.best
}

fn mean(generation: &Generation) -> Option<f64> {
    generation.mean
}

/// The policy after each generation, stacked; none without generations.
pub fn policy(outcome: &Outcome) -> Option<String> {
    outcome.history.first()?;
    let mut frame = Frame::new(150.0, outcome.history.len(), "Policy by generation");
    for generation in &outcome.history {
        let x = frame.x(generation.generation) - frame.slot / 2.0;
        let mut top = TOP;
        for template in TEMPLATES {
            let share = *generation.policy.get(template);
            let cell = Rect { x, y: top, w: frame.slot, h: frame.height * share };
            let text = format!("after generation {}: {} {}", generation.generation, template.name(), percent(share));
            frame.svg.rect(cell, &class(Origin::Asked(template)), 0.85, &text);
            if frame.slot > 36.0 && cell.h > 15.0 {
                let at = (x + frame.slot / 2.0, top + cell.h / 2.0 + 4.0);
                frame.svg.text(at, "middle", "inside", &format!("{:.0} %", 100.0 * share));
            }
            top += cell.h;
        }
    }
    for (share, label) in [(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")] {
        let y = frame.y(share, (0.0, 1.0));
        frame.svg.text((LEFT - 7.0, y + 4.0), "end", "tick", label);
    }
    Some(frame.finish("probability"))
}

/// Predicted against measured damage by rank; none without points.
pub fn scatter(of: &Scatter) -> Option<String> {
    let points = &of.points;
    points.first()?;
    let (side, left) = (360.0, 44.0);
    let xs = ranks(&points.iter().map(|p| p.0).collect::<Vec<_>>());
    let ys = ranks(&points.iter().map(|p| p.1).collect::<Vec<_>>());
    let mut svg = Svg::new(left + side + 12.0, 24.0 + side + 40.0, "Predicted and measured damage by rank");
    let (top, bottom) = (24.0, 24.0 + side);
    let place = |rank: f64| (rank - 0.5) / points.len() as f64 * side;
    for (from, to) in [((left, top), (left, bottom)), ((left, bottom), (left + side, bottom))] {
        svg.line(from, to, "base");
    }
    svg.line((left, bottom), (left + side, top), "mark");
    for ((x, y), (predicted, measured)) in xs.iter().zip(&ys).zip(points) {
        let text = format!("predicted {predicted:.4e}, measured {measured:.4e}");
        svg.dot((left + place(*x), bottom - place(*y)), 3.5, "point", &text);
    }
    svg.text((4.0, 14.0), "start", "axis", "measured damage, by rank");
    svg.text((left + side / 2.0, bottom + 34.0), "middle", "axis", "predicted damage, by rank");
    for (rank, label) in [(1.0, "1".to_owned()), (points.len() as f64, points.len().to_string())] {
        svg.text((left + place(rank), bottom + 16.0), "middle", "tick", &label);
        svg.text((left - 7.0, bottom - place(rank) + 4.0), "end", "tick", &label);
    }
    Some(svg.finish())
}

/// Ranks from 1, equal values share the mean of theirs.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |x: f64| values.iter().filter(|v| v.total_cmp(&x).is_lt()).count() as f64;
    let equal = |x: f64| values.iter().filter(|v| v.total_cmp(&x).is_eq()).count() as f64;
    values.iter().map(|x| below(*x) + (equal(*x) + 1.0) / 2.0).collect()
}
