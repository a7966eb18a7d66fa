//! A small SVG pen: coordinates in user units, colours by CSS class, all text escaped.

use std::fmt::{Display, Write};

/// Text for element content and quoted attributes, in HTML and in SVG.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML knows no other control characters, not even escaped.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A drawing.
pub struct Svg {
    body: String,
    width: f64,
    height: f64,
    label: String,
}

/// A rectangle, in user units.
#[derive(Clone, Copy, Debug)]
pub struct Rect {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

impl Svg {
    /// An empty drawing; `label` says what it shows to who cannot see it.
    pub fn new(width: f64, height: f64, label: &str) -> Self {
        Svg { body: String::new(), width, height, label: escape(label) }
    }

    fn push(&mut self, element: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.body, "{element}");
    }

    /// A rectangle of a CSS class, with a tooltip; `opacity` of its filling from 0 to 1.
    pub fn rect(&mut self, Rect { x, y, w, h }: Rect, class: &str, opacity: f64, title: &str) {
        let faint = if opacity < 1.0 { format!(r#" fill-opacity="{opacity:.3}""#) } else { String::new() };
        self.push(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}"{faint}>{}</rect>"#,
            tooltip(title)
        ));
    }

    /// A dot with a tooltip.
    pub fn dot(&mut self, (x, y): (f64, f64), radius: f64, class: &str, title: &str) {
        self.push(format_args!(
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{radius:.1}">{}</circle>"#,
            tooltip(title)
        ));
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(format_args!(r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#));
    }

    /// A line through points.
    pub fn polyline(&mut self, points: &[(f64, f64)], class: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.push(format_args!(r#"<polyline class="{class}" points="{}"/>"#, points.join(" ")));
    }

    /// A curve that leaves and arrives upright, pushed aside by `bow` on its way.
    pub fn curve(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), bow: f64, class: &str) {
        let (c1, c2, middle) = (x1 + bow, x2 + bow, (y1 + y2) / 2.0);
        self.push(format_args!(
            r#"<path class="{class}" d="M{x1:.1},{y1:.1}C{c1:.1},{middle:.1} {c2:.1},{middle:.1} {x2:.1},{y2:.1}"/>"#
        ));
    }

    /// A line of text; `anchor` is `start`, `middle` or `end`.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: &str, class: &str, text: &str) {
        let text = escape(text);
        self.push(format_args!(r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#));
    }

    /// A file of its own, with its style.
    pub fn file(self, style: &str) -> String {
        let Svg { body, width, height, label } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
             aria-label=\"{label}\">\n<style>{style}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
        )
    }

    /// The element, for inclusion in a page.
    pub fn finish(self) -> String {
        let Svg { body, width, height, label } = self;
        format!("<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{label}\">\n{body}</svg>")
    }
}

fn tooltip(title: &str) -> String {
    if title.is_empty() { String::new() } else { format!("<title>{}</title>", escape(title)) }
}
