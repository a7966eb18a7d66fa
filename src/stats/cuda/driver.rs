//! The machine that is a GPU, through cudarc. The only place that launches kernels.

use super::kernels::{Kernel, SOURCES};
use super::machine::{Argument, Machine, Reading};
use crate::{Code, Error, Result};
use cudarc::driver::result::DriverError;
use cudarc::driver::{
    CudaContext, CudaEvent, CudaFunction, CudaSlice, CudaStream, DevicePtr, DeviceRepr, HostSlice, LaunchConfig,
    PinnedHostSlice, PushKernelArg, SyncOnDrop, sys,
};
use cudarc::nvrtc::Ptx;
use std::sync::Arc;

/// Bytes of each staging buffer: large enough that copies run at full speed, small enough that both stay in a cache.
const STAGE: usize = 4 << 20;

/// The loaded kernels, in the order of [`Kernel::ALL`].
pub(super) struct Functions(Vec<CudaFunction>);

impl Functions {
    /// Hands the PTX to the driver, which compiles it for the device.
    #[allow(unsafe_code, reason = "who turns cudarc's own order of streams off keeps one of his own")]
    pub(super) fn load(context: &Arc<CudaContext>) -> Result<Functions> {
        // SAFETY: a buffer is used on one stream at a time. Another stream takes it over, or memory, only after a wait for
        // the first one or behind an event of it: `Driver::join`, `Driver::leave`, `Room::reserve`, and sums of X'X after
        // the download of what the last sample left. The events that cudarc would record for every argument of every
        // launch cost more than the launches.
        unsafe { context.disable_event_tracking() };
        let mut functions = vec![];
        for source in SOURCES {
            let module = context.load_module(Ptx::from_src(source.ptx));
            let module = module.map_err(|e| failed(e, &format!("load the kernels of {}", source.name)))?;
            for kernel in Kernel::ALL.iter().filter(|k| k.source() == source.name) {
                let function = module.load_function(kernel.name());
                functions.push((*kernel, function.map_err(|e| failed(e, &format!("find kernel {}", kernel.name())))?));
            }
        }
        functions.sort_by_key(|(kernel, _)| *kernel as usize);
        Ok(Functions(functions.into_iter().map(|(_, function)| function).collect()))
    }
}

/// Lets the device's pool keep memory that is freed, for the next sample: given back to the driver at every wait, as it
/// would be, each sample's memory has to be mapped again. Devices without a pool have nothing to keep.
#[allow(unsafe_code, reason = "cudarc has no safe call for it")]
pub(super) fn keep_memory(context: &Arc<CudaContext>) {
    let mut pool: sys::CUmemoryPool = std::ptr::null_mut();
    let mut most = u64::MAX;
    // Without it everything works as well, only slower, so that a failure need not be told.
    // SAFETY: the device is open, both pointers are to variables of the types that the driver writes and reads.
    let _ = quiet(|| unsafe {
        match sys::cuDeviceGetDefaultMemPool(&mut pool, context.cu_device()) {
            sys::CUresult::CUDA_SUCCESS => {
                let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
                sys::cuMemPoolSetAttribute(pool, threshold, std::ptr::from_mut(&mut most).cast())
            }
            none => none,
        }
    });
}

/// One stream of a device, with pinned staging buffers for both directions.
pub(super) struct Driver {
    /// Where work goes: the own stream, or that of a network that runs on the device.
    stream: Arc<CudaStream>,
    own: Arc<CudaStream>,
    functions: Arc<Functions>,
    up: [Stage; 2],
    down: [Stage; 2],
}

/// A pinned buffer, and the event after its last copy. cudarc's own event is not recorded in every mode.
struct Stage {
    bytes: PinnedHostSlice<u8>,
    copied: CudaEvent,
}

impl Driver {
    /// A further stream on the device.
    pub(super) fn new(context: &Arc<CudaContext>, functions: Arc<Functions>) -> Result<Driver> {
        let stage = |flags: u32| Stage::new(context, flags).map_err(|e| failed(e, "allocate pinned memory"));
        // The processor only writes to the first kind, and only reads from the second.
        let (write, read) = (sys::CU_MEMHOSTALLOC_WRITECOMBINED, 0);
        let (up, down) = ([stage(write)?, stage(write)?], [stage(read)?, stage(read)?]);
        let own = context.new_stream().map_err(|e| failed(e, "open a stream"))?;
        Ok(Driver { stream: own.clone(), own, functions, up, down })
    }

    /// The stream, for timing.
    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    fn send(&mut self, source: &[u8], into: &mut CudaSlice<u8>) -> Result<(), DriverError> {
        for (i, part) in source.chunks(STAGE).enumerate() {
            let stage = &mut self.up[i % 2];
            stage.copied.synchronize()?;
            stage.bytes.as_mut_slice()?[..part.len()].copy_from_slice(part);
            let mut to = into.slice_mut(i * STAGE..i * STAGE + part.len());
            let from = Part { bytes: &mut stage.bytes, len: part.len() };
            self.stream.memcpy_htod(&from, &mut to)?;
            stage.copied.record(&self.stream)?;
        }
        Ok(())
    }

    fn fetch(&mut self, from: &CudaSlice<u8>, into: &mut [u8]) -> Result<(), DriverError> {
        let mut parts: Vec<&mut [u8]> = into.chunks_mut(STAGE).collect();
        // One part is copied by the device while the part before is copied by the processor.
        for i in 0..=parts.len() {
            if let Some(part) = parts.get(i) {
                let stage = &mut self.down[i % 2];
                let mut to = Part { bytes: &mut stage.bytes, len: part.len() };
                self.stream.memcpy_dtoh(&from.slice(i * STAGE..i * STAGE + part.len()), &mut to)?;
                stage.copied.record(&self.stream)?;
            }
            if let Some(before) = i.checked_sub(1) {
                let (stage, part) = (&self.down[before % 2], &mut parts[before]);
                stage.copied.synchronize()?;
                part.copy_from_slice(&stage.bytes.as_slice()?[..part.len()]);
            }
        }
        Ok(())
    }
}

