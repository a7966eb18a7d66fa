//! A profile in words, for a terminal.

use super::query::bits_of;
use super::{ActivationFormat, BiasFormat, OnnxLimits, OperatorRule, Refusal, ResidualAdd, Role, Target};
use crate::Result;

const WIDTH: usize = 96;
const KEY: usize = 16;

impl Target {
    /// What `xtask targets NAME` prints: formats, operators, refusals, facts and sources, at most 96 columns wide.
    pub fn explain(&self) -> String {
        let mut page = format!("{}: {}\n\n", self.name, self.title);
        page += &wrapped(&self.runtime, 2, 2);
        self.explain_formats(&mut page);
        self.explain_operators(&mut page);
        section(&mut page, "Refused", self.refuse.iter().map(|r| (r.subject(), r.because.clone())));
        section(
            &mut page,
            "Numbers",
            self.facts.iter().map(|f| (format!("{}: {} {}", f.what, f.value, f.unit), f.source.clone())),
        );
        page += "\nSources\n";
        for source in &self.sources {
            page += &wrapped(source, 2, 6);
        }
        page
    }

    /// The formats as key and sentence, in the order of the YAML.
    pub(super) fn formats(&self) -> [(&'static str, String); 6] {
        [
            ("activations", self.activations.words()),
            ("weights", self.weight_words()),
            ("bias", self.bias_words()),
            ("left in float", self.float_words()),
            ("residual Add", self.residual_add.words().to_string()),
            ("files", self.file_words()),
        ]
    }

    fn file_words(&self) -> String {
        let OnnxLimits { max_opset, max_ir, domains } = &self.onnx;
        let versions = format!("opset up to {max_opset}, IR version up to {max_ir}");
        match domains.is_empty() {
            true => versions,
            false => format!("{versions}, operators of {} kept", domains.join(", ")),
        }
    }

    fn explain_formats(&self, page: &mut String) {
        *page += "\nFormats\n";
        for (key, words) in self.formats() {
            *page += &wrapped(&format!("{key:KEY$}{words}"), 2, 2 + KEY);
        }
    }

    fn explain_operators(&self, page: &mut String) {
        *page += "\nOperators that take integers (every other one stays in float)\n";
        for rule in self.operators.iter().filter(|r| r.role == Role::Compute) {
            *page += &wrapped(&format!("{:KEY$}{}", rule.op, self.rule_words(rule)), 2, 2 + KEY);
        }
        for (role, title) in [
            (Role::Arithmetic, "arithmetic"),
            (Role::Normalization, "normalizing"),
            (Role::FusedActivation, "fused"),
            (Role::SameScale, "same scale"),
            (Role::WeightOnly, "weights only"),
        ] {
            let names: Vec<&str> = self.operators.iter().filter(|r| r.role == role).map(|r| r.op.as_str()).collect();
            if !names.is_empty() {
                *page += &wrapped(&format!("{title:KEY$}{}", names.join(", ")), 2, 2 + KEY);
            }
        }
    }

    /// What a rule says, for people.
    pub(super) fn rule_words(&self, rule: &OperatorRule) -> String {
        if rule.role != Role::Compute {
            return rule.role.words().to_string();
        }
        let mut words = vec![bits_of(&rule.weight_bits, "weights")];
        if let Some(blocks) = &rule.blocks {
            let sizes: Vec<String> = blocks.sizes.iter().map(usize::to_string).collect();
            let others = sizes.get(1..).filter(|o| !o.is_empty()).map(|o| format!(" (or {})", o.join(", ")));
            let first = sizes.first().map_or("", String::as_str);
            let partial = if blocks.partial { ", the last of a channel may be smaller," } else { "" };
            let weights = bits_of(&blocks.weight_bits, "weights");
            let sizes = format!("{first}{}", others.unwrap_or_default());
            words.push(format!("{weights} in blocks of {sizes}{partial} beside activations in float"));
            if blocks.apart {
                words.push("kept apart from activations and pairs by a Max".to_string());
            }
            if blocks.signed_scales {
                words.push("scales of either sign".to_string());
            }
        }
        for beside in &rule.weight_bits_at {
            let activations = bits_of(&[beside.activation_bits], "activations");
            words.push(format!("{} beside {activations}", bits_of(&beside.weight_bits, "weights")));
        }
        if rule.per_channel.is_some_and(|own| own != self.weights.per_channel) {
            words.push(per_channel(self.per_channel(&rule.op)).to_string());
        }
        for all in &rule.where_all_have {
            let (weights, activations) =
                (bits_of(&all.weight_bits, "weights"), bits_of(&[all.activation_bits], "ones"));
            let scales = per_channel(all.per_channel);
            words.push(format!("{weights} with {scales} where all activations are {activations}: --act-bits"));
        }
        if rule.two_activations {
            words.push("both operands may be activations".to_string());
        }
        if rule.quantized_output {
            words.push("needs its output quantized".to_string());
        }
        if rule.quantized_if_fused {
            words.push("needs its output quantized behind a fused activation".to_string());
        }
        words.join("; ")
    }

    fn weight_words(&self) -> String {
        let range = if self.weights.narrow_range { ", most negative integer left out" } else { "" };
        let power = if self.weights.power_of_two { ", power-of-two scales" } else { "" };
        format!("signed, zero point 0, {}{power}{range}", per_channel(self.weights.per_channel))
    }

    fn bias_words(&self) -> String {
        match self.bias {
            BiasFormat::Float => "float, untouched".to_string(),
            BiasFormat::Int32 if self.bias_bits == 32 => "int32 at input scale x weight scale".to_string(),
            BiasFormat::Int32 => format!("int32 at input scale x weight scale, within {} bits", self.bias_bits),
        }
    }

    fn float_words(&self) -> String {
        let fallback = &self.float_fallback;
        let may = if fallback.allowed { format!("fp{}", fallback.weight_bits) } else { "not by choice".to_string() };
        format!("{may}. {}", fallback.because)
    }
}

impl ActivationFormat {
    fn words(&self) -> String {
        let mut words = vec![
            format!(
                "{} by default",
                bits_of(self.bits.get(..1).unwrap_or(&[]), if self.signed { "signed" } else { "unsigned" })
            ),
            if self.symmetric { "zero point 0".to_string() } else { "with zero point".to_string() },
            "one scale per tensor".to_string(),
        ];
        if self.bits.len() > 1 {
            words.insert(1, format!("{} on request", bits_of(self.bits.get(1..).unwrap_or(&[]), "ones")));
        }
        if self.unsigned_where_positive {
            words.push("unsigned behind Relu and Clip".to_string());
        }
        if self.power_of_two {
            words.push("power-of-two scales".to_string());
        }
        if self.clip_to_width {
            words.push("width stated by a Clip between Q and DQ".to_string());
        }
        if self.constant_operands {
            words.push("constant operands of arithmetic likewise".to_string());
        }
        if self.one_width_per_operator {
            words.push(
                "one width for all activations of an operator, others converted by a second Q/DQ pair".to_string(),
            );
        }
        words.join(", ")
    }
}

impl Role {
    fn words(self) -> &'static str {
        match self {
            Role::Compute => "has weights",
            Role::Arithmetic => "own output scale, quantized between integer operators",
            Role::Normalization => "own output scale; its scale in 8 bits, its bias in int32",
            Role::SameScale => "moves data: input and output share a scale",
            Role::FusedActivation => "applied by the kernel before it: quantized after, never before",
            Role::WeightOnly => "computes in float; its weights are stored in 8 bits",
        }
    }
}

