//! A stretch of memory that holds some neighbouring rows of a map, and moves down it.

use std::ops::Range;

/// Which rows are there. The memory is its user's; every call must be given the same.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RowWindow {
    first: usize,
    count: usize,
}

impl RowWindow {
    /// Position in the map of the first row.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// Makes sure that some rows are there, which must fit. Those that are there already stay; `fill`
    /// writes the others. Returns the memory of all rows that are there.
    pub(crate) fn cover<'a, T: Copy>(
        &mut self,
        rows: Range<usize>,
        row_len: usize,
        memory: &'a mut [T],
        fill: impl FnOnce(Range<usize>, &mut [T]),
    ) -> &'a [T] {
        let held = self.first..self.first + self.count;
        if rows.start < held.start || rows.start > held.end {
            *self = Self { first: rows.start, count: 0 };
        } else if (rows.end - held.start) * row_len > memory.len() {
            // Only when the end of the memory is reached, so each row is moved rarely.
            let gone = rows.start - held.start;
            memory.copy_within(gone * row_len..self.count * row_len, 0);
            *self = Self { first: rows.start, count: self.count - gone };
        }
        let end = self.first + self.count;
        if end < rows.end {
            let missing = &mut memory[self.count * row_len..(rows.end - self.first) * row_len];
            fill(end..rows.end, missing);
            self.count = rows.end - self.first;
        }
        &memory[..self.count * row_len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is asked for in whatever order, the rows are right; downwards none is made twice.
        #[test]
        fn the_rows_asked_for_are_there(
            steps in prop::collection::vec((0..12_usize, 0..5_usize), 1..20),
            spare in 0..6_usize,
            row_len in 1..4_usize,
            downwards in any::<bool>(),
        ) {
            let mut memory = vec![usize::MAX; (5 + spare) * row_len];
            let mut window = RowWindow::default();
            let (mut made, mut last) = (0, 0..0);
            for (start, count) in steps {
                let rows = if downwards {
                    let start = last.start + start % 4;
                    start..(start + count).max(last.end).min(start + 5)
                } else {
                    start..start + count
                };
                if rows.start > rows.end {
                    continue;
                }
                let held = window.cover(rows.clone(), row_len, &mut memory, |missing, out| {
                    assert_eq!(out.len(), missing.len() * row_len);
                    if downwards {
                        assert!(missing.start >= made);
                        made = missing.end;
                    }
                    for (row, out) in missing.zip(out.chunks_exact_mut(row_len)) {
                        out.fill(row);
                    }
                });
                for row in rows.clone() {
                    let at = (row - window.first()) * row_len;
                    prop_assert!(held[at..at + row_len].iter().all(|&value| value == row));
                }
                last = rows;
            }
        }
    }
}
