//! Extents of windows over a map, written as shortly as they can be.

use serde::{Deserialize, Serialize};

/// A vertical and a horizontal number; in JSON one number where both are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "PairText", into = "PairText")]
pub struct Pair(pub [usize; 2]);

/// Padding: top, left, bottom, right; in JSON one number where all are equal, two (vertical,
/// horizontal) where opposite sides are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "PadsText", into = "PadsText")]
pub struct Pads(pub [usize; 4]);

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number or [vertical, horizontal]")]
enum PairText {
    Equal(usize),
    Both([usize; 2]),
}

#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number, [vertical, horizontal] or [top, left, bottom, right]"
)]
enum PadsText {
    Equal(usize),
    Opposite([usize; 2]),
    All([usize; 4]),
}

impl Pair {
    /// 1 and 1.
    pub(super) fn one() -> Self {
        Self([1; 2])
    }

    /// Whether this is 1 and 1.
    pub(super) fn is_one(&self) -> bool {
        self.0 == [1; 2]
    }
}

impl Pads {
    /// Whether there is no padding.
    pub(super) fn is_none(&self) -> bool {
        self.0 == [0; 4]
    }
}

impl From<PairText> for Pair {
    fn from(text: PairText) -> Self {
        match text {
            PairText::Equal(n) => Self([n; 2]),
            PairText::Both(pair) => Self(pair),
        }
    }
}

impl From<Pair> for PairText {
    fn from(Pair([vertical, horizontal]): Pair) -> Self {
        if vertical == horizontal {
            Self::Equal(vertical)
        } else {
            Self::Both([vertical, horizontal])
        }
    }
}

impl From<PadsText> for Pads {
    fn from(text: PadsText) -> Self {
        match text {
            PadsText::Equal(n) => Self([n; 4]),
            PadsText::Opposite([vertical, horizontal]) => {
                Self([vertical, horizontal, vertical, horizontal])
            }
            PadsText::All(pads) => Self(pads),
        }
    }
}

impl From<Pads> for PadsText {
    fn from(Pads([top, left, bottom, right]): Pads) -> Self {
        if (top, left) != (bottom, right) {
            Self::All([top, left, bottom, right])
        } else if top == left {
            Self::Equal(top)
        } else {
            Self::Opposite([top, left])
        }
    }
}

/// The window of a convolution or a pool, for the [builder](super::Network).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Height and width.
    pub kernel: Pair,
    /// Vertical and horizontal step.
    pub stride: Pair,
    /// Padding.
    pub padding: Pads,
    /// Vertical and horizontal distance of the taps.
    pub dilation: Pair,
    /// Groups of channels (convolutions only).
    pub groups: usize,
}

impl Window {
    /// A square window without padding, at every place.
    pub fn square(side: usize) -> Self {
        Self {
            kernel: Pair([side; 2]),
            stride: Pair::one(),
            padding: Pads::default(),
            dilation: Pair::one(),
            groups: 1,
        }
    }