impl ResidualAdd {
    fn words(self) -> &'static str {
        match self {
            ResidualAdd::BothInputs => "both inputs and the output carry Q/DQ",
            ResidualAdd::SkipBranch => "only the branch that is not fused into the convolution carries Q/DQ",
            ResidualAdd::SharedScale => "both inputs carry Q/DQ of one shared scale",
            ResidualAdd::Float => "stays in float",
        }
    }
}

impl Refusal {
    /// What is refused, for people: "Conv with 4-bit weights".
    pub(super) fn subject(&self) -> String {
        let weights = (!self.weight_bits.is_empty()).then(|| bits_of(&self.weight_bits, "weights"));
        let activations = (!self.activation_bits.is_empty()).then(|| bits_of(&self.activation_bits, "activations"));
        let widths: Vec<String> = weights.into_iter().chain(activations).collect();
        match (&self.op, widths.is_empty()) {
            (Some(op), true) => format!("{op} with integers"),
            (Some(op), false) => format!("{op} with {}", widths.join(" and ")),
            (None, _) => widths.join(" with "),
        }
    }
}

/// One line a profile in the binary: what `xtask targets` prints.
///
/// # Errors
/// None for the profiles as committed; those of [`Target::named`].
pub fn table() -> Result<String> {
    let mut rows = vec![["NAME", "ACTIVATIONS", "WEIGHTS", "IN FLOAT", "WHAT"].map(str::to_string)];
    for name in super::names() {
        rows.push(Target::named(name)?.row());
    }
    let widths: Vec<usize> = (0..5).map(|c| rows.iter().map(|r| r[c].len()).max().unwrap_or(0)).collect();
    let line = |row: &[String; 5]| {
        let cells: String = row.iter().zip(&widths).map(|(cell, &w)| format!("{cell:w$}  ")).collect();
        format!("{}\n", cells.trim_end())
    };
    Ok(rows.iter().map(line).collect())
}

