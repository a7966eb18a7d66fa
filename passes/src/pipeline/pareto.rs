//! The whole size/fidelity front: what widths cost at every size, without writing a file.

use super::choice::{
    Beside, Chooser, Configuration, Unit, problem, quantized, score, stored_bytes, units, with_ground,
};
use super::depth::Depth;
use super::float_graph::simplify;
use super::observed::observe_network;
use super::options::Options;
use super::progress::Progress;
use super::widths::Widths;
use std::collections::BTreeMap;
use tapq::allocate::front;
use tapq::graph::Graph;
use tapq::report::{Front, FrontPoint, decibels};
use tapq::{Code, Error, Result};

/// Points that are measured at most, beside the uniform widths.
const MEASURED: usize = 16;

/// Computes the front of a float model.
pub fn pareto(mut graph: Graph, options: &Options, progress: &dyn Progress) -> Result<Front> {
    if options.goal_db.is_some() {
        let what = "--goal-sqnr asks for one file, and a front shows what every size reaches";
        return Err(Error::new(Code::Config, what).help("leave --goal-sqnr out, or use `xtask quantize`"));
    }
    simplify(&mut graph, options)?;
    let mut observed = observe_network(&graph, options, true, progress)?;
    let grams = std::mem::take(&mut observed.seen.grams);
    let mut units = units(&observed.placement, options.target, &|_| observed.activation_bits, &observed.macs);
    with_ground(&graph, &observed, grams, &mut units, options, progress, |units, ground| {
        // A choice that may leave layers in float has no size to speak of: only integer widths are compared.
        units.iter_mut().for_each(|u| u.options.retain(Option::is_some));
        let chooser = Chooser::new(units, None, ground, options)?;
        let depth = Depth::of(options.effort);
        // Predicted errors stand beside measured ones.
        score(&chooser, units, ground, (&options.proxy, true), &depth, progress)?;
        let by_size = Widths { average: Some(f64::INFINITY), ..Default::default() };
        let problem = problem(units, &by_size, options.target);
        let corners = front(&problem.layers)?;
        let mut points: Vec<(Configuration, FrontPoint)> = vec![];
        for corner in &corners {
            let configuration = units.iter().zip(&corner.picks).map(|(u, p)| u.options[*p]).collect();
            points.push(point(units, configuration, None, options));
        }
        let every = points.len().div_ceil(MEASURED).max(1);
        let last = points.len().saturating_sub(1);
        let mut measured: Vec<usize> = (0..points.len()).filter(|i| i % every == 0 || *i == last).collect();
        for width in units.first().map_or(vec![], |u| u.options.clone()) {
            if let Some(b) = width.filter(|b| units.iter().all(|u| u.options.contains(&Some(*b)))) {
                measured.push(points.len());
                points.push(point(units, vec![Some(b); units.len()], Some(b), options));
            }
        }
        let partial: Vec<Beside> = measured.iter().map(|i| (quantized(&points[*i].0), vec![])).collect();
        let samples = depth.compare_samples.min(ground.samples.len());
        progress.stage("measure", samples);
        let errors = chooser.compare(&partial, samples, &|| progress.tick())?;
        for (i, error) in measured.iter().zip(errors) {
            points[*i].1.measured_db = Some(decibels(error.relative_error()));
        }
        let mut points: Vec<FrontPoint> = points.into_iter().map(|(_, p)| p).collect();
        points.sort_by(|a, b| a.average_bits.total_cmp(&b.average_bits).then(a.uniform.cmp(&b.uniform)));
        Ok(Front {
            schema: 1,
            target: options.target.name.clone(),
            proxy: options.proxy.label(),
            samples,
            points,
            ..Default::default()
        })
    })
}

fn point(
    units: &[Unit],
    configuration: Configuration,
    uniform: Option<u32>,
    options: &Options,
) -> (Configuration, FrontPoint) {
    let (mut bits, mut nominal, mut stored, mut error, mut params) = (BTreeMap::new(), 0.0, 0, 0.0, 0.0);
    for (unit, width) in units.iter().zip(&configuration) {
        bits.extend(unit.layers.iter().map(|l| (l.name.clone(), *width)));
        let count = unit.layers[0].params() as f64;
        let at = unit.sensitivity.bits.iter().position(|b| Some(*b) == *width);
        nominal += count * f64::from(width.unwrap_or(32));
        params += count;
        stored += stored_bytes(unit.layers[0], *width, options.target);
        error += at.map_or(0.0, |i| unit.sensitivity.error[i]);
    }
    let point = FrontPoint {
        uniform,
        average_bits: nominal / f64::max(params, 1.0),
        nominal_bytes: (nominal / 8.0).ceil() as u64,
        stored_bytes: stored,
        predicted_db: decibels(error),
        measured_db: None,
        bits,
    };
    (configuration, point)
}
