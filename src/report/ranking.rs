//! Proxies against each other: how well each ranks measured damage, over several networks.

use super::columns::{Align, Column, table};
use super::svg::Svg;
use crate::proxy::Ranking;
use serde::{Deserialize, Serialize};

/// Proxies by networks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RankTable {
    /// Version of the JSON schema.
    pub schema: u32,
    /// Networks, with their targets.
    pub networks: Vec<String>,
    /// Configurations measured of each network.
    pub configurations: Vec<usize>,
    /// One proxy each, the best mean first.
    pub proxies: Vec<RankRow>,
    /// Proxies that ask for features which not every bench holds.
    pub skipped: Vec<String>,
}

/// One proxy on every network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RankRow {
    /// Its name.
    pub name: String,
    /// Its formula.
    pub formula: String,
    /// Whether it needs runs of the quantized network.
    pub needs_runs: bool,
    /// By network.
    pub rankings: Vec<Ranking>,
}

impl RankRow {
    /// Mean over networks of one of the figures.
    pub fn mean(&self, of: impl Fn(&Ranking) -> f64) -> f64 {
        self.rankings.iter().map(of).sum::<f64>() / self.rankings.len().max(1) as f64
    }

    /// The same of a figure that networks may lack; absent where one does.
    pub fn mean_of_all(&self, of: impl Fn(&Ranking) -> Option<f64>) -> Option<f64> {
        let figures: Option<Vec<f64>> = self.rankings.iter().map(of).collect();
        figures.filter(|f| !f.is_empty()).map(|f| f.iter().sum::<f64>() / f.len() as f64)
    }
}

impl RankTable {
    /// Puts the best mean Spearman first; equal ones by name.
    pub fn sort(&mut self) {
        let mean = |row: &RankRow| row.mean(|r| r.spearman);
        self.proxies.sort_by(|a, b| mean(b).total_cmp(&mean(a)).then_with(|| a.name.cmp(&b.name)));
    }
}

/// The name of a proxy, marked where it needs runs.
pub(super) fn starred(name: &str, needs_runs: bool) -> String {
    if needs_runs { format!("{name} *") } else { name.to_owned() }
}

