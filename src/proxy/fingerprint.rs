//! What a formula does, in sixteen digits: equal for formulas that choose the same bits.
//!
//! Text and tree say too little: `x + x` and `2 * x` differ in both. So the formula is evaluated on made-up tables.
//! Neither a choice among integer widths nor a rank correlation sees a positive factor, or a term that is the same at
//! every width: the factor is divided out, and such terms are left out of a sum.

use super::eval::sensitivities;
use super::expr::{Expr, Op};
use super::feature::Shape;
use super::formula::Formula;
use super::made_up::TABLES;
use sha2::{Digest, Sha256};

/// Below this share of the largest value, digits are rounding noise.
const NOISE: f64 = 1e-12;

/// Layers whose values differ by less than this share of the largest are the same.
const EQUAL: f64 = 1e-9;

/// The formula without the terms of a sum that no width changes, where others do.
fn telling(formula: &Formula) -> Formula {
    let Expr { op: Op::Add, args } = &formula.meaning else { return formula.clone() };
    let terms: Vec<Expr> = args.iter().filter(|term| term.shape() == Shape::Width).cloned().collect();
    if terms.is_empty() { formula.clone() } else { Formula::new(Expr::add(terms)) }
}

/// The made-up tables have every feature, so that every formula has values on them.
fn values(formula: &Formula) -> Vec<Vec<Vec<f64>>> {
    let formula = &telling(formula);
    TABLES.iter().filter_map(|table| sensitivities(formula, table).ok()).collect()
}

fn largest(table: &[Vec<f64>]) -> f64 {
    table.iter().flatten().fold(0.0, |m: f64, x| m.max(x.abs()))
}

/// The fingerprint of a formula: 16 hexadecimal digits.
pub(super) fn fingerprint(formula: &Formula) -> String {
    let mut hash = Sha256::new();
    for table in values(formula) {
        let whole = largest(&table);
        for value in table.iter().flatten() {
            let share = if whole > 0.0 { value / whole } else { 0.0 };
            let share = if share.abs() < NOISE { 0.0 } else { share };
            hash.update(format!("{share:.5e}\n"));
        }
    }
    hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Whether a formula says the same of all layers, at every width.
pub(super) fn is_degenerate(formula: &Formula) -> bool {
    values(formula).iter().all(|table| {
        let noise = EQUAL * largest(table);
        let first = table.first().map_or(&[][..], Vec::as_slice);
        table.iter().all(|layer| layer.iter().zip(first).all(|(x, y)| (x - y).abs() <= noise))
    })
}
