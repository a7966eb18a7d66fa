//! What the tests of the command line share.

use assert_cmd::Command;
use std::path::{Path, PathBuf};

/// Folder of the networks and samples in the tree.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// The program.
pub fn xtask() -> Command {
    Command::cargo_bin("xtask").unwrap()
}

/// A quantization of a network from the tree.
#[allow(dead_code, reason = "not every test file quantizes")]
pub fn quantize(network: &str, target: &str, output: &Path) -> Command {
    let mut command = xtask();
    command.arg("quantize").arg(fixtures().join(network).with_extension("onnx"));
    command.args(["--target", target, "--quiet", "-o"]).arg(output);
    command
}

/// A file's content.
#[allow(dead_code, reason = "not every test file reads what was written")]
pub fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
