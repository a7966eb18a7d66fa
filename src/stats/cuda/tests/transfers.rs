//! What goes up comes down again, whatever its size.

use crate::stats::cuda::lane::Lane;
use crate::stats::cuda::machine::Machine;

/// Sizes below, at and far above one staging buffer, in both directions.
pub(super) fn check<M: Machine>(lane: &mut Lane<M>) {
    for (round, bytes) in [1, 13, 4 << 20, (4 << 20) + 1, (17 << 20) + 5].into_iter().enumerate() {
        let sent: Vec<u8> = (0..bytes).map(|i| (i * 31 + i / 4093 + round) as u8).collect();
        let mut buffer = lane.machine.allocate(bytes).unwrap();
        assert_eq!(lane.machine.address(&buffer) % 256, 0);
        lane.machine.upload(&sent, &mut buffer).unwrap();
        let mut found = vec![0; bytes];
        lane.machine.download(&buffer, &mut found).unwrap();
        assert!(found == sent, "{bytes} bytes");
    }
}
