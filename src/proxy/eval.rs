//! The value of a formula for all layers and widths at once.

use super::across;
use super::column::{Column, Dims};
use super::expr::{Expr, Op};
use super::feature::Shape;
use super::formula::Formula;
use super::function::{Function, Reach};
use super::limits::limited;
use super::program::{Step, compile};
use super::scalar::{self, Product, Sum};
use super::table::Table;
use crate::{Code, Error, Result};

/// The value of `formula` by layer and width, as `[layer][width]`.
///
/// Never NaN or infinite: magnitudes are at most 1e30, and below 1e-60 they are zero.
///
/// # Errors
/// [`Code::Proxy`] where the table lacks a feature that the formula names.
pub fn evaluate(formula: &Formula, table: &Table) -> Result<Vec<Vec<f64>>> {
    Ok(by_layer(&column(&formula.meaning, table)?, table))
}

/// What each width is predicted to cost each layer, as `[layer][width]`: higher is worse.
///
/// The value of the formula, where it says what the width does.
/// Where it does not, the value times `4 ** -bits`: the energy of rounding noise falls by four with every bit.
///
/// # Errors
/// Those of [`evaluate`].
pub fn sensitivities(formula: &Formula, table: &Table) -> Result<Vec<Vec<f64>>> {
    let mut value = column(&formula.meaning, table)?;
    if formula.shape() != Shape::Width {
        let dims = Dims { by_layer: true, by_width: true, ..value.dims };
        let mut noise = Column::filled(dims, Product::default());
        noise.update(&value, |product, x| product.multiply(x));
        noise.update(table.require("quarter")?, |product, x| product.multiply(x));
        value = noise.map(Product::value);
    }
    Ok(by_layer(&value, table))
}

fn by_layer(column: &Column, table: &Table) -> Vec<Vec<f64>> {
    let value = |layer, width| column.get(layer, width).copied().unwrap_or(0.0);
    let layer = |layer| (0..table.widths().len()).map(|width| value(layer, width)).collect();
    (0..table.layers().len()).map(layer).collect()
}

/// The value of a tree that stands for a number.
pub(super) fn column(expr: &Expr, table: &Table) -> Result<Column> {
    let steps = compile(expr);
    let mut last_use = vec![0; steps.len()];
    for (at, step) in steps.iter().enumerate() {
        step.operands.iter().for_each(|o| last_use[o.step] = at);
    }
    let mut done: Vec<Column> = vec![];
    let mut orders = vec![vec![]; table.widths().len()];
    for (at, step) in steps.iter().enumerate() {
        let result = run(step, &done, table, &mut orders)?;
        done.push(result);
        // A column goes with its last use: what is in memory stays in the cache.
        for operand in step.operands.iter().filter(|o| last_use[o.step] == at) {
            done[operand.step].values = vec![];
        }
    }
    done.pop().ok_or_else(|| Error::new(Code::Proxy, "the formula is empty"))
}

/// `orders` holds the order of layers that was found last at each width.
fn run(step: &Step, done: &[Column], table: &Table, orders: &mut [Vec<u32>]) -> Result<Column> {
    let args = || step.operands.iter().filter_map(|o| done.get(o.step).map(|column| (column, o.turned)));
    let none = Dims { by_layer: false, by_width: false, layers: table.layers().len(), widths: table.widths().len() };
    let dims = args().fold(none, |dims, (arg, _)| dims.and(arg.dims));
    let columns = || args().map(|(arg, _)| arg);
    let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
    Ok(match step.op {
        Op::Number(value) => Column::filled(none, value),
        Op::Feature(feature) => table.require(feature.name)?.clone(),
        Op::Truth(value) => Column::filled(none, truth(value)),
        // Of two, neither the last bits nor the range can be lost on the way.
        Op::Add | Op::Negate if step.operands.len() <= 2 => {
            let mut sums = Column::filled(dims, 0.0);
            args().for_each(|(arg, turned)| sums.update(arg, |sum, x| *sum += if turned { -x } else { x }));
            sums.map(limited)
        }
        Op::Multiply | Op::Invert if step.operands.len() <= 2 => {
            let mut products = Column::filled(dims, 1.0);
            for (arg, turned) in args() {
                if turned {
                    products.update(arg, |product, x| *product = if x == 0.0 { 0.0 } else { *product / x });
                } else {
                    products.update(arg, |product, x| *product *= x);
                }
            }
            products.map(limited)
        }
        Op::Add | Op::Negate => {
            let mut sums = Column::filled(dims, Sum::default());
            args().for_each(|(arg, turned)| sums.update(arg, |sum, x| sum.add(if turned { -x } else { x })));
            sums.map(Sum::value)
        }
        Op::Multiply | Op::Invert => {
            let mut products = Column::filled(dims, Product::default());
            for (arg, turned) in args() {
                if turned {
                    products.update(arg, |product, x| product.divide(x));
                } else {
                    products.update(arg, |product, x| product.multiply(x));
                }
            }
            products.map(Product::value)
        }
        Op::Power => power(dims, columns()),
        Op::Less => fold(dims, columns(), |o, x| *o = truth(*o < x)),
        Op::LessEqual => fold(dims, columns(), |o, x| *o = truth(*o <= x)),
        Op::And | Op::Call(Function::Min) => fold(dims, columns(), |o, x| *o = o.min(x)),
        Op::Or | Op::Call(Function::Max) => fold(dims, columns(), |o, x| *o = o.max(x)),
        Op::Not => fold(dims, columns(), |_, _| ()).map(|x| 1.0 - x),
        Op::Choose => choose(dims, columns()),
        Op::Call(Function::Clip) => clip(dims, columns()),
        Op::Call(function) => match args().next() {
            Some((arg, _)) => call(function, arg, orders),
            None => Column::filled(none, 0.0),
        },
    })
}

