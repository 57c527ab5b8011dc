//! Shapes of the inputs.

use super::ImportOptions;
use super::error::ImportError;
use super::proto::tensor_shape_proto::dimension::Value as Dimension;
use super::proto::type_proto::Value as Type;
use super::proto::{ValueInfoProto, type_proto};
use super::tensor::{type_name, widened};
use crate::graph::{DataType, element_count};

/// The type of an input, which must be a tensor.
fn tensor_type(input: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    match input.r#type.as_ref()?.value.as_ref()? {
        Type::TensorType(tensor) => Some(tensor),
    }
}

/// Checks that the elements of an input are floats. Others are fine where they are only converted.
pub(super) fn check_type(input: &ValueInfoProto, only_cast: bool) -> Result<(), ImportError> {
    let fail = |reason| ImportError::Input { input: name(input), reason };
    let tensor = tensor_type(input).ok_or_else(|| fail("is not a tensor".to_owned()))?;
    let element_type = tensor.elem_type.unwrap_or_default();
    if widened(element_type) == Some(DataType::F32)
        || (only_cast && widened(element_type).is_some())
    {
        return Ok(());
    }
    Err(fail(format!("has elements of type {}, expected FLOAT", type_name(element_type))))
}

fn name(input: &ValueInfoProto) -> String {
    input.name.clone().unwrap_or_default()
}

/// The shape of an input for a batch of one: of two or more dimensions the first is the batch. What the
/// caller gives goes before what the file says.
pub(super) fn shape(
    input: &ValueInfoProto,
    options: &ImportOptions,
) -> Result<Vec<usize>, ImportError> {
    let given = options.input_shapes.get(&name(input));
    let mut shape: Vec<Option<usize>> = match (given, tensor_type(input)) {
        (Some(given), _) => given.iter().copied().map(Some).collect(),
        (None, Some(type_proto::Tensor { shape: Some(shape), .. })) => {
            let size = |value: &Option<Dimension>| match value {
                Some(Dimension::DimValue(size)) => usize::try_from(*size).ok(),
                _ => None,
            };
            shape.dim.iter().map(|dim| size(&dim.value)).collect()
        }
        // A file that says nothing leaves even the number of dimensions open.
        _ => vec![None],
    };
    if shape.len() >= 2 {
        shape[0] = Some(1);
    }
    let known: Option<Vec<usize>> =
        shape.iter().map(|&size| size.filter(|&size| size > 0)).collect();
    match known {
        Some(known) => {
            element_count(&known).map_err(|error| ImportError::Input {
                input: name(input),
                reason: error.to_string(),
            })?;
            Ok(known)
        }
        None if given.is_some() => Err(ImportError::Input {
            input: name(input),
            reason: "the shape given has a size of 0".to_owned(),
        }),
        None => Err(open_shape(input, &shape)),
    }
}

fn open_shape(input: &ValueInfoProto, shape: &[Option<usize>]) -> ImportError {
    let sizes = |unknown: &[&str]| {
        let size = |(axis, size): (usize, &Option<usize>)| match size {
            Some(size) if *size > 0 => size.to_string(),
            _ => unknown.get(axis).or(unknown.last()).copied().unwrap_or("?").to_owned(),
        };
        shape.iter().enumerate().map(size).collect::<Vec<_>>().join(",")
    };
    let stands_for_map = shape.len() == 4 || shape.len() == 1;
    let example = match shape.len() {
        1 => "1,3,224,224".to_owned(),
        _ if stands_for_map => sizes(&["1", "3", "224", "224"]),
        _ => sizes(&["N"]),
    };
    ImportError::OpenShape { input: name(input), found: sizes(&["?"]), example }
}
