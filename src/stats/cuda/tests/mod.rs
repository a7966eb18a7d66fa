//! Every kernel against its CPU reference, through the code that launches it: in an emulation, and on a device where
//! one answers.

mod data;
mod device;
mod driver;
mod emulator;
mod fakes;
mod grams;
mod lanes;
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

#[test]
fn grams_in_emulation() {
    emulated().iter_mut().for_each(grams::check);
}
