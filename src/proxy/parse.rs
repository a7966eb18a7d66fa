//! Tokens to a tree, by recursive descent with Python's precedence.

use super::expr::{Expr, Op};
use super::lexer::{Placed, Token, lex};
use super::limits;
use super::operand::shortened;
use super::syntax::SyntaxError;

pub(super) type Parsed<T = Part> = Result<T, SyntaxError>;

/// A part of a formula and where it starts.
pub(super) struct Part {
    pub expr: Expr,
    /// In characters from 1.
    pub column: usize,
}

/// Reads a whole formula.
pub(super) fn parse(source: &str) -> Parsed<Expr> {
    if source.len() > limits::BYTES {
        let message = format!("the formula is {} bytes long, more than {}", source.len(), limits::BYTES);
        return Err(SyntaxError::new(source, 1, message));
    }
    let (tokens, broken) = lex(source);
    let mut parser = Parser { source, tokens, broken, at: 0, nesting: 0 };
    if parser.peek() == Token::End && parser.broken.is_none() {
        return Err(parser.here("the formula is empty"));
    }
    let whole = parser.conditional()?;
    if parser.peek() != Token::End || parser.broken.is_some() {
        return Err(parser.unexpected("an operator or the end"));
    }
    let whole = parser.number(whole)?.expr;
    let too = |what: String| Err(SyntaxError::new(source, 1, what).hint("make it simpler"));
    match (whole.nodes(), whole.depth()) {
        (nodes, _) if nodes > limits::NODES => {
            too(format!("the formula has {nodes} numbers, names and operators, more than {}", limits::NODES))
        }
        (_, depth) if depth > limits::DEPTH => {
            too(format!("the formula has {depth} levels, more than {}", limits::DEPTH))
        }
        _ => Ok(whole),
    }
}

pub(super) struct Parser<'a> {
    pub source: &'a str,
    tokens: Vec<Placed<'a>>,
    /// What is wrong with the text behind the last token.
    broken: Option<SyntaxError>,
    pub at: usize,
    nesting: usize,
}

