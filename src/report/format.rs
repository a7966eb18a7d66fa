//! Numbers and names for people: the same digits in the terminal and on the page.

pub(crate) use crate::error::clean;

/// `1 234 567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `41.0 M`: three digits and a decimal prefix.
pub fn si(n: u64) -> String {
    scaled(n, &["", "k", "M", "G", "T", "P", "E"]).trim_end().to_owned()
}

/// `3.2 kB`: decimal multiples, as file managers and flash datasheets count.
pub fn bytes(n: u64) -> String {
    scaled(n, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

fn scaled(n: u64, units: &[&str]) -> String {
    let mut value = n as f64;
    let mut unit = 0;
    // 999.5 and not 1000: what would print as `1000 k` prints as `1.00 M`.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", units.get(unit).copied().unwrap_or_default())
}

/// `23.9`, `exact` where there is no noise, a dash where it was not measured.
pub fn db(x: Option<f64>) -> String {
    match x {
        Some(x) if x >= EXACT_DB => "exact".to_owned(),
        Some(x) if x.is_finite() => format!("{x:.1}"),
        _ => "–".to_owned(),
    }
}

/// The same with its unit.
pub fn in_db(x: f64) -> String {
    if x >= EXACT_DB || !x.is_finite() { db(Some(x)) } else { format!("{} dB", db(Some(x))) }
}

/// From here on, a difference is no quantization noise any more.
pub const EXACT_DB: f64 = 199.0;

/// `98.4 %`, rounded down, so that only 1 prints as `100 %`.
pub fn percent(share: f64) -> String {
    match share {
        s if s >= 1.0 => "100 %".to_owned(),
        s if s > 0.0 && s < 0.001 => "<0.1 %".to_owned(),
        s if s.is_finite() => format!("{:.1} %", (s * 1000.0 + 1e-9).floor() / 10.0),
        _ => "–".to_owned(),
    }
}

/// `0.9987`, rounded down, so that only 1 prints as `1`.
pub fn cosine(x: f64) -> String {
    match x {
        x if x >= 1.0 => "1".to_owned(),
        x => format!("{:.4}", (x * 10_000.0 + 1e-6).floor() / 10_000.0),
    }
}

/// After over before, `27 %`; a dash without a before.
pub fn ratio(after: u64, before: u64) -> String {
    match before {
        0 => "–".to_owned(),
        _ => format!("{:.0} %", 100.0 * after as f64 / before as f64),
    }
}

/// Four significant digits: `0.01235`, `12.35`, `1.235e-7`.
pub fn significant(x: f64) -> String {
    let magnitude = x.abs();
    if !x.is_finite() {
        return "–".to_owned();
    }
    if magnitude != 0.0 && !(1e-4..1e6).contains(&magnitude) {
        return format!("{x:.3e}");
    }
    let decimals = if magnitude == 0.0 { 0 } else { (3 - magnitude.log10().floor() as i32).max(0) as usize };
    let text = format!("{x:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// `8 bits`, `1 bit`, `float`.
pub fn width(bits: Option<u32>) -> String {
    match bits {
        None => "float".to_owned(),
        Some(1) => "1 bit".to_owned(),
        Some(bits) => format!("{bits} bits"),
    }
}

/// `64 × 3 × 3`.
pub fn shape(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ")
}

/// `1 layer`, `12 layers`.
pub fn plural(n: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(n as u64), if n == 1 { "" } else { "s" })
}

/// At most `width` characters, the middle left out: names differ at their ends.
pub fn shorten(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let keep = width.saturating_sub(1);
    let head = keep / 3;
    let front: String = text.chars().take(head).collect();
    let back: String = text.chars().skip(length - (keep - head)).collect();
    format!("{front}…{back}")
}

/// Spaces that [`wrap`] does not break at.
pub fn together(text: &str) -> String {
    text.replace(' ', "\u{a0}")
}

/// Lines of at most `width` characters, broken at spaces; a longer word is shortened.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![];
    let mut line = String::new();
    for word in text.split([' ', '\n', '\t']).filter(|w| !w.is_empty()).map(|w| shorten(w, width.max(1))) {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines.iter().map(|l| l.replace('\u{a0}', " ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_and_sizes_read_well() {
        let cases =
            [(0, "0", "0 B"), (999, "999", "999 B"), (1000, "1 000", "1.00 kB"), (1_234_567, "1 234 567", "1.23 MB")];
        for (n, grouped, size) in cases {
            assert_eq!((count(n), bytes(n)), (grouped.to_owned(), size.to_owned()));
        }
        assert_eq!((bytes(999_999), si(41_000_000), si(12)), ("1.00 MB".into(), "41.0 M".into(), "12".into()));
        assert_eq!(bytes(u64::MAX), "18.4 EB");
    }

    #[test]
    fn rounding_never_flatters() {
        assert_eq!(
            (percent(0.99999), percent(1.0), percent(0.984)),
            ("99.9 %".into(), "100 %".into(), "98.4 %".into())
        );
        assert_eq!((cosine(0.99999), cosine(1.0)), ("0.9999".into(), "1".into()));
        assert_eq!((db(Some(200.0)), db(Some(23.94)), db(None)), ("exact".into(), "23.9".into(), "–".into()));
    }

    #[test]
    fn significant_digits() {
        let cases =
            [(0.0, "0"), (0.0123456, "0.01235"), (12.5, "12.5"), (-123456.0, "-123456"), (1.2347e-7, "1.235e-7")];
        for (x, text) in cases {
            assert_eq!(significant(x), text);
        }
        assert_eq!(significant(f64::NAN), "–");
    }

    proptest! {
        #[test]
        fn shortened_fits_and_keeps_its_ends(text in "\\PC{0,60}", width in 1usize..40) {
            let short = shorten(&text, width);
            prop_assert!(short.chars().count() <= width);
            prop_assert!(width < 2 || text.chars().last() == short.chars().last());
        }

        #[test]
        fn wrapped_lines_fit_and_keep_every_word(text in "[a-z]{1,8}( [a-z]{1,8}){0,20}", width in 8usize..50) {
            let lines = wrap(&text, width);
            prop_assert!(lines.iter().all(|l| l.chars().count() <= width));
            prop_assert_eq!(lines.join(" "), text);
        }
    }
}
