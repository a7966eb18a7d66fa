//! Shapes that the file declares, where they are wrong or cannot be relied on.

use std::collections::HashMap;
use tapq::graph::{Edit, Graph, Patch, caches};
use tapq::onnx::{ValueInfoProto, dimension};

/// Corrects the declared rank of outputs that turned out to have another; `seen` are names and ranks.
///
/// Exporters of old opsets declared what no shape inference could contradict; that of newer opsets can, and refuses
/// the file. A declaration of the true rank stays as it is, the names of its extents included.
pub fn correct_ranks<'a>(graph: &Graph, seen: impl IntoIterator<Item = (&'a String, usize)>) -> Option<Patch> {
    let (mut patch, seen) = (Patch::new(), seen.into_iter().collect::<HashMap<_, _>>());
    for output in &graph.proto().output {
        let Some(&rank) = seen.get(&output.name) else { continue };
        let Some(declared) = declared_rank(output).filter(|declared| *declared != rank) else { continue };
        patch.because(format!("output '{}' is declared with rank {declared} and has rank {rank}", output.name));
        patch.push(Edit::SetOutputRank(output.name.clone(), rank));
    }
    patch.into_option()
}

/// Forgets what a decoder with a cache records of inner values whose extents have names.
///
/// The model builder of onnxruntime-genai calls the extent of keys and values that of the tokens, and ONNX Runtime, which
/// shares memory between values of the same extents, then runs such a file without a past only. Where it infers the
/// names by itself nothing is lost.
pub fn forget_named_extents(graph: &Graph) -> Option<Patch> {
    let mut patch = Patch::new();
    if caches(graph).is_empty() {
        return None;
    }
    let is_named = |value: &&ValueInfoProto| {
        let dims = value.type_.has_tensor_type().then(|| &value.type_.tensor_type().shape.dim);
        dims.is_some_and(|dims| dims.iter().any(|dim| matches!(&dim.value, Some(dimension::Value::DimParam(_)))))
    };
    let forgotten: Vec<&ValueInfoProto> = graph.proto().value_info.iter().filter(is_named).collect();
    forgotten.iter().for_each(|value| patch.push(Edit::RemoveValueInfo(value.name.clone())));
    if !patch.is_empty() {
        patch.because(format!("{} inner values of a decoder have extents with names", forgotten.len()));
    }
    patch.into_option()
}

fn declared_rank(value: &ValueInfoProto) -> Option<usize> {
    value.type_.has_tensor_type().then(|| Some(value.type_.tensor_type().shape.as_ref()?.dim.len()))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapq::onnx::{ExternalData, parse_text, print_text};

    #[test]
    fn decoders_forget_named_extents_and_others_keep_them() {
        let graph = |result: &str| {
            let text = format!(
                "g (float[1,P,4] past, float[1,1,4] x) => (float[1,1,4] y, float[1,T,4] present)
                 <float[1,S,4] named, float[1,1,4] plain>
                 {{ plain = Relu (x) y = Neg (plain) named = Concat <axis = 1> (past, plain) present = {result} (named) }}"
            );
            Graph::new(parse_text(&text).unwrap(), ExternalData::none())
        };
        assert!(forget_named_extents(&graph("Relu")).is_none());
        let mut decoder = graph("Identity");
        decoder.apply(forget_named_extents(&decoder).unwrap());
        let left: Vec<&str> = decoder.proto().value_info.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(left, ["plain"]);
    }

    #[test]
    fn only_a_wrong_rank_is_corrected() {
        let text = "g (float[N,3] x) => (float[1,N] a, float[N,3] b) { a = Relu (x) b = Abs (x) }";
        let mut graph = Graph::new(parse_text(text).unwrap(), ExternalData::none());
        let [a, b] = ["a".to_owned(), "b".to_owned()];
        assert!(correct_ranks(&graph, [(&a, 2), (&b, 2)]).is_none());
        let patch = correct_ranks(&graph, [(&a, 3), (&b, 2)]).unwrap();
        assert_eq!(patch.reasons(), ["output 'a' is declared with rank 2 and has rank 3"]);
        graph.apply(patch);
        let [a, b] = &graph.proto().output[..] else { panic!("{}", print_text(graph.model())) };
        assert_eq!((declared_rank(a), declared_rank(b)), (Some(3), Some(2)));
        assert!(print_text(graph.model()).contains("float[N,3] b"));
        assert!(correct_ranks(&graph, [(&a.name, 3), (&b.name, 2)]).is_none());
    }
}
