//! How the logical dimensions of a graph's tensor lie in a height-width-channels map.
//!
//! Frameworks order dimensions as they like and write transpositions, reshapes and flattenings
//! where they need another order. Here a feature map stays where it is, in height, width, channels
//! order, and such operators only change the [`View`]: for each logical dimension, which physical
//! extents make it up. A transposition permutes the list, a reshape regroups it, and data move only
//! where a consumer cannot read the map under its view.

/// A logical tensor (batch of one) over a physical row-major map.
/// Most channels that a shorter constant is written out for.
const MOST_CHANNELS: usize = 1 << 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// Extents of the physical map, outermost first, none of them 1.
    extents: Vec<usize>,
    /// For each logical dimension its physical extents, slowest first.
    axes: Vec<Vec<usize>>,
}

/// Height, width and channels of a buffer.
pub(super) type MapSize = [usize; 3];

impl View {
    /// A row-major tensor that lies in memory as it is written.
    pub(super) fn row_major(shape: &[usize]) -> Self {
        let mut extents = Vec::new();
        let axes = shape
            .iter()
            .map(|&extent| {
                if extent == 1 {
                    Vec::new()
                } else {
                    extents.push(extent);
                    vec![extents.len() - 1]
                }
            })
            .collect();
        Self { extents, axes }
    }

    /// `[1, channels, height, width]` over a map of that size.
    pub(super) fn channels_first([height, width, channels]: MapSize) -> Self {
        Self::row_major(&[1, height, width, channels]).transposed(&[0, 3, 1, 2])
    }

    /// `[1, channels]` over a map of one pixel.
    pub(super) fn vector(channels: usize) -> Self {
        Self::row_major(&[1, channels])
    }

