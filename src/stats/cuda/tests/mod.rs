//! Every kernel against its CPU reference, through the code that launches it: in an emulation, and on a device where
//! one answers.

mod data;
mod device;
mod driver;
mod emulator;
mod fakes;
mod grams;
mod lanes;
mod networks;
mod passes;
mod ptx;
mod ranges;
mod statistics;
mod transfers;

use super::lane::Lanes;
use emulator::emulated;

#[test]
fn transfers_in_emulation() {
    emulated().iter_mut().for_each(transfers::check);
}

#[test]
fn statistics_in_emulation() {
    emulated().iter_mut().for_each(statistics::check);
}

#[test]
fn range_errors_in_emulation() {
    emulated().iter_mut().for_each(ranges::check);
}

#[test]
fn fake_quantization_in_emulation() {
    emulated().iter_mut().for_each(fakes::check);
}

#[test]
fn a_pass_in_emulation() {
    emulated().into_iter().for_each(|lane| passes::check(&Lanes::new(vec![lane])));
}

/// Both halves of the samples measure at once, each on a lane.
#[test]
fn networks_in_emulation() {
    let lanes: Vec<_> = (0..2).filter_map(|_| emulated()).collect();
    if !lanes.is_empty() {
        networks::check(&Lanes::new(lanes));
    }
}

#[test]
fn grams_in_emulation() {
    emulated().iter_mut().for_each(grams::check);
}