/// The first operand, changed by each of the others.
fn fold<'a>(dims: Dims, args: impl Iterator<Item = &'a Column>, mut change: impl FnMut(&mut f64, f64)) -> Column {
    let mut out = Column::filled(dims, 0.0);
    for (i, arg) in args.enumerate() {
        if i == 0 { out.update(arg, |o, x| *o = x) } else { out.update(arg, &mut change) }
    }
    out
}

fn power<'a>(dims: Dims, mut args: impl Iterator<Item = &'a Column>) -> Column {
    let filled = |arg: Option<&Column>| {
        let mut out = Column::filled(dims, 0.0);
        arg.into_iter().for_each(|arg| out.update(arg, |o, x| *o = x));
        out
    };
    let (mut bases, exponents) = (filled(args.next()), filled(args.next()));
    scalar::powers(&mut bases.values, &exponents.values);
    bases
}

/// Operands: value, condition, other value.
fn choose<'a>(dims: Dims, mut args: impl Iterator<Item = &'a Column>) -> Column {
    let mut out = Column::filled(dims, (0.0, 0.0));
    if let (Some(value), Some(condition), Some(other)) = (args.next(), args.next(), args.next()) {
        out.update(condition, |(_, holds), x| *holds = x);
        out.update(value, |(chosen, holds), x| *chosen = if *holds > 0.5 { x } else { 0.0 });
        out.update(other, |(chosen, holds), x| *chosen = if *holds > 0.5 { *chosen } else { x });
    }
    out.map(|(chosen, _)| chosen)
}

fn clip<'a>(dims: Dims, mut args: impl Iterator<Item = &'a Column>) -> Column {
    let mut out = Column::filled(dims, (0.0, 0.0));
    if let (Some(value), Some(lo), Some(hi)) = (args.next(), args.next(), args.next()) {
        out.update(value, |(kept, _), x| *kept = x);
        out.update(lo, |(_, low), x| *low = x);
        out.update(hi, |(kept, low), x| *kept = scalar::clip(*kept, *low, x));
    }
    out.map(|(kept, _)| kept)
}

fn call(function: Function, arg: &Column, orders: &mut [Vec<u32>]) -> Column {
    let dims = arg.dims;
    let row_of = |width| match arg.row(width) {
        [x] if !dims.by_layer => vec![*x; dims.layers],
        row => row.to_vec(),
    };
    let widths = 0..if dims.by_width { dims.widths } else { 1 };
    match function.spec().reach {
        Reach::Each => {
            let mut out = arg.clone();
            scalar::unary_each(function, &mut out.values);
            out
        }
        Reach::Pool => Column {
            dims: Dims { by_layer: false, ..dims },
            values: widths.map(|width| limited(across::pool(function, &row_of(width)))).collect(),
        },
        Reach::Across => {
            let mut values = Vec::with_capacity(dims.layers * widths.len());
            for (width, order) in widths.zip(orders) {
                values.extend(across::spread(function, &row_of(width), order));
            }
            Column { dims: Dims { by_layer: true, ..dims }, values }
        }
    }
}
