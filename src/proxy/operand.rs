//! Operands of a formula: numbers, names, calls and what is in parentheses.

use super::expr::{Expr, Op};
use super::function::Function;
use super::lexer::Token;
use super::names::{Meaning, is_reserved, meaning, nearest};
use super::parse::{Parsed, Parser, Part};
use super::syntax::SyntaxError;

impl<'a> Parser<'a> {
    pub(super) fn primary(&mut self) -> Parsed {
        let column = self.column();
        match self.peek() {
            Token::Number(value) => {
                self.at += 1;
                Ok(Part { expr: Expr::number(value), column })
            }
            Token::Symbol("(") => {
                self.at += 1;
                let inner = self.conditional()?;
                self.close(column)?;
                Ok(Part { expr: inner.expr, column })
            }
            Token::Name(name) if !is_word(name) => {
                self.at += 1;
                self.named(name, column)
            }
            _ => Err(self.unexpected("a number, a feature or a function")),
        }
    }

    fn close(&mut self, opened: usize) -> Parsed<()> {
        if self.eat(")") {
            return Ok(());
        }
        Err(self.unexpected_but("`)`", &format!("the `(` at column {opened} is not closed")))
    }

    fn named(&mut self, name: &'a str, column: usize) -> Parsed {
        let called = self.peek() == Token::Symbol("(");
        let fail = |message: String| SyntaxError::new(self.source, column, message);
        let shown = shortened(name);
        match meaning(name) {
            Meaning::Feature(_) if called => {
                Err(fail(format!("`{shown}` is a feature, not a function")).hint("write `*` between factors"))
            }
            Meaning::Feature(feature) => Ok(Part { expr: Expr::feature(feature), column }),
            Meaning::Function(function) if called => self.call(function, column),
            Meaning::Power if called => {
                let args = self.arguments("pow", 2..=2, column)?;
                Ok(Part { expr: Expr::new(Op::Power, args), column })
            }
            Meaning::Function(_) | Meaning::Power => {
                Err(fail(format!("`{shown}` is a function")).hint(format!("write `{shown}(...)`")))
            }
            Meaning::Unknown if is_reserved(name) => Err(fail(format!("`{shown}` is not in the language"))
                .hint("a formula is one expression of numbers, features and functions")),
            Meaning::Unknown => {
                let kind = if called { "function" } else { "feature" };
                let error = fail(format!("unknown {kind} `{shown}`"));
                let last = name.rsplit('.').next().unwrap_or(name);
                Err(match nearest(name).or_else(|| nearest(last)) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error,
                })
            }
        }
    }

    fn call(&mut self, function: Function, column: usize) -> Parsed {
        let spec = function.spec();
        let args = self.arguments(spec.name, spec.least..=spec.most, column)?;
        Ok(Part { expr: Expr::call(function, args), column })
    }

    fn arguments(&mut self, name: &str, count: std::ops::RangeInclusive<usize>, column: usize) -> Parsed<Vec<Expr>> {
        let opened = self.column();
        self.at += 1;
        let mut args = vec![];
        while self.peek() != Token::Symbol(")") {
            let arg = self.conditional()?;
            args.push(self.number(arg)?.expr);
            if !self.eat(",") {
                break;
            }
        }
        self.close(opened)?;
        if count.contains(&args.len()) {
            return Ok(args);
        }
        let more = if count.start() == count.end() { "" } else { " or more" };
        let plural = if *count.start() == 1 { "" } else { "s" };
        let message = format!("`{name}` takes {}{more} argument{plural}, not {}", count.start(), args.len());
        Err(SyntaxError::new(self.source, column, message))
    }
}

fn is_word(name: &str) -> bool {
    matches!(name, "if" | "else" | "and" | "or" | "not")
}

/// Names in messages are cut where nobody would read on.
pub(super) fn shortened(name: &str) -> String {
    name.get(..40).map_or_else(|| name.to_string(), |head| format!("{head}..."))
}
