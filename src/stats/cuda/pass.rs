//! A pass over samples: each tensor is measured where it lies or uploaded once, and sums of X'X stay on the device until
//! the end.
//!
//! What comes from the host is waited for tensor by tensor, on whichever queue is free. Tensors that lie on the device
//! are measured on the network's own queue, in between its steps, without waiting; their statistics gather in one buffer
//! and come back together.

use super::gram::{self, Moments, Resident};
use super::lane::{Lane, Lanes, Loan};
use super::machine::Machine;
use super::measure::{self, Cut};
use crate::Result;
use crate::engine::{OnDevice, Seen};
use crate::stats::{Gram, Request, Session, TensorStats};
use rayon::prelude::*;

/// The sums of one pass, and what was measured since the last collection.
pub(super) struct Pass<'a, M: Machine> {
    lanes: &'a Lanes<M>,
    sums: Vec<Resident<M>>,
    /// What measures the sample whose network runs on the device.
    loan: Option<Loan<'a, M>>,
    results: Results<M>,
    /// What was downloaded last.
    words: Vec<u64>,
    found: Vec<Found>,
    moments: Vec<(usize, Queued<Moments>)>,
}

/// Statistics of a tensor, here or still on the device.
enum Found {
    Here(TensorStats),
    There(Queued<Cut>),
}

/// Something whose results lie at this byte of the buffer.
struct Queued<T> {
    what: T,
    at: usize,
}

/// A buffer on the device that fills with the results of one sample.
struct Results<M: Machine> {
    buffer: Option<M::Buffer>,
    bytes: usize,
    used: usize,
}

/// Bytes of the buffer at first, and at most where no tensor needs more: as samples are alike, they soon fit.
const FIRST: usize = 4 << 20;
const MOST: usize = 64 << 20;

impl<'a, M: Machine> Pass<'a, M> {
    /// A pass without any sample yet.
    pub(super) fn new(lanes: &'a Lanes<M>, layers: usize) -> Self {
        let mut sums = vec![];
        sums.resize_with(layers, Resident::default);
        let results = Results { buffer: None, bytes: 0, used: 0 };
        Pass { lanes, sums, loan: None, results, words: vec![], found: vec![], moments: vec![] }
    }

    fn measure_from_host(
        &mut self,
        (dims, values): (&[usize], &[f32]),
        request: &Request,
        moments: bool,
    ) -> Result<TensorStats> {
        let sums = &mut self.sums;
        let mut work = |lane: &mut Lane<M>| {
            let address = lane.put_values(values)?;
            for wanted in request.grams.iter().filter(|_| moments) {
                gram::add(lane, address, dims, values, wanted, &mut sums[wanted.layer])?;
            }
            measure::tensor(lane, address, dims, values, request)
        };
        match &mut self.loan {
            // Passes that each waited for a second queue would wait for each other.
            Some(loan) => work(loan.lane()?),
            None => self.lanes.with(work),
        }
    }

    /// Queues everything and waits for nothing, unless the buffer of results is full.
    fn queue(&mut self, tensor: &OnDevice, cut: Cut, tasks: &[(usize, gram::Task)]) -> Result<()> {
        let needed = measure::bytes(cut) + tasks.iter().map(|(_, task)| Moments::of(*task).bytes()).sum::<usize>();
        if self.results.used + needed > self.results.bytes {
            self.fetch()?;
            self.results.grow(needed);
        }
        let lanes = self.lanes;
        let lane = self.loan.get_or_insert_with(|| lanes.lend()).lane()?;
        // The network uses the memory again as soon as its own queue allows it.
        if let Some(queue) = tensor.queue {
            lane.machine.join(queue)?;
        }
        let base = self.results.address(lane)?;
        let mut take = |bytes: usize| {
            let at = self.results.used;
            self.results.used += bytes;
            at
        };
        for (layer, task) in tasks {
            let moments = Moments::of(*task);
            let at = take(moments.bytes());
            gram::queue(lane, tensor.address, *task, &mut self.sums[*layer], base + at as u64)?;
            self.moments.push((*layer, Queued { what: moments, at }));
        }
        let at = take(measure::bytes(cut));
        measure::queue(lane, tensor.address, cut, base + at as u64)?;
        self.found.push(Found::There(Queued { what: cut, at }));
        Ok(())
    }

    /// Waits for what is queued and brings its results here.
    fn fetch(&mut self) -> Result<()> {
        let words = &mut self.words;
        words.resize(self.results.used.div_ceil(8), 0);
        self.results.used = 0;
        if let (Some(loan), Some(buffer)) = (&mut self.loan, &self.results.buffer)
            && !words.is_empty()
        {
            loan.lane()?.machine.download(buffer, bytemuck::cast_slice_mut(words))?;
        }
        for (layer, queued) in self.moments.drain(..) {
            self.sums[layer].note(queued.what.read(&words[queued.at / 8..]));
        }
        for found in &mut self.found {
            if let Found::There(queued) = found {
                *found = Found::Here(measure::read(&words[queued.at / 8..], queued.what));
            }
        }
        Ok(())
    }
}

impl<M: Machine> Results<M> {
    /// Makes room for results of `bytes`, and for more of one sample than so far. Nothing may be queued.
    fn grow(&mut self, bytes: usize) {
        let wanted = bytes.max(FIRST).max((2 * self.bytes).min(MOST));
        if wanted > self.bytes {
            (self.buffer, self.bytes) = (None, wanted);
        }
    }

    /// The address of the buffer.
    fn address(&mut self, lane: &mut Lane<M>) -> Result<u64> {
        let buffer = match self.buffer.take() {
            Some(buffer) => buffer,
            None => lane.machine.allocate(self.bytes)?,
        };
        Ok(lane.machine.address(self.buffer.insert(buffer)))
    }
}

impl<M: Machine> Session for Pass<'_, M> {
    fn measure(&mut self, tensor: &Seen, request: &Request, moments: bool) -> Result<()> {
        let dims = tensor.dims();
        let wanted = || request.grams.iter().filter(|_| moments);
        if let Seen::Device(there) = tensor {
            let cut = Cut::of(dims, request);
            let task = |g: &crate::stats::GramRequest| {
                Ok(gram::Task::of(dims, cut.len(), &g.patches)?.map(|task| (g.layer, task)))
            };
            let tasks: Vec<Option<(usize, gram::Task)>> = wanted().map(task).collect::<Result<_>>()?;
            // What no kernel reads is measured from the host.
            if let Some(tasks) = tasks.into_iter().collect::<Option<Vec<_>>>()
                && cut.len() > 0
            {
                return self.queue(there, cut, &tasks);
            }
        }
        let stats = self.measure_from_host((dims, &tensor.values()?), request, moments)?;
        self.found.push(Found::Here(stats));
        Ok(())
    }

    fn collect(&mut self) -> Result<Vec<TensorStats>> {
        let fetched = self.fetch();
        self.loan = None;
        fetched?;
        let here = |found| match found {
            Found::Here(stats) => Some(stats),
            Found::There(_) => None,
        };
        Ok(self.found.drain(..).filter_map(here).collect())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Gram>> {
        let Pass { lanes, sums, loan, .. } = *self;
        drop(loan);
        // Copying takes the processor longer than the transfer.
        sums.into_par_iter().map(|sum| lanes.with(|lane| gram::fetch(lane, sum))).collect()
    }
}
