//! Arrays of this library as tensors of tract, and back.

use crate::array::{Array, Values};
use crate::{Code, Error, Result};
use tract_onnx::tract_hir::internal::*;

/// A tensor with the elements of `array`.
pub(super) fn to_tensor(array: &Array) -> TractResult<Tensor> {
    match &array.values {
        Values::F32(v) => Tensor::from_shape(&array.dims, v),
        Values::F64(v) => Tensor::from_shape(&array.dims, v),
        Values::I64(v) => Tensor::from_shape(&array.dims, v),
        Values::I32(v) => Tensor::from_shape(&array.dims, v),
        Values::U8(v) => Tensor::from_shape(&array.dims, v),
        Values::I8(v) => Tensor::from_shape(&array.dims, v),
        Values::Bool(v) => Tensor::from_shape(&array.dims, v),
    }
}

/// An array with the elements of `tensor`; narrow types widen to the next that [`Values`] has.
pub(super) fn to_array(tensor: &Tensor) -> Result<Array> {
    let values = to_values(tensor).map_err(|e| Error::new(Code::Engine, e.root_cause().to_string()))?;
    Ok(Array { dims: tensor.shape().to_vec(), values })
}

fn to_values(tensor: &Tensor) -> TractResult<Values> {
    Ok(match tensor.datum_type() {
        DatumType::F32 | DatumType::F16 => Values::F32(elements(tensor)?),
        DatumType::F64 => Values::F64(elements(tensor)?),
        DatumType::I64 | DatumType::TDim | DatumType::U32 | DatumType::U64 => Values::I64(elements(tensor)?),
        DatumType::I32 | DatumType::I16 | DatumType::U16 => Values::I32(elements(tensor)?),
        DatumType::U8 => Values::U8(elements(tensor)?),
        DatumType::I8 => Values::I8(elements(tensor)?),
        DatumType::Bool => Values::Bool(elements(tensor)?),
        other => bail!("tensors of type {other:?} are not supported"),
    })
}

fn elements<D: Datum + Copy>(tensor: &Tensor) -> TractResult<Vec<D>> {
    Ok(tensor.cast_to::<D>()?.try_as_plain_ram()?.as_slice::<D>()?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_survive_the_round_trip() {
        let all = [
            Values::F32(vec![1.5, -0.0]),
            Values::F64(vec![1e300, 2.0]),
            Values::I64(vec![i64::MIN, 7]),
            Values::I32(vec![-3, 3]),
            Values::U8(vec![0, 255]),
            Values::I8(vec![-128, 127]),
            Values::Bool(vec![true, false]),
        ];
        for values in all {
            let array = Array { dims: vec![2, 1], values };
            assert_eq!(to_array(&to_tensor(&array).unwrap()).unwrap(), array);
        }
    }

    #[test]
    fn narrow_types_widen_and_strings_are_refused() {
        assert_eq!(to_array(&tensor1(&[7u16])).unwrap().values, Values::I32(vec![7]));
        assert_eq!(to_array(&tensor1(&[TDim::Val(5)])).unwrap().values, Values::I64(vec![5]));
        assert_eq!(to_array(&tensor1(&["a".to_string()])).unwrap_err().code(), Code::Engine);
    }
}
