//! Copies that rearrange: strided gathers and padding.

/// General strided copy: output element `i_0, i_1, ...` (row-major over `dims`) is input element
/// `offset + sum of i_k * strides[k]`.
///
/// # Panics
/// If `dims` and `strides` differ in number, `out` has another length than the product of `dims`, an
/// element outside of `input` would be read, or more than 16 extents are left when those of 1 are
/// dropped and those that walk the input evenly are merged.
pub fn gather(input: &[f32], dims: &[usize], strides: &[isize], offset: usize, out: &mut [f32]) {
    assert_eq!(dims.len(), strides.len(), "one stride per extent");
    let size = dims.iter().try_fold(1_usize, |n, &dim| n.checked_mul(dim));
    assert_eq!(size, Some(out.len()), "output has the product of extents");
    if out.is_empty() {
        return;
    }
    check_reach(input.len(), dims, strides, offset);
    let mut axes = [Axis::SINGLE; MOST_AXES];
    let axes = merged_axes(dims, strides, &mut axes);
    let outer = axes.len().saturating_sub(2);
    let (outer, inner) = axes.split_at(outer);
    match *inner {
        [] => out[0] = input[offset],
        [column] => copy_plane(input, Axis::SINGLE, column, outer, offset, out),
        [row, column] => copy_plane(input, row, column, outer, offset, out),
        _ => unreachable!("at most two innermost axes"),
    }
}

/// Most loops of a gather.
const MOST_AXES: usize = 16;

/// One loop of a gather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Axis {
    extent: usize,
    stride: isize,
}

impl Axis {
    const SINGLE: Self = Self { extent: 1, stride: 0 };
}

/// Panics if the gather leaves the input. Sums in i128 cannot overflow: extents that multiply to the
/// length of a slice leave room for 64-bit strides.
fn check_reach(len: usize, dims: &[usize], strides: &[isize], offset: usize) {
    let (mut least, mut most) = (offset as i128, offset as i128);
    for (&dim, &stride) in dims.iter().zip(strides) {
        let reach = (dim as i128 - 1) * stride as i128;
        least += reach.min(0);
        most += reach.max(0);
    }
    assert!(least >= 0 && most < len as i128, "gather reads elements {least} to {most} of {len}");
}

/// The loops without those of one turn, and with neighbours that walk the input evenly as one.
fn merged_axes<'a>(
    dims: &[usize],
    strides: &[isize],
    axes: &'a mut [Axis; MOST_AXES],
) -> &'a [Axis] {
    let mut count = 0;
    for (&extent, &stride) in dims.iter().zip(strides) {
        if extent == 1 {
            continue;
        }
        match axes[..count].last_mut() {
            Some(outer) if outer.stride == stride.saturating_mul(extent as isize) => {
                *outer = Axis { extent: outer.extent * extent, stride };
            }
            _ => {
                assert!(count < MOST_AXES, "at most {MOST_AXES} loops");
                axes[count] = Axis { extent, stride };
                count += 1;
            }
        }
    }
    &axes[..count]
}

/// Runs the outer loops and copies a plane of rows and columns in each turn.
fn copy_plane(
    input: &[f32],
    row: Axis,
    column: Axis,
    outer: &[Axis],
    offset: usize,
    out: &mut [f32],
) {
    for (turn, out) in out.chunks_exact_mut(row.extent * column.extent).enumerate() {
        let mut rest = turn;
        let mut at = offset;
        for axis in outer.iter().rev() {
            at = at.wrapping_add_signed(axis.stride * (rest % axis.extent) as isize);
            rest /= axis.extent;
        }
        if column.stride == 1 {
            for (y, out) in out.chunks_exact_mut(column.extent).enumerate() {
                let start = at.wrapping_add_signed(row.stride * y as isize);
                out.copy_from_slice(&input[start..start + column.extent]);
            }
        } else if row.stride == 1 && column.stride > 0 {
            transpose(&input[at..], column.stride as usize, row.extent, column.extent, out);
        } else {
            for (y, out) in out.chunks_exact_mut(column.extent).enumerate() {
                let mut from = at.wrapping_add_signed(row.stride * y as isize);
                for out in out {
                    *out = input[from];
                    from = from.wrapping_add_signed(column.stride);
                }
            }
        }
    }
}