impl<'a> Parser<'a> {
    pub fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).map_or(Token::End, |t| t.token)
    }

    pub fn column(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.column)
    }

    pub fn eat(&mut self, symbol: &str) -> bool {
        let there = matches!(self.peek(), Token::Symbol(found) if found == symbol);
        self.at += usize::from(there);
        there
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let there = self.peek() == Token::Name(word);
        self.at += usize::from(there);
        there
    }

    fn here(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.source, self.column(), message)
    }

    pub fn unexpected(&self, wanted: &str) -> SyntaxError {
        match self.peek() {
            Token::End => {
                let ends = || self.here(format!("the formula ends where {wanted} is needed"));
                self.broken.clone().unwrap_or_else(ends)
            }
            Token::Number(value) => self.here(format!("expected {wanted}, found {value}")),
            Token::Name(name) => self.here(format!("expected {wanted}, found `{}`", shortened(name))),
            Token::Symbol(symbol) => self.here(format!("expected {wanted}, found `{symbol}`")),
        }
    }

    pub fn unexpected_but(&self, wanted: &str, hint: &str) -> SyntaxError {
        let error = self.unexpected(wanted);
        // What is wrong with the text itself comes with its own hint.
        if self.broken.as_ref() == Some(&error) { error } else { error.hint(hint) }
    }

    pub fn number(&self, part: Part) -> Parsed {
        if part.expr.is_condition() {
            let message = "a condition stands where a number is needed";
            return Err(SyntaxError::new(self.source, part.column, message).hint("write `a if condition else b`"));
        }
        Ok(part)
    }

    fn condition(&self, part: Part) -> Parsed {
        if !part.expr.is_condition() {
            let message = "a number stands where a condition is needed";
            return Err(SyntaxError::new(self.source, part.column, message).hint("compare it: `x > 0`"));
        }
        Ok(part)
    }

    /// Runs `read` one level deeper, so that a hostile text cannot exhaust the stack.
    fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        if self.nesting >= limits::NESTING {
            let message = format!("more than {} brackets, powers and conditionals inside each other", limits::NESTING);
            return Err(self.here(message).hint("make it simpler"));
        }
        self.nesting += 1;
        let part = read(self);
        self.nesting -= 1;
        part
    }

    pub fn conditional(&mut self) -> Parsed {
        self.deeper(|p| {
            let first = p.disjunction()?;
            if !p.eat_word("if") {
                return Ok(first);
            }
            let (first, column) = p.number(first).map(|f| (f.expr, f.column))?;
            let condition = p.disjunction()?;
            let condition = p.condition(condition)?.expr;
            if !p.eat_word("else") {
                return Err(p.unexpected_but("`else`", "write `a if condition else b`"));
            }
            let second = p.conditional()?;
            let second = p.number(second)?.expr;
            Ok(Part { expr: Expr::new(Op::Choose, vec![first, condition, second]), column })
        })
    }

    fn disjunction(&mut self) -> Parsed {
        self.chain_of_conditions("or", Op::Or, Self::conjunction)
    }

    fn conjunction(&mut self) -> Parsed {
        self.chain_of_conditions("and", Op::And, Self::negation)
    }

    fn chain_of_conditions(&mut self, word: &str, op: Op, mut read: impl FnMut(&mut Self) -> Parsed) -> Parsed {
        let first = read(self)?;
        let (column, mut parts) = (first.column, vec![first]);
        while self.eat_word(word) {
            parts.push(read(self)?);
        }
        if parts.len() > 1 {
            parts = parts.into_iter().map(|part| self.condition(part)).collect::<Result<_, _>>()?;
        }
        Ok(Part { expr: Expr::chain(op, parts.into_iter().map(|p| p.expr).collect()), column })
    }

    fn negation(&mut self) -> Parsed {
        let (column, mut count) = (self.column(), 0);
        while self.eat_word("not") {
            count += 1;
        }
        let part = self.comparison()?;
        match count {
            0 => Ok(part),
            _ if count % 2 == 0 => self.condition(part),
            _ => Ok(Part { expr: Expr::new(Op::Not, vec![self.condition(part)?.expr]), column }),
        }
    }

    fn comparison(&mut self) -> Parsed {
        let left = self.sum()?;
        let Some((op, swapped)) = self.eat_comparison() else {
            return Ok(left);
        };
        let right = self.sum()?;
        let (left, right) = (self.number(left)?, self.number(right)?);
        let column = left.column;
        let again = self.column();
        if self.eat_comparison().is_some() {
            let message = "comparisons cannot be chained";
            return Err(SyntaxError::new(self.source, again, message).hint("write `a < b and b < c`"));
        }
        let args = if swapped { vec![right.expr, left.expr] } else { vec![left.expr, right.expr] };
        Ok(Part { expr: Expr::new(op, args), column })
    }

    /// The comparison that is next, and whether its sides are swapped: `a > b` is read as `b < a`.
    fn eat_comparison(&mut self) -> Option<(Op, bool)> {
        let known =
            [("<", Op::Less, false), ("<=", Op::LessEqual, false), (">", Op::Less, true), (">=", Op::LessEqual, true)];
        known.into_iter().find(|(symbol, ..)| self.eat(symbol)).map(|(_, op, swapped)| (op, swapped))
    }

    fn sum(&mut self) -> Parsed {
        self.chain_of_numbers(Op::Add, ["+", "-"], Expr::negate, Self::product)
    }

    fn product(&mut self) -> Parsed {
        self.chain_of_numbers(Op::Multiply, ["*", "/"], Expr::invert, Self::signed)
    }

    fn chain_of_numbers(
        &mut self,
        op: Op,
        [plain, opposite]: [&str; 2],
        turn: fn(Expr) -> Expr,
        mut read: impl FnMut(&mut Self) -> Parsed,
    ) -> Parsed {
        let mut left = read(self)?;
        loop {
            let turned = self.eat(opposite);
            if !turned && !self.eat(plain) {
                return Ok(left);
            }
            let right = read(self)?;
            let (column, right) = (left.column, self.number(right)?.expr);
            let terms = vec![self.number(left)?.expr, if turned { turn(right) } else { right }];
            left = Part { expr: Expr::chain(op, terms), column };
        }
    }

    fn signed(&mut self) -> Parsed {
        let column = self.column();
        let (mut signs, mut negative) = (0, false);
        while let Token::Symbol(sign @ ("-" | "+")) = self.peek() {
            (signs, negative) = (signs + 1, negative != (sign == "-"));
            self.at += 1;
        }
        let part = self.power()?;
        if signs == 0 {
            return Ok(part);
        }
        let expr = self.number(part)?.expr;
        Ok(Part { expr: if negative { expr.negate() } else { expr }, column })
    }

    fn power(&mut self) -> Parsed {
        let base = self.primary()?;
        if !self.eat("**") {
            return Ok(base);
        }
        let exponent = self.deeper(Self::signed)?;
        let (base, exponent) = (self.number(base)?, self.number(exponent)?);
        Ok(Part { expr: Expr::new(Op::Power, vec![base.expr, exponent.expr]), column: base.column })
    }
}
