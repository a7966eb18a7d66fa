//! The kernels: sources, and PTX made of them by NVRTC (`cargo xtask kernels`), so that using them needs only a driver.

use sha2::{Digest, Sha256};

/// One source file and its PTX.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// File name without extension.
    pub name: &'static str,
    /// CUDA C++.
    pub text: &'static str,
    /// The PTX that is committed; the first line says what it was made of.
    pub ptx: &'static str,
}

macro_rules! sources {
    ($($name:literal),*) => {
        &[$(Source {
            name: $name,
            text: include_str!(concat!("kernels/", $name, ".cu")),
            ptx: include_str!(concat!("ptx/", $name, ".ptx")),
        }),*]
    };
}

/// All sources.
pub const SOURCES: &[Source] = sources![
    "moments_planes",
    "moments_features",
    "histogram",
    "range_search",
    "fake_quantize",
    "gram_linear",
    "gram_convolution",
    "gram_finish",
    "gram_groups",
    "gram_groups_finish"
];

/// Files that sources include: name and text.
pub const HEADERS: &[(&str, &str)] = &[
    ("moments.cuh", include_str!("kernels/moments.cuh")),
    ("gram.cuh", include_str!("kernels/gram.cuh")),
    ("convolution.cuh", include_str!("kernels/convolution.cuh")),
];

/// The least device the PTX runs on: compute capability 7.0.
pub const ARCHITECTURE: &str = "compute_70";

impl Source {
    /// SHA-256 of the source and of all headers, in hexadecimal.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        HEADERS.iter().for_each(|(_, text)| hash.update(text));
        hash.update(self.text);
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// First line of the PTX that `nvrtc`, "12.0" for example, makes of the source.
    pub fn stamp(&self, nvrtc: &str) -> String {
        format!("// {}.cu, sha256 {}, NVRTC {nvrtc}, {ARCHITECTURE}\n", self.name, self.hash())
    }
}

/// An entry point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    MomentsPlanes,
    MomentsFeatures,
    Histogram,
    RangeSearch,
    FakeQuantizePlanes,
    FakeQuantizeFeatures,
    GramLinear,
    GramConvolution,
    GramFinish,
    GramSumsFinish,
    GramGroups9,
    GramGroups27,
    GramGroupsFinish,
}

impl Kernel {
    /// All, in the order of their numbers.
    pub(super) const ALL: [Kernel; 13] = [
        Kernel::MomentsPlanes,
        Kernel::MomentsFeatures,
        Kernel::Histogram,
        Kernel::RangeSearch,
        Kernel::FakeQuantizePlanes,
        Kernel::FakeQuantizeFeatures,
        Kernel::GramLinear,
        Kernel::GramConvolution,
        Kernel::GramFinish,
        Kernel::GramSumsFinish,
        Kernel::GramGroups9,
        Kernel::GramGroups27,
        Kernel::GramGroupsFinish,
    ];

    /// Source file, name, and threads of a block.
    fn facts(self) -> (&'static str, &'static str, u32) {
        match self {
            Kernel::MomentsPlanes => ("moments_planes", "moments_planes", 256),
            Kernel::MomentsFeatures => ("moments_features", "moments_features", 256),
            Kernel::Histogram => ("histogram", "histogram", 256),
            Kernel::RangeSearch => ("range_search", "range_search", 256),
            Kernel::FakeQuantizePlanes => ("fake_quantize", "fake_quantize_planes", 256),
            Kernel::FakeQuantizeFeatures => ("fake_quantize", "fake_quantize_features", 256),
            Kernel::GramLinear => ("gram_linear", "gram_linear", 128),
            Kernel::GramConvolution => ("gram_convolution", "gram_convolution", 128),
            Kernel::GramFinish => ("gram_finish", "gram_finish", 256),
            Kernel::GramSumsFinish => ("gram_finish", "gram_sums_finish", 256),
            Kernel::GramGroups9 => ("gram_groups", "gram_groups_9", 32),
            Kernel::GramGroups27 => ("gram_groups", "gram_groups_27", 192),
            Kernel::GramGroupsFinish => ("gram_groups_finish", "gram_groups_finish", 128),
        }
    }

    /// The source file it is in.
    pub(super) fn source(self) -> &'static str {
        self.facts().0
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        self.facts().1
    }

    /// Threads of a block; the kernel counts on it.
    pub(super) fn threads(self) -> u32 {
        self.facts().2
    }
}