/// `out[y][x] = input[x * stride + y]`.
fn transpose(input: &[f32], stride: usize, height: usize, width: usize, out: &mut [f32]) {
    match width {
        // Few columns (the channels of a picture): walk all of them side by side.
        2 => interleave::<2>(input, stride, height, out),
        3 => interleave::<3>(input, stride, height, out),
        4 => interleave::<4>(input, stride, height, out),
        _ => {
            // Blocks of a cache line each way, so that lines are used whole before they leave.
            const BLOCK: usize = 16;
            for y0 in (0..height).step_by(BLOCK) {
                let y1 = (y0 + BLOCK).min(height);
                for x0 in (0..width).step_by(BLOCK) {
                    let x1 = (x0 + BLOCK).min(width);
                    if y1 - y0 == BLOCK && x1 - x0 == BLOCK {
                        let mut block = [[0.0; BLOCK]; BLOCK];
                        for (x, column) in block.iter_mut().enumerate() {
                            column.copy_from_slice(&input[(x0 + x) * stride + y0..][..BLOCK]);
                        }
                        for y in 0..BLOCK {
                            let row = &mut out[(y0 + y) * width + x0..][..BLOCK];
                            for (out, column) in row.iter_mut().zip(&block) {
                                *out = column[y];
                            }
                        }
                    } else {
                        for y in y0..y1 {
                            for x in x0..x1 {
                                out[y * width + x] = input[x * stride + y];
                            }
                        }
                    }
                }
            }
        }
    }
}

fn interleave<const WIDTH: usize>(input: &[f32], stride: usize, height: usize, out: &mut [f32]) {
    let columns: [&[f32]; WIDTH] = std::array::from_fn(|x| &input[x * stride..x * stride + height]);
    let (rows, _) = out.as_chunks_mut::<WIDTH>();
    for (y, row) in rows.iter_mut().enumerate().take(height) {
        for (out, column) in row.iter_mut().zip(columns) {
            *out = column[y];
        }
    }
}

/// Surrounds a map `[height, width, channels]` with a constant; `pads` are top, left, bottom, right.
///
/// # Panics
/// If a length does not fit.
pub fn pad_map(
    input: &[f32],
    size: [usize; 2],
    channels: usize,
    pads: [usize; 4],
    value: f32,
    out: &mut [f32],
) {
    pad_pixels(input, size, channels, pads, out, |border| {
        border.fill(value);
    });
}

/// Surrounds a map of bits with bits of one value; unused bits of a pixel stay 0. Sizes are those of
/// [`pad_map`], pixels take [`words_per_pixel`](crate::words_per_pixel) words.
///
/// # Panics
/// If a length does not fit.
pub fn pad_map_bits(
    input: &[u64],
    size: [usize; 2],
    channels: usize,
    pads: [usize; 4],
    value: bool,
    out: &mut [u64],
) {
    let words = crate::words_per_pixel(channels);
    let last = match channels % 64 {
        0 => u64::MAX,
        used => (1 << used) - 1,
    };
    pad_pixels(input, size, words, pads, out, |border| {
        border.fill(if value { u64::MAX } else { 0 });
        if value {
            for pixel in border.chunks_exact_mut(words) {
                pixel[words - 1] = last;
            }
        }
    });
}

