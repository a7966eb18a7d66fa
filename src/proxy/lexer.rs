//! Text to tokens.

use super::limits;
use super::syntax::SyntaxError;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    Number(f64),
    /// A name, with a module before it or not, or a word of the language.
    Name(&'a str),
    Symbol(&'static str),
    End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Placed<'a> {
    pub token: Token<'a>,
    /// In characters from 1.
    pub column: usize,
}

/// The longest first, so that `**` is not read as two.
const SYMBOLS: [&str; 12] = ["**", "<=", ">=", "(", ")", ",", "+", "-", "*", "/", "<", ">"];

/// What people write that is not in the language, with what to do instead; the longest first.
const FOREIGN: [(&str, &str); 16] = [
    ("//", "division gives a fraction: write `/`"),
    ("==", "compare with < <= > >="),
    ("!=", "compare with < <= > >="),
    (":=", "a formula is one expression, nothing is assigned"),
    ("&&", "write `and`"),
    ("||", "write `or`"),
    ("=", "a formula is one expression, nothing is assigned"),
    ("^", "write `**` for powers"),
    ("%", "there is no remainder"),
    ("&", "write `and`"),
    ("|", "write `or`"),
    ("!", "write `not`"),
    ("?", "write `a if condition else b`"),
    ("[", "there are no lists; a name stands for all layers at once"),
    (":", "write `a if condition else b`"),
    (";", "a formula is one expression"),
];

/// The tokens of `source`, the last of which is [`Token::End`], and why they end before the text does, if so.
pub(super) fn lex(source: &str) -> (Vec<Placed<'_>>, Option<SyntaxError>) {
    let mut tokens = vec![];
    let mut rest = source;
    let mut column = 1;
    loop {
        let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        (rest, column) = (rest.get(blank..).unwrap_or(""), column + blank);
        let Some(first) = rest.chars().next() else {
            tokens.push(Placed { token: Token::End, column });
            return (tokens, None);
        };
        let (token, length) = match token(source, rest, first, column) {
            Ok(next) => next,
            Err(error) => {
                tokens.push(Placed { token: Token::End, column });
                return (tokens, Some(error));
            }
        };
        tokens.push(Placed { token, column });
        // Every token is ASCII: bytes are characters.
        (rest, column) = (rest.get(length..).unwrap_or(""), column + length);
    }
}

/// The token that `rest` starts with, and its length in bytes.
fn token<'a>(source: &str, rest: &'a str, first: char, column: usize) -> Result<(Token<'a>, usize), SyntaxError> {
    if first.is_ascii_digit() || (first == '.' && digits(rest, 1) > 0) {
        let length = number_length(rest);
        Ok((number(source, rest.get(..length).unwrap_or(rest), column)?, length))
    } else if first.is_ascii_alphabetic() || first == '_' {
        let length = name_length(rest);
        Ok((Token::Name(rest.get(..length).unwrap_or(rest)), length))
    } else {
        symbol(source, rest, first, column)
    }
}

fn symbol<'a>(source: &str, rest: &str, first: char, column: usize) -> Result<(Token<'a>, usize), SyntaxError> {
    let foreign = FOREIGN.iter().find(|(text, _)| rest.starts_with(text));
    match SYMBOLS.iter().find(|text| rest.starts_with(**text)) {
        Some(text) if foreign.is_none() => Ok((Token::Symbol(text), text.len())),
        _ => {
            let shown = foreign.map_or_else(|| visible(first), |(text, _)| text.to_string());
            let error = SyntaxError::new(source, column, format!("`{shown}` is not in the language"));
            Err(match foreign {
                Some((_, hint)) => error.hint(*hint),
                None => error,
            })
        }
    }
}

/// A character as a message shows it: what a terminal would not print as itself is escaped.
fn visible(c: char) -> String {
    if c.is_ascii_punctuation() { c.to_string() } else { c.escape_debug().to_string() }
}

/// Digits of `text` from byte `from`.
fn digits(text: &str, from: usize) -> usize {
    text.bytes().skip(from).take_while(u8::is_ascii_digit).count()
}

fn number_length(text: &str) -> usize {
    let mut end = digits(text, 0);
    if text.as_bytes().get(end) == Some(&b'.') {
        end += 1 + digits(text, end + 1);
    }
    if let Some(b'e' | b'E') = text.as_bytes().get(end) {
        let sign = usize::from(matches!(text.as_bytes().get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(text, end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    end
}

fn number<'a>(source: &str, text: &str, column: usize) -> Result<Token<'a>, SyntaxError> {
    match text.parse::<f64>() {
        Ok(value) if limits::writable(value) => Ok(Token::Number(value)),
        _ => {
            let shown = text.get(..24).map_or_else(|| text.to_string(), |head| format!("{head}..."));
            let message = format!("the number {shown} is out of range");
            Err(SyntaxError::new(source, column, message).hint("numbers are 0 or 1e-12 to 1e12 in magnitude"))
        }
    }
}

/// Letters, digits and underscores, in parts joined by single dots.
fn name_length(text: &str) -> usize {
    let part = |from: usize| {
        let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        text.bytes().skip(from).take_while(word).count()
    };
    let mut end = part(0);
    while text.as_bytes().get(end) == Some(&b'.') && part(end + 1) > 0 {
        end += 1 + part(end + 1);
    }
    end
}
