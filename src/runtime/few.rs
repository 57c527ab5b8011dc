//! A short list without an allocation.

use smallvec::SmallVec;

/// A list of slices made anew for each step or chunk of rows; up to `N` of them lie on the stack.
/// Eight are more stores, operands or outputs than any network of the catalogue has in one step.
pub(crate) type Few<T, const N: usize = 8> = SmallVec<[T; N]>;

/// Inputs of a step that need no allocation: dense networks join dozens of maps.
pub(crate) const MANY_INPUTS: usize = 64;
