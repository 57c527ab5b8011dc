//! Dimensions of stored numbers in another order.

/// The numbers of a tensor of `shape` (row-major) after a transposition: dimension `i` of the result is dimension
/// `order[i]` of the tensor.
///
/// `None` if `order` does not name every dimension once.
pub(super) fn permuted(values: &[f32], shape: &[usize], order: &[usize]) -> Option<Vec<f32>> {
    let extents = permuted_shape(shape, order)?;
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let strides: Vec<usize> = order.iter().map(|&axis| strides[axis]).collect();
    let mut result = Vec::with_capacity(values.len());
    let mut place = vec![0; extents.len()];
    for _ in 0..values.len() {
        let at: usize = place.iter().zip(&strides).map(|(place, stride)| place * stride).sum();
        result.push(*values.get(at)?);
        for (place, extent) in place.iter_mut().zip(&extents).rev() {
            *place += 1;
            if *place < *extent {
                break;
            }
            *place = 0;
        }
    }
    Some(result)
}

/// The shape after the same transposition.
pub(super) fn permuted_shape(shape: &[usize], order: &[usize]) -> Option<Vec<usize>> {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    let complete = sorted.iter().copied().eq(0..shape.len());
    complete.then(|| order.iter().map(|&axis| shape[axis]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_goes_to_its_place() {
        let shape = [2, 3, 4, 5];
        let values: Vec<f32> = (0..120).map(|i| i as f32).collect();
        let order = [3, 2, 0, 1];
        let result = permuted(&values, &shape, &order).unwrap();
        assert_eq!(permuted_shape(&shape, &order).unwrap(), [5, 4, 2, 3]);
        for (at, value) in result.iter().enumerate() {
            // Out channel, in channel, row, column.
            let [o, i, r, c] = [at / 24, at / 6 % 4, at / 3 % 2, at % 3];
            assert_eq!(*value, (((r * 3 + c) * 4 + i) * 5 + o) as f32);
        }
    }

    #[test]
    fn orders_of_another_rank_are_refused() {
        for order in [&[0][..], &[0, 0], &[0, 2], &[0, 1, 2]] {
            assert_eq!(permuted(&[0.0; 6], &[2, 3], order), None, "{order:?}");
        }
    }
}
