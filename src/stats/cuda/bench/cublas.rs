//! cuBLAS, where it is installed: what X'X is compared with, on a matrix that is already there.

use super::failure;
use crate::Result;
use cudarc::driver::CudaStream;
use libloading::Library;
use std::ffi::{c_int, c_void};
use std::ptr;

/// The library, and a handle whose work goes to one stream.
pub(super) struct Cublas {
    library: Library,
    handle: *mut c_void,
}

type Create = unsafe extern "C" fn(*mut *mut c_void) -> c_int;
type Destroy = unsafe extern "C" fn(*mut c_void) -> c_int;
type SetStream = unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int;
type Sgemm = unsafe extern "C" fn(
    *mut c_void,
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    *const f32,
    u64,
    c_int,
    u64,
    c_int,
    *const f32,
    u64,
    c_int,
) -> c_int;

const NAMES: [&str; 5] = ["libcublas.so.12", "libcublas.so.13", "libcublas.so", "libcublas.so.11", "cublas64_12.dll"];
/// cuBLAS's names for "as it is" and "transposed".
const PLAIN: c_int = 0;
const TRANSPOSED: c_int = 1;

impl Cublas {
    /// Loads the library; its default arithmetic for f32 is f32.
    #[allow(unsafe_code, reason = "cuBLAS is a C library")]
    pub(super) fn load(stream: &CudaStream) -> Result<Cublas> {
        // SAFETY: cuBLAS's start-up code has no conditions.
        let library = NAMES.iter().find_map(|name| unsafe { Library::new(*name) }.ok());
        let library = library.ok_or_else(|| {
            failure("libcublas was not found; pip install nvidia-cublas-cu12 and set LD_LIBRARY_PATH")
        })?;
        let mut handle = ptr::null_mut();
        let lacks = |_| failure("libcublas lacks a function");
        // SAFETY: the signatures of cublas_api.h; the stream lives as long as the lane that is timed.
        let (created, bound) = unsafe {
            let create = library.get::<Create>("cublasCreate_v2").map_err(lacks)?;
            let bind = library.get::<SetStream>("cublasSetStream_v2").map_err(lacks)?;
            (create(&mut handle), bind(handle, stream.cu_stream().cast()))
        };
        match (created, bound) {
            (0, 0) => Ok(Cublas { library, handle }),
            _ => Err(failure(format!("cuBLAS does not start: status {created}, {bound}"))),
        }
    }

    /// Queues X'X of a row-major matrix of `rows` x `size` on the device.
    #[allow(unsafe_code, reason = "cuBLAS is a C library")]
    pub(super) fn gram(&self, x: u64, into: u64, size: usize, rows: usize) -> Result<()> {
        let (n, k, one, zero) = (size as c_int, rows as c_int, 1f32, 0f32);
        // SAFETY: the signature of cublas_api.h; the addresses are of buffers of these sizes. A row-major X is the
        // transposed column-major matrix.
        let status = unsafe {
            let gemm = self.library.get::<Sgemm>("cublasSgemm_v2").map_err(|_| failure("libcublas lacks sgemm"))?;
            gemm(self.handle, PLAIN, TRANSPOSED, n, n, k, &one, x, n, x, n, &zero, into, n)
        };
        match status {
            0 => Ok(()),
            status => Err(failure(format!("cuBLAS failed with status {status}"))),
        }
    }
}

impl Drop for Cublas {
    #[allow(unsafe_code, reason = "cuBLAS is a C library")]
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and used no more.
        unsafe {
            if let Ok(destroy) = self.library.get::<Destroy>("cublasDestroy_v2") {
                destroy(self.handle);
            }
        }
    }
}
