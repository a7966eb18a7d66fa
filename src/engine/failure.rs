//! tract's chains of errors, and its panics, as one readable sentence.

use super::ops;
use crate::onnx::NodeProto as Node;
use crate::{Code, Error, Result};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use tract_onnx::prelude::TractError;

thread_local! {
    /// Whether a panic of this thread becomes an error.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the standard library from printing panics that become errors; all others are printed as before.
fn be_quiet_where_guarded() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                before(info);
            }
        }));
    });
}

/// Runs `work`; a panic inside becomes an error, since tract asserts on some malformed models.
pub(super) fn guard<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    be_quiet_where_guarded();
    let outer = GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    done.unwrap_or_else(|payload| {
        let text = panic_text(&*payload);
        Err(Error::new(Code::Engine, format!("the engine failed an internal check: {text}")).help(HELP))
    })
}

const HELP: &str = "the model may be malformed, or use an operator in a way that the engine does not support";

const BEYOND_THE_TABLE: &str = "an index in the sample may be beyond the table that it looks up: token ids must be \
                                below the size of the vocabulary";

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    let text = owned.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
    in_words(text.strip_prefix("called `Result::unwrap()` on an `Err` value: ").unwrap_or(text))
}

/// One line without a backtrace, and numbers as numbers where tract shows how it holds them.
fn in_words(text: &str) -> String {
    let first = text.lines().next().unwrap_or("").trim().trim_end_matches('.');
    if first.starts_with("failed to allocate") {
        return "a value takes more memory than there is".to_owned();
    }
    let mut words = String::new();
    for (i, part) in first.split("Val(").enumerate() {
        match part.split_once(')').filter(|(number, _)| i > 0 && number.parse::<i64>().is_ok()) {
            Some((number, rest)) => words.extend([number, rest]),
            None if i > 0 => words.extend(["Val(", part]),
            None => words.push_str(part),
        }
    }
    words.chars().take(300).collect()
}

/// The root cause of a tract error, at the node that its chain names.
///
/// `places[i]` describes the node that lowering called `i|…`.
pub(super) fn explain(error: &TractError, places: &[String]) -> Error {
    let root = error.root_cause().to_string();
    let explained = Error::new(Code::Engine, format!("the engine cannot run it: {}", in_words(&root)));
    match error.chain().find_map(|cause| node_index(&cause.to_string())).and_then(|i| places.get(i)) {
        Some(place) => explained.at(place.clone()),
        None => explained,
    }
}

/// Names the node that was at work, where the error does not say; `node` is what tract calls it.
pub(super) fn name(error: Error, node: Option<&str>, places: &[String]) -> Error {
    let place = node.and_then(node_index).and_then(|i| places.get(i));
    match place.filter(|_| error.places().next().is_none()) {
        Some(place) if place.ends_with("(Gather)") => error.at(place.clone()).help(BEYOND_THE_TABLE),
        Some(place) => error.at(place.clone()),
        None => error,
    }
}

/// The digits before the first `|` that has some.
fn node_index(text: &str) -> Option<usize> {
    text.match_indices('|').find_map(|(bar, _)| {
        let head = &text[..bar];
        let digits = head.len() - head.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        head[head.len() - digits..].parse().ok()
    })
}

/// How a node is called in messages: its name, or operator and first output.
pub(super) fn node_place(node: &Node) -> String {
    if node.op_type == ops::TAP {
        return format!("value '{}'", node.output.first().map_or("", String::as_str));
    }
    match node.name.is_empty() {
        false => format!("node '{}' ({})", node.name, node.op_type),
        true => format!("{} that makes '{}'", node.op_type, node.output.first().map_or("", String::as_str)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_node_and_the_root_cause() {
        let places = ["a".to_owned(), "node 'conv' (Conv)".to_owned()];
        let root = TractError::msg("kernel is bigger than input\nbacktrace");
        let error = explain(&root.context("Failed analyse for node #7 \"1|y\" Conv").context("outer"), &places);
        assert_eq!(error.places().collect::<Vec<_>>(), ["node 'conv' (Conv)"]);
        assert_eq!(error.message(), "the engine cannot run it: kernel is bigger than input");
    }

    #[test]
    fn survives_chains_without_a_node() {
        let error = explain(&TractError::msg("x | y"), &[]);
        assert_eq!(error.places().count(), 0);
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let failed = guard::<()>(|| std::panic::panic_any("index out of bounds".to_owned()));
        let message = failed.map_err(|e| e.message().to_owned());
        assert_eq!(message, Err("the engine failed an internal check: index out of bounds".to_owned()));
    }

    #[test]
    fn what_tract_says_is_put_in_words() {
        let words = |text: &str| panic_text(&text.to_owned());
        assert_eq!(words("Impossible to unify Val(8) with Val(-4)."), "Impossible to unify 8 with -4");
        assert_eq!(words("Interval(x) or Val(n)"), "Interval(x) or Val(n)");
        let unwrapped = "called `Result::unwrap()` on an `Err` value: no such axis\n\nStack backtrace:\n   0: main";
        assert_eq!(words(unwrapped), "no such axis");
        let allocation = "failed to allocate Layout { size: 1099511627776, align: 64 (1 << 6) }";
        assert_eq!(words(allocation), "a value takes more memory than there is");
    }
}
