//! Proxies against each other by what they choose: the network as each proxy's own allocation makes it.

use super::columns::{Align, Column, table};
use super::ranking::starred;
use serde::{Deserialize, Serialize};

/// Proxies by networks and sizes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChoiceTable {
    /// Version of the JSON schema.
    pub schema: u32,
    /// Networks, with their targets.
    pub networks: Vec<String>,
    /// Average bits of the weights that were chosen at.
    pub average_bits: Vec<f64>,
    /// One width for all layers: by network and size, SQNR of the outputs in dB; the greatest width within the size.
    pub uniform_db: Vec<Vec<Option<f64>>>,
    /// One proxy each, the best mean first.
    pub proxies: Vec<ChoiceRow>,
    /// Proxies that ask for features which not every bench holds.
    pub skipped: Vec<String>,
}

/// What one proxy chooses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChoiceRow {
    /// Its name.
    pub name: String,
    /// Its formula.
    pub formula: String,
    /// Whether it needs runs of the quantized network.
    pub needs_runs: bool,
    /// By network and size, SQNR of the outputs in dB; absent where nothing fits the size.
    pub sqnr_db: Vec<Vec<Option<f64>>>,
    /// Mean over networks and sizes, of those that every proxy has; absent where there are none.
    pub mean_db: Option<f64>,
    /// In how many of them it is worse than one width for all.
    pub below_uniform: usize,
}

impl ChoiceTable {
    /// Fills in what is derived from the measurements, and puts the best mean first; equal ones by name.
    pub fn sort(&mut self) {
        let cells = self.cells();
        for row in &mut self.proxies {
            row.mean_db = mean(cells.iter().map(|c| at(&row.sqnr_db, *c)));
            let below = |c: &&(usize, usize)| at(&row.sqnr_db, **c) < at(&self.uniform_db, **c);
            row.below_uniform = cells.iter().filter(below).count();
        }
        let worth = |row: &ChoiceRow| row.mean_db.unwrap_or(f64::NEG_INFINITY);
        self.proxies.sort_by(|a, b| worth(b).total_cmp(&worth(a)).then_with(|| a.name.cmp(&b.name)));
    }

    /// Networks and sizes that every proxy was measured at: means over anything else compare different things.
    fn cells(&self) -> Vec<(usize, usize)> {
        let sizes = self.average_bits.len();
        let all = (0..self.networks.len()).flat_map(|n| (0..sizes).map(move |s| (n, s)));
        all.filter(|c| self.proxies.iter().all(|r| at(&r.sqnr_db, *c).is_some())).collect()
    }
}

fn at(table: &[Vec<Option<f64>>], (network, size): (usize, usize)) -> Option<f64> {
    table.get(network)?.get(size).copied()?
}

/// Mean of figures that are all there.
fn mean(figures: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let figures: Vec<f64> = figures.collect::<Option<_>>()?;
    (!figures.is_empty()).then(|| figures.iter().sum::<f64>() / figures.len() as f64)
}

/// One row a proxy: means over everything, by size and by network.
pub fn choice_text(choices: &ChoiceTable, columns: usize) -> String {
    let cells = choices.cells();
    let rows = || choices.proxies.iter().map(|r| &r.sqnr_db).chain([&choices.uniform_db]);
    let decibels = |over: &dyn Fn(&(usize, usize)) -> bool| -> Vec<String> {
        let mean = |t: &Vec<Vec<Option<f64>>>| mean(cells.iter().filter(|c| over(c)).map(|c| at(t, *c)));
        rows().map(|t| mean(t).map_or("-".to_owned(), |db| format!("{db:.2}"))).collect()
    };
    let name = |r: &ChoiceRow| starred(&r.name, r.needs_runs);
    let labels: Vec<String> = choices.proxies.iter().map(name).chain(["one width for all".to_owned()]).collect();
    let below = choices.proxies.iter().map(|r| r.below_uniform.to_string()).chain(["-".to_owned()]).collect();
    let sizes: Vec<String> = choices.average_bits.iter().map(|b| format!("{b:.1} bits")).collect();
    let networks: Vec<String> = (1..=choices.networks.len()).map(|n| format!("[{n}]")).collect();
    let right = |head, cells| Column { head, align: Align::Right, cells };
    let names = |cells: &Vec<String>| Column { head: "proxy", align: Align::Name, cells: cells.clone() };
    let mut by_size = vec![names(&labels), right("mean dB", decibels(&|_| true)), right("worse", below)];
    by_size.extend(sizes.iter().enumerate().map(|(s, head)| right(head, decibels(&|c| c.1 == s))));
    let mut by_network = vec![names(&labels)];
    by_network.extend(networks.iter().enumerate().map(|(n, head)| right(head, decibels(&|c| c.0 == n))));
    let mut text = String::from("SQNR of the network as each proxy's knapsack chooses, on samples held apart:\n");
    for list in [by_size, by_network] {
        text.push('\n');
        for line in table(&list, columns.max(60)) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text.push_str("\n* needs runs of the quantized network\n");
    let count = cells.len();
    text.push_str(&format!("worse: choices of {count} that are worse than one width for all of at most that size\n"));
    if !choices.skipped.is_empty() {
        text.push_str(&format!("left out, for want of features (`--reference`): {}\n", choices.skipped.join(", ")));
    }
    text.push('\n');
    for (head, network) in networks.iter().zip(&choices.networks) {
        text.push_str(&format!("{head} {network}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices() -> ChoiceTable {
        let row = |name: &str, db: [[Option<f64>; 2]; 2]| ChoiceRow {
            name: name.to_owned(),
            sqnr_db: db.iter().map(|d| d.to_vec()).collect(),
            ..Default::default()
        };
        let mut choices = ChoiceTable {
            schema: 1,
            networks: vec!["a on fpga".to_owned(), "b on fpga".to_owned()],
            average_bits: vec![4.0, 5.0],
            uniform_db: vec![vec![Some(10.0), Some(20.0)], vec![Some(30.0), Some(40.0)]],
            proxies: vec![
                row("worse", [[Some(9.0), Some(19.0)], [Some(29.0), Some(40.0)]]),
                row("better", [[Some(12.0), Some(19.0)], [Some(31.0), None]]),
            ],
            skipped: vec!["operating-point".to_owned()],
        };
        choices.sort();
        choices
    }

    #[test]
    fn means_are_over_what_all_were_measured_at() {
        let choices = choices();
        let row = |i: usize| (choices.proxies[i].name.as_str(), choices.proxies[i].below_uniform);
        assert_eq!((row(0), row(1)), (("better", 1), ("worse", 3)));
        assert!((choices.proxies[0].mean_db.unwrap() - 62.0 / 3.0).abs() < 1e-12);
        assert!((choices.proxies[1].mean_db.unwrap() - 57.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn where_no_one_width_fits_proxies_are_compared_all_the_same() {
        let mut choices = choices();
        choices.uniform_db[0][0] = None;
        choices.sort();
        assert!((choices.proxies[0].mean_db.unwrap() - 62.0 / 3.0).abs() < 1e-12);
        assert_eq!(choices.proxies[1].below_uniform, 2);
        let text = choice_text(&choices, 80);
        let line = text.lines().find(|l| l.starts_with("one width")).unwrap();
        assert_eq!(line.split_whitespace().skip(4).collect::<Vec<_>>(), ["-", "-", "-", "20.00"], "{text}");
    }

    #[test]
    fn the_table_shows_sizes_networks_and_one_width_for_all() {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!("report-choices", choice_text(&choices(), 80)));
    }
}