    /// The logical shape.
    pub(super) fn shape(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| axis.iter().map(|&e| self.extents[e]).product()).collect()
    }

    /// The number of logical dimensions.
    pub(super) fn rank(&self) -> usize {
        self.axes.len()
    }

    /// The view after a transposition: logical dimension `i` is what `perm[i]` was.
    pub(super) fn transposed(&self, perm: &[usize]) -> Self {
        Self {
            extents: self.extents.clone(),
            axes: perm.iter().map(|&axis| self.axes[axis].clone()).collect(),
        }
    }

    /// The view after a reshape, or `None` if the new dimensions cut across physical extents in a
    /// way that no regrouping expresses.
    pub(super) fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        let mut extents = self.extents.clone();
        // Physical extents in logical order; splitting one splits it in memory order too.
        let mut pending: std::collections::VecDeque<usize> =
            self.axes.iter().flatten().copied().collect();
        let mut axes: Vec<Vec<usize>> = Vec::with_capacity(shape.len());
        for &dimension in shape {
            let mut axis = Vec::new();
            let mut rest = dimension;
            while rest > 1 {
                let extent = pending.pop_front()?;
                let size = extents[extent];
                if rest.is_multiple_of(size) {
                    axis.push(extent);
                    rest /= size;
                } else if size.is_multiple_of(rest) {
                    // The slower part completes this dimension, the faster one is left over.
                    extents[extent] = rest;
                    extents.insert(extent + 1, size / rest);
                    let shift = |e: &mut usize| {
                        if *e > extent {
                            *e += 1;
                        }
                    };
                    axes.iter_mut().flatten().for_each(shift);
                    axis.iter_mut().for_each(shift);
                    pending.iter_mut().for_each(shift);
                    axis.push(extent);
                    pending.push_front(extent + 1);
                    rest = 1;
                } else {
                    return None;
                }
            }
            axes.push(axis);
        }
        pending.is_empty().then_some(Self { extents, axes })
    }

    /// Physical extents that make up the channels of a map of the given size: the last ones.
    fn channel_extents(&self, [_, _, channels]: MapSize) -> Option<usize> {
        let mut product = 1;
        let mut first = self.extents.len();
        while product < channels {
            first = first.checked_sub(1)?;
            product *= self.extents[first];
        }
        (product == channels).then_some(first)
    }

    /// Whether a map of this size is `[1, channels, height, width]` under the view.
    pub(super) fn is_channels_first(&self, size: MapSize) -> bool {
        let expected = Self::channels_first(size);
        self.rank() == 4 && self.same_order(&expected)
    }

    /// The logical dimensions that are height, width and channels of the map, if the tensor has four
    /// and the first is the batch.
    pub(super) fn map_axes(&self, size: MapSize) -> Option<[usize; 3]> {
        let [height, width, channels] = size;
        if self.is_channels_first(size) {
            Some([2, 3, 1])
        } else if self.same_order(&Self::row_major(&[1, height, width, channels])) {
            Some([1, 2, 3])
        } else {
            None
        }
    }

    /// The view of a map whose extents changed, if its dimensions are those of [`Self::map_axes`].
    pub(super) fn resized(&self, old: MapSize, new: MapSize) -> Option<Self> {
        Some(match self.map_axes(old)? {
            [2, 3, 1] => Self::channels_first(new),
            _ => Self::row_major(&[1, new[0], new[1], new[2]]),
        })
    }

    /// Whether logical order is memory order.
    pub(super) fn is_row_major(&self) -> bool {
        self.axes.iter().flatten().copied().eq(0..self.extents.len())
    }

    /// Whether both views give every logical element the same place in memory.
    pub(super) fn same_order(&self, other: &Self) -> bool {
        self.normalised() == other.normalised()
    }

    /// The view with neighbouring extents merged where no dimension tells them apart.
    fn normalised(&self) -> Self {
        let mut extents: Vec<usize> = Vec::new();
        let mut group_of = vec![0; self.extents.len()];
        let follows = |extent: usize| {
            self.axes.iter().any(|axis| axis.windows(2).any(|w| w == [extent - 1, extent]))
        };
        for (index, &extent) in self.extents.iter().enumerate() {
            if index > 0 && follows(index) {
                *extents.last_mut().expect("an extent stands before") *= extent;
            } else {
                extents.push(extent);
            }
            group_of[index] = extents.len() - 1;
        }
        let axes = self
            .axes
            .iter()
            .map(|axis| {
                let mut groups: Vec<usize> = axis.iter().map(|&e| group_of[e]).collect();
                groups.dedup();
                groups
            })
            .collect();
        Self { extents, axes }
    }

    /// Memory distance between neighbours along each physical extent.
    fn extent_strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.extents.len()];
        for index in (1..self.extents.len()).rev() {
            strides[index - 1] = strides[index] * self.extents[index];
        }
        strides
    }

    /// Extents and memory strides in logical order: what a copy into row-major logical order reads.
    pub(super) fn gather(&self) -> (Vec<usize>, Vec<isize>) {
        let strides = self.extent_strides();
        self.axes.iter().flatten().map(|&e| (self.extents[e], strides[e] as isize)).unzip()
    }

    /// Extents and memory strides of one logical dimension, slowest first.
    pub(super) fn axis_strides(&self, axis: usize) -> Vec<(usize, isize)> {
        let strides = self.extent_strides();
        self.axes[axis].iter().map(|&e| (self.extents[e], strides[e] as isize)).collect()
    }

    /// How a tensor that is broadcast against this view is read in the order of this view's memory:
    /// extents and strides, 0 along which it is repeated. `None` if its extents cut across those of
    /// the view.
    pub(super) fn spread(&self, other: &Self, shape: &[usize]) -> Option<(Vec<usize>, Vec<isize>)> {
        let missing = self.rank().checked_sub(shape.len())?;
        let mut strides = vec![0; self.extents.len()];
        for (axis, &extent) in shape.iter().enumerate() {
            if extent == 1 {
                continue;
            }
            let mut theirs = other.axis_strides(axis);
            for &own in self.axes[axis + missing].iter().rev() {
                let size = self.extents[own];
                let (there, stride) = theirs.pop()?;
                if !there.is_multiple_of(size) {
                    return None;
                }
                strides[own] = stride;
                if there > size {
                    theirs.push((there / size, stride * size as isize));
                }
            }
            if !theirs.is_empty() {
                return None;
            }
        }
        Some((self.extents.clone(), strides))
    }

    /// For every memory position the row-major index of its logical element.
    pub(super) fn logical_indices(&self) -> Vec<usize> {
        let (dims, strides) = self.gather();
        let mut indices = vec![0; dims.iter().product()];
        let mut position = vec![0; dims.len()];
        for logical in 0..indices.len() {
            let memory: usize =
                position.iter().zip(&strides).map(|(&at, &stride)| at * stride as usize).sum();
            indices[memory] = logical;
            for axis in (0..dims.len()).rev() {
                position[axis] += 1;
                if position[axis] < dims[axis] {
                    break;
                }
                position[axis] = 0;
            }
        }
        indices
    }

    /// A constant operand, broadcast against this view, as one value or one value per channel.
    /// `None` if it varies from pixel to pixel.
    pub(super) fn per_channel(
        &self,
        size: MapSize,
        shape: &[usize],
        values: &[f32],
    ) -> Option<Vec<f32>> {
        let first = *values.first()?;
        if values.iter().all(|v| v.to_bits() == first.to_bits()) {
            return Some(vec![first]);
        }
        // Strides of the constant along each logical dimension, 0 where it is broadcast.
        let rank = self.rank();
        if shape.len() > rank {
            if shape[..shape.len() - rank].iter().any(|&d| d != 1) {
                return None;
            }
            return self.per_channel(size, &shape[shape.len() - rank..], values);
        }
        // A constant that is larger than what it meets has no place in it.
        let own = self.shape();
        let mut met = shape.iter().rev().zip(own.iter().rev());
        if met.any(|(&dimension, &own)| dimension != 1 && dimension != own) {
            return None;
        }
        let mut constant_stride = vec![0; rank];
        let mut stride = 1;
        for (offset, &dimension) in shape.iter().enumerate().rev() {
            let axis = rank - shape.len() + offset;
            if dimension != 1 {
                constant_stride[axis] = stride;
            }
            stride *= dimension;
        }
        // The same along each physical extent.
        let mut along = vec![0; self.extents.len()];
        for (axis, extents) in self.axes.iter().enumerate() {
            let mut step = constant_stride[axis];
            for &extent in extents.iter().rev() {
                along[extent] = step;
                step *= self.extents[extent];
            }
        }
        let first_channel = self.channel_extents(size)?;
        if along[..first_channel].iter().any(|&step| step != 0) {
            return None;
        }
        // Only a constant that is broadcast along a part of the channels becomes longer, and a map may have
        // any number of them.
        let channels = self.extents[first_channel..].iter().product::<usize>();
        if channels > MOST_CHANNELS.max(values.len()) {
            return None;
        }
        let mut offsets = vec![0];
        for (&extent, &step) in self.extents.iter().zip(&along).skip(first_channel) {
            offsets = offsets
                .iter()
                .flat_map(|&base| (0..extent).map(move |i| base + i * step))
                .collect();
        }
        offsets.iter().map(|&offset| values.get(offset).copied()).collect()
    }

    /// Whether a logical dimension consists of exactly the channels of the map. With one channel
    /// every dimension of length 1 does.
    pub(super) fn is_channel_axis(&self, size: MapSize, axis: usize) -> bool {
        let channels = self.channel_extents(size).map(|first| first..self.extents.len());
        let extents = self.axes.get(axis);
        extents
            .zip(channels)
            .is_some_and(|(extents, channels)| channels.eq(extents.iter().copied()))
    }

    /// The view of a map whose channels, on the given axis, were replaced by another number of them.
    pub(super) fn with_channels(
        &self,
        size: MapSize,
        axis: usize,
        channels: usize,
    ) -> Option<Self> {
        if !self.is_channel_axis(size, axis) {
            return None;
        }
        let first = self.channel_extents(size)?;
        let mut view = self.clone();
        view.extents.truncate(first);
        view.axes[axis].clear();
        if channels != 1 {
            view.extents.push(channels);
            view.axes[axis].push(first);
        }
        Some(view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposition_there_and_back_is_no_change() {
        let nhwc = View::row_major(&[1, 5, 7, 3]);
        let nchw = nhwc.transposed(&[0, 3, 1, 2]);
        assert!(nchw.is_channels_first([5, 7, 3]));
        assert!(!nhwc.is_channels_first([5, 7, 3]));
        assert_eq!(nchw.transposed(&[0, 2, 3, 1]), nhwc);
    }

    #[test]
    fn flattening_remembers_where_elements_lie() {
        let size = [2, 2, 3];
        let flat = View::channels_first(size).reshaped(&[1, 12]).unwrap();
        assert_eq!(flat.shape(), [1, 12]);
        assert!(!flat.is_row_major());
        // Memory position (y, x, c) holds logical element (c, y, x).
        let expected: Vec<usize> = (0..4).flat_map(|p| (0..3).map(move |c| c * 4 + p)).collect();
        assert_eq!(flat.logical_indices(), expected);
        let back = flat.reshaped(&[1, 3, 2, 2]).unwrap();
        assert!(back.is_channels_first(size));
    }

    #[test]
    fn channel_shuffle_is_a_view_that_is_no_longer_in_order() {
        let size = [4, 4, 6];
        let shuffled = View::channels_first(size)
            .reshaped(&[1, 2, 3, 4, 4])
            .unwrap()
            .transposed(&[0, 2, 1, 3, 4])
            .reshaped(&[1, 6, 4, 4])
            .unwrap();
        assert!(!shuffled.is_channels_first(size));
        let (dims, strides) = shuffled.gather();
        assert_eq!(dims, [3, 2, 4, 4]);
        assert_eq!(strides, [1, 3, 24, 6]);
    }

    #[test]
    fn cutting_across_extents_needs_a_copy() {
        assert_eq!(View::row_major(&[1, 4, 9]).reshaped(&[1, 6, 6]), None);
        assert_eq!(View::row_major(&[1, 4, 9]).reshaped(&[1, 35]), None);
        assert!(View::row_major(&[1, 4, 9]).reshaped(&[1, 2, 2, 3, 3]).is_some());
    }

    #[test]
    fn short_constants_are_not_written_out_for_very_many_channels() {
        for (width, fits) in [(1 << 15, true), (1 << 16, false), (1 << 26, false)] {
            let view = View::vector(2 * width).reshaped(&[1, 2, width]).unwrap();
            let found = view.per_channel([1, 1, 2 * width], &[2, 1], &[1.0, 2.0]);
            assert_eq!(found.is_some(), fits, "{width}");
        }
    }

    #[test]
    fn constants_are_read_per_channel_under_any_view() {
        let size = [2, 5, 3];
        let nchw = View::channels_first(size);
        let c = [1.0, 2.0, 3.0];
        assert_eq!(nchw.per_channel(size, &[3, 1, 1], &c), Some(c.to_vec()));
        assert_eq!(nchw.per_channel(size, &[1, 3, 1, 1], &c), Some(c.to_vec()));
        assert_eq!(nchw.per_channel(size, &[1, 1, 3, 1, 1], &c), Some(c.to_vec()));
        assert_eq!(nchw.per_channel(size, &[], &[4.0]), Some(vec![4.0]));
        assert_eq!(nchw.per_channel(size, &[1, 1, 1, 5], &[1.0, 2.0, 3.0, 4.0, 5.0]), None);
        let nhwc = View::row_major(&[1, 2, 5, 3]);
        assert_eq!(nhwc.per_channel(size, &[3], &c), Some(c.to_vec()));
        // A flattened map varies from pixel to pixel.
        let flat = nchw.reshaped(&[1, 30]).unwrap();
        let ramp: Vec<f32> = (0..30).map(|i| i as f32).collect();
        assert_eq!(flat.per_channel(size, &[30], &ramp), None);
        // Split channels: the constant follows the slower part.
        let split = nchw.reshaped(&[1, 3, 10]).unwrap();
        assert_eq!(split.per_channel(size, &[3, 1], &c), Some(c.to_vec()));
    }

    #[test]
    fn both_orders_of_a_map_are_told_apart() {
        let size = [2, 5, 3];
        let nchw = View::channels_first(size);
        let nhwc = View::row_major(&[1, 2, 5, 3]);
        assert_eq!(nchw.map_axes(size), Some([2, 3, 1]));
        assert_eq!(nhwc.map_axes(size), Some([1, 2, 3]));
        assert_eq!(nhwc.transposed(&[0, 2, 1, 3]).map_axes(size), None);
        let grown = nhwc.resized(size, [4, 7, 3]).unwrap();
        assert_eq!(grown.map_axes([4, 7, 3]), Some([1, 2, 3]));
    }

    #[test]
    fn maps_are_spread_over_larger_ones() {
        let view = View::channels_first([2, 3, 4]);
        // One channel against all channels, one pixel against all pixels.
        let plane = View::channels_first([2, 3, 1]);
        assert_eq!(view.spread(&plane, &[1, 1, 2, 3]), Some((vec![2, 3, 4], vec![3, 1, 0])));
        let vector = View::row_major(&[4, 1, 1]);
        assert_eq!(view.spread(&vector, &[4, 1, 1]), Some((vec![2, 3, 4], vec![0, 0, 1])));
        assert_eq!(
            view.spread(&View::row_major(&[1, 4, 2, 3]), &[1, 4, 2, 3]),
            Some((vec![2, 3, 4], vec![3, 1, 6]))
        );
        assert_eq!(view.spread(&View::row_major(&[1, 3, 2]), &[1, 3, 2]), None);
    }

    #[test]
    fn one_pixel_maps_are_vectors_in_any_order() {
        let flat = View::channels_first([1, 1, 8]).reshaped(&[1, 8]).unwrap();
        assert!(flat.same_order(&View::vector(8)));
        assert!(flat.reshaped(&[1, 8, 1, 1]).unwrap().is_channels_first([1, 1, 8]));
    }

    #[test]
    fn channels_can_be_replaced() {
        let size = [4, 6, 3];
        let view = View::channels_first(size).with_channels(size, 1, 7).unwrap();
        assert!(view.is_channels_first([4, 6, 7]));
        let one = View::channels_first(size).with_channels(size, 1, 1).unwrap();
        assert!(one.is_channels_first([4, 6, 1]));
        // A map of one channel has no extent for it, but it still has its dimension.
        let back = one.with_channels([4, 6, 1], 1, 5).unwrap();
        assert!(back.is_channels_first([4, 6, 5]));
        assert_eq!(back.with_channels([4, 6, 5], 2, 3), None);
    }
}
