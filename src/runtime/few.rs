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
    /// The list of some entries; `filler` makes the unused ones of the array.
    pub(crate) fn collect(
        mut entries: impl ExactSizeIterator<Item = T>,
        filler: impl Fn() -> T,
    ) -> Self {
        let len = entries.len();
        if len <= N {
            let entries = std::array::from_fn(|_| entries.next().unwrap_or_else(&filler));
            Self::Stack { entries, len }
        } else {
            Self::Heap(entries.collect())
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
            let mut list: Few<usize> = Few::collect(0..len, || usize::MAX);
            assert_eq!(list.to_vec(), (0..len).collect::<Vec<_>>());
            list.reverse();
            assert_eq!(list.first().copied(), len.checked_sub(1));
            assert_eq!(matches!(list, Few::Heap(_)), len > 8);
        }
    }
}
