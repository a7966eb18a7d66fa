//! What a caller hears while the pipeline runs.

/// What a caller hears while the pipeline runs; ticks come from several threads.
pub trait Progress: Sync {
    /// A stage begins that will tick `steps` times.
    fn stage(&self, name: &str, steps: usize);
    /// One step is done.
    fn tick(&self);
    /// Something that a person at the terminal should know.
    fn note(&self, _what: &str) {}
}

/// Hears nothing.
pub struct Silent;

impl Progress for Silent {
    fn stage(&self, _name: &str, _steps: usize) {}
    fn tick(&self) {}
}
