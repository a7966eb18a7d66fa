//! PTX from the sources, by NVRTC. For developers: users get the PTX that is committed.

use super::kernels::{ARCHITECTURE, HEADERS, SOURCES, Source};
use crate::{Code, Error, Result};
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;

/// The version whose PTX is committed: the oldest driver that reads it is of CUDA 12.0.
pub const PINNED: &str = "12.0";

/// NVRTC, loaded.
pub struct Nvrtc {
    library: Library,
    version: String,
}

/// The PTX of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// Of [`SOURCES`].
    pub name: &'static str,
    /// What [`Source::ptx`] should be.
    pub ptx: String,
}

/// Compiles all sources; `place` as in [`Nvrtc::find`].
///
/// # Errors
/// [`Code::Device`] where NVRTC is missing, or with what it says of a source.
pub fn compile_all(place: Option<&Path>) -> Result<Vec<Compiled>> {
    let nvrtc = Nvrtc::find(place)?;
    SOURCES.iter().map(|source| Ok(Compiled { name: source.name, ptx: nvrtc.compile_stably(source)? })).collect()
}

type Program = *mut c_void;

impl Nvrtc {
    /// Loads the library: `place` is the file, its directory, a Python `site-packages` directory or a virtual
    /// environment; without, the system's loader looks (`LD_LIBRARY_PATH`).
    ///
    /// # Errors
    /// [`Code::Device`] if it is not there.
    #[allow(unsafe_code, reason = "loading a library runs its start-up code")]
    pub fn find(place: Option<&Path>) -> Result<Nvrtc> {
        let candidates = place.map_or_else(|| NAMES.map(PathBuf::from).to_vec(), candidates);
        // SAFETY: NVRTC's start-up code has no conditions.
        let library = candidates.iter().find_map(|path| unsafe { Library::new(path) }.ok());
        let library = library.ok_or_else(|| {
            Error::new(Code::Device, "NVRTC not found")
                .help("pip install nvidia-cuda-nvrtc-cu12==12.0.140, and name its directory")
        })?;
        let mut nvrtc = Nvrtc { library, version: String::new() };
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the declared signature; writes two integers.
        nvrtc
            .check(unsafe { nvrtc.function::<fn2<*mut c_int, *mut c_int>>("nvrtcVersion")?(&mut major, &mut minor) })?;
        nvrtc.version = format!("{major}.{minor}");
        Ok(nvrtc)
    }

    /// Major and minor version, "12.0" for example.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The PTX of a source. About one compilation in forty numbers registers differently, so the text that comes
    /// twice is taken.
    ///
    /// # Errors
    /// [`Code::Device`] with what the compiler says.
    pub fn compile_stably(&self, source: &Source) -> Result<String> {
        let mut seen = vec![self.compile(source)?];
        for _ in 0..8 {
            let next = self.compile(source)?;
            if seen.contains(&next) {
                return Ok(next);
            }
            seen.push(next);
        }
        Err(Error::new(Code::Device, format!("NVRTC never made the same PTX of {} twice", source.name)))
    }

