//! Inputs that the file has as constants: what a plan and a file remember of them.

use super::Plan;
use crate::graph::Graph;
use crate::{Code, Error, Result};
use std::collections::BTreeMap;

/// The entry of a file's metadata that holds them, a JSON object of names and values.
pub const FIXED_INPUTS: &str = "tapq.fixed_inputs";

impl Plan {
    /// What the model's metadata carries of the fixed inputs; `None` where all are open.
    pub fn fixed_summary(&self) -> Option<String> {
        (!self.fixed_inputs.is_empty()).then(|| serde_json::json!(self.fixed_inputs).to_string())
    }
}

/// The inputs of the float model that a file of ours has as constants, and their values; none of a file that does not
/// say so.
pub fn fixed_in_file(graph: &Graph) -> BTreeMap<String, String> {
    let entry = graph.model().metadata_props.iter().find(|entry| entry.key == FIXED_INPUTS);
    entry.and_then(|entry| serde_json::from_str(&entry.value).ok()).unwrap_or_default()
}

/// Says whether a plan was made with the same inputs fixed at the same values.
///
/// # Errors
/// [`Code::PlanMismatch`] names the input and what to ask for.
pub fn check_fixed(plan: &Plan, fixed: &BTreeMap<String, String>) -> Result<()> {
    let differs = |what: String, help: String| Err(Error::new(Code::PlanMismatch, what).help(help));
    for (name, planned) in &plan.fixed_inputs {
        let found = match fixed.get(name) {
            Some(found) if found == planned => continue,
            Some(found) => format!("here it is fixed at {found}"),
            None => "here it is open".to_owned(),
        };
        let what = format!("the plan was made with input '{name}' fixed at {planned}, and {found}");
        return differs(what, format!("say --fix-input {name}={planned}, or run without --plan to make a new plan"));
    }
    match fixed.iter().find(|(name, _)| !plan.fixed_inputs.contains_key(*name)) {
        None => Ok(()),
        Some((name, found)) => differs(
            format!("the plan was made with input '{name}' open, and here it is fixed at {found}"),
            "leave --fix-input (or `fixed_inputs` of the sidecar) out, or run without --plan to make a new plan"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(fixed: &[(&str, &str)]) -> Plan {
        let text = "{schema: 1, tapq: '', target: t, target_digest: '', model: '', proxy: '', opset: 13, ir: 8, \
                    calibration: {source: '', samples: 0, digest: ''}, allocation: {method: '', proof: ''}, \
                    layers: [], activations: []}";
        Plan { fixed_inputs: map(fixed), ..Plan::from_yaml(text, "plan").unwrap() }
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn a_plan_wants_the_inputs_that_it_was_made_with() {
        let check = |planned: &[(&str, &str)], fixed: &[(&str, &str)], wanted: &str| {
            let error = check_fixed(&plan(planned), &map(fixed)).unwrap_err();
            assert_eq!(error.code(), Code::PlanMismatch);
            assert!(error.to_string().contains(wanted), "{error}");
        };
        check(&[("sr", "16000")], &[], "made with input 'sr' fixed at 16000, and here it is open");
        check(&[("sr", "16000")], &[], "say --fix-input sr=16000, or run without --plan");
        check(&[("sr", "16000")], &[("sr", "8000")], "here it is fixed at 8000");
        check(&[], &[("sr", "8000")], "made with input 'sr' open, and here it is fixed at 8000");
        assert_eq!(check_fixed(&plan(&[("sr", "1")]), &map(&[("sr", "1")])), Ok(()));
        assert_eq!(check_fixed(&plan(&[]), &map(&[])), Ok(()));
    }

    #[test]
    fn plans_without_fixed_inputs_do_not_speak_of_them() {
        assert!(!plan(&[]).to_yaml().unwrap().contains("fixed"));
        assert_eq!(plan(&[]).fixed_summary(), None);
        let text = plan(&[("sr", "16000"), ("on", "true")]).to_yaml().unwrap();
        assert_eq!(Plan::from_yaml(&text, "plan").unwrap().fixed_inputs, map(&[("on", "true"), ("sr", "16000")]));
        assert_eq!(plan(&[("sr", "16000")]).fixed_summary().unwrap(), r#"{"sr":"16000"}"#);
    }
}
