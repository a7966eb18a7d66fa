//! Products of a layer's output with its input.

use super::gram::{Gram, add_small_product};
use super::patches::misfit;
use crate::Result;
use crate::product::{NARROW, add_product};
use ndarray::{ArrayView2, ArrayViewMut2};
use rayon::prelude::*;

/// Sum over samples of R'X and of the rows of R, where R has one row per output position and one column per output
/// channel: what is left to explain of a layer's output, against what the layer sees.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cross {
    /// Channels x columns of X, row-major; a grouped convolution's channels see the columns of their group.
    pub data: Vec<f32>,
    /// One sum a channel.
    pub sums: Vec<f64>,
}

impl Cross {
    /// Adds another sum of the same layer.
    pub fn merge(&mut self, other: &Cross) {
        if self.data.is_empty() {
            return self.clone_from(other);
        }
        self.data.iter_mut().zip(&other.data).for_each(|(a, b)| *a += b);
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
    }

    /// Takes away what a layer of these `rows` (channels x columns) and this `bias` makes of the inputs of `gram`, which
    /// is complete: sums of what an output should be become sums of what it lacks, and no output is computed for it.
    ///
    /// # Errors
    /// [`crate::Code::Engine`] where weight and moments are not of one layer.
    pub fn take_away(&mut self, rows: &[f32], bias: &[f32], gram: &Gram) -> Result<()> {
        let (n, channels) = (gram.size, bias.len());
        let each = channels / gram.groups.max(1);
        let fits = self.data.len() == rows.len() && self.sums.len() == channels && each * gram.groups == channels;
        if !fits || rows.len() != channels * n || n == 0 || each == 0 {
            return Err(misfit());
        }
        let seen = gram.rows as f64;
        for (channel, ((sum, row), bias)) in self.sums.iter_mut().zip(rows.chunks_exact(n)).zip(bias).enumerate() {
            let columns = &gram.sums[channel / each * n..][..n];
            let made: f64 = row.iter().zip(columns).map(|(w, x)| f64::from(*w) * x).sum();
            *sum -= made + seen * f64::from(*bias);
        }
        let parts = self.data.par_chunks_exact_mut(each * n).zip(rows.par_chunks_exact(each * n)).enumerate();
        parts.try_for_each(|(g, (data, rows))| {
            let less: Vec<f32> = rows.iter().map(|w| -w).collect();
            let less = ArrayView2::from_shape((each, n), &less).map_err(|_| misfit())?;
            let matrix = ArrayView2::from_shape((n, n), gram.group(g)).map_err(|_| misfit())?;
            let mut into = ArrayViewMut2::from_shape((each, n), data).map_err(|_| misfit())?;
            match n > NARROW {
                true => add_product(&less, &matrix, &mut into),
                false => add_small_product(&less, &matrix, &mut into),
            }
            // The bias meets the sum of each column.
            let columns = &gram.sums[g * n..(g + 1) * n];
            for (mut line, bias) in into.rows_mut().into_iter().zip(&bias[g * each..]) {
                line.iter_mut().zip(columns).for_each(|(v, x)| *v -= (f64::from(*bias) * x) as f32);
            }
            Ok(())
        })
    }
}
