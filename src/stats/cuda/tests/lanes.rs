//! Lanes are lent to one caller at a time, and come back whatever happens.

use super::emulator::Emulator;
use crate::stats::cuda::lane::{Lane, Lanes};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

#[test]
fn callers_share_two_lanes() {
    let lanes = Lanes::new((0..2).map(|_| Lane::new(Emulator)).collect());
    let (busy, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for caller in 0..6u32 {
            let (lanes, busy, most) = (&lanes, &busy, &most);
            scope.spawn(move || {
                for round in 0..20 {
                    let sent = [caller * 100 + round; 9];
                    let found = lanes.with(|lane| {
                        most.fetch_max(busy.fetch_add(1, SeqCst) + 1, SeqCst);
                        lane.result.reserve(&mut lane.machine, 36)?;
                        lane.put_parameters(&sent)?;
                        std::mem::swap(&mut lane.result, &mut lane.parameters);
                        let found = lane.results::<u32>(9);
                        busy.fetch_sub(1, SeqCst);
                        found
                    });
                    assert_eq!(found.unwrap(), sent);
                }
            });
        }
    });
    assert!(most.into_inner() <= 2);
}

#[test]
fn a_panic_gives_its_lane_back() {
    let lanes = Lanes::new(vec![Lane::new(Emulator)]);
    let broken =
        catch_unwind(AssertUnwindSafe(|| lanes.with(|_| -> crate::Result<()> { panic!("as the test wants") })));
    assert!(broken.is_err());
    assert!(lanes.with(|_| Ok(())).is_ok());
}
