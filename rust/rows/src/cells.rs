//! Canonical bytes of a row, over its values and not over their layout:
//!
//! ```text
//! u32 columns
//! per column, in the schema's order:
//!   u8 type tag  u8 present          present is 0 for null, and nothing follows; else 1 and
//!   u32 n  n bytes                   the value
//!     1 int64      i64
//!     2 decimal    16-byte two's complement unscaled integer; the scale stands in the schema
//!     3 float64    8-byte IEEE 754
//!     4 bool       u8 0 or 1
//!     5 date       i32, days since 1970-01-01
//!     6 timestamp  i64, microseconds since 1970-01-01T00:00:00 without zone
//!     7 string     UTF-8
//! ```
//!
//! The type tags are those of the chunks of the same commitment.

use atoll_psi::keys::Bitmap;

use crate::{Refusal, refusal};

/// Values of one column of a batch, as slices in the Arrow layout.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// 64-bit integers.
    Int64(&'a [u8]),
    /// 128-bit unscaled integers.
    Decimal128(&'a [u8]),
    /// IEEE 754 doubles.
    Float64(&'a [u8]),
    /// A bitmap.
    Bool(Bitmap<'a>),
    /// Days, 32 bits.
    Date32(&'a [u8]),
    /// Microseconds, 64 bits.
    TimestampUs(&'a [u8]),
    /// UTF-8 with 32-bit offsets.
    Utf8(&'a [u8], &'a [u8]),
}

/// One column of a batch whose lengths and offsets were checked.
#[derive(Debug, Clone, Copy)]
pub struct Cells<'a> {
    values: Values<'a>,
    validity: Option<Bitmap<'a>>,
}

impl<'a> Cells<'a> {
    /// A column of `rows` values. `Bitmap::new` has checked bitmaps against the same number of rows.
    pub fn new(
        name: &str,
        values: Values<'a>,
        validity: Option<Bitmap<'a>>,
        rows: usize,
    ) -> Result<Self, Refusal> {
        let fits = match values {
            Values::Int64(b) | Values::Float64(b) | Values::TimestampUs(b) => {
                rows.checked_mul(8) == Some(b.len())
            }
            Values::Date32(b) => rows.checked_mul(4) == Some(b.len()),
            Values::Decimal128(b) => rows.checked_mul(16) == Some(b.len()),
            Values::Bool(_) => true,
            Values::Utf8(offsets, data) => offsets_fit(offsets, data, rows),
        };
        if !fits {
            return Err(refusal(
                "E_FORMAT",
                format!("column {name}: buffers do not fit {rows} rows"),
            ));
        }
        Ok(Self { values, validity })
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        let (tag, value) = match self.values {
            Values::Int64(b) => (1, cut::<8>(b, row)),
            Values::Decimal128(b) => (2, cut::<16>(b, row)),
            Values::Float64(b) => (3, cut::<8>(b, row)),
            Values::Bool(bits) => (
                4,
                if bits.get(row) {
                    &[1u8][..]
                } else {
                    &[0u8][..]
                },
            ),
            Values::Date32(b) => (5, cut::<4>(b, row)),
            Values::TimestampUs(b) => (6, cut::<8>(b, row)),
            Values::Utf8(offsets, data) => {
                (7, &data[offset(offsets, row)..offset(offsets, row + 1)])
            }
        };
        let present = self.validity.is_none_or(|v| v.get(row));
        out.extend_from_slice(&[tag, u8::from(present)]);
        if present {
            // Offsets have 32 bits, so that no value is longer.
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value);
        }
    }
}

/// Writes the canonical bytes of one row to the end of `out`.
pub fn row_bytes(columns: &[Cells<'_>], row: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(columns.len() as u32).to_le_bytes());
    for column in columns {
        column.put(row, out);
    }
}

fn cut<const N: usize>(bytes: &[u8], row: usize) -> &[u8] {
    &bytes[row * N..(row + 1) * N]
}

fn offset(offsets: &[u8], row: usize) -> usize {
    let raw = i32::from_le_bytes(cut::<4>(offsets, row).try_into().expect("four bytes"));
    // A negative offset becomes one beyond any buffer and is refused by the check.
    usize::try_from(raw).unwrap_or(usize::MAX)
}

fn offsets_fit(offsets: &[u8], data: &[u8], rows: usize) -> bool {
    let wanted = rows.checked_add(1).and_then(|n| n.checked_mul(4));
    if wanted != Some(offsets.len()) {
        return false;
    }
    let mut last = 0;
    (0..=rows).all(|row| {
        let at = offset(offsets, row);
        let fits = at >= last && at <= data.len();
        last = at;
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(columns: &[Cells<'_>], row: usize) -> Vec<u8> {
        let mut out = Vec::new();
        row_bytes(columns, row, &mut out);
        out
    }

    #[test]
    fn bytes_are_those_of_the_description() {
        let offsets: Vec<u8> = [0i32, 0, 2].iter().flat_map(|v| v.to_le_bytes()).collect();
        let n = [5i64.to_le_bytes(), (-1i64).to_le_bytes()].concat();
        let present = Bitmap::new(&[0b10], 0, 2).unwrap();
        let columns = [
            Cells::new("s", Values::Utf8(&offsets, b"ab"), None, 2).unwrap(),
            Cells::new("n", Values::Int64(&n), Some(present), 2).unwrap(),
            Cells::new("b", Values::Bool(present), None, 2).unwrap(),
        ];
        assert_eq!(
            bytes(&columns, 0),
            [&[3u8, 0, 0, 0, 7, 1, 0, 0, 0, 0, 1, 0, 4, 1, 1, 0, 0, 0, 0][..]].concat()
        );
        let mut want = vec![3u8, 0, 0, 0, 7, 1, 2, 0, 0, 0, b'a', b'b', 1, 1, 8, 0, 0, 0];
        want.extend_from_slice(&[255; 8]);
        want.extend_from_slice(&[4, 1, 1, 0, 0, 0, 1]);
        assert_eq!(bytes(&columns, 1), want);
    }

    #[test]
    fn null_slots_do_not_show() {
        let absent = Bitmap::new(&[0], 0, 1).unwrap();
        let one = Cells::new("x", Values::Float64(&[1; 8]), Some(absent), 1).unwrap();
        let other = Cells::new("x", Values::Float64(&[2; 8]), Some(absent), 1).unwrap();
        assert_eq!(bytes(&[one], 0), bytes(&[other], 0));
    }

    #[test]
    fn buffers_that_do_not_fit_are_refused() {
        for bad in [
            Values::Int64(&[0; 7]),
            Values::Float64(&[0; 16]),
            Values::Date32(&[0; 8]),
            Values::Decimal128(&[0; 8]),
            Values::TimestampUs(&[]),
            Values::Utf8(&[0; 4], b""),
        ] {
            assert_eq!(Cells::new("x", bad, None, 1).unwrap_err().code, "E_FORMAT");
        }
        for offsets in [[0i32, 3], [2, 1], [-1, 1], [0, -1]] {
            let raw: Vec<u8> = offsets.iter().flat_map(|v| v.to_le_bytes()).collect();
            assert!(
                Cells::new("x", Values::Utf8(&raw, b"ab"), None, 1).is_err(),
                "{offsets:?}"
            );
        }
        assert!(Cells::new("x", Values::Int64(&[]), None, usize::MAX).is_err());
    }
}
