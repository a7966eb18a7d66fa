//! Which scale belongs to which element: one for all, one for each slice of an axis, one for each block of an axis.

use crate::{Code, Error, Result};

/// Granularity of scales and zero points over a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granularity {
    /// Extent of the axis that scales follow.
    extent: usize,
    /// Elements between neighbours on that axis.
    inner: usize,
    /// Elements of the axis that share a scale; `None` for one scale for each slice of the axis.
    block: Option<usize>,
}

impl Granularity {
    /// How scales of shape `scales` lie over a tensor of shape `dims`.
    pub(super) fn new(dims: &[usize], scales: &[usize], axis: i64, block: usize) -> Result<Granularity> {
        if scales.iter().product::<usize>() == 1 && block == 0 {
            return Ok(Granularity { extent: 1, inner: dims.iter().product(), block: None });
        }
        let misfit = || Error::new(Code::InvalidGraph, format!("scales {scales:?} do not fit axis {axis} of {dims:?}"));
        let from_end = if axis < 0 { axis + dims.len() as i64 } else { axis };
        let axis = usize::try_from(from_end).ok().filter(|a| *a < dims.len()).ok_or_else(misfit)?;
        let (extent, inner) = (dims[axis], dims[axis + 1..].iter().product());
        let expected: Vec<usize> = match block {
            0 => vec![extent],
            _ => dims.iter().enumerate().map(|(i, d)| if i == axis { d.div_ceil(block) } else { *d }).collect(),
        };
        if scales != expected {
            return Err(misfit());
        }
        Ok(Granularity { extent, inner, block: (block > 0).then_some(block) })
    }

    /// Calls `f` with the position of each element's scale and that of the element, for `len` elements.
    pub(super) fn each(self, len: usize, mut f: impl FnMut(usize, usize)) {
        let (extent, inner) = (self.extent.max(1), self.inner.max(1));
        for start in (0..len).step_by(inner) {
            let (outer, at) = (start / inner / extent, start / inner % extent);
            let row = start..len.min(start + inner);
            match self.block {
                None => row.for_each(|i| f(at, i)),
                Some(block) => {
                    let first = (outer * extent.div_ceil(block) + at / block) * inner;
                    row.for_each(|i| f(first + i - start, i));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dims: &[usize], scales: &[usize], axis: i64, block: usize, expected: &[usize]) {
        let mut found = vec![usize::MAX; dims.iter().product()];
        Granularity::new(dims, scales, axis, block).unwrap().each(found.len(), |at, i| found[i] = at);
        assert_eq!(found, expected);
    }

    #[test]
    fn scales_follow_their_axis() {
        check(&[2, 3], &[], 1, 0, &[0; 6]);
        check(&[2, 3], &[1], 7, 0, &[0; 6]);
        check(&[2, 3], &[2], 0, 0, &[0, 0, 0, 1, 1, 1]);
        check(&[2, 3], &[3], -1, 0, &[0, 1, 2, 0, 1, 2]);
        check(&[2, 2, 2], &[2], 1, 0, &[0, 0, 1, 1, 0, 0, 1, 1]);
        check(&[0, 3], &[3], 1, 0, &[]);
    }

    #[test]
    fn blocks_divide_their_axis() {
        check(&[4, 2], &[2, 2], 0, 2, &[0, 1, 0, 1, 2, 3, 2, 3]);
        check(&[2, 4], &[2, 2], 1, 2, &[0, 0, 1, 1, 2, 2, 3, 3]);
        check(&[3, 1], &[2, 1], 0, 2, &[0, 0, 1]);
    }

    #[test]
    fn misfits_are_refused() {
        for (scales, axis, block) in [(vec![4], 0, 0), (vec![2], 5, 0), (vec![2], -3, 0), (vec![2, 1], 1, 2)] {
            let code = Granularity::new(&[2, 3], &scales, axis, block).map_err(|e| e.code());
            assert_eq!(code, Err(Code::InvalidGraph), "{scales:?} {axis} {block}");
        }
    }
}
