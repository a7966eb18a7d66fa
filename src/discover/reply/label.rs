//! What stands before a formula on its line: bullets, bold signs, labels, assignments, `return`.

/// The line without indentation, quote signs, bullets, numbering and heading signs.
pub fn without_bullet(line: &str) -> &str {
    let mut rest = line.trim_start();
    for _ in 0..4 {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let numbered = (digits.len() < rest.len()).then(|| digits.strip_prefix(['.', ')'])).flatten();
        let bullet = rest.strip_prefix(['-', '*', '+', '•']).filter(|r| r.starts_with(' '));
        let next = numbered.filter(|r| r.starts_with(' ')).or(bullet);
        let next = next.or_else(|| rest.strip_prefix(['>', '#']));
        match next {
            Some(next) => rest = next.trim_start(),
            None => break,
        }
    }
    rest
}

/// What follows a label such as `Formula:` or `**New score**:`.
pub fn formula(line: &str) -> Option<&str> {
    labelled(line, &["formula", "expression", "proxy", "score", "answer", "equation"])
}

/// What follows a label such as `Thought:`.
pub fn thought(line: &str) -> Option<&str> {
    labelled(line, &["thought", "thoughts", "idea", "reasoning", "rationale", "explanation"])
}

fn labelled<'t>(line: &'t str, nouns: &[&str]) -> Option<&'t str> {
    let (head, rest) = without_bullet(line).split_once(':')?;
    let mut words = head.split(|c: char| c.is_whitespace() || "*_`\"".contains(c)).filter(|w| !w.is_empty());
    let last = words.clone().next_back()?;
    let is_label = words.clone().count() <= 5
        && words.all(|w| w.chars().all(|c| c.is_ascii_alphanumeric() || c == '#'))
        && nouns.iter().any(|n| last.eq_ignore_ascii_case(n));
    // A label may be bold as in `**Formula:** a`, and then its end is bold too.
    let rest = rest.strip_prefix("__").filter(|r| r.starts_with(' ')).unwrap_or(rest);
    is_label.then(|| rest.trim_start_matches(['*', ' ', '\t']))
}

/// Whether a line opens or closes fenced code.
pub fn is_fence(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("```") || line.starts_with("~~~")
}

/// Whether code begins here: a fence, a function.
pub fn opens_code(line: &str) -> bool {
    is_fence(line) || is_function(line)
}

/// Whether a line starts a Python function.
pub fn is_function(line: &str) -> bool {
    line.trim_start().starts_with("def ")
}

/// Whether a line is no prose.
pub fn is_code(line: &str) -> bool {
    opens_code(line)
        || without_bullet(line).starts_with("return ")
        || formula(line).is_some()
        || assignment(line).is_some()
}

/// Name and expression of `name = ...` or `name(arguments) = ...`.
pub fn assignment(text: &str) -> Option<(&str, &str)> {
    let (head, rest) = text.split_once('=')?;
    let head = head.trim();
    let name = match head.split_once('(') {
        Some((name, arguments)) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_, ".contains(c);
            arguments.strip_suffix(')').filter(|a| a.chars().all(plain))?;
            name
        }
        // A type annotation.
        None => head.split_once(':').map_or(head, |(name, _)| name),
    };
    let name = name.trim_end();
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (is_name && !rest.starts_with('=')).then_some((name, rest.trim_start()))
}

/// The text behind everything that may stand before an expression: quotes, `f =`, `return`, `lambda x:`.
pub fn expression(text: &str) -> &str {
    let mut rest = text;
    for _ in 0..4 {
        rest = rest.trim_start_matches(['`', '"', '\'', '$', ' ', '\t']);
        if let Some((_, value)) = assignment(first_line(rest)) {
            rest = rest.get(first_line(rest).len() - value.len()..).unwrap_or_default();
        } else if let Some(value) =
            rest.strip_prefix("return ").or_else(|| rest.strip_prefix("return(").map(|_| after_return(rest)))
        {
            rest = value.trim_start();
        } else if let Some((_, value)) = rest.strip_prefix("lambda ").and_then(|r| r.split_once(':')) {
            rest = value.trim_start();
        } else {
            break;
        }
    }
    rest
}

fn after_return(text: &str) -> &str {
    text.get("return".len()..).unwrap_or_default()
}

fn first_line(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default()
}