/// Means over the networks, and Spearman by network.
pub fn rank_text(ranks: &RankTable, columns: usize) -> String {
    let figure = |x: f64| format!("{x:.3}");
    let column = |head, cell: &dyn Fn(&RankRow) -> String| Column {
        head,
        align: Align::Right,
        cells: ranks.proxies.iter().map(cell).collect(),
    };
    let list = [
        Column {
            head: "proxy",
            align: Align::Name,
            cells: ranks.proxies.iter().map(|r| starred(&r.name, r.needs_runs)).collect(),
        },
        column("all", &|r| figure(r.mean(|x| x.spearman))),
        column("best half", &|r| figure(r.mean(|x| x.best_half))),
        column("best fifth", &|r| figure(r.mean(|x| x.best_fifth))),
        column("Kendall", &|r| figure(r.mean(|x| x.kendall))),
        column("worst net", &|r| figure(r.rankings.iter().map(|x| x.spearman).fold(f64::INFINITY, f64::min))),
        column("held out", &|r| r.mean_of_all(|x| x.held_out).map_or("-".to_owned(), figure)),
        column("equal size", &|r| r.mean_of_all(|x| x.equal_size).map_or("-".to_owned(), figure)),
    ];
    let mut text = String::from("Rank correlation of predicted with measured damage, mean over networks:\n\n");
    for line in table(&list, columns.max(60)) {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str("\n* needs runs of the quantized network\n");
    text.push_str("equal size: within configurations of one average width, the mean over widths\n");
    if !ranks.skipped.is_empty() {
        text.push_str(&format!("not ranked, for want of features (`--reference`): {}\n", ranks.skipped.join(", ")));
    }
    text.push_str("\nnetworks:\n");
    for (network, count) in ranks.networks.iter().zip(&ranks.configurations) {
        text.push_str(&format!("  {network}: {count} configurations\n"));
    }
    text
}

const WIDTH: f64 = 900.0;
const ROW: f64 = 26.0;
const LEFT: f64 = 210.0;
const TOP: f64 = 44.0;
const STYLE: &str = "text{font:12px sans-serif;fill:#333}.axis{stroke:#999}.grid{stroke:#ddd}\
.all{fill:#2563eb;fill-opacity:.55}.mean{fill:#1e3a8a}.half{fill:#d97706}.equal{fill:#15803d}";

/// A row for each proxy, a dot for each network, the means over all configurations, over the best half and at
/// equal size beside it.
pub fn rank_svg(ranks: &RankTable) -> String {
    let height = TOP + ROW * ranks.proxies.len() as f64 + 30.0;
    let mut svg = Svg::new(WIDTH, height, "Spearman correlation of predicted with measured damage");
    let equal = |row: &RankRow| row.mean_of_all(|r| r.equal_size);
    let figures = ranks.proxies.iter().flat_map(|p| p.rankings.iter().flat_map(|r| [r.spearman, r.best_half]));
    let least = figures.chain(ranks.proxies.iter().filter_map(equal)).fold(0.9, f64::min);
    let step = if least > 0.5 { 0.1 } else { 0.25 };
    let steps = ((1.0 - least) / step).ceil().clamp(1.0, 8.0);
    let low = 1.0 - steps * step;
    let x = |r: f64| LEFT + (WIDTH - LEFT - 30.0) * (r - low) / (1.0 - low);
    for tick in 0..=steps as u32 {
        let value = low + step * f64::from(tick);
        svg.line((x(value), TOP - 8.0), (x(value), height - 26.0), "grid");
        svg.text((x(value), height - 8.0), "middle", "", &format!("{value:.2}"));
    }
    for (i, row) in ranks.proxies.iter().enumerate() {
        let y = TOP + ROW * (i as f64 + 0.5);
        svg.text((LEFT - 12.0, y + 4.0), "end", "", &row.name);
        for (network, ranking) in ranks.networks.iter().zip(&row.rankings) {
            svg.dot(
                (x(ranking.spearman), y),
                3.5,
                "all",
                &format!("{} on {network}: {:.3}", row.name, ranking.spearman),
            );
        }
        let (mean, half) = (row.mean(|r| r.spearman), row.mean(|r| r.best_half));
        if let Some(equal) = equal(row) {
            svg.dot((x(equal), y), 5.0, "equal", &format!("{}, equal size: {equal:.3}", row.name));
        }
        svg.dot((x(half), y), 5.0, "half", &format!("{}, best half: {half:.3}", row.name));
        svg.dot((x(mean), y), 6.0, "mean", &format!("{}: {mean:.3}", row.name));
    }
    let legend = [
        ("all", "a network", 0.0),
        ("mean", "mean", 110.0),
        ("half", "mean, best half", 190.0),
        ("equal", "mean, equal size", 310.0),
    ];
    for (class, label, at) in legend {
        svg.dot((LEFT + at, 16.0), 5.0, class, "");
        svg.text((LEFT + at + 10.0, 20.0), "start", "", label);
    }
    svg.file(STYLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, figures: &[f64]) -> RankRow {
        let ranking = |x: &f64| Ranking {
            spearman: *x,
            best_half: x - 0.1,
            held_out: Some(*x),
            equal_size: Some(x - 0.05),
            ..Default::default()
        };
        RankRow { name: name.to_owned(), rankings: figures.iter().map(ranking).collect(), ..Default::default() }
    }

    fn ranks() -> RankTable {
        let mut ranks = RankTable {
            schema: 1,
            networks: vec!["a on fpga".to_owned(), "b on fpga".to_owned()],
            configurations: vec![12, 9],
            proxies: vec![row("worse", &[0.5, -0.9]), row("better", &[0.9, 0.7]), row("b-equal", &[0.7, 0.9])],
            skipped: vec!["operating-point".to_owned()],
        };
        ranks.sort();
        ranks
    }

    #[test]
    fn the_best_mean_stands_first_and_what_was_skipped_is_said() {
        let text = rank_text(&ranks(), 80);
        let at = |name: &str| text.find(name).unwrap_or_else(|| panic!("{name} in {text}"));
        assert!(at("b-equal") < at("better") && at("better") < at("worse"));
        assert!(text.contains("0.800") && text.contains("-0.900") && text.contains("operating-point"));
        assert!(text.contains("equal size") && text.contains("0.750"), "{text}");
        assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    }

    #[test]
    fn every_dot_lies_in_the_picture() {
        let svg = rank_svg(&ranks());
        let places = svg.split("cx=\"").skip(1).map(|s| s.split('"').next().unwrap().parse::<f64>().unwrap());
        assert!(places.clone().count() > 12);
        assert!(places.into_iter().all(|x| (0.0..=WIDTH).contains(&x)), "{svg}");
    }
}
