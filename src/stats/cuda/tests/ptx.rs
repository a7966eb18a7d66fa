//! The committed PTX belongs to the sources.

use crate::stats::cuda::kernels::{Kernel, SOURCES};
use crate::stats::cuda::nvrtc::{Nvrtc, PINNED};
use std::path::PathBuf;

/// Needs no compiler: the first line of the PTX holds the hash of what it was made of.
#[test]
fn ptx_is_of_these_sources() {
    for source in SOURCES {
        let stamp = source.stamp(PINNED);
        assert!(source.ptx.starts_with(&stamp), "{}: sources changed; run `cargo xtask kernels`", source.name);
        assert!(source.ptx.contains(".target sm_70"), "{}", source.name);
        for kernel in Kernel::ALL.iter().filter(|k| k.source() == source.name) {
            assert!(source.ptx.contains(&format!(".entry {}(", kernel.name())), "{}", kernel.name());
        }
    }
}

/// `TAPQ_NVRTC` names the library or the virtual environment that holds it.
#[test]
fn sources_compile_to_the_committed_ptx() {
    let place = std::env::var_os("TAPQ_NVRTC").or_else(|| std::env::var_os("VIRTUAL_ENV")).map(PathBuf::from);
    let nvrtc = match Nvrtc::find(place.as_deref()) {
        Ok(nvrtc) => nvrtc,
        Err(e) => return println!("skipped: {}; {}", e.message(), e.advice().unwrap_or_default()),
    };
    for source in SOURCES {
        if nvrtc.version() == PINNED {
            assert!(nvrtc.reproduces(source).unwrap(), "{}: run `cargo xtask kernels`", source.name);
        } else {
            let made = nvrtc.compile(source).unwrap();
            assert!(made.contains(".entry"), "{}", source.name);
            println!("{}: compiles with NVRTC {}, PTX is of {PINNED}", source.name, nvrtc.version());
        }
    }
}
