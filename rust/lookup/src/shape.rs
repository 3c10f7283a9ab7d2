//! The shape of a sealed table: how many columns, and how many cells in each.

use atoll_pir::Layout;
use atoll_pir::parameters::{MOST_COLUMN_BYTES, MOST_COLUMNS, N};

use crate::Refusal;
use crate::seal::OVERHEAD;

/// Most keys of a table.
pub const MOST_KEYS: usize = 1 << 24;
/// Most bytes of a record.
pub const MOST_RECORD_BYTES: usize = 4096;
/// Columns come in multiples of this.
const LANES: usize = 32;
/// An asker's hint, and query with answer, stay below these wherever a shape allows it.
const HINT_BYTES: usize = 60_000_000;
const TRAFFIC_BYTES: usize = 512 * 1024;

/// Columns, cells of a column, bytes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    columns: usize,
    cells: usize,
    record_bytes: usize,
}

/// Cells of a column, so that `keys` thrown into `columns` fit into all of them with probability 1/2 at least:
/// Chernoff's bound, and a union bound over the columns. Who places the keys draws anew until they fit.
fn capacity(keys: usize, columns: usize) -> usize {
    let mean = keys as f64 / columns as f64;
    let rare = (2.0 * columns as f64).ln();
    let fits = |cells: usize| {
        // More than `cells` keys in a column.
        let ratio = (cells + 1) as f64 / mean;
        ratio > 1.0 && mean * (ratio * ratio.ln() - ratio + 1.0) >= rare
    };
    let mut high = 1;
    while !fits(high) {
        high *= 2;
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low.midpoint(high);
        if fits(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high.min(keys)
}

impl Shape {
    /// The shape for `keys` (up to 2^24) and a third of a tenth more, with records of `record_bytes` (1 to 4096).
    ///
    /// Of the shapes that keep hint and traffic within bounds, the one with the least weighted sum of matrix (the
    /// holder's work), hint and traffic. `E_RANGE` for sizes outside.
    pub fn choose(keys: usize, record_bytes: usize) -> Result<Self, Refusal> {
        if keys > MOST_KEYS || !(1..=MOST_RECORD_BYTES).contains(&record_bytes) {
            return Err(Refusal::new(
                "E_RANGE",
                format!(
                    "a lookup has at most {MOST_KEYS} keys, and records of 1 to {MOST_RECORD_BYTES} bytes"
                ),
            ));
        }
        let room = keys + (keys / 32).max(16);
        let mut best: Option<((bool, usize), Self)> = None;
        // Columns in steps of an eighth of an octave.
        for step in 0.. {
            let columns = ((LANES as f64 * 2f64.powf(f64::from(step) / 8.0)) as usize)
                .next_multiple_of(LANES);
            if columns > MOST_COLUMNS {
                break;
            }
            let shape = Self {
                columns,
                cells: capacity(room, columns),
                record_bytes,
            };
            let height = shape.column_bytes();
            if height > MOST_COLUMN_BYTES {
                continue;
            }
            let (hint, traffic) = (height * N * 4, 4 * (columns + height));
            let outside = hint > HINT_BYTES || traffic > TRAFFIC_BYTES;
            let weight = columns * height / 64 + hint / 128 + traffic;
            if best.is_none_or(|(least, _)| (outside, weight) < least) {
                best = Some(((outside, weight), shape));
            }
        }
        best.map(|(_, shape)| shape)
            .ok_or_else(|| Refusal::new("E_RANGE", "no shape holds so many keys of such records"))
    }

    /// A shape that a holder named; `E_RANGE` if it is none.
    pub fn parse(columns: usize, cells: usize, record_bytes: usize) -> Result<Self, Refusal> {
        let shape = Self {
            columns,
            cells,
            record_bytes,
        };
        if !(1..=MOST_RECORD_BYTES).contains(&record_bytes) {
            return Err(Refusal::new(
                "E_RANGE",
                format!("records have 1 to {MOST_RECORD_BYTES} bytes"),
            ));
        }
        shape.layout().map(|_| shape)
    }

    /// Columns of the table.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Cells of a column.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Bytes of a record.
    pub fn record_bytes(&self) -> usize {
        self.record_bytes
    }

    /// Bytes of a cell: a record and what seals it.
    pub fn cell_bytes(&self) -> usize {
        OVERHEAD + self.record_bytes
    }

    /// Bytes of a column.
    pub fn column_bytes(&self) -> usize {
        self.cells * self.cell_bytes()
    }

    /// The table for index PIR; `E_RANGE` beyond its bounds.
    pub fn layout(&self) -> Result<Layout, Refusal> {
        Layout::shaped(self.columns, self.cells, self.cell_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_million_short_records_stay_within_the_bounds() {
        for (keys, bytes, most_hint, most_padding) in [
            (10_000, 32, HINT_BYTES, 4.0),
            (1 << 20, 32, HINT_BYTES, 1.6),
            (1 << 20, 100, HINT_BYTES, 1.9),
            // A hint within the bound would ask for queries beyond the other.
            (1 << 24, 32, 210_000_000, 1.3),
        ] {
            let shape = Shape::choose(keys, bytes).unwrap();
            let height = shape.column_bytes();
            assert!(height * N * 4 <= most_hint, "{shape:?}");
            assert!(4 * (shape.columns() + height) <= TRAFFIC_BYTES, "{shape:?}");
            let padding = (shape.columns() * shape.cells()) as f64 / keys as f64;
            assert!(padding < most_padding, "{shape:?}: {padding}");
        }
    }

    #[test]
    fn the_least_and_the_largest_have_a_shape() {
        for (keys, bytes) in [(0, 1), (1, 4096), (100_000, 4096), (MOST_KEYS, 64)] {
            let shape = Shape::choose(keys, bytes).unwrap();
            assert!(shape.columns() * shape.cells() > keys);
        }
        for (keys, bytes) in [(MOST_KEYS + 1, 1), (1, 0), (1, 4097), (MOST_KEYS, 4096)] {
            assert_eq!(Shape::choose(keys, bytes).unwrap_err().code, "E_RANGE");
        }
        for (columns, cells, bytes) in [
            (0, 1, 1),
            (32, 0, 1),
            (33, 1, 1),
            (32, 1, 0),
            (1 << 19, 1, 1),
            (32, 1 << 18, 1),
        ] {
            assert_eq!(
                Shape::parse(columns, cells, bytes).unwrap_err().code,
                "E_RANGE"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_chosen_parses(keys in 0usize..2_000_000, bytes in 1usize..200) {
            let shape = Shape::choose(keys, bytes).unwrap();
            prop_assert_eq!(Shape::parse(shape.columns(), shape.cells(), bytes).unwrap(), shape);
        }
    }
}
