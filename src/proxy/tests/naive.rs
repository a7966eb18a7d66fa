//! The language a second time, as plainly as can be: one layer and width at a time, on the tree as it is written.
//!
//! It says where a value hangs by a thread (near a limit, a tie, a jump or a cancellation), so that two trees are
//! compared only where rounding cannot tell them apart.

use crate::proxy::Table;
use crate::proxy::expr::{Expr, Op};
use crate::proxy::function::Function;

/// Values as `[layer][width]`, or `None` where one hangs by a thread.
pub(super) type Values = Option<Vec<Vec<f64>>>;

const THREAD: f64 = 1e-4;

pub(super) fn value(expr: &Expr, table: &Table) -> Values {
    let args: Vec<Vec<Vec<f64>>> = expr.args.iter().map(|arg| value(arg, table)).collect::<Option<_>>()?;
    if let Op::Call(function) = expr.op
        && let Some(across) = across(function)
    {
        let widths = table.widths().len();
        let rows: Vec<Vec<f64>> = (0..widths).map(|w| args[0].iter().map(|layer| layer[w]).collect()).collect();
        let rows: Vec<Vec<f64>> = rows.iter().map(|row| across(row)).collect::<Option<_>>()?;
        let sound = rows.iter().flatten().all(|x| safe(*x));
        return sound.then(|| (0..table.layers().len()).map(|l| rows.iter().map(|row| row[l]).collect()).collect());
    }
    let one = |l: usize, w: usize| {
        let args: Vec<f64> = args.iter().map(|arg| arg[l][w]).collect();
        if expr.op == Op::Power && args[0] < 0.0 && expr.args[1].as_number().is_none() {
            // Rounding decides whether a computed exponent is an odd integer, and so the sign.
            return None;
        }
        let value = match expr.op {
            Op::Feature(feature) => table.get(feature.name, l, w)?,
            op => single(op, &args)?,
        };
        safe(value).then_some(value)
    };
    (0..table.layers().len()).map(|l| (0..table.widths().len()).map(|w| one(l, w)).collect()).collect()
}

/// Away from the limits.
fn safe(x: f64) -> bool {
    x == 0.0 || (1e-50..1e29).contains(&x.abs())
}

fn apart(a: f64, b: f64) -> bool {
    (a - b).abs() > THREAD * a.abs().max(b.abs()) || (a == 0.0 && b == 0.0)
}

fn truth(x: bool) -> Option<f64> {
    Some(if x { 1.0 } else { 0.0 })
}

fn single(op: Op, args: &[f64]) -> Option<f64> {
    Some(match (op, args) {
        (Op::Number(x), _) => x,
        (Op::Negate, [x]) => -x,
        (Op::Invert, [x]) => over(1.0, *x),
        (Op::Add, _) => {
            let (sum, size) = args.iter().fold((0.0, 0.0), |(s, m): (f64, f64), x| (s + x, m + x.abs()));
            return (size == 0.0 || sum.abs() > THREAD * size).then_some(sum);
        }
        (Op::Multiply, _) => {
            let mut product = 1.0;
            for x in args {
                product *= x;
                if !safe(product) {
                    return None;
                }
            }
            product
        }
        (Op::Power, [a, b]) => {
            let odd = b.fract() == 0.0 && b.rem_euclid(2.0) == 1.0;
            // Large powers magnify rounding.
            if b.abs() > 1e3 {
                return None;
            }
            match (*a == 0.0, *b < 0.0) {
                (true, true) => 0.0,
                _ => a.abs().powf(*b) * if odd && *a < 0.0 { -1.0 } else { 1.0 },
            }
        }
        (Op::Less | Op::LessEqual, [a, b]) if a == b => return truth(op == Op::LessEqual),
        (Op::Less | Op::LessEqual, [a, b]) => return if apart(*a, *b) { truth(a < b) } else { None },
        (Op::And, _) => return truth(args.iter().all(|x| *x == 1.0)),
        (Op::Or, _) => return truth(args.contains(&1.0)),
        (Op::Not, [x]) => 1.0 - x,
        (Op::Choose, [a, condition, b]) => {
            if *condition == 1.0 {
                *a
            } else {
                *b
            }
        }
        (Op::Call(function), [x]) => return function_of_one(function, *x),
        (Op::Call(Function::Min), _) => args.iter().copied().reduce(f64::min)?,
        (Op::Call(Function::Max), _) => args.iter().copied().reduce(f64::max)?,
        (Op::Call(Function::Clip), [x, lo, hi]) => {
            let raised = if x > lo { x } else { lo };
            *if raised < hi { raised } else { hi }
        }
        _ => return None,
    })
}

