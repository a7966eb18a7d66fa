//! What a GPU changes in the files that are written: nothing.

mod common;

use common::{bytes, fixtures, xtask};
use std::path::Path;
use tapq::stats::cuda::Cuda;
use tempfile::TempDir;

/// Chosen widths rest on X'X, rounding on X'X of the quantized network, ranges on histograms.
#[test]
fn files_with_chosen_widths_are_the_same_with_cuda() {
    if let Err(e) = Cuda::open(0) {
        return println!("skipped: no CUDA device ({})", e.message());
    }
    let folder = TempDir::new().unwrap();
    for network in ["resnet_digits", "dwcnn_digits", "vit_digits"] {
        let write = |device: &str| {
            let output = folder.path().join(device).join(format!("{network}.onnx"));
            std::fs::create_dir_all(output.parent().unwrap()).unwrap();
            let mut command = xtask();
            command.arg("quantize").arg(fixtures().join(network).with_extension("onnx")).arg("-o").arg(&output);
            // Not quiet: what runs where is said on stderr.
            command.args(["--target", "fpga", "--avg-weight-bits", "4", "--device", device]);
            let ran = command.assert().success();
            (output, String::from_utf8_lossy(&ran.get_output().stderr).into_owned())
        };
        let ((auto, said), (cpu, _)) = (write("auto"), write("cpu"));
        // Otherwise the processor would be compared with itself.
        assert!(said.contains("statistics on cuda:0") && !said.contains("the GPU failed"), "{network}: {said}");
        let plan = |path: &Path| path.with_extension("plan.yaml");
        assert!(bytes(&auto) == bytes(&cpu), "{network}: model");
        assert!(bytes(&plan(&auto)) == bytes(&plan(&cpu)), "{network}: plan");
    }
}
