//! The code that calls the driver, against drivers that are emulated: a working one, an old one, a broken one.

use super::emulator::{can_compile, compile, directory, write};
use crate::stats::cuda::kernels::SOURCES;
use std::path::Path;
use std::process::Command;

/// Runs a test of this binary in a process that finds the driver in `place`; what it prints.
fn under(place: &Path, test: &str) -> String {
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new(own);
    command.args(["--exact", "--nocapture", &format!("stats::cuda::tests::device::{test}")]);
    let output = command.env("LD_LIBRARY_PATH", place).output().unwrap();
    let said = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    said
}

/// A directory with a driver library made of `driver.cpp` and the kernels.
#[cfg(target_os = "linux")]
fn driver(name: &str, version: &str) -> std::path::PathBuf {
    let place = directory(name);
    std::fs::write(place.join("driver.cpp"), include_str!("../../../../tests/emulate/driver.cpp")).unwrap();
    let mut files: Vec<_> = SOURCES.iter().map(|source| write(&place, source.name)).collect();
    files.push(place.join("driver.cpp"));
    compile(&files, &place.join("libcuda.so"), &[&format!("-DEMULATED_VERSION={version}"), "-ldl"]);
    place
}

#[test]
#[cfg(target_os = "linux")]
fn every_kernel_through_an_emulated_driver() {
    if !can_compile() {
        return;
    }
    let place = driver("driver", "12000");
    let said = under(&place, "every_kernel_on_a_device");
    assert!(!said.contains("skipped"), "{said}");
    let said = under(&place, "what_is_found_is_said");
    assert!(said.contains("cuda:0: emulated, 1.0 GiB, compute capability 9.0"), "{said}");
    std::fs::remove_dir_all(&place).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn old_and_broken_drivers_are_said_in_words() {
    if !can_compile() {
        return;
    }
    let check = |name: &str, text: &str, wanted: &str| {
        let place = directory(name);
        std::fs::write(place.join("driver.cpp"), text).unwrap();
        compile(&[place.join("driver.cpp")], &place.join("libcuda.so"), &[]);
        let said = under(&place, "what_is_found_is_said");
        assert!(said.contains(wanted), "{said}");
        std::fs::remove_dir_all(&place).unwrap();
    };
    let old = "extern \"C\" int cuDriverGetVersion(int* v) { return *v = 11040, 0; }";
    check("old", old, "not used: the driver knows CUDA 11.4, needed is 12.0; update the NVIDIA driver");
    check("broken", "extern \"C\" int cuNothing() { return 0; }", "not used: the CUDA driver library lacks functions");
    let alone =
        "extern \"C\" { int cuDriverGetVersion(int* v) { return *v = 12040, 0; } int cuInit(int) { return 100; }
        int cuGetErrorString(int, const char** s) { return *s = \"no CUDA-capable device is detected\", 0; } }";
    check("alone", alone, "not used: the CUDA driver does not start: no CUDA-capable device is detected");
}
