/// Some neighbouring rows of a map.
///
/// A kernel that reads windows needs only a few rows of its input for each row of its output, so the
/// rest need not exist: not in a private copy of the map, and not at all where another kernel makes
/// the rows as they are needed.
#[derive(Debug, Clone, Copy)]
pub struct MapRows<'a, T> {
    /// Their values, row after row.
    pub values: &'a [T],
    /// Position in the map of the first of them.
    pub first: usize,
}

impl<'a, T> MapRows<'a, T> {
    /// All rows of a map.
    pub fn whole(values: &'a [T]) -> Self {
        Self { values, first: 0 }
    }
}
