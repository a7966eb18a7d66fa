//! Values that must share a scale.

use std::collections::BTreeMap;

/// Union-find over value names, leaders by least name so that order does not matter.
#[derive(Default)]
pub(super) struct Groups {
    parent: BTreeMap<String, String>,
}

impl Groups {
    pub(super) fn leader(&self, value: &str) -> String {
        let mut at = value;
        while let Some(next) = self.parent.get(at) {
            at = next;
        }
        at.to_owned()
    }

    pub(super) fn join(&mut self, a: &str, b: &str) {
        let (a, b) = (self.leader(a), self.leader(b));
        if a != b {
            self.parent.insert(a.clone().max(b.clone()), a.min(b));
        }
    }
}
