//! Rank correlations between what a proxy predicts and what was measured.

/// Spearman's rank correlation, -1 to 1: Pearson's of the ranks, ties averaged. 0 where one side is constant.
///
/// Spearman 1904, "The Proof and Measurement of Association between Two Things".
pub fn spearman(predicted: &[f64], measured: &[f64]) -> f64 {
    pearson(&ranks(predicted), &ranks(measured))
}

/// Kendall's rank correlation tau-b, -1 to 1. 0 where one side is constant.
///
/// Kendall 1945, "The Treatment of Ties in Ranking Problems". Quadratic in the number of values.
pub fn kendall(predicted: &[f64], measured: &[f64]) -> f64 {
    let n = predicted.len().min(measured.len());
    let (mut agreement, mut left, mut right) = (0.0, 0.0, 0.0);
    for i in 0..n {
        for j in 0..i {
            let sign = |v: &[f64]| v[i].total_cmp(&v[j]) as i32;
            let (a, b) = (sign(predicted), sign(measured));
            agreement += f64::from(a * b);
            left += f64::from(a * a);
            right += f64::from(b * b);
        }
    }
    match left * right > 0.0 {
        true => agreement / (left * right).sqrt(),
        false => 0.0,
    }
}

/// Ranks from 0, equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for group in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let shared = start as f64 + (group.len() - 1) as f64 / 2.0;
        group.iter().for_each(|i| ranks[*i] = shared);
        start += group.len();
    }
    ranks
}

fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len()) as f64;
    let mean = |v: &[f64]| v.iter().sum::<f64>() / n;
    let (ma, mb) = (mean(a), mean(b));
    let sums = a.iter().zip(b).fold((0.0, 0.0, 0.0), |s, (x, y)| {
        let (x, y) = (x - ma, y - mb);
        (s.0 + x * y, s.1 + x * x, s.2 + y * y)
    });
    match sums.1 * sums.2 > 0.0 {
        true => (sums.0 / (sums.1 * sums.2).sqrt()).clamp(-1.0, 1.0),
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What scipy.stats says: `spearmanr`, `kendalltau` (tau-b).
    #[test]
    fn as_scipy_has_it() {
        let a = [1.0, 2.0, 2.0, 4.0, 7.0, 3.0, 3.0, 0.5];
        let b = [2.0, 1.0, 3.0, 3.0, 9.0, 3.5, 0.1, 0.2];
        assert!((spearman(&a, &b) - SPEARMAN).abs() < 1e-12, "{}", spearman(&a, &b));
        assert!((kendall(&a, &b) - KENDALL).abs() < 1e-12, "{}", kendall(&a, &b));
    }

    const SPEARMAN: f64 = 0.587_889_584_848_179_5;
    const KENDALL: f64 = 0.490_653_381_462_658_2;

    #[test]
    fn extremes_and_constants() {
        let up: Vec<f64> = (0..9).map(f64::from).collect();
        let down: Vec<f64> = up.iter().map(|v| -v.exp()).collect();
        assert_eq!((spearman(&up, &up), kendall(&up, &up)), (1.0, 1.0));
        assert_eq!((spearman(&up, &down), kendall(&up, &down)), (-1.0, -1.0));
        assert_eq!((spearman(&up, &[3.0; 9]), kendall(&up, &[3.0; 9])), (0.0, 0.0));
        assert_eq!((spearman(&[], &[]), kendall(&[], &[])), (0.0, 0.0));
    }
}
