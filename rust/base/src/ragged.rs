//! Ragged arrays: one data vector and offsets, reused from step to step.

/// `rows()` rows of different lengths in one allocation; clearing keeps the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ragged<T> {
    data: Vec<T>,
    offsets: Vec<u32>,
}

impl<T> Default for Ragged<T> {
    fn default() -> Self {
        Self { data: Vec::new(), offsets: vec![0] }
    }
}

impl<T> Ragged<T> {
    /// Forgets all rows, keeps the memory.
    pub fn clear(&mut self) {
        self.data.clear();
        self.offsets.truncate(1);
    }

    /// Appends a value to the open last row.
    pub fn push(&mut self, value: T) {
        self.data.push(value);
    }

    /// Closes the open row; values pushed from here on belong to the next one.
    pub fn end_row(&mut self) {
        self.offsets.push(self.data.len() as u32);
    }

    /// Appends one closed row.
    pub fn extend_row(&mut self, values: impl IntoIterator<Item = T>) {
        self.data.extend(values);
        self.end_row();
    }

    /// Number of closed rows.
    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If `i ≥ rows()`.
    pub fn row(&self, i: usize) -> &[T] {
        &self.data[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }

    /// Offsets, `rows() + 1` of them, the first 0.
    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// All closed rows, one after the other.
    pub fn data(&self) -> &[T] {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_borders() {
        let mut r = Ragged::default();
        r.extend_row([1, 2]);
        r.end_row();
        r.push(3);
        r.end_row();
        assert_eq!((r.rows(), r.row(0), r.row(1), r.row(2)), (3, &[1, 2][..], &[][..], &[3][..]));
        assert_eq!((r.offsets(), r.data()), (&[0, 2, 2, 3][..], &[1, 2, 3][..]));
        r.clear();
        assert_eq!((r.rows(), r.data().len()), (0, 0));
    }
}
