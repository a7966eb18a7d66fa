//! Local variables of a Python function, put into the expression that uses them.

use super::scan::{MAX_FORMULA, name, number};

/// Names with their expressions, in order of assignment.
#[derive(Default)]
pub struct Locals(Vec<(String, String)>);

impl Locals {
    /// Forgets all: a new function begins.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Remembers `name = expression`; names assigned before are put into it first.
    pub fn assign(&mut self, name: &str, expression: &str) {
        let expression = self.inline(expression);
        self.0.retain(|(n, _)| n != name);
        // Few are ever needed, and a reply can hold thousands.
        if self.0.len() < 32 {
            self.0.push((name.to_owned(), expression));
        }
    }

    /// The expression with every remembered name replaced; as it was where that grows too long.
    pub fn inline(&self, expression: &str) -> String {
        let mut out = String::new();
        let mut rest = expression;
        while let Some(first) = rest.chars().next() {
            let length = match first {
                c if c.is_ascii_alphabetic() || c == '_' => name(rest),
                c if c.is_ascii_digit() => number(rest),
                c => c.len_utf8(),
            };
            let (word, after) = rest.split_at_checked(length.max(1)).unwrap_or((rest, ""));
            let is_call = after.trim_start().starts_with('(');
            match self.0.iter().find(|(n, _)| n == word && !is_call) {
                Some((_, value)) => out.extend(["(", value, ")"]),
                None => out.push_str(word),
            }
            if out.len() > MAX_FORMULA {
                return expression.to_owned();
            }
            rest = after;
        }
        out
    }
}
