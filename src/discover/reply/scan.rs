//! How much of a text reads as one arithmetic expression. The parser has the last word; this only finds the end.

/// A formula longer than this is none.
pub const MAX_FORMULA: usize = 4096;

/// What stands at the start of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// An expression of this many bytes.
    Expression {
        /// Where it ends.
        end: usize,
        /// Whether it holds an operator or a call, and is more than a word or a number.
        composite: bool,
        /// Whether words follow it on its line.
        prose: bool,
    },
    /// It starts as an expression and goes wrong: the parser can say how.
    Broken,
    /// Nothing of the kind.
    Nothing,
}

enum Token {
    Number,
    Name,
    Operator,
    /// Plus and minus, which may stand before an operand too.
    Sign,
    Open,
    Close,
    Comma,
    NewLine,
    Other(char),
    End,
}

/// Reads an expression from the start of `text`; inside parentheses and after an operator it goes on over line ends.
pub fn scan(text: &str) -> Scan {
    let mut state = State { depth: 0, wants_operand: true, started: false, composite: false, good: None };
    let mut at = 0;
    // The token that does not belong to it any more, and the text from there; none where it is too long.
    let stop = loop {
        let rest = text.get(at..).unwrap_or_default();
        let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\r']).len();
        let rest = rest.get(blank..).unwrap_or_default();
        let (token, length) = token(rest);
        let end = at + blank + length;
        if end > MAX_FORMULA {
            break None;
        }
        if !state.take(&token, rest.get(..length).unwrap_or_default()) {
            break Some((token, rest));
        }
        at = end;
        if state.is_whole() && !rest.get(length..).unwrap_or_default().starts_with('(') {
            state.good = Some((at, state.composite));
        }
    };
    stop.map_or(Scan::Broken, |(stop, rest)| state.verdict(&stop, rest))
}

struct State {
    depth: usize,
    wants_operand: bool,
    started: bool,
    composite: bool,
    /// The last place where the expression could end, and whether it was composite there.
    good: Option<(usize, bool)>,
}

impl State {
    fn is_whole(&self) -> bool {
        self.depth == 0 && !self.wants_operand
    }

    /// Whether the expression can go on with this token.
    fn take(&mut self, token: &Token, text: &str) -> bool {
        let is_word = matches!(text, "and" | "or" | "if" | "else" | "not");
        match token {
            Token::NewLine => return self.depth > 0 || (self.wants_operand && self.started),
            Token::Name if is_word && text == "not" => return self.wants_operand,
            Token::Name if is_word && !self.wants_operand => (self.wants_operand, self.composite) = (true, true),
            Token::Number | Token::Name if self.wants_operand && !is_word => self.wants_operand = false,
            Token::Sign if self.wants_operand => {}
            Token::Sign | Token::Operator if !self.wants_operand => (self.wants_operand, self.composite) = (true, true),
            // Behind an operand it opens a call; that only names are called, the parser knows.
            Token::Open => {
                self.composite |= !self.wants_operand;
                self.depth += 1;
                self.wants_operand = true;
            }
            Token::Close if self.depth > 0 && !self.wants_operand => self.depth -= 1,
            Token::Comma if self.depth > 0 && !self.wants_operand => self.wants_operand = true,
            _ => return false,
        }
        self.started = true;
        true
    }

    fn verdict(&self, stop: &Token, rest: &str) -> Scan {
        if !self.started {
            return Scan::Nothing;
        }
        let ends_a_sentence = |c: char| ",;:.#`'\"!?—–$*|}~".contains(c) || !c.is_ascii();
        let soft = match stop {
            Token::End | Token::NewLine | Token::Name | Token::Number | Token::Comma | Token::Close => true,
            Token::Other(c) => ends_a_sentence(*c),
            _ => false,
        };
        let prose = !matches!(stop, Token::End | Token::NewLine) && rest.starts_with(|c: char| c.is_alphanumeric());
        match self.good {
            Some((end, composite)) if self.is_whole() && soft => Scan::Expression { end, composite, prose },
            // `a * b (because it ...`: what follows the good part is prose.
            Some((end, true)) if prose => Scan::Expression { end, composite: true, prose },
            _ => Scan::Broken,
        }
    }
}

/// The token at the start of `text`, which starts with no blank, and its length in bytes.
fn token(text: &str) -> (Token, usize) {
    let Some(first) = text.chars().next() else { return (Token::End, 0) };
    let second = text.chars().nth(1);
    match first {
        '\n' => (Token::NewLine, 1),
        '(' => (Token::Open, 1),
        ')' => (Token::Close, 1),
        ',' => (Token::Comma, 1),
        '+' | '-' => (Token::Sign, 1),
        '*' if second == Some('*') => (Token::Operator, 2),
        '/' if second == Some('/') => (Token::Operator, 2),
        '<' | '>' | '=' | '!' if second == Some('=') => (Token::Operator, 2),
        '*' | '/' | '%' | '^' | '<' | '>' => (Token::Operator, 1),
        c if c.is_ascii_alphabetic() || c == '_' => (Token::Name, name(text)),
        c if c.is_ascii_digit() || (c == '.' && second.is_some_and(|d| d.is_ascii_digit())) => {
            (Token::Number, number(text))
        }
        c => (Token::Other(c), c.len_utf8()),
    }
}

/// Length of a name, dots inside it included (`np.log1p`).
pub fn name(text: &str) -> usize {
    let word = |s: &str| s.len() - s.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len();
    let mut end = word(text);
    while let Some(rest) = text.get(end..).and_then(|r| r.strip_prefix('.')) {
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            break;
        }
        end += 1 + word(rest);
    }
    end
}

/// Length of a number: digits, a point, an exponent.
pub fn number(text: &str) -> usize {
    let digits = |s: &str| s.len() - s.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let from = |at: usize| text.get(at..).unwrap_or_default();
    let mut end = digits(text);
    // The point at a sentence's end is not the number's.
    let fraction = digits(from(end + 1));
    let goes_on = || from(end + 1).trim_start_matches(' ').starts_with(['*', '/', '+', '-', ')', ',']);
    if from(end).starts_with('.') && (fraction > 0 || goes_on()) {
        end += 1 + fraction;
    }
    if from(end).starts_with(['e', 'E']) {
        let signed = usize::from(from(end + 1).starts_with(['+', '-']));
        match digits(from(end + 1 + signed)) {
            0 => {}
            n => end += 1 + signed + n,
        }
    }
    end
}
