//! A queue of work on the device with the memory it uses again and again, and a pool of them.
//!
//! Callers on several threads take a lane each, so that the transfers of one overlap with the kernels of another.

use super::machine::Machine;
use crate::Result;
use bytemuck::Pod;
use std::sync::{Condvar, Mutex, PoisonError};

/// A machine and its buffers.
pub(super) struct Lane<M: Machine> {
    /// The queue.
    pub(super) machine: M,
    /// What was uploaded.
    pub(super) values: Room<M>,
    /// Parameters of a kernel.
    pub(super) parameters: Room<M>,
    /// What blocks hand over to the last step.
    pub(super) partial: Room<M>,
    /// The same, where a kernel hands over two kinds.
    pub(super) partial_sums: Room<M>,
    /// What is downloaded.
    pub(super) result: Room<M>,
}

impl<M: Machine> Lane<M> {
    /// A lane without any buffer yet.
    pub(super) fn new(machine: M) -> Self {
        let room = Room::default;
        Lane { machine, values: room(), parameters: room(), partial: room(), partial_sums: room(), result: room() }
    }

    /// Drops all buffers, so that the next ones have the size that is asked for: writes past their ends then show.
    #[cfg(test)]
    pub(super) fn forget(&mut self) {
        for room in
            [&mut self.values, &mut self.parameters, &mut self.partial, &mut self.partial_sums, &mut self.result]
        {
            *room = Room::default();
        }
    }

    /// Uploads a tensor and says where it lies.
    pub(super) fn put_values<T: Pod>(&mut self, values: &[T]) -> Result<u64> {
        self.values.put(&mut self.machine, values)
    }

    /// Uploads parameters and says where they lie.
    pub(super) fn put_parameters<T: Pod>(&mut self, values: &[T]) -> Result<u64> {
        self.parameters.put(&mut self.machine, values)
    }

    /// The first `count` elements of the results.
    pub(super) fn results<T: Pod>(&mut self, count: usize) -> Result<Vec<T>> {
        self.result.get(&mut self.machine, count)
    }
}

/// A buffer that grows and is used again: memory is bounded by the largest tensor.
pub(super) struct Room<M: Machine> {
    buffer: Option<M::Buffer>,
    bytes: usize,
}

impl<M: Machine> Default for Room<M> {
    fn default() -> Self {
        Room { buffer: None, bytes: 0 }
    }
}

impl<M: Machine> Room<M> {
    /// The address of at least `bytes` bytes; what they held before is lost.
    pub(super) fn reserve(&mut self, machine: &mut M, bytes: usize) -> Result<u64> {
        let buffer = self.at_least(machine, bytes)?;
        Ok(machine.address(buffer))
    }

    fn at_least(&mut self, machine: &mut M, bytes: usize) -> Result<&mut M::Buffer> {
        if self.bytes < bytes {
            if self.buffer.is_some() {
                // It may lie in the memory of another queue, which knows nothing of its last use.
                machine.wait()?;
            }
            // The old buffer goes first: both together might not fit.
            (self.buffer, self.bytes) = (None, 0);
        }
        match &mut self.buffer {
            Some(buffer) => Ok(buffer),
            empty => {
                let buffer = empty.insert(machine.allocate(bytes.max(1))?);
                self.bytes = bytes.max(1);
                Ok(buffer)
            }
        }
    }

    fn put<T: Pod>(&mut self, machine: &mut M, values: &[T]) -> Result<u64> {
        let buffer = self.at_least(machine, std::mem::size_of_val(values))?;
        machine.upload(bytemuck::cast_slice(values), buffer)?;
        Ok(machine.address(buffer))
    }

    fn get<T: Pod>(&mut self, machine: &mut M, count: usize) -> Result<Vec<T>> {
        let mut found = vec![T::zeroed(); count];
        let buffer = self.at_least(machine, std::mem::size_of_val(&found[..]))?;
        machine.download(buffer, bytemuck::cast_slice_mut(&mut found))?;
        Ok(found)
    }
}

/// Lanes that are lent to one caller at a time.
pub(super) struct Lanes<M: Machine> {
    free: Mutex<Vec<Lane<M>>>,
    returned: Condvar,
}

impl<M: Machine> Lanes<M> {
    /// A pool of at least one lane.
    pub(super) fn new(lanes: Vec<Lane<M>>) -> Self {
        Lanes { free: Mutex::new(lanes), returned: Condvar::new() }
    }

    /// Does `work` on a lane, once one is free.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Lane<M>) -> Result<T>) -> Result<T> {
        work(self.lend().lane()?)
    }

    /// A lane, once one is free, for as long as the loan lives.
    pub(super) fn lend(&self) -> Loan<'_, M> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.returned.wait_while(free, |f| f.is_empty()).unwrap_or_else(PoisonError::into_inner);
        Loan { lanes: self, lane: free.pop() }
    }
}

/// Gives the lane back, whatever happens to its borrower.
pub(super) struct Loan<'a, M: Machine> {
    lanes: &'a Lanes<M>,
    lane: Option<Lane<M>>,
}

impl<M: Machine> Loan<'_, M> {
    /// What is lent.
    pub(super) fn lane(&mut self) -> Result<&mut Lane<M>> {
        self.lane.as_mut().ok_or_else(|| super::failure("a queue of the GPU was lost"))
    }
}

impl<M: Machine> Drop for Loan<'_, M> {
    fn drop(&mut self) {
        if let Some(lane) = &mut self.lane {
            // A device that failed says so again when it is asked for something.
            let _ = lane.machine.leave();
        }
        self.lanes.free.lock().unwrap_or_else(PoisonError::into_inner).extend(self.lane.take());
        self.lanes.returned.notify_one();
    }
}
