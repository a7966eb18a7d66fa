//! Tests of the proxy language, one file a theme.

mod baselines;
mod bench;
mod canonical;
mod eval;
mod file;
mod fingerprint;
mod grammar;
mod grow;
mod hostile;
mod naive;
mod parse;
mod recorded;
mod strategy;
mod table;
