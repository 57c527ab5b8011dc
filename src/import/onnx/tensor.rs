//! Tensors in a file.

use super::error::ImportError;
use super::external;
use super::proto::TensorProto;
use super::proto::tensor_proto::{DataLocation, DataType as ElementType};
use crate::graph::{Data, DataType, Tensor, element_count};
use half::{bf16, f16};
use std::path::Path;

/// The name of an element type by its number, for messages.
pub(super) fn type_name(element_type: i32) -> String {
    match ElementType::try_from(element_type) {
        Ok(known) => known.as_str_name().to_owned(),
        Err(_) => format!("number {element_type}"),
    }
}

/// The type that elements have once they are widened, if they can be.
pub(super) fn widened(element_type: i32) -> Option<DataType> {
    use ElementType as E;
    match E::try_from(element_type).ok()? {
        E::Float | E::Float16 | E::Bfloat16 | E::Double => Some(DataType::F32),
        E::Int8 | E::Int16 | E::Int32 | E::Int64 => Some(DataType::I64),
        E::Uint8 | E::Uint16 | E::Uint32 | E::Uint64 => Some(DataType::I64),
        E::Bool => Some(DataType::Bool),
        _ => None,
    }
}

/// The contents of a tensor.
///
/// The number of elements is checked against the data that is there before anything is allocated.
pub(super) fn read(tensor: &TensorProto, base_dir: Option<&Path>) -> Result<Tensor, ImportError> {
    read_data(tensor, base_dir).map_err(|reason| ImportError::Tensor {
        tensor: tensor.name.clone().unwrap_or_default(),
        reason,
    })
}

fn read_data(tensor: &TensorProto, base_dir: Option<&Path>) -> Result<Tensor, String> {
    let shape: Vec<usize> = tensor
        .dims
        .iter()
        .map(|&size| usize::try_from(size))
        .collect::<Result<_, _>>()
        .map_err(|_| format!("shape {:?} has a negative size", tensor.dims))?;
    let count = element_count(&shape).map_err(|error| error.to_string())?;
    let number = tensor.data_type.unwrap_or_default();
    let element_type = ElementType::try_from(number)
        .ok()
        .filter(|_| widened(number).is_some())
        .ok_or_else(|| format!("elements of type {} are not supported", type_name(number)))?;

    let data = if tensor.data_location == Some(DataLocation::External as i32) {
        let length = count * element_size(element_type);
        decode(element_type, &external::read(&tensor.external_data, base_dir, length)?)?
    } else if let Some(raw) = &tensor.raw_data {
        let length = count * element_size(element_type);
        if raw.len() != length {
            return Err(format!(
                "{count} elements of type {} take {length} bytes, {} are there",
                element_type.as_str_name(),
                raw.len()
            ));
        }
        decode(element_type, raw)?
    } else {
        typed(tensor, element_type, count)?
    };
    Tensor::new(shape, data).map_err(|error| error.to_string())
}

/// Bytes of an element.
fn element_size(element_type: ElementType) -> usize {
    use ElementType as E;
    match element_type {
        E::Uint8 | E::Int8 | E::Bool => 1,
        E::Uint16 | E::Int16 | E::Float16 | E::Bfloat16 => 2,
        E::Float | E::Int32 | E::Uint32 => 4,
        _ => 8,
    }
}

/// An unsigned integer as a signed one.
fn signed(value: u64) -> Result<i64, String> {
    i64::try_from(value).map_err(|_| format!("element {value} is too large"))
}

/// Elements as little-endian bytes, of which there is a whole number.
fn decode(element_type: ElementType, bytes: &[u8]) -> Result<Data, String> {
    use ElementType as E;
    /// Converts chunks of the size of an element.
    fn each<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|&chunk| convert(chunk)).collect()
    }
    Ok(match element_type {
        E::Float => Data::F32(each(bytes, f32::from_le_bytes)),
        E::Float16 => Data::F32(each(bytes, |b| f16::from_le_bytes(b).to_f32())),
        E::Bfloat16 => Data::F32(each(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        E::Double => Data::F32(each(bytes, |b| f64::from_le_bytes(b) as f32)),
        E::Int8 => Data::I64(each(bytes, |b| i8::from_le_bytes(b).into())),
        E::Int16 => Data::I64(each(bytes, |b| i16::from_le_bytes(b).into())),
        E::Int32 => Data::I64(each(bytes, |b| i32::from_le_bytes(b).into())),
        E::Int64 => Data::I64(each(bytes, i64::from_le_bytes)),
        E::Uint8 => Data::I64(each(bytes, |b| u8::from_le_bytes(b).into())),
        E::Uint16 => Data::I64(each(bytes, |b| u16::from_le_bytes(b).into())),
        E::Uint32 => Data::I64(each(bytes, |b| u32::from_le_bytes(b).into())),
        E::Uint64 => {
            let values = each(bytes, |b| signed(u64::from_le_bytes(b)));
            Data::I64(values.into_iter().collect::<Result<_, _>>()?)
        }
        E::Bool => Data::Bool(each(bytes, |[b]: [u8; 1]| b != 0)),
        other => return Err(format!("elements of type {} are not supported", other.as_str_name())),
    })
}

/// Elements in the field that belongs to their type.
fn typed(tensor: &TensorProto, element_type: ElementType, count: usize) -> Result<Data, String> {
    use ElementType as E;
    let check = |found: usize| {
        if found == count {
            return Ok(());
        }
        let name = element_type.as_str_name();
        Err(format!("{count} elements of type {name} expected, {found} are there"))
    };
    let ints = &tensor.int32_data;
    Ok(match element_type {
        E::Float => {
            check(tensor.float_data.len())?;
            Data::F32(tensor.float_data.clone())
        }
        E::Double => {
            check(tensor.double_data.len())?;
            Data::F32(tensor.double_data.iter().map(|&v| v as f32).collect())
        }
        E::Int64 => {
            check(tensor.int64_data.len())?;
            Data::I64(tensor.int64_data.clone())
        }
        E::Uint32 | E::Uint64 => {
            check(tensor.uint64_data.len())?;
            let values = tensor.uint64_data.iter().map(|&v| signed(v));
            Data::I64(values.collect::<Result<_, _>>()?)
        }
        // 16-bit floats stand as bit patterns in 32-bit integers.
        E::Float16 => {
            check(ints.len())?;
            Data::F32(ints.iter().map(|&v| f16::from_bits(v as u16).to_f32()).collect())
        }
        E::Bfloat16 => {
            check(ints.len())?;
            Data::F32(ints.iter().map(|&v| bf16::from_bits(v as u16).to_f32()).collect())
        }
        E::Bool => {
            check(ints.len())?;
            Data::Bool(ints.iter().map(|&v| v != 0).collect())
        }
        _ => {
            check(ints.len())?;
            Data::I64(ints.iter().map(|&v| v.into()).collect())
        }
    })
}
