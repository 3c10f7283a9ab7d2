//! The shape of a table: which column a record stands in, and where in it.

use crate::Refusal;
use crate::parameters::{MOST_COLUMN_BYTES, MOST_COLUMNS, MOST_RECORD_BYTES, MOST_ROWS, N};

/// Columns come in multiples of this, so that no register is half full.
const LANES: usize = 32;
/// Above this many bytes a column grows only so that the query stays below `WIDE` columns: the hint grows with it.
const TALL: usize = 8192;
const WIDE: usize = 1 << 16;

/// Shape of a table of `rows` records of `record_bytes` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    rows: usize,
    record_bytes: usize,
    per_column: usize,
    columns: usize,
}

impl Layout {
    /// The shape for `rows` (1 to 2^24) records of `record_bytes` (1 to 4096); `E_RANGE` outside.
    ///
    /// Query and answer are about equal, at the square root of the table, while the hint stays below 46 MB.
    pub fn new(rows: usize, record_bytes: usize) -> Result<Self, Refusal> {
        if !(1..=MOST_ROWS).contains(&rows) || !(1..=MOST_RECORD_BYTES).contains(&record_bytes) {
            return Err(Refusal::new(
                "E_RANGE",
                format!("a table has 1 to {MOST_ROWS} records of 1 to {MOST_RECORD_BYTES} bytes"),
            ));
        }
        let bytes = rows * record_bytes;
        let root = bytes.isqrt();
        let height = root.min(TALL).max(root.min(bytes / WIDE));
        let per_column = (height / record_bytes)
            .max(rows.div_ceil(MOST_COLUMNS))
            .max(1);
        let columns = rows.div_ceil(per_column).next_multiple_of(LANES);
        Ok(Self {
            rows,
            record_bytes,
            per_column,
            columns,
        })
    }

    /// The shape of `columns` (a multiple of 32) with `per_column` records each; `E_RANGE` for sizes outside.
    pub fn shaped(columns: usize, per_column: usize, record_bytes: usize) -> Result<Self, Refusal> {
        let bytes = per_column.checked_mul(record_bytes);
        let fits = (1..=MOST_COLUMNS).contains(&columns)
            && columns.is_multiple_of(LANES)
            && bytes.is_some_and(|bytes| (1..=MOST_COLUMN_BYTES).contains(&bytes));
        if !fits {
            return Err(Refusal::new(
                "E_RANGE",
                format!(
                    "a table has 32 to {MOST_COLUMNS} columns, by {LANES}, of 1 to {MOST_COLUMN_BYTES} bytes"
                ),
            ));
        }
        Ok(Self {
            rows: columns * per_column,
            record_bytes,
            per_column,
            columns,
        })
    }

    /// Records of the table.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of a record.
    pub fn record_bytes(&self) -> usize {
        self.record_bytes
    }

    /// Columns, and words of a query; a multiple of 32.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes of a column, and words of an answer.
    pub fn column_bytes(&self) -> usize {
        self.per_column * self.record_bytes
    }

    /// Bytes of the hint in memory.
    pub fn hint_bytes(&self) -> usize {
        self.column_bytes() * N * 4
    }

    /// Column of record `row`, and where it begins there; `E_RANGE` for a row outside the table.
    pub fn place(&self, row: usize) -> Result<(usize, usize), Refusal> {
        if row >= self.rows {
            return Err(Refusal::new(
                "E_RANGE",
                format!("the table has {} records", self.rows),
            ));
        }
        Ok((
            row / self.per_column,
            row % self.per_column * self.record_bytes,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_shape_of_a_million_short_records() {
        let layout = Layout::new(1 << 20, 32).unwrap();
        assert_eq!((layout.columns(), layout.column_bytes()), (5824, 5792));
        assert!(layout.hint_bytes() <= 60_000_000);
        let large = Layout::new(1 << 24, 32).unwrap();
        assert_eq!((large.columns(), large.column_bytes()), (1 << 16, 8192));
    }

    #[test]
    fn sizes_outside_are_refused() {
        for (rows, bytes) in [
            (0, 32),
            (MOST_ROWS + 1, 32),
            (10, 0),
            (10, MOST_RECORD_BYTES + 1),
        ] {
            assert_eq!(Layout::new(rows, bytes).unwrap_err().code, "E_RANGE");
        }
        assert_eq!(
            Layout::new(10, 32).unwrap().place(10).unwrap_err().code,
            "E_RANGE"
        );
    }

    proptest! {
        #[test]
        fn every_record_has_a_place(rows in 1..=MOST_ROWS, bytes in 1..=MOST_RECORD_BYTES, at: u32) {
            let layout = Layout::new(rows, bytes).unwrap();
            let row = at as usize % rows;
            let (column, offset) = layout.place(row).unwrap();
            prop_assert!(column < layout.columns() && layout.columns() <= MOST_COLUMNS);
            prop_assert!(offset + bytes <= layout.column_bytes());
            prop_assert!(layout.column_bytes() <= MOST_COLUMN_BYTES);
            prop_assert_eq!(column * layout.column_bytes() / bytes + offset / bytes, row);
        }
    }
}