fn over(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

fn function_of_one(function: Function, x: f64) -> Option<f64> {
    let exp = |x: f64| x.clamp(-60.0, 60.0).exp();
    // Logarithms of numbers near one are near zero, and exponentials of large numbers magnify their rounding.
    let near_one = (x.abs() - 1.0).abs() < THREAD && x.abs() != 1.0;
    Some(match function {
        Function::Abs => x.abs(),
        Function::Sqrt => x.abs().sqrt(),
        Function::Log if !near_one => x.abs().max(1e-30).ln(),
        Function::Log2 if !near_one => x.abs().max(1e-30).log2(),
        Function::Log1p => x.signum() * x.abs().ln_1p(),
        Function::Exp => exp(x),
        Function::Square => x * x,
        Function::Tanh => x.tanh(),
        Function::Sigmoid => 1.0 / (1.0 + exp(-x)),
        _ => return None,
    })
}

type Across = fn(&[f64]) -> Option<Vec<f64>>;

fn across(function: Function) -> Option<Across> {
    Some(match function {
        Function::Rank => |row| {
            let place = |x: &f64| {
                let below = row.iter().filter(|y| **y < *x).count() as f64;
                let equal = row.iter().filter(|y| **y == *x).count() as f64;
                (below + (equal - 1.0) / 2.0) / (row.len() as f64 - 1.0)
            };
            let clear = row.iter().enumerate().all(|(i, a)| row[..i].iter().all(|b| apart(*a, *b)));
            clear.then(|| row.iter().map(place).collect())
        },
        Function::Norm => |row| {
            let whole: f64 = row.iter().map(|x| x.abs()).sum();
            Some(row.iter().map(|x| over(*x, whole)).collect())
        },
        Function::Zscore => |row| {
            let n = row.len() as f64;
            let mean = row.iter().sum::<f64>() / n;
            let deviation = (row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
            let size = row.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            let clear = deviation > THREAD * size && row.iter().all(|x| apart(*x, mean));
            (clear || size == 0.0).then(|| row.iter().map(|x| over(x - mean, deviation)).collect())
        },
        Function::Minmax => |row| {
            let low = row.iter().copied().fold(f64::INFINITY, f64::min);
            let high = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let size = low.abs().max(high.abs());
            let clear = high - low > THREAD * size && row.iter().all(|x| *x == low || apart(*x, low));
            (clear || size == 0.0).then(|| row.iter().map(|x| over(x - low, high - low)).collect())
        },
        Function::Mean => |row| pooled(row, row.iter().sum::<f64>() / row.len() as f64),
        Function::Total => |row| pooled(row, row.iter().sum()),
        Function::Largest => |row| Some(vec![row.iter().copied().fold(f64::NEG_INFINITY, f64::max); row.len()]),
        Function::Before => |row| parts(row, |i| 0..i),
        Function::After => |row| parts(row, |i| i + 1..usize::MAX),
        _ => return None,
    })
}

fn pooled(row: &[f64], value: f64) -> Option<Vec<f64>> {
    let size: f64 = row.iter().map(|x| x.abs()).sum();
    (size == 0.0 || value.abs() > THREAD * size / row.len() as f64).then(|| vec![value; row.len()])
}

fn parts(row: &[f64], part: fn(usize) -> std::ops::Range<usize>) -> Option<Vec<f64>> {
    let sum = |i: usize| {
        let range = part(i);
        let part = row.get(range.start..range.end.min(row.len())).unwrap_or(&[]);
        let size: f64 = part.iter().map(|x| x.abs()).sum();
        let sum: f64 = part.iter().sum();
        (size == 0.0 || sum.abs() > THREAD * size).then_some(sum)
    };
    (0..row.len()).map(sum).collect()
}
