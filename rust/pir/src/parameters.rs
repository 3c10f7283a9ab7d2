//! The LWE instance and the bounds of its tables; `scripts/lwe_parameters.py` derives them.

/// Length of an LWE secret: 2^145 by the core-SVP model of the script, over any number of samples.
pub const N: usize = 1408;
/// A cell is one byte, the upper one of a word modulo q = 2^32.
pub const SCALE_BITS: u32 = 24;
/// Most columns; the noise of so many sums up to a wrong column with probability below 2^-269.
pub const MOST_COLUMNS: usize = 1 << 18;
/// Most bytes of a column.
pub const MOST_COLUMN_BYTES: usize = 1 << 18;
/// Most records of a table.
pub const MOST_ROWS: usize = 1 << 24;
/// Most bytes of a record.
pub const MOST_RECORD_BYTES: usize = 4096;