impl Target {
    pub(super) fn row(&self) -> [String; 5] {
        let sign = if self.activations.signed { 's' } else { 'u' };
        let mut activations = self.activations.bits.clone();
        activations.sort_unstable();
        let mut weights: Vec<u32> = vec![];
        for rule in &self.operators {
            weights.extend(rule.weight_bits.iter().chain(rule.weight_bits_at.iter().flat_map(|b| &b.weight_bits)));
            weights.extend(rule.blocks.iter().flat_map(|b| &b.weight_bits));
        }
        weights.sort_unstable();
        weights.dedup();
        let float = match self.float_fallback.allowed {
            true => format!("fp{}", self.float_fallback.weight_bits),
            false => "no".to_string(),
        };
        [self.name.clone(), short(&activations, sign), short(&weights, 's'), float, self.title.clone()]
    }
}

/// "s8", "s4 s8", "s2..s8".
fn short(bits: &[u32], sign: char) -> String {
    match bits {
        [first, .., last] if bits.len() as u32 == last - first + 1 && bits.len() > 2 => {
            format!("{sign}{first}..{sign}{last}")
        }
        _ => bits.iter().map(|b| format!("{sign}{b}")).collect::<Vec<_>>().join(" "),
    }
}

fn per_channel(yes: bool) -> &'static str {
    if yes { "one scale per output channel" } else { "one scale per tensor" }
}

fn section(page: &mut String, title: &str, entries: impl Iterator<Item = (String, String)>) {
    for (at, (head, text)) in entries.enumerate() {
        if at == 0 {
            *page += &format!("\n{title}\n");
        }
        *page += &wrapped(&head, 2, 4);
        *page += &wrapped(&text, 6, 6);
    }
}

/// Words in lines of at most [`WIDTH`] columns; runs of spaces inside the first line survive.
fn wrapped(text: &str, first: usize, rest: usize) -> String {
    let mut out = String::new();
    let mut line = " ".repeat(first);
    let mut empty = true;
    for word in text.trim_end().split(' ') {
        if !empty && line.len() + 1 + word.len() > WIDTH {
            out += line.trim_end();
            out.push('\n');
            line = " ".repeat(rest);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line += word;
        empty = false;
    }
    out + line.trim_end() + "\n"
}
