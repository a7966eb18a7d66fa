//! Characters to tokens: names, numbers, strings, and where they are.

use crate::{Code, Error, Result};

/// A literal as written.
pub(super) enum Literal<'a> {
    /// Digits with an optional sign.
    Int(&'a str),
    /// With a decimal point or exponent, or one of inf, infinity, nan.
    Float(&'a str),
    /// Quoted, unescaped.
    Text(String),
}

/// A position in the text.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Cursor { text, at: 0 }
    }

    /// An error at this position.
    pub fn error(&self, message: impl Into<String>) -> Error {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Error::new(Code::MalformedModel, message).at(format!("line {line}, column {column}"))
    }

    /// The next character after space and comments, as a byte.
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_ascii_start().len();
            match self.rest().as_bytes().first() {
                Some(b'#') => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                other => return other.copied(),
            }
        }
    }

    /// Takes `character` if it is next.
    pub fn eat(&mut self, character: u8) -> bool {
        let found = self.peek() == Some(character);
        self.at += usize::from(found);
        found
    }

    pub fn expect(&mut self, character: u8) -> Result<()> {
        if self.eat(character) { Ok(()) } else { Err(self.unexpected(&format!("'{}'", character as char))) }
    }

    /// An error that says what is here instead of `wanted`.
    pub fn unexpected(&mut self, wanted: &str) -> Error {
        self.peek();
        match self.rest().chars().next() {
            Some(found) => self.error(format!("expected {wanted}, found '{found}'")),
            None => self.error(format!("expected {wanted}, found the end of the text")),
        }
    }

    /// The identifier here, without taking it; empty where there is none.
    pub fn peek_identifier(&mut self) -> &'a str {
        self.peek();
        let rest = self.rest();
        let tail = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            return "";
        }
        rest.split(|c| !tail(c)).next().unwrap_or("")
    }

    /// Takes an identifier; empty where there is none.
    pub fn identifier(&mut self) -> &'a str {
        let identifier = self.peek_identifier();
        self.at += identifier.len();
        identifier
    }

    /// Takes an identifier, quoted or not; `wanted` names it in the error.
    pub fn name(&mut self, wanted: &str) -> Result<String> {
        if self.peek() == Some(b'"') {
            return self.string();
        }
        match self.identifier() {
            "" => Err(self.unexpected(wanted)),
            identifier => Ok(identifier.to_owned()),
        }
    }

    /// Takes a quoted string; a backslash stands before a quote or a backslash.
    pub fn string(&mut self) -> Result<String> {
        self.expect(b'"')?;
        let start = self.at;
        let mut value = String::new();
        let mut characters = self.rest().char_indices();
        while let Some((offset, c)) = characters.next() {
            match c {
                '"' => {
                    self.at = start + offset + 1;
                    return Ok(value);
                }
                '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                _ => value.push(c),
            }
        }
        Err(self.error("the string has no closing quote"))
    }

    /// Takes a number or a string.
    pub fn literal(&mut self) -> Result<Literal<'a>> {
        if self.peek() == Some(b'"') {
            return Ok(Literal::Text(self.string()?));
        }
        let rest = self.rest();
        let unsigned = rest.strip_prefix('-').unwrap_or(rest);
        let sign = rest.len() - unsigned.len();
        let word = unsigned.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
        if is_float_word(word) {
            return Ok(Literal::Float(self.take(sign + word.len())));
        }
        let length = number_length(unsigned);
        if length == 0 {
            return Err(self.unexpected("a value"));
        }
        let number = self.take(sign + length);
        let whole = number.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        Ok(if whole { Literal::Int(number) } else { Literal::Float(number) })
    }

    /// Takes an integer.
    pub fn integer<T: std::str::FromStr>(&mut self) -> Result<T> {
        self.peek();
        let start = self.at;
        let value = match self.literal()? {
            Literal::Int(digits) => digits.parse().ok(),
            _ => None,
        };
        value.ok_or_else(|| {
            self.at = start;
            self.error("expected an integer in range")
        })
    }

    /// Takes `item`s separated by commas up to and including `close`; a comma may follow the last.
    pub fn list(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        while !self.eat(close) {
            item(self)?;
            if !self.eat(b',') {
                return self.expect(close);
            }
        }
        Ok(())
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn take(&mut self, length: usize) -> &'a str {
        let token = self.rest().get(..length).unwrap_or("");
        self.at += token.len();
        token
    }
}

/// Whether a word is one of the floats that are spelled with letters.
pub(super) fn is_float_word(word: &str) -> bool {
    ["inf", "infinity", "nan"].iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Length of the unsigned number at the start: digits, at most one point, an optional exponent.
fn number_length(text: &str) -> usize {
    let digits = |from: usize| text.bytes().skip(from).take_while(u8::is_ascii_digit).count();
    let byte = |at: usize| text.as_bytes().get(at).copied();
    let mut length = digits(0);
    if length == 0 {
        return 0;
    }
    if byte(length) == Some(b'.') {
        length += 1 + digits(length + 1);
    }
    if matches!(byte(length), Some(b'e' | b'E')) {
        let signed = length + 1 + usize::from(matches!(byte(length + 1), Some(b'+' | b'-')));
        length = signed + digits(signed);
    }
    length
}

/// Deepest nesting of subgraphs, types and attributes.
const MAX_DEPTH: usize = 64;

/// Counts one level of nesting.
pub(super) fn deeper(c: &Cursor, depth: usize) -> Result<usize> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(c.error(format!("nested more than {MAX_DEPTH} deep"))) }
}
