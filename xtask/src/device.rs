//! `--device`: who measures the tensors; `xtask doctor`: what there is; `xtask kernels`: the stored kernels anew.

use crate::{Verdict, files};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Once;
use tapq::engine::Place;
use tapq::stats::cuda::{self, Cuda};
use tapq::stats::{Backend, Cpu, Session};
use tapq::{Code, Error, Result};

/// Who measures the tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// A GPU if one can be used, else the processor.
    Auto,
    /// The processor.
    #[default]
    Cpu,
    /// The GPU of this number, or an error.
    Cuda(usize),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':').unwrap_or((text, "0")) {
            ("auto", "0") => Ok(Device::Auto),
            ("cpu", "0") => Ok(Device::Cpu),
            ("cuda", number) => number.parse().map(Device::Cuda).map_err(|_| format!("'{number}' is no device number")),
            _ => Err("expected auto, cpu, cuda or cuda:N".to_owned()),
        }
    }
}

impl Device {
    /// Opens the device; says on stderr what `auto` found, unless `quiet`.
    ///
    /// # Errors
    /// [`Code::Device`] where a GPU is asked for by number and cannot be used.
    pub fn open(self, quiet: bool) -> Result<Box<dyn Backend>> {
        match self {
            Device::Cpu => Ok(Box::new(Cpu)),
            Device::Cuda(number) => {
                let cuda = Cuda::open(number)?;
                say(quiet, &what_runs_on(&cuda));
                Ok(Box::new(cuda))
            }
            Device::Auto => match Cuda::open(0) {
                Ok(cuda) => {
                    say(quiet, &format!("statistics on cuda:0, {}", cuda.device().name));
                    Ok(Box::new(OrCpu { cuda, quiet, said: Once::new() }))
                }
                Err(e) => {
                    say(quiet, &format!("statistics on the CPU: {e}"));
                    Ok(Box::new(Cpu))
                }
            },
        }
    }
}

fn what_runs_on(cuda: &Cuda) -> String {
    let device = format!("cuda:{}, {}", cuda.device().ordinal, cuda.device().name);
    match cuda.network_stays() {
        None => format!("network and statistics on {device}"),
        Some(why) => format!("statistics on {device}; the network stays on the processor: {why}"),
    }
}

fn say(quiet: bool, what: &str) {
    if !quiet {
        eprintln!("{what}");
    }
}

/// A GPU that the processor stands in for if it fails, for want of memory say.
///
/// The network stays on the processor, so that the file is the one that a machine without a GPU makes.
struct OrCpu {
    cuda: Cuda,
    quiet: bool,
    said: Once,
}

impl Backend for OrCpu {
    fn name(&self) -> &'static str {
        self.cuda.name()
    }

    fn session(&self, layers: usize) -> Box<dyn Session + '_> {
        self.cuda.session(layers)
    }

    fn instead(&self, failure: &Error) -> Option<&dyn Backend> {
        if failure.code() != Code::Device {
            return None;
        }
        self.said.call_once(|| say(self.quiet, &format!("the GPU failed, the CPU starts again: {failure}")));
        Some(&Cpu)
    }
}

/// What `doctor` prints.
pub fn doctor() -> Result<Verdict> {
    println!("tapq {}", env!("CARGO_PKG_VERSION"));
    println!("threads: {}", std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let found = cuda::probe();
    print!("{found}");
    if found.why_not.is_none() {
        match Place::Cuda.why_not() {
            None => println!("networks: run on cuda:0"),
            Some(why) => println!("networks: run on the processor ({why})"),
        }
    }
    match cuda::nvrtc::Nvrtc::find(None) {
        Ok(found) => println!("NVRTC: {}", found.version()),
        Err(e) => println!("NVRTC: none, which only `xtask kernels` needs ({e})"),
    }
    Ok(Verdict::Done)
}

#[derive(clap::Args)]
pub struct KernelArgs {
    /// Folder of the repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    repository: PathBuf,
    /// Where NVRTC is: the library, or the folder of the Python package nvidia-cuda-nvrtc-cu12
    #[arg(long, value_name = "PATH")]
    nvrtc: Option<PathBuf>,
}

/// Compiles the kernels and writes the PTX that the library is built with.
pub fn kernels(args: &KernelArgs) -> Result<Verdict> {
    for compiled in cuda::nvrtc::compile_all(args.nvrtc.as_deref())? {
        let path = args.repository.join(Path::new("src/stats/cuda/ptx")).join(format!("{}.ptx", compiled.name));
        files::write_text(&path, &compiled.ptx)?;
        println!("{}", path.display());
    }
    Ok(Verdict::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_by_name() {
        assert_eq!("auto".parse(), Ok(Device::Auto));
        assert_eq!("cuda:3".parse(), Ok(Device::Cuda(3)));
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for wrong in ["gpu", "cuda:x", "cpu:1", ""] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
    }
}
