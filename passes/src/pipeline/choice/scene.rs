//! What is asked for, and what the measurements say of each part of it.

use super::budget::{Configuration, Unit, quantized};
use super::chooser::Chooser;
use super::chosen::Assignment;
use super::field::Field;
use crate::pipeline::options::Options;
use crate::pipeline::progress::Progress;
use std::collections::BTreeMap;
use tapq::Result;
use tapq::plan::Compared;
use tapq::report::{Compare, decibels};

/// One width a unit and, where activations are chosen together with weights, one a group of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Widths of units.
    pub weights: Configuration,
    /// Widths of the field's groups; empty without a field.
    pub activations: Vec<u32>,
}

impl Setting {
    /// Whether nothing has fewer bits than in another setting; float is the widest.
    pub fn covers(&self, other: &Setting) -> bool {
        let bits = |width: &Option<u32>| width.unwrap_or(u32::MAX);
        let weights = self.weights.iter().zip(&other.weights).all(|(own, other)| bits(own) >= bits(other));
        weights && self.activations.iter().zip(&other.activations).all(|(own, other)| own >= other)
    }
}

/// What is asked for, and what the measurements say of each part of it.
pub struct Scene<'a> {
    /// Units with their sensitivities.
    pub units: &'a [Unit<'a>],
    /// Activations, where they are chosen together with weights.
    pub field: Option<&'a Field>,
    /// What the caller wants.
    pub options: &'a Options<'a>,
}

impl<'a> Scene<'a> {
    /// The units as they are beside activations of these widths: what they offer, and what it costs.
    pub fn units_at(&self, activations: &[u32]) -> Vec<Unit<'a>> {
        (0..self.units.len()).map(|u| self.unit_at(u, activations)).collect()
    }

    /// One of them.
    pub fn unit_at(&self, u: usize, activations: &[u32]) -> Unit<'a> {
        let mut unit = self.units[u].clone();
        let Some(field) = self.field else { return unit };
        for (layer, beside) in unit.layers.iter().zip(&mut unit.beside) {
            *beside = field.width(layer.node, activations).unwrap_or(*beside);
        }
        unit.keep_offered(self.options.target);
        unit
    }

    /// Output errors of settings on the first `samples` samples.
    pub fn compare(
        &self,
        chooser: &Chooser,
        settings: &[Setting],
        samples: usize,
        progress: &dyn Progress,
    ) -> Result<Vec<Compare>> {
        progress.stage("compare", samples);
        let beside = |s: &Setting| {
            let steps = self.field.map_or(vec![], |field| field.steps(&s.activations));
            (quantized(&s.weights), steps)
        };
        chooser.compare(&settings.iter().map(beside).collect::<Vec<_>>(), samples, &|| progress.tick())
    }

    /// A measured setting, for the plan.
    pub fn compared(&self, what: &str, setting: &Setting, error: Compare) -> Compared {
        let bits = |b: &Option<u32>| f64::from(b.unwrap_or(32));
        let total: f64 = self.units.iter().map(Unit::params).sum();
        let weighted = self.units.iter().zip(&setting.weights).map(|(u, b)| u.params() * bits(b));
        Compared {
            what: what.to_owned(),
            average_bits: Some(weighted.sum::<f64>() / total.max(1.0)),
            average_activation_bits: self.field.map(|field| field.average(&setting.activations)),
            sqnr_db: decibels(error.relative_error()),
            taken: false,
        }
    }

    /// The setting by names.
    pub fn assignment(&self, setting: &Setting) -> Assignment {
        let layers = self.units.iter().zip(&setting.weights);
        Assignment {
            weights: layers.flat_map(|(u, b)| u.layers.iter().map(|l| (l.name.clone(), *b))).collect(),
            activations: self.field.map_or_else(BTreeMap::new, |field| field.by_value(&setting.activations)),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_covers_what_has_no_more_bits_anywhere() {
        let setting = |weights: &[Option<u32>], activations: &[u32]| Setting {
            weights: weights.to_vec(),
            activations: activations.to_vec(),
        };
        let uniform = setting(&[Some(4), Some(4)], &[8]);
        assert!(uniform.covers(&uniform));
        assert!(
            setting(&[Some(4), Some(8)], &[8]).covers(&uniform) && setting(&[Some(4), None], &[16]).covers(&uniform)
        );
        assert!(!setting(&[Some(8), Some(3)], &[8]).covers(&uniform) && !setting(&[None, None], &[4]).covers(&uniform));
        assert!(!uniform.covers(&setting(&[Some(4), None], &[8])));
    }
}