    /// Whether NVRTC makes the committed PTX of the source; it gets a few attempts, as above.
    ///
    /// # Errors
    /// [`Code::Device`] with what the compiler says.
    pub fn reproduces(&self, source: &Source) -> Result<bool> {
        for _ in 0..8 {
            if self.compile(source)? == source.ptx {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The PTX of a source, compiled once.
    ///
    /// # Errors
    /// [`Code::Device`] with what the compiler says.
    #[allow(unsafe_code, reason = "NVRTC is a C library")]
    pub fn compile(&self, source: &Source) -> Result<String> {
        let text = |s: &str| CString::new(s).map_err(|_| Error::new(Code::Device, "a source holds a zero byte"));
        let (main, name) = (text(source.text)?, text(&format!("{}.cu", source.name))?);
        let names = HEADERS.iter().map(|(name, _)| text(name)).collect::<Result<Vec<_>>>()?;
        let texts = HEADERS.iter().map(|(_, header)| text(header)).collect::<Result<Vec<_>>>()?;
        let options = [format!("--gpu-architecture={ARCHITECTURE}"), "--std=c++14".to_owned()];
        let options = options.iter().map(|o| text(o)).collect::<Result<Vec<_>>>()?;
        let pointers = |list: &[CString]| list.iter().map(|s| s.as_ptr()).collect::<Vec<_>>();
        let (names_at, texts_at, options_at) = (pointers(&names), pointers(&texts), pointers(&options));
        let mut program: Program = ptr::null_mut();
        let create = self.function::<CreateProgram>("nvrtcCreateProgram")?;
        let compile = self.function::<fn3<Program, c_int, *const *const c_char>>("nvrtcCompileProgram")?;
        let destroy = self.function::<fn1<*mut Program>>("nvrtcDestroyProgram")?;
        let count = HEADERS.len() as c_int;
        // SAFETY: the declared signatures. Strings end in zero and live until the program is destroyed, below.
        unsafe {
            let (main, name) = (main.as_ptr(), name.as_ptr());
            self.check(create(&mut program, main, name, count, texts_at.as_ptr(), names_at.as_ptr()))?;
            let compiled = compile(program, options.len() as c_int, options_at.as_ptr());
            let ptx = match compiled {
                0 => self.text(program, "nvrtcGetPTXSize", "nvrtcGetPTX"),
                _ => self.text(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog"),
            };
            destroy(&mut program);
            match compiled {
                0 => Ok(source.stamp(&self.version) + &ptx?),
                _ => Err(Error::new(Code::Device, format!("{}.cu does not compile:\n{}", source.name, ptx?.trim()))),
            }
        }
    }

    /// A text of the program, by the functions that say its size and copy it.
    #[allow(unsafe_code, reason = "NVRTC is a C library")]
    fn text(&self, program: Program, size: &str, copy: &str) -> Result<String> {
        let size = self.function::<fn2<Program, *mut usize>>(size)?;
        let copy = self.function::<fn2<Program, *mut c_char>>(copy)?;
        let mut bytes = 0;
        // SAFETY: the declared signatures; the buffer has the size that NVRTC asked for.
        let text = unsafe {
            self.check(size(program, &mut bytes))?;
            let mut text = vec![0u8; bytes.max(1)];
            self.check(copy(program, text.as_mut_ptr().cast()))?;
            text
        };
        let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        Ok(String::from_utf8_lossy(&text[..end]).into_owned())
    }

    #[allow(unsafe_code, reason = "a symbol's type is what we say it is")]
    fn function<F: Copy>(&self, name: &str) -> Result<F> {
        // SAFETY: the callers name NVRTC's functions with the types of its header.
        let symbol = unsafe { self.library.get::<F>(name) };
        symbol.map(|f| *f).map_err(|_| Error::new(Code::Device, format!("NVRTC lacks {name}")))
    }

    #[allow(unsafe_code, reason = "NVRTC is a C library")]
    fn check(&self, code: c_int) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        let name = self.function::<unsafe extern "C" fn(c_int) -> *const c_char>("nvrtcGetErrorString")?;
        // SAFETY: returns a constant string for every integer.
        let name = unsafe { CStr::from_ptr(name(code)) };
        Err(Error::new(Code::Device, format!("NVRTC failed: {}", name.to_string_lossy())))
    }
}

#[allow(non_camel_case_types, reason = "reads like the type it abbreviates")]
type fn1<A> = unsafe extern "C" fn(A) -> c_int;
#[allow(non_camel_case_types, reason = "as above")]
type fn2<A, B> = unsafe extern "C" fn(A, B) -> c_int;
#[allow(non_camel_case_types, reason = "as above")]
type fn3<A, B, C> = unsafe extern "C" fn(A, B, C) -> c_int;
type Texts = *const *const c_char;
type CreateProgram = unsafe extern "C" fn(*mut Program, *const c_char, *const c_char, c_int, Texts, Texts) -> c_int;

const NAMES: [&str; 4] = ["libnvrtc.so.12", "libnvrtc.so", "libnvrtc.so.13", "nvrtc64_120_0.dll"];

/// Files that may be the library, below a path of the user.
fn candidates(place: &Path) -> Vec<PathBuf> {
    let mut directories = vec![place.to_path_buf(), place.join("lib"), place.join("nvidia/cuda_nvrtc/lib")];
    let mut python: Vec<PathBuf> =
        std::fs::read_dir(place.join("lib")).into_iter().flatten().flatten().map(|e| e.path()).collect();
    python.sort();
    directories.extend(python.iter().map(|p| p.join("site-packages/nvidia/cuda_nvrtc/lib")));
    let named = directories.iter().flat_map(|d| NAMES.map(|n| d.join(n)));
    std::iter::once(place.to_path_buf()).chain(named).filter(|p| p.is_file()).collect()
}
