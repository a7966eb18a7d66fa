//! Tests of the loop and its parts, on a toy language.

mod controller;
mod hostile;
mod outcome;
mod page;
mod population;
mod resume;
mod runs;
mod toy;
mod transcript;
