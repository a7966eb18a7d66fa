//! A pass over samples against the CPU's: one upload a tensor, sums fetched at the end.

use super::data::{Kind, elements};
use crate::engine::{OnDevice, Seen, TapView};
use crate::random::SplitMix64;
use crate::stats::cuda::lane::Lanes;
use crate::stats::cuda::machine::Machine;
use crate::stats::cuda::pass::Pass;
use crate::stats::{Backend, Cpu, Gram, GramRequest, Patches, Request, Session};

fn requests() -> [(Vec<usize>, Request); 3] {
    let conv = |kernel: usize, groups: usize| Patches::Conv {
        kernel: [kernel; 2],
        stride: [1; 2],
        dilation: [1; 2],
        pads: [kernel / 2; 4],
        groups,
    };
    let gram = |layer: usize, patches: Patches| GramRequest { layer, patches };
    let request = |channel_axis: i64, grams: Vec<GramRequest>| Request {
        channel_axis: Some(channel_axis),
        grams,
        ..Request::default()
    };
    [
        (vec![1, 4, 7, 6], request(1, vec![gram(1, conv(3, 1)), gram(0, conv(3, 4))])),
        (vec![9, 20], request(-1, vec![gram(3, Patches::Last)])),
        // Read by no layer whose moments are asked for.
        (vec![3, 5], request(-1, vec![])),
    ]
}

/// Tensors from the host, tensors that lie on the device, and both by turns.
pub(super) fn check<M: Machine>(lanes: &Lanes<M>) {
    for resident in [|_| false, |_| true, |i: usize| i % 2 == 1] {
        pass(lanes, &resident);
    }
}

/// Two samples, of which the second gives no moments; layer 2 is fed by nothing.
fn pass<M: Machine>(lanes: &Lanes<M>, resident: &dyn Fn(usize) -> bool) {
    let mut random = SplitMix64(83);
    let (mut pass, mut wanted) = (Box::new(Pass::new(lanes, 4)), Cpu.session(4));
    for moments in [true, false] {
        let tensors: Vec<_> = requests()
            .into_iter()
            .map(|(dims, request)| {
                let values = elements(Kind::Relu, dims.iter().product(), &mut random);
                (upload(lanes, &values), values, dims, request)
            })
            .collect();
        for (i, ((address, _), values, dims, request)) in tensors.iter().enumerate() {
            let on_host = Seen::Host(TapView { dims, values });
            wanted.measure(&on_host, request, moments).unwrap();
            let fetch = || panic!("a tensor that the kernels read stays on the device");
            let on_device = Seen::Device(OnDevice { dims, address: *address, queue: None, fetch: &fetch });
            pass.measure(if resident(i) { &on_device } else { &on_host }, request, moments).unwrap();
        }
        let (found, wanted) = (pass.collect().unwrap(), wanted.collect().unwrap());
        assert_eq!((found.len(), wanted.len()), (3, 3));
        for (found, wanted) in found.iter().zip(&wanted) {
            assert_eq!((found.count, found.zeros, found.max), (wanted.count, wanted.zeros, wanted.max));
            assert_eq!((&found.histogram, found.channels.len()), (&wanted.histogram, wanted.channels.len()));
        }
        assert!(pass.collect().unwrap().is_empty());
    }
    compare(&pass.finish().unwrap(), &wanted.finish().unwrap());
}

/// A tensor on the device, with the buffer that it lies in.
fn upload<M: Machine>(lanes: &Lanes<M>, values: &[f32]) -> (u64, M::Buffer) {
    let uploaded = lanes.with(|lane| {
        let mut buffer = lane.machine.allocate(4 * values.len())?;
        lane.machine.upload(bytemuck::cast_slice(values), &mut buffer)?;
        // Waits for the upload.
        lane.machine.download(&buffer, &mut [0; 4])?;
        Ok((lane.machine.address(&buffer), buffer))
    });
    uploaded.unwrap()
}

fn compare(found: &[Gram], wanted: &[Gram]) {
    assert_eq!((found.len(), wanted.len()), (4, 4));
    for (layer, (a, b)) in found.iter().zip(wanted).enumerate() {
        let shape = |g: &Gram| (g.size, g.groups, g.rows, g.samples.count());
        assert_eq!(shape(a), shape(b), "{layer}");
        assert!(a == b || !crate::product::fuses(), "{layer}");
    }
    assert_eq!((found[0].groups, found[1].size, found[2].rows, found[3].rows), (4, 36, 0, 9));
}
