//! The same checks on a device, and what is said where there is none.

use super::{fakes, grams, networks, passes, ranges, statistics, transfers};
use crate::Code;
use crate::stats::cuda::{Cuda, probe};

/// The first device, or `None`, said in words.
fn device() -> Option<Cuda> {
    match Cuda::open(0) {
        Ok(cuda) => Some(cuda),
        Err(e) => {
            println!("skipped: no CUDA device ({})", e.message());
            None
        }
    }
}

#[test]
fn every_kernel_on_a_device() {
    let Some(cuda) = device() else { return };
    cuda.lanes
        .with(|lane| {
            transfers::check(lane);
            statistics::check(lane);
            ranges::check(lane);
            fakes::check(lane);
            grams::check(lane);
            Ok(())
        })
        .unwrap();
    passes::check(&cuda.lanes);
}

#[test]
fn statistics_of_networks_on_a_device() {
    let Some(cuda) = device() else { return };
    networks::check(&cuda.lanes);
}

/// What is too much for the emulation.
#[test]
fn large_tensors_on_a_device() {
    let Some(cuda) = device() else { return };
    cuda.lanes
        .with(|lane| {
            statistics::large(lane);
            grams::large(lane);
            fakes::large(lane);
            Ok(())
        })
        .unwrap();
}

/// Where a device answers it opens; where none does, one line says why, and nothing panics.
#[test]
fn what_is_found_is_said() {
    let found = probe();
    println!("{found}");
    let opened = Cuda::open(0);
    match &found.why_not {
        None => assert!(opened.is_ok_and(|c| c.device() == &found.devices[0])),
        Some(why) => {
            assert!(!why.is_empty() && !why.contains('\n'), "{why}");
            let error = opened.err().unwrap();
            assert_eq!(error.code(), Code::Device);
            assert!(found.devices.iter().any(|d| d.ordinal == 0) || error.message() == why);
        }
    }
    assert_eq!(Cuda::open(4096).err().map(|e| e.code()), Some(Code::Device));
}
