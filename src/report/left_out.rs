//! Samples that calibration left out, in words.

use super::format::{shorten, significant};
use crate::samples::SampleSet;

/// Which samples were left out and why; `None` if none was.
pub fn left_out(set: &SampleSet) -> Option<String> {
    let most = set.left_out.iter().reduce(|most, next| if next.extreme > most.extreme { next } else { most })?;
    let ids: Vec<&str> = set.left_out.iter().map(|l| l.id.as_str()).collect();
    Some(format!(
        "{} of {} calibration samples left out ({}): input '{}' reaches {}, in the median sample {}; \
         --outliers keep counts them like the others",
        ids.len(),
        set.samples.len() + ids.len(),
        shorten(&ids.join(", "), 60),
        most.input,
        significant(most.extreme.into()),
        significant(most.median.into()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{LeftOut, Sample};

    #[test]
    fn says_which_and_by_how_much() {
        let found = |id: &str, extreme| LeftOut { id: id.into(), input: "x".into(), extreme, median: 53.792_667 };
        let mut set = SampleSet { samples: vec![Sample::default(); 6], ..Default::default() };
        assert_eq!(left_out(&set), None);
        set.left_out = vec![found("3", 219.8), found("a.png", 439.696)];
        let words = "2 of 8 calibration samples left out (3, a.png): input 'x' reaches 439.7, in the median sample 53.79; \
                     --outliers keep counts them like the others";
        assert_eq!(left_out(&set).as_deref(), Some(words));
    }
}
