//! Markdown tables, and what can be said of runs with several seeds.

/// A table under its head.
#[derive(Default)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of these columns.
    pub fn new(head: &[&str]) -> Table {
        Table { head: head.iter().map(|h| (*h).to_owned()).collect(), rows: vec![] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = vec!["---".to_owned(); self.head.len()];
        let rows: String = self.rows.iter().map(|r| line(r)).collect();
        line(&self.head) + &line(&rule) + &rows
    }
}

/// A figure, a dash where it is none.
pub fn figure(x: f64, decimals: usize) -> String {
    if x.is_finite() { format!("{x:.decimals$}") } else { "-".to_owned() }
}

/// A formula, as code that a table can hold.
pub fn code(formula: &str) -> String {
    format!("`{}`", formula.replace('|', "\\|"))
}

/// Mean and standard deviation of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub mean: f64,
    pub deviation: f64,
    pub count: usize,
}

impl Spread {
    /// Of the finite values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let values: Vec<f64> = values.into_iter().filter(|x| x.is_finite()).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
        let deviation = if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { f64::NAN };
        Spread { mean, deviation, count: values.len() }
    }

    /// `mean ± deviation`.
    pub fn text(&self, decimals: usize) -> String {
        match self.deviation.is_finite() {
            true => format!("{} ± {}", figure(self.mean, decimals), figure(self.deviation, decimals)),
            false => figure(self.mean, decimals),
        }
    }
}

/// In words, whether one sample's mean is above the other's by more than twice the standard error of the difference.
pub fn verdict(name: &str, with: Spread, without: Spread) -> String {
    let difference = with.mean - without.mean;
    let error = |s: &Spread| s.deviation.powi(2) / s.count as f64;
    let error = (error(&with) + error(&without)).sqrt();
    let what = match (error.is_finite(), difference.abs() > 2.0 * error, difference > 0.0) {
        (false, _, _) => "too few runs to tell",
        (_, false, _) => "within the noise of the runs",
        (_, true, true) => "better by more than twice its standard error",
        (_, true, false) => "worse by more than twice its standard error",
    };
    format!("{name}: {difference:+.4} (standard error {}): {what}.", figure(error, 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_weighed_against_its_noise() {
        let (a, b) = (Spread::of([1.0, 1.1, 0.9]), Spread::of([2.0, 2.1, 1.9]));
        assert_eq!(a.text(2), "1.00 ± 0.10");
        assert!(verdict("x", b, a).ends_with("better by more than twice its standard error."));
        assert!(verdict("x", a, b).ends_with("worse by more than twice its standard error."));
        assert!(verdict("x", a, a).ends_with("within the noise of the runs."));
        assert!(verdict("x", Spread::of([1.0]), a).ends_with("too few runs to tell."));
        assert_eq!(Spread::of([f64::NAN]).text(3), "-");
    }

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(&["a", "b"]);
        table.row(vec![code("x | y"), figure(0.5, 1)]);
        assert_eq!(table.markdown(), "| a | b |\n| --- | --- |\n| `x \\| y` | 0.5 |\n");
    }
}
