//! A short list without an allocation.

use std::ops::{Deref, DerefMut};

/// A list of slices made anew for each step or chunk of rows; up to `N` of them lie on the stack.
/// Eight are more stores, operands or outputs than any network of the catalogue has in one step.
#[derive(Debug)]
pub(crate) enum Few<T, const N: usize = 8> {
    /// The first `len` entries of the array.
    Stack { entries: [T; N], len: usize },
    /// Too many for the array.
    Heap(Vec<T>),
}

impl<T, const N: usize> Few<T, N> {
    /// The list of `entry(0)` to `entry(len - 1)`; `filler` makes the unused entries of the array.
    pub(crate) fn from_fn(
        len: usize,
        mut entry: impl FnMut(usize) -> T,
        filler: impl Fn() -> T,
    ) -> Self {
        if len <= N {
            let entries = std::array::from_fn(|i| if i < len { entry(i) } else { filler() });
            Self::Stack { entries, len }
        } else {
            Self::Heap((0..len).map(entry).collect())
        }
    }
}

impl<T, const N: usize> Deref for Few<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Stack { entries, len } => &entries[..*len],
            Self::Heap(entries) => entries,
        }
    }
}

impl<T, const N: usize> DerefMut for Few<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::Stack { entries, len } => &mut entries[..*len],
            Self::Heap(entries) => entries,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_lists_hold_the_same() {
        for len in [0, 1, 8, 9, 40] {
            let mut list: Few<usize> = Few::from_fn(len, |i| i, || usize::MAX);
            assert_eq!(list.to_vec(), (0..len).collect::<Vec<_>>());
            list.reverse();
            assert_eq!(list.first().copied(), len.checked_sub(1));
            assert_eq!(matches!(list, Few::Heap(_)), len > 8);
        }
    }
}
