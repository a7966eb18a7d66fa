//! Running the float and the quantized network side by side.

use super::answers::{Answer, why_nothing};
use super::channels::Channels;
use super::{Compare, Fidelity, ValueFidelity, top1_agreement};
use crate::array::Array;
use crate::engine::{Engine, TapView};
use crate::samples::Sample;
use crate::{Code, Error, Result};
use rayon::prelude::*;

#[derive(Default)]
struct Sums {
    values: Vec<Compare>,
    outputs: Vec<Compare>,
    channels: Vec<Option<Channels>>,
    answer: Answer,
    agreed: usize,
    rows: usize,
}

/// Compares two networks on samples; both engines tap the same `values`, in this order.
///
/// `held_out` says whether they were not used for calibration, where that is known. `done` is called once a sample. Sums
/// are added in sample order, so the figures do not depend on threads.
pub fn measure(
    float: &Engine,
    quantized: &Engine,
    values: &[String],
    samples: &[Sample],
    held_out: Option<bool>,
    done: &(dyn Fn() + Sync),
) -> Result<Fidelity> {
    let one = |(i, sample)| {
        let sums = compare_one(float, quantized, values.len(), sample);
        done();
        sums.map_err(|e| e.at(format!("sample {i}")))
    };
    let each: Vec<Result<Sums>> = samples.par_iter().enumerate().map(one).collect();
    // In order, so that the first sample that fails is named, whatever the threads did.
    let each: Vec<Sums> = each.into_iter().collect::<Result<_>>()?;
    let none = |count: usize| vec![Compare::default(); count];
    let mut total = Sums { values: none(values.len()), outputs: none(float.outputs().len()), ..Default::default() };
    for sums in &each {
        total.values.iter_mut().zip(&sums.values).for_each(|(a, b)| a.merge(b));
        total.outputs.iter_mut().zip(&sums.outputs).for_each(|(a, b)| a.merge(b));
        total.agreed += sums.agreed;
        total.rows += sums.rows;
    }
    let worst = |(at, (name, sums)): (usize, (&String, &Compare))| {
        Channels::pooled(each.iter().map(|s| s.channels.get(at)?.as_ref()))?.worst(name, sums.sqnr_db())
    };
    let value = |(name, sums): (&String, &Compare)| ValueFidelity {
        value: name.clone(),
        sqnr_db: sums.sqnr_db(),
        cosine: sums.cosine(),
    };
    let mut all = Compare::default();
    total.outputs.iter().for_each(|output| all.merge(output));
    Ok(Fidelity {
        samples: samples.len(),
        held_out,
        sqnr_db: all.sqnr_db(),
        cosine: all.cosine(),
        agreement: if total.rows == 0 { 1.0 } else { total.agreed as f64 / total.rows as f64 },
        outputs: float.outputs().iter().zip(&total.outputs).filter(|(_, c)| !c.is_empty()).map(value).collect(),
        values: values.iter().zip(&total.values).map(value).collect(),
        channels: float.outputs().iter().zip(&total.outputs).enumerate().filter_map(worst).collect(),
        caches: vec![],
        says_nothing: why_nothing(each.iter().map(|s| &s.answer)),
    })
}

fn compare_one(float: &Engine, quantized: &Engine, taps: usize, sample: &Sample) -> Result<Sums> {
    let mut kept: Vec<Vec<f32>> = vec![vec![]; taps];
    let mut keep = |tap: usize, view: &TapView| kept[tap] = view.values.to_vec();
    let expected = float.run(sample, &mut keep)?;
    let mut sums = Sums { values: vec![Compare::default(); taps], ..Default::default() };
    let mut compare = |tap: usize, view: &TapView| {
        sums.values[tap].add(&kept[tap], view.values);
        kept[tap] = vec![];
    };
    let found = quantized.run(sample, &mut compare)?;
    add_outputs(&mut sums, &expected, &found)?;
    Ok(sums)
}

fn add_outputs(sums: &mut Sums, expected: &[Array], found: &[Array]) -> Result<()> {
    let same = expected.len() == found.len() && expected.iter().zip(found).all(|(a, b)| a.dims == b.dims);
    if !same {
        let shapes = |arrays: &[Array]| arrays.iter().map(|a| format!("{:?}", a.dims)).collect::<Vec<_>>().join(", ");
        let what = format!("the outputs differ in shape: {} against {}", shapes(expected), shapes(found));
        return Err(Error::new(Code::Engine, what));
    }
    sums.outputs = vec![Compare::default(); expected.len()];
    sums.answer = Answer::of(expected);
    for ((a, b), total) in expected.iter().zip(found).zip(&mut sums.outputs) {
        let floats = a.as_f32().zip(b.as_f32());
        floats.inspect(|(a, b)| total.add(a, b));
        sums.channels.push(floats.and_then(|(float, quantized)| Channels::of(&a.dims, float, quantized)));
    }
    if let (Some(a), Some(b)) = (expected.first(), found.first()) {
        (sums.agreed, sums.rows) = top1_agreement(a, b);
    }
    Ok(())
}
