//! A pass over samples: each tensor is uploaded once, and sums of X'X stay on the device until the end.

use super::gram::{self, Resident};
use super::lane::Lanes;
use super::machine::Machine;
use super::measure;
use crate::Result;
use crate::stats::{Gram, Request, Session, TensorStats};

/// The sums of one pass; its tensors go through whichever queue is free.
pub(super) struct Pass<'a, M: Machine> {
    lanes: &'a Lanes<M>,
    sums: Vec<Resident<M>>,
}

impl<'a, M: Machine> Pass<'a, M> {
    /// A pass without any sample yet.
    pub(super) fn new(lanes: &'a Lanes<M>, layers: usize) -> Self {
        let mut sums = vec![];
        sums.resize_with(layers, Resident::default);
        Pass { lanes, sums }
    }
}

impl<M: Machine> Session for Pass<'_, M> {
    fn measure(&mut self, dims: &[usize], values: &[f32], request: &Request, moments: bool) -> Result<TensorStats> {
        self.lanes.with(|lane| {
            let address = lane.put_values(values)?;
            for wanted in request.grams.iter().filter(|_| moments) {
                gram::add(lane, address, dims, values, wanted, &mut self.sums[wanted.layer])?;
            }
            measure::tensor(lane, address, dims, values, request)
        })
    }

    fn finish(self: Box<Self>) -> Result<Vec<Gram>> {
        let lanes = self.lanes;
        self.sums.into_iter().map(|sum| lanes.with(|lane| gram::fetch(lane, sum))).collect()
    }
}
