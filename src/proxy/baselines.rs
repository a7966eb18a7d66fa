//! The classical hand-made proxies, in the same form as those that a search finds.

use super::file::ProxyFile;
use crate::{Code, Error, Result};

/// The files in the binary, sorted by name.
const COMPILED_IN: [(&str, &str); 14] = [
    ("activation-weighted-mse", include_str!("baselines/activation-weighted-mse.yaml")),
    ("emq", include_str!("baselines/emq.yaml")),
    ("gain", include_str!("baselines/gain.yaml")),
    ("hessian-trace", include_str!("baselines/hessian-trace.yaml")),
    ("ompq", include_str!("baselines/ompq.yaml")),
    ("one-at-a-time", include_str!("baselines/one-at-a-time.yaml")),
    ("operating-point", include_str!("baselines/operating-point.yaml")),
    ("output-error", include_str!("baselines/output-error.yaml")),
    ("param-count", include_str!("baselines/param-count.yaml")),
    ("qe-entropy", include_str!("baselines/qe-entropy.yaml")),
    ("relative-output-noise", include_str!("baselines/relative-output-noise.yaml")),
    ("synflow", include_str!("baselines/synflow.yaml")),
    ("tempered-gain", include_str!("baselines/tempered-gain.yaml")),
    ("weight-mse", include_str!("baselines/weight-mse.yaml")),
];

/// The proxy that choices use unless another is asked for.
pub const DEFAULT_PROXY: &str = "tempered-gain";

/// That proxy.
///
/// # Errors
/// Those of [`baselines`].
pub fn default_proxy() -> Result<ProxyFile> {
    let missing = || Error::new(Code::Proxy, format!("no proxy is called '{DEFAULT_PROXY}'"));
    baseline(DEFAULT_PROXY)?.ok_or_else(missing)
}

/// The baselines, sorted by name.
///
/// # Errors
/// [`Code::Config`](crate::Code::Config) where a file in the binary is not sound, which the tests rule out.
pub fn baselines() -> Result<Vec<ProxyFile>> {
    COMPILED_IN.iter().map(|(name, text)| parse(name, text)).collect()
}

/// The baseline of that name, if there is one.
///
/// # Errors
/// Those of [`baselines`].
pub fn baseline(name: &str) -> Result<Option<ProxyFile>> {
    COMPILED_IN.iter().find(|(known, _)| *known == name).map(|(name, text)| parse(name, text)).transpose()
}

fn parse(name: &str, text: &str) -> Result<ProxyFile> {
    ProxyFile::parse(text, &format!("baselines/{name}.yaml"))
}
