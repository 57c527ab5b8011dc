//! Arrays of the caller that answers are written to.

use std::mem::MaybeUninit;

use super::{error::Failure, pointers};

/// Room for a number of `T`, and for how many of them there are.
pub(super) struct Answer<'a, T> {
    places: *mut T,
    capacity: usize,
    count: &'a mut MaybeUninit<usize>,
}

impl<T> Answer<'_, T> {
    /// Checks the room, called `name` in messages, and says that there is nothing in it yet.
    ///
    /// # Safety
    /// `places` is null or room for `capacity` of them, `count` is null or room for a number, and
    /// nobody else uses either until the end of the call.
    pub(super) unsafe fn new(
        places: *mut T,
        capacity: usize,
        count: *mut usize,
        name: &'static str,
    ) -> Result<Self, Failure> {
        // SAFETY: as the caller says.
        let count = unsafe { pointers::place(count, "count") }?;
        count.write(0);
        // SAFETY: as the caller says; the contents are only written.
        unsafe { pointers::slice_mut(places.cast::<MaybeUninit<T>>(), capacity, name) }?;
        Ok(Self { places, capacity, count })
    }

    /// The most that can be written.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Writes the first of them, as many as there is room for.
    pub(super) fn write(self, items: impl Iterator<Item = T>) {
        let mut count = 0;
        for item in items.take(self.capacity) {
            // SAFETY: `new` has checked the pointer for `capacity` of them, and this is not one more.
            unsafe { self.places.add(count).write(item) };
            count += 1;
        }
        self.count.write(count);
    }
}
