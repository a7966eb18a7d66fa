//! Which tensors of a model go to a data file beside it, and where in that file.

use super::external::is_external;
use super::{DataLocation, ExternalData, GraphProto, ModelProto, NodeProto, StringStringEntryProto, Tensor};
use crate::Result;

/// Smallest tensor that is stored outside, in bytes.
const MIN_BYTES: usize = 1024;
/// Tensors of at least this many bytes start on a page, so that readers can map each by itself.
const PAGE_ALIGNED_BYTES: u64 = 64 << 10;

/// A copy of a model without its large tensors' bytes, and the tensors that they come from.
pub(super) struct Layout<'a> {
    /// Refers to the data file by offset and length.
    pub model: ModelProto,
    /// Tensors of the original model with their offsets in the data file, ascending.
    pub tensors: Vec<(&'a Tensor, u64)>,
}

impl<'a> Layout<'a> {
    /// Lays out `model` with its large tensors in a file called `location`.
    pub fn of(model: &'a ModelProto, external: &ExternalData, location: &str) -> Result<Self> {
        let mut copy = without_weights(model);
        let mut tensors = vec![];
        let mut end = 0;
        each_pair(model, &mut copy, &mut |source, copy| {
            let bytes = if is_external(source) { external.bytes(source)? } else { &source.raw_data };
            copy.raw_data.clear();
            copy.external_data.clear();
            copy.data_location = DataLocation::DEFAULT.into();
            if bytes.len() < MIN_BYTES {
                copy.raw_data.extend_from_slice(bytes);
                return Ok(());
            }
            let length = bytes.len() as u64;
            let offset = u64::next_multiple_of(end, if length >= PAGE_ALIGNED_BYTES { 4096 } else { 64 });
            copy.data_location = DataLocation::EXTERNAL.into();
            copy.external_data = vec![
                entry("location", location.to_owned()),
                entry("offset", offset.to_string()),
                entry("length", length.to_string()),
            ];
            tensors.push((source, offset));
            end = offset + length;
            Ok(())
        })?;
        Ok(Layout { model: copy, tensors })
    }
}

fn entry(key: &str, value: String) -> StringStringEntryProto {
    StringStringEntryProto { key: key.to_owned(), value, ..Default::default() }
}

/// A copy whose initializers of the main graph hold no raw data: those are what makes a model large.
fn without_weights(model: &ModelProto) -> ModelProto {
    let without_data = |tensor: &Tensor| Tensor {
        dims: tensor.dims.clone(),
        data_type: tensor.data_type,
        segment: tensor.segment.clone(),
        float_data: tensor.float_data.clone(),
        int32_data: tensor.int32_data.clone(),
        string_data: tensor.string_data.clone(),
        int64_data: tensor.int64_data.clone(),
        name: tensor.name.clone(),
        doc_string: tensor.doc_string.clone(),
        raw_data: vec![],
        external_data: vec![],
        data_location: tensor.data_location,
        double_data: tensor.double_data.clone(),
        uint64_data: tensor.uint64_data.clone(),
        metadata_props: tensor.metadata_props.clone(),
        special_fields: tensor.special_fields.clone(),
    };
    let graph = model.graph.as_ref().map(|graph| GraphProto {
        node: graph.node.clone(),
        name: graph.name.clone(),
        initializer: graph.initializer.iter().map(without_data).collect(),
        sparse_initializer: graph.sparse_initializer.clone(),
        doc_string: graph.doc_string.clone(),
        input: graph.input.clone(),
        output: graph.output.clone(),
        value_info: graph.value_info.clone(),
        quantization_annotation: graph.quantization_annotation.clone(),
        metadata_props: graph.metadata_props.clone(),
        special_fields: graph.special_fields.clone(),
    });
    ModelProto {
        ir_version: model.ir_version,
        opset_import: model.opset_import.clone(),
        producer_name: model.producer_name.clone(),
        producer_version: model.producer_version.clone(),
        domain: model.domain.clone(),
        model_version: model.model_version,
        doc_string: model.doc_string.clone(),
        graph: graph.into(),
        metadata_props: model.metadata_props.clone(),
        training_info: model.training_info.clone(),
        functions: model.functions.clone(),
        special_fields: model.special_fields.clone(),
    }
}

type Visit<'a, 'v> = &'v mut dyn FnMut(&'a Tensor, &mut Tensor) -> Result<()>;

/// Visits every tensor of a model together with its copy.
fn each_pair<'a>(model: &'a ModelProto, copy: &mut ModelProto, visit: Visit<'a, '_>) -> Result<()> {
    for (source, copy) in model.graph.iter().zip(copy.graph.as_mut()) {
        graph_pairs(source, copy, visit)?;
    }
    for (source, copy) in model.functions.iter().zip(&mut copy.functions) {
        node_pairs(&source.node, &mut copy.node, visit)?;
    }
    for (source, copy) in model.training_info.iter().zip(&mut copy.training_info) {
        let sources = source.initialization.iter().chain(source.algorithm.iter());
        for (source, copy) in sources.zip(copy.initialization.as_mut().into_iter().chain(copy.algorithm.as_mut())) {
            graph_pairs(source, copy, visit)?;
        }
    }
    Ok(())
}

fn graph_pairs<'a>(source: &'a GraphProto, copy: &mut GraphProto, visit: Visit<'a, '_>) -> Result<()> {
    source.initializer.iter().zip(&mut copy.initializer).try_for_each(|(s, c)| visit(s, c))?;
    for (source, copy) in source.sparse_initializer.iter().zip(&mut copy.sparse_initializer) {
        source.values.iter().zip(copy.values.as_mut()).try_for_each(|(s, c)| visit(s, c))?;
        source.indices.iter().zip(copy.indices.as_mut()).try_for_each(|(s, c)| visit(s, c))?;
    }
    node_pairs(&source.node, &mut copy.node, visit)
}

fn node_pairs<'a>(sources: &'a [NodeProto], copies: &mut [NodeProto], visit: Visit<'a, '_>) -> Result<()> {
    let sources = sources.iter().flat_map(|n| &n.attribute);
    for (source, copy) in sources.zip(copies.iter_mut().flat_map(|n| &mut n.attribute)) {
        source.t.iter().zip(copy.t.as_mut()).try_for_each(|(s, c)| visit(s, c))?;
        source.tensors.iter().zip(&mut copy.tensors).try_for_each(|(s, c)| visit(s, c))?;
        let graphs = source.g.iter().chain(&source.graphs);
        for (source, copy) in graphs.zip(copy.g.as_mut().into_iter().chain(&mut copy.graphs)) {
            graph_pairs(source, copy, visit)?;
        }
        let sparse = source.sparse_tensor.iter().chain(&source.sparse_tensors);
        for (source, copy) in sparse.zip(copy.sparse_tensor.as_mut().into_iter().chain(&mut copy.sparse_tensors)) {
            source.values.iter().zip(copy.values.as_mut()).try_for_each(|(s, c)| visit(s, c))?;
            source.indices.iter().zip(copy.indices.as_mut()).try_for_each(|(s, c)| visit(s, c))?;
        }
    }
    Ok(())
}
