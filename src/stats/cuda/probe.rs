//! What there is: driver, devices, and if not, why not. Nothing here fails or panics.

use super::driver::{describe, quiet};
use cudarc::driver::{result, sys};
use std::fmt;

/// The least driver, as it counts its CUDA version. Our PTX is of 12.0, which drivers of branch 525 and later read.
pub const LEAST_DRIVER: i32 = if cfg!(feature = "cuda-13") { 13_000 } else { 12_000 };
/// The least compute capability that the PTX runs on.
pub const LEAST_CAPABILITY: (i32, i32) = (7, 0);

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number, as in `cuda:0`.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// Memory in bytes.
    pub memory: usize,
    /// Major and minor.
    pub capability: (i32, i32),
}

impl Device {
    /// Whether our kernels run on it.
    pub fn suits(&self) -> bool {
        self.capability >= LEAST_CAPABILITY
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// The driver's CUDA version: 12040 is 12.4.
    pub driver: Option<i32>,
    /// Devices, by number.
    pub devices: Vec<Device>,
    /// Why no device can be used, in one line; `None` where one can.
    pub why_not: Option<String>,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.driver {
            Some(version) => writeln!(f, "CUDA driver: {}.{}", version / 1000, version % 1000 / 10)?,
            None => writeln!(f, "CUDA driver: none")?,
        }
        for device in &self.devices {
            let (gigabytes, (major, minor)) = (device.memory as f64 / f64::from(1 << 30), device.capability);
            let Device { ordinal, name, .. } = device;
            writeln!(f, "cuda:{ordinal}: {name}, {gigabytes:.1} GiB, compute capability {major}.{minor}")?;
        }
        match &self.why_not {
            Some(why) => writeln!(f, "not used: {why}"),
            None => Ok(()),
        }
    }
}

/// Looks for a driver and its devices.
pub fn probe() -> Probe {
    // The loader of libraries panics where a symbol is missing; that is one more reason not to use the device.
    quiet(look).unwrap_or_else(|| because(None, "the CUDA driver library lacks functions; reinstall the driver"))
}

fn because(driver: Option<i32>, why: impl Into<String>) -> Probe {
    Probe { driver, why_not: Some(why.into()), ..Probe::default() }
}

#[allow(unsafe_code, reason = "the driver's functions are foreign")]
fn look() -> Probe {
    // SAFETY: loads the system's CUDA driver library, whose start-up code we trust as every user of a GPU does.
    if !unsafe { sys::is_culib_present() } {
        return because(
            None,
            "no CUDA driver library (libcuda.so) was found; install the NVIDIA driver, or use the CPU",
        );
    }
    let mut version = 0;
    // SAFETY: the library is present, and writes one integer.
    let asked = unsafe { sys::cuDriverGetVersion(&mut version) }.result();
    if let Err(e) = asked {
        return because(None, format!("the CUDA driver does not say its version: {}", describe(e)));
    }
    if version < LEAST_DRIVER {
        let dotted = |version: i32| format!("{}.{}", version / 1000, version % 1000 / 10);
        let (found, needed) = (dotted(version), dotted(LEAST_DRIVER));
        return because(
            Some(version),
            format!("the driver knows CUDA {found}, needed is {needed}; update the NVIDIA driver"),
        );
    }
    let devices = result::init().and_then(|()| result::device::get_count()).and_then(|n| (0..n).map(device).collect());
    let devices: Vec<Device> = match devices {
        Ok(devices) => devices,
        Err(e) => return because(Some(version), format!("the CUDA driver does not start: {}", describe(e))),
    };
    let why_not = match devices.iter().any(Device::suits) {
        true => None,
        false if devices.is_empty() => Some("the CUDA driver sees no GPU; check CUDA_VISIBLE_DEVICES".to_owned()),
        false => Some("no GPU has compute capability 7.0 or more".to_owned()),
    };
    Probe { driver: Some(version), devices, why_not }
}

#[allow(unsafe_code, reason = "the driver's functions are foreign")]
fn device(ordinal: i32) -> Result<Device, result::DriverError> {
    use sys::CUdevice_attribute_enum as Attribute;
    let device = result::device::get(ordinal)?;
    // SAFETY: the driver gave us this device a line ago.
    let of = |attribute| unsafe { result::device::get_attribute(device, attribute) };
    let major = of(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = of(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    // SAFETY: as above.
    let memory = unsafe { result::device::total_mem(device) }?;
    let name = result::device::get_name(device)?;
    Ok(Device { ordinal: ordinal.unsigned_abs() as usize, name, memory, capability: (major, minor) })
}
