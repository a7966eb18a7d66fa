//! Output shapes that the file declares wrongly.

use std::collections::HashMap;
use tapq::graph::{Edit, Graph, Patch};
use tapq::onnx::ValueInfoProto;

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

fn declared_rank(value: &ValueInfoProto) -> Option<usize> {
    value.type_.has_tensor_type().then(|| Some(value.type_.tensor_type().shape.as_ref()?.dim.len()))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapq::onnx::{ExternalData, parse_text, print_text};

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