impl Stage {
    #[allow(unsafe_code, reason = "pinned memory starts undefined")]
    fn new(context: &Arc<CudaContext>, flags: u32) -> Result<Stage, DriverError> {
        // SAFETY: only what a copy has written before is ever read.
        let bytes = unsafe { context.alloc_pinned_with_flags::<u8>(STAGE, flags) }?;
        Ok(Stage { bytes, copied: context.new_event(None)? })
    }
}

impl Machine for Driver {
    type Buffer = CudaSlice<u8>;

    #[allow(unsafe_code, reason = "device memory starts undefined")]
    fn allocate(&mut self, bytes: usize) -> Result<Self::Buffer> {
        // SAFETY: bytes have no invalid values, and every kernel writes what later ones read.
        let buffer = unsafe { self.stream.alloc::<u8>(bytes) };
        buffer.map_err(|e| failed(e, &format!("allocate {} MB of its memory", bytes.div_ceil(1_000_000))))
    }

    fn address(&self, buffer: &Self::Buffer) -> u64 {
        // All work of a buffer is on this stream or waited for, so the guard that orders streams may end here.
        buffer.device_ptr(&self.stream).0
    }

    fn join(&mut self, other: &Arc<CudaStream>) -> Result<()> {
        if self.stream.cu_stream() == other.cu_stream() {
            return Ok(());
        }
        self.leave()?;
        other.join(&self.own).map_err(|e| failed(e, "let the network wait"))?;
        self.stream = other.clone();
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        if self.stream.cu_stream() == self.own.cu_stream() {
            return Ok(());
        }
        let done = self.wait();
        self.stream = self.own.clone();
        done
    }

    fn wait(&mut self) -> Result<()> {
        self.stream.synchronize().map_err(|e| failed(e, "finish what was queued"))
    }

    fn upload(&mut self, source: &[u8], into: &mut Self::Buffer) -> Result<()> {
        self.send(source, into).map_err(|e| failed(e, "receive a tensor"))
    }

    #[allow(unsafe_code, reason = "a kernel is foreign code")]
    fn launch(&mut self, kernel: Kernel, grid: [usize; 3], arguments: &[Argument]) -> Result<()> {
        let [x, y, z] = grid.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let block_dim = (kernel.threads(), 1, 1);
        let config = LaunchConfig { grid_dim: (x, y, z), block_dim, shared_mem_bytes: 0 };
        let mut launch = self.stream.launch_builder(&self.functions.0[kernel as usize]);
        for argument in arguments {
            match argument {
                Argument::Address(value) | Argument::Long(value) => launch.arg(value),
                Argument::Word(value) => launch.arg(value),
                Argument::Reading(value) => launch.arg(value),
            };
        }
        // SAFETY: the callers of this room pass the kernel's own list of arguments, with addresses of buffers that are
        // long enough and live until the results are downloaded. The tests run the same calls in an emulation that
        // notices writes past a buffer.
        unsafe { launch.launch(config) }.map_err(|e| failed(e, &format!("run kernel {}", kernel.name())))?;
        Ok(())
    }

    fn download(&mut self, from: &Self::Buffer, into: &mut [u8]) -> Result<()> {
        self.fetch(from, into).map_err(|e| failed(e, "compute or return results"))
    }
}

// SAFETY: `repr(C)` of 17 four-byte integers, as the struct of the same name in `kernels/gram.cuh`.
#[allow(unsafe_code, reason = "the layout is a promise to the kernel")]
unsafe impl DeviceRepr for Reading {}

/// The start of a pinned buffer.
struct Part<'b> {
    bytes: &'b mut PinnedHostSlice<u8>,
    len: usize,
}

#[allow(unsafe_code, reason = "cudarc's trait is")]
impl HostSlice<u8> for Part<'_> {
    fn len(&self) -> usize {
        self.len
    }

    unsafe fn stream_synced_slice<'a>(&'a self, stream: &'a CudaStream) -> (&'a [u8], SyncOnDrop<'a>) {
        // SAFETY: the caller's promise, that the slice is only used with `stream`, is passed on.
        let (all, guard) = unsafe { self.bytes.stream_synced_slice(stream) };
        (&all[..self.len], guard)
    }

    unsafe fn stream_synced_mut_slice<'a>(&'a mut self, stream: &'a CudaStream) -> (&'a mut [u8], SyncOnDrop<'a>) {
        // SAFETY: as above.
        let (all, guard) = unsafe { self.bytes.stream_synced_mut_slice(stream) };
        (&mut all[..self.len], guard)
    }
}

/// What the driver says of an error, in lower case and without a full stop.
pub(super) fn describe(error: DriverError) -> String {
    let name = |e: DriverError| format!("{:?}", e.0);
    let text = quiet(|| error.error_string().ok().map(|s| s.to_string_lossy().into_owned())).flatten();
    text.unwrap_or_else(|| name(error))
}

fn failed(error: DriverError, what: &str) -> Error {
    let full = error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
    let advice = match full {
        true => "close other programs on the GPU, or use the CPU: --device cpu",
        false => "use the CPU: --device cpu; `cargo xtask doctor` says what was found",
    };
    Error::new(Code::Device, format!("the GPU could not {what}: {}", describe(error))).help(advice)
}

/// The result, or `None` where a symbol is missing from the driver library, which cudarc answers with a panic.
pub(super) fn quiet<T>(work: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok()
}
