//! A machine without a GPU: the kernels' own sources, compiled as C++ with a small model of CUDA's execution.

use crate::Result;
use crate::stats::cuda::kernels::{HEADERS, Kernel, SOURCES};
use crate::stats::cuda::lane::Lane;
use crate::stats::cuda::machine::{Argument, Machine};
use cudarc::driver::CudaStream;
use libloading::Library;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Libraries by source. The lock also keeps launches apart: the model of CUDA lives in global variables.
static LIBRARIES: Mutex<BTreeMap<&'static str, Library>> = Mutex::new(BTreeMap::new());

/// Runs kernels one after another on this thread.
pub(super) struct Emulator;

/// A lane of the emulation, or `None`, said in words, where there is no C++ compiler.
pub(super) fn emulated() -> Option<Lane<Emulator>> {
    can_compile().then(|| Lane::new(Emulator))
}

/// Whether there is a C++ compiler; if not, that is said.
pub(super) fn can_compile() -> bool {
    let there = Command::new(compiler()).arg("--version").output().is_ok_and(|o| o.status.success());
    if !there {
        println!("skipped: no C++ compiler ({} does not answer; set CXX)", compiler());
    }
    there
}

fn compiler() -> String {
    std::env::var("CXX").unwrap_or_else(|_| "g++".to_owned())
}

/// Bytes around a buffer that no kernel may touch. They read as -1.7e38, which spoils every result, and which no kernel
/// writes back as it is; NaN, which fills the buffers, would come through unchanged.
const GUARD: usize = 512;
const FENCE: u8 = 0xfe;
const POISON: u8 = 0xff;

/// Memory between two guards, poisoned at first.
pub(super) struct Guarded {
    bytes: Vec<u8>,
    from: usize,
    len: usize,
}

impl Guarded {
    fn new(len: usize) -> Self {
        let mut bytes = vec![FENCE; len + 2 * GUARD + 256];
        let from = GUARD + (bytes.as_ptr() as usize + GUARD).next_multiple_of(256) - bytes.as_ptr() as usize - GUARD;
        bytes[from..from + len].fill(POISON);
        Guarded { bytes, from, len }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let (before, rest) = self.bytes.split_at(self.from);
        let clean = before.iter().chain(&rest[self.len..]).all(|b| *b == FENCE);
        assert!(clean || std::thread::panicking(), "a kernel wrote past a buffer of {} bytes", self.len);
    }
}

impl Machine for Emulator {
    type Buffer = Guarded;

    fn allocate(&mut self, bytes: usize) -> Result<Guarded> {
        Ok(Guarded::new(bytes))
    }

    fn address(&self, buffer: &Guarded) -> u64 {
        buffer.bytes[buffer.from..].as_ptr() as u64
    }

    fn join(&mut self, _: &Arc<CudaStream>) -> Result<()> {
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        Ok(())
    }

    fn upload(&mut self, source: &[u8], into: &mut Guarded) -> Result<()> {
        let room = &mut into.bytes[into.from..into.from + into.len];
        room.fill(POISON);
        room[..source.len()].copy_from_slice(source);
        Ok(())
    }

    #[allow(unsafe_code, reason = "a kernel is foreign code")]
    fn launch(&mut self, kernel: Kernel, grid: [usize; 3], arguments: &[Argument]) -> Result<()> {
        type Run = unsafe extern "C" fn(*const u32, u32, *const *const c_void);
        let pointers: Vec<*const c_void> = arguments
            .iter()
            .map(|argument| match argument {
                Argument::Address(value) | Argument::Long(value) => std::ptr::from_ref(value).cast(),
                Argument::Word(value) => std::ptr::from_ref(value).cast(),
                Argument::Reading(value) => std::ptr::from_ref(value).cast(),
            })
            .collect();
        let grid = grid.map(|n| u32::try_from(n).unwrap());
        assert!(grid.iter().all(|n| *n > 0) && grid[1] <= 65535 && grid[2] <= 65535, "{grid:?}");
        let mut libraries = LIBRARIES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let library = libraries.entry(kernel.source()).or_insert_with(|| build(kernel.source()));
        // SAFETY: the function was just compiled with this signature, and the arguments are what a device would get.
        unsafe {
            let run = library.get::<Run>(format!("run_{}", kernel.name())).unwrap();
            run(grid.as_ptr(), kernel.threads(), pointers.as_ptr());
        }
        Ok(())
    }

    fn download(&mut self, from: &Guarded, into: &mut [u8]) -> Result<()> {
        into.copy_from_slice(&from.bytes[from.from..from.from + into.len()]);
        Ok(())
    }
}

/// Compiles a source with the model of CUDA.
#[allow(unsafe_code, reason = "loads what was just compiled")]
fn build(name: &'static str) -> Library {
    let place = directory(name);
    let made = place.join("kernel.so");
    compile(&[write(&place, name)], &made, &[]);
    // SAFETY: the library has no start-up code but that of the C++ runtime.
    let library = unsafe { Library::new(&made) }.unwrap();
    std::fs::remove_dir_all(&place).unwrap();
    library
}

/// A directory of this process.
pub(super) fn directory(name: &str) -> PathBuf {
    let place = std::env::temp_dir().join(format!("tapq-emulate-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    place
}

/// Writes a source and what it includes; the file that is to be compiled.
pub(super) fn write(place: &Path, name: &str) -> PathBuf {
    let write = |file: &str, text: &str| std::fs::write(place.join(file), text).unwrap();
    write("shim.h", include_str!("../../../../tests/emulate/shim.h"));
    HEADERS.iter().for_each(|(file, text)| write(file, text));
    let source = SOURCES.iter().find(|s| s.name == name).unwrap();
    write(&format!("{name}.cu"), source.text);
    let entries = Kernel::ALL.iter().filter(|k| k.source() == name).map(|k| format!("KERNEL({})\n", k.name()));
    write(
        &format!("{name}.cpp"),
        &format!("#include \"shim.h\"\n#include \"{name}.cu\"\n{}", entries.collect::<String>()),
    );
    place.join(format!("{name}.cpp"))
}

/// Makes a shared library of C++ files.
pub(super) fn compile(files: &[PathBuf], made: &Path, more: &[&str]) {
    // Without contraction, as the intrinsics say; without fortification, which forbids jumping between stacks.
    let options = ["-std=c++17", "-O1", "-ffp-contract=off", "-U_FORTIFY_SOURCE", "-w", "-fPIC", "-shared", "-o"];
    let output = Command::new(compiler()).args(options).arg(made).args(files).args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