    /// With the same step in both directions.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride: Pair([stride; 2]), ..self }
    }

    /// With the same padding on all sides.
    pub fn padding(self, padding: usize) -> Self {
        Self { padding: Pads([padding; 4]), ..self }
    }

    /// With the padding that keeps the size of the map at stride 1 (odd kernels).
    pub fn same(self) -> Self {
        let [vertical, horizontal] =
            [0, 1].map(|axis| self.dilation.0[axis] * (self.kernel.0[axis].saturating_sub(1)) / 2);
        Self { padding: Pads([vertical, horizontal, vertical, horizontal]), ..self }
    }

    /// With TensorFlow's padding `SAME` for a map of that height and width: the result has `ceil(size / stride)`
    /// places, and of an odd number of padded ones the larger half comes after the map.
    #[must_use]
    pub fn same_as_in_tensorflow(self, map: [usize; 2]) -> Self {
        let pads = [0, 1].map(|axis| {
            // A step of zero is told when the network is finished.
            let stride = self.stride.0[axis].max(1);
            let span = self.kernel.0[axis].saturating_sub(1).saturating_mul(self.dilation.0[axis]);
            let last = map[axis].saturating_sub(1) / stride * stride;
            let total = last.saturating_add(span).saturating_add(1).saturating_sub(map[axis]);
            [total / 2, total - total / 2]
        });
        let [[top, bottom], [left, right]] = pads;
        Self { padding: Pads([top, left, bottom, right]), ..self }
    }

    /// With the same dilation in both directions.
    pub fn dilation(self, dilation: usize) -> Self {
        Self { dilation: Pair([dilation; 2]), ..self }
    }

    /// With that many groups of channels.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Height and width of the result on a map of the given size.
    ///
    /// `None` if the window does not fit, or a number is zero or overflows.
    pub(super) fn output(&self, map: [usize; 2]) -> Option<[usize; 2]> {
        let [top, left, bottom, right] = self.padding.0;
        let mut output = [0; 2];
        for (axis, pads) in [[top, bottom], [left, right]].into_iter().enumerate() {
            let padded = map[axis].checked_add(pads[0])?.checked_add(pads[1])?;
            let span = self.kernel.0[axis].checked_sub(1)?.checked_mul(self.dilation.0[axis])?;
            let room = padded.checked_sub(span.checked_add(1)?)?;
            if self.dilation.0[axis] == 0 {
                return None;
            }
            output[axis] = room.checked_div(self.stride.0[axis])? + 1;
        }
        Some(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_are_written_once() {
        let text = |value: serde_json::Value| value.to_string();
        assert_eq!(text(serde_json::json!(Pair([3, 3]))), "3");
        assert_eq!(text(serde_json::json!(Pair([1, 3]))), "[1,3]");
        assert_eq!(text(serde_json::json!(Pads([1; 4]))), "1");
        assert_eq!(text(serde_json::json!(Pads([2, 1, 2, 1]))), "[2,1]");
        assert_eq!(text(serde_json::json!(Pads([0, 0, 1, 1]))), "[0,0,1,1]");
        for pads in [[1; 4], [2, 1, 2, 1], [0, 0, 1, 1]] {
            let written = serde_json::to_string(&Pads(pads)).unwrap();
            assert_eq!(serde_json::from_str::<Pads>(&written).unwrap(), Pads(pads));
        }
    }

    #[test]
    fn padding_of_tensorflow() {
        // tf.nn.conv2d and tf.nn.max_pool2d, kernel, stride, dilation, map.
        let cases = [
            ((3, 2, 1, 224), [0, 0, 1, 1]),
            ((7, 2, 1, 224), [2, 2, 3, 3]),
            ((11, 4, 1, 224), [3, 3, 4, 4]),
            ((3, 2, 1, 27), [1, 1, 1, 1]),
            ((3, 1, 4, 28), [4, 4, 4, 4]),
            ((1, 2, 1, 28), [0, 0, 0, 0]),
            ((2, 2, 1, 7), [0, 0, 1, 1]),
        ];
        for ((kernel, stride, dilation, side), pads) in cases {
            let window = Window::square(kernel).stride(stride).dilation(dilation);
            let padded = window.same_as_in_tensorflow([side; 2]);
            assert_eq!(padded.padding, Pads(pads), "kernel {kernel}, stride {stride}, map {side}");
            assert_eq!(padded.output([side; 2]), Some([side.div_ceil(stride); 2]));
        }
        let flat = Window::square(3).stride(2).same_as_in_tensorflow([6, 5]);
        assert_eq!(flat.padding, Pads([0, 1, 1, 1]));
    }

    #[test]
    fn windows_that_do_not_fit_have_no_output() {
        assert_eq!(Window::square(3).same().output([5, 7]), Some([5, 7]));
        assert_eq!(Window::square(7).stride(2).padding(3).output([224, 224]), Some([112, 112]));
        assert_eq!(Window::square(3).output([2, 5]), None);
        assert_eq!(Window::square(0).output([5, 5]), None);
        assert_eq!(Window::square(3).stride(0).output([5, 5]), None);
        assert_eq!(Window::square(2).dilation(usize::MAX).output([5, 5]), None);
        assert_eq!(Window::square(2).padding(usize::MAX).output([5, 5]), None);
    }
}