/// Copies pixels of `elements` each and hands the border, in whole pixels, to `fill`.
fn pad_pixels<T: Copy>(
    input: &[T],
    [height, width]: [usize; 2],
    elements: usize,
    [top, left, bottom, right]: [usize; 4],
    out: &mut [T],
    fill: impl Fn(&mut [T]),
) {
    assert!(elements > 0, "pixels have channels");
    assert_eq!(input.len(), height * width * elements, "input map");
    let row = (left + width + right) * elements;
    assert_eq!(out.len(), (top + height + bottom) * row, "padded map");
    if width == 0 {
        return fill(out);
    }
    let (above, rest) = out.split_at_mut(top * row);
    let (inside, below) = rest.split_at_mut(height * row);
    fill(above);
    for (from, to) in input.chunks_exact(width * elements).zip(inside.chunks_exact_mut(row)) {
        let (before, rest) = to.split_at_mut(left * elements);
        let (middle, after) = rest.split_at_mut(width * elements);
        fill(before);
        middle.copy_from_slice(from);
        fill(after);
    }
    fill(below);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(input: &[f32], dims: &[usize], strides: &[isize], offset: usize) -> Vec<f32> {
        let size = dims.iter().product();
        (0..size)
            .map(|index: usize| {
                let mut rest = index;
                let mut at = offset as isize;
                for (&dim, &stride) in dims.iter().zip(strides).rev() {
                    at += (rest % dim) as isize * stride;
                    rest /= dim;
                }
                input[at as usize]
            })
            .collect()
    }

    fn numbered(len: usize) -> Vec<f32> {
        (0..len).map(|i| i as f32).collect()
    }

    proptest! {
        #[test]
        fn gathers_agree_with_the_definition(
            axes in prop::collection::vec((1..6_usize, -7..8_isize), 0..5),
            slack in 0..3_usize,
        ) {
            let (dims, strides): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
            let reach = |sign: isize| -> usize {
                dims.iter().zip(&strides)
                    .map(|(&dim, &stride)| (dim - 1) * (stride * sign).max(0) as usize)
                    .sum()
            };
            let offset = reach(-1) + slack;
            let input = numbered(offset + reach(1) + 1);
            let mut out = vec![f32::NAN; dims.iter().product()];
            gather(&input, &dims, &strides, offset, &mut out);
            prop_assert_eq!(out, naive(&input, &dims, &strides, offset));
        }

        #[test]
        fn transpositions_agree_with_the_definition(
            channels in 1..40_usize, height in 1..20_usize, width in 1..20_usize,
        ) {
            let input = numbered(channels * height * width);
            let plane = (height * width) as isize;
            let (dims, strides) = ([height, width, channels], [width as isize, 1, plane]);
            let mut pixels = vec![f32::NAN; input.len()];
            gather(&input, &dims, &strides, 0, &mut pixels);
            prop_assert_eq!(&pixels, &naive(&input, &dims, &strides, 0));
            let channels_first = [channels, height, width];
            let back = [1, (width * channels) as isize, channels as isize];
            let mut planes = vec![f32::NAN; input.len()];
            gather(&pixels, &channels_first, &back, 0, &mut planes);
            prop_assert_eq!(planes, input);
        }
    }

    #[test]
    fn neighbouring_loops_become_one() {
        let axis = |extent, stride| Axis { extent, stride };
        let merged = |dims: &[usize], strides: &[isize]| {
            merged_axes(dims, strides, &mut [Axis::SINGLE; MOST_AXES]).to_vec()
        };
        assert_eq!(merged(&[2, 1, 3, 4], &[12, 5, 4, 1]), [axis(24, 1)]);
        assert_eq!(merged(&[224, 224, 3], &[224, 1, 50_176]), [axis(50_176, 1), axis(3, 50_176)]);
        assert_eq!(merged(&[5, 7], &[0, 0]), [axis(35, 0)]);
    }

    #[test]
    fn an_empty_gather_reads_nothing() {
        gather(&[], &[3, 0], &[1, 1], 7, &mut []);
    }

    #[test]
    #[should_panic(expected = "gather reads elements -1 to 0 of 4")]
    fn a_gather_before_the_input_is_refused() {
        gather(&numbered(4), &[2], &[-1], 0, &mut [0.0; 2]);
    }

    #[test]
    #[should_panic(expected = "gather reads elements 1 to 4 of 4")]
    fn a_gather_past_the_input_is_refused() {
        gather(&numbered(4), &[2, 2], &[2, 1], 1, &mut [0.0; 4]);
    }

    #[test]
    fn padding_surrounds_a_map() {
        let mut out = [f32::NAN; 16];
        pad_map(&[1.0, 2.0, 3.0, 4.0], [1, 2], 2, [1, 0, 0, 2], -1.0, &mut out);
        let expected = [[-1.0; 8], [1.0, 2.0, 3.0, 4.0, -1.0, -1.0, -1.0, -1.0]];
        assert_eq!(out, expected.as_flattened());
    }

    #[test]
    fn padding_bits_leaves_unused_bits_clear() {
        let mut out = [7; 6];
        pad_map_bits(&[5, 1], [1, 1], 70, [0, 1, 0, 1], true, &mut out);
        assert_eq!(out, [u64::MAX, 63, 5, 1, u64::MAX, 63]);
        pad_map_bits(&[5, 1], [1, 1], 70, [0, 1, 0, 1], false, &mut out);
        assert_eq!(out, [0, 0, 5, 1, 0, 0]);
    }
}
