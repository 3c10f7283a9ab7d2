//! Key digests: one SHA-256 digest per row over the typed, length-prefixed tuple of its key columns.
//!
//! Columns come as plain slices in the Arrow columnar layout. Two rows have the same digest exactly when every
//! key column has the same type and the same (normalised) value; a row with a null in any key column has none,
//! as in SQL.

use std::ops::Range;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::Refusal;
use crate::normalise::{Step, normalise};

/// SHA-256 of one encoded key.
pub type KeyDigest = [u8; 32];

const DOMAIN: &[u8] = b"atoll key v1";

/// A bitmap in Arrow's layout: bit `offset + i` of `bytes`, least significant first, stands for row `i`.
#[derive(Debug, Clone, Copy)]
pub struct Bitmap<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Bitmap<'a> {
    /// A bitmap of at least `offset + rows` bits.
    pub fn new(bytes: &'a [u8], offset: usize, rows: usize) -> Result<Self, Refusal> {
        match offset.checked_add(rows) {
            Some(bits) if bits.div_ceil(8) <= bytes.len() => Ok(Self { bytes, offset }),
            _ => Err(Refusal::new(
                "E_FORMAT",
                "a bitmap is shorter than its column",
            )),
        }
    }

    /// Bit of row `row`, which is below the number of rows that `new` was given.
    pub fn get(&self, row: usize) -> bool {
        let bit = self.offset + row;
        self.bytes[bit / 8] >> (bit % 8) & 1 == 1
    }
}

/// The values of one key column.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// UTF-8 with 32-bit little-endian offsets.
    Utf8(&'a [u8], &'a [u8]),
    /// UTF-8 with 64-bit little-endian offsets.
    LargeUtf8(&'a [u8], &'a [u8]),
    /// 64-bit integers.
    Int64(&'a [u8]),
    /// 32-bit integers; encoded as 64-bit ones, so that both join.
    Int32(&'a [u8]),
    /// Days since 1970-01-01, 32 bits.
    Date32(&'a [u8]),
    /// Booleans as a bitmap.
    Bool(Bitmap<'a>),
    /// 128-bit decimals with their scale.
    Decimal128(&'a [u8], i32),
    /// Microseconds since 1970-01-01 local time, 64 bits.
    TimestampUs(&'a [u8]),
    /// Microseconds since 1970-01-01 UTC, 64 bits.
    TimestampUtcUs(&'a [u8]),
}

/// One key column of a batch.
#[derive(Debug, Clone)]
pub struct Column<'a> {
    name: &'a str,
    values: Values<'a>,
    validity: Option<Bitmap<'a>>,
    steps: &'a [Step],
}

impl<'a> Column<'a> {
    /// A column of `rows` values; every length and offset is checked here, once.
    pub fn new(
        name: &'a str,
        values: Values<'a>,
        validity: Option<Bitmap<'a>>,
        steps: &'a [Step],
        rows: usize,
    ) -> Result<Self, Refusal> {
        let fixed = |bytes: &[u8], width: usize| match rows.checked_mul(width) {
            Some(want) if want == bytes.len() => Ok(()),
            _ => Err(Refusal::new(
                "E_FORMAT",
                format!("column {name}: buffer length does not fit {rows} rows"),
            )),
        };
        match values {
            Values::Utf8(offsets, data) => check_offsets::<4>(name, offsets, data, rows)?,
            Values::LargeUtf8(offsets, data) => check_offsets::<8>(name, offsets, data, rows)?,
            Values::Int64(b) | Values::TimestampUs(b) | Values::TimestampUtcUs(b) => fixed(b, 8)?,
            Values::Int32(b) | Values::Date32(b) => fixed(b, 4)?,
            Values::Decimal128(b, scale) => {
                fixed(b, 16)?;
                // Far from the ends of i32, where taking off trailing zeros would overflow.
                if i8::try_from(scale).is_err() {
                    return Err(Refusal::new(
                        "E_TYPE",
                        format!("column {name}: a decimal's scale is -128 to 127"),
                    ));
                }
            }
            Values::Bool(_) => {}
        }
        if !steps.is_empty() && !matches!(values, Values::Utf8(..) | Values::LargeUtf8(..)) {
            return Err(Refusal::new(
                "E_TYPE",
                format!("column {name}: only text has normalisation steps"),
            ));
        }
        Ok(Self {
            name,
            values,
            validity,
            steps,
        })
    }
}

fn check_offsets<const W: usize>(
    name: &str,
    offsets: &[u8],
    data: &[u8],
    rows: usize,
) -> Result<(), Refusal> {
    let bad = || {
        Refusal::new(
            "E_FORMAT",
            format!("column {name}: text offsets do not fit the column"),
        )
    };
    if rows.checked_add(1).and_then(|n| n.checked_mul(W)) != Some(offsets.len()) {
        return Err(bad());
    }
    let mut last = 0;
    for row in 0..=rows {
        let at = offset::<W>(offsets, row);
        if at < last || at > data.len() {
            return Err(bad());
        }
        last = at;
    }
    Ok(())
}

fn offset<const W: usize>(offsets: &[u8], row: usize) -> usize {
    let mut wide = [0u8; 8];
    wide[..W].copy_from_slice(&offsets[row * W..(row + 1) * W]);
    // A negative offset becomes one beyond any buffer and is refused by the check.
    usize::try_from(u64::from_le_bytes(wide)).unwrap_or(usize::MAX)
}

fn cell<const N: usize>(bytes: &[u8], row: usize) -> [u8; N] {
    bytes[row * N..(row + 1) * N]
        .try_into()
        .expect("the slice has N bytes")
}

/// What becomes of a value that its normaliser cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInvalid {
    /// Refuse the table, naming column and row.
    Refuse,
    /// Give the row no key, as if the value were null.
    NoKey,
}

enum Failure {
    NotUtf8(usize),
    NotTaken(usize),
}

/// Rows that one thread takes at a time.
const BLOCK: usize = 2048;

/// Digests of a batch: `out[i]` is the digest of row `i`, `None` where a key column is null.
///
/// Runs on the current rayon pool; the result does not depend on its size. `first_row` is added to row numbers
/// in errors.
pub fn digest_batch(
    columns: &[Column<'_>],
    rows: usize,
    first_row: u64,
    on_invalid: OnInvalid,
) -> Result<Vec<Option<KeyDigest>>, Refusal> {
    let (mut digests, mut keyed) = (vec![[0; 32]; rows], vec![false; rows]);
    digest_into(columns, first_row, on_invalid, &mut digests, &mut keyed)?;
    Ok(digests
        .into_iter()
        .zip(keyed)
        .map(|(digest, keyed)| keyed.then_some(digest))
        .collect())
}

/// Digests of a batch of `digests.len()` rows: `keyed[i]` says whether row `i` has a key, and only then is
/// `digests[i]` written.
///
/// Runs as `digest_batch`. `keyed` is as long as `digests`.
pub fn digest_into(
    columns: &[Column<'_>],
    first_row: u64,
    on_invalid: OnInvalid,
    digests: &mut [KeyDigest],
    keyed: &mut [bool],
) -> Result<(), Refusal> {
    if columns.is_empty() || digests.len() != keyed.len() {
        return Err(Refusal::new("E_FORMAT", "a key has at least one column"));
    }
    let failed = digests
        .par_chunks_mut(BLOCK)
        .zip(keyed.par_chunks_mut(BLOCK))
        .enumerate()
        .filter_map(|(block, (digests, keyed))| {
            let first = block * BLOCK;
            let mut encoder = Encoder::new(columns, first..first + digests.len());
            let slots = digests.iter_mut().zip(keyed).enumerate();
            slots.into_iter().find_map(|(i, (digest, keyed))| {
                match encoder.encode(first + i) {
                    Ok(Some(bytes)) => {
                        *digest = Sha256::digest(bytes).into();
                        *keyed = true;
                    }
                    Ok(None) => *keyed = false,
                    Err(Failure::NotTaken(_)) if on_invalid == OnInvalid::NoKey => *keyed = false,
                    Err(failure) => return Some((first + i, failure)),
                }
                None
            })
        })
        .min_by_key(|(row, _)| *row);
    let Some((row, failure)) = failed else {
        return Ok(());
    };
    let row = first_row + row as u64;
    Err(match failure {
        Failure::NotUtf8(c) => Refusal::new(
            "E_ENCODING",
            format!("column {}, row {row}: not UTF-8", columns[c].name),
        ),
        Failure::NotTaken(c) => Refusal::new(
            "E_DATA",
            format!(
                "column {}, row {row}: the value cannot be normalised as declared",
                columns[c].name
            ),
        ),
    })
}

/// Writes the encodings of a block of rows, one after the other into the same buffer: domain, number of columns,
/// then for each column its type, length and value.
struct Encoder<'a, 'b> {
    columns: &'b [Column<'a>],
    buffer: Vec<u8>,
    /// Length of what all rows begin with.
    head: usize,
    /// For each column whether every text of the block is ASCII, which is found out at once for all of them.
    ascii: Vec<bool>,
}

impl<'a, 'b> Encoder<'a, 'b> {
    fn new(columns: &'b [Column<'a>], rows: Range<usize>) -> Self {
        let mut buffer = Vec::with_capacity(128);
        buffer.extend_from_slice(DOMAIN);
        buffer.extend_from_slice(&(columns.len() as u32).to_le_bytes());
        let ascii = columns.iter().map(|column| match column.values {
            Values::Utf8(o, data) => {
                data[offset::<4>(o, rows.start)..offset::<4>(o, rows.end)].is_ascii()
            }
            Values::LargeUtf8(o, data) => {
                data[offset::<8>(o, rows.start)..offset::<8>(o, rows.end)].is_ascii()
            }
            _ => false,
        });
        Self {
            columns,
            head: buffer.len(),
            ascii: ascii.collect(),
            buffer,
        }
    }

    fn put(&mut self, kind: u8, value: &[u8]) {
        let mut head = [kind; 9];
        head[1..].copy_from_slice(&(value.len() as u64).to_le_bytes());
        self.buffer.extend_from_slice(&head);
        self.buffer.extend_from_slice(value);
    }

    fn text(&mut self, c: usize, raw: &[u8]) -> Result<(), Failure> {
        let steps = self.columns[c].steps;
        // No step and no doubt: the usual case of identifiers.
        if self.ascii[c] && steps.iter().all(|step| step.keeps(raw)) {
            self.put(1, raw);
            return Ok(());
        }
        let text = std::str::from_utf8(raw).map_err(|_| Failure::NotUtf8(c))?;
        let value = normalise(text, steps).ok_or(Failure::NotTaken(c))?;
        self.put(1, value.as_bytes());
        Ok(())
    }

    /// The encoding of one row, `None` if a key column is null.
    fn encode(&mut self, row: usize) -> Result<Option<&[u8]>, Failure> {
        self.buffer.truncate(self.head);
        let columns = self.columns;
        for (c, column) in columns.iter().enumerate() {
            if column.validity.is_some_and(|v| !v.get(row)) {
                return Ok(None);
            }
            match column.values {
                Values::Utf8(o, data) => {
                    self.text(c, &data[offset::<4>(o, row)..offset::<4>(o, row + 1)])?;
                }
                Values::LargeUtf8(o, data) => {
                    self.text(c, &data[offset::<8>(o, row)..offset::<8>(o, row + 1)])?;
                }
                Values::Int64(b) => self.put(2, &cell::<8>(b, row)),
                Values::Int32(b) => self.put(
                    2,
                    &i64::from(i32::from_le_bytes(cell(b, row))).to_le_bytes(),
                ),
                Values::Date32(b) => self.put(3, &cell::<4>(b, row)),
                Values::Bool(bits) => self.put(4, &[u8::from(bits.get(row))]),
                Values::Decimal128(b, scale) => {
                    self.put(5, &decimal(i128::from_le_bytes(cell(b, row)), scale));
                }
                Values::TimestampUs(b) => self.put(6, &cell::<8>(b, row)),
                Values::TimestampUtcUs(b) => self.put(7, &cell::<8>(b, row)),
            }
        }
        Ok(Some(&self.buffer))
    }
}

/// A decimal without trailing zeros: scale (i32), then mantissa (i128). Equal values of any scale are equal.
fn decimal(mut mantissa: i128, mut scale: i32) -> [u8; 20] {
    if mantissa == 0 {
        scale = 0;
    }
    while mantissa != 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        scale -= 1;
    }
    let mut out = [0u8; 20];
    out[..4].copy_from_slice(&scale.to_le_bytes());
    out[4..].copy_from_slice(&mantissa.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(values: Values<'_>, steps: &[Step]) -> Result<Option<KeyDigest>, Refusal> {
        let column = Column::new("k", values, None, steps, 1)?;
        Ok(digest_batch(&[column], 1, 0, OnInvalid::Refuse)?[0])
    }

    #[test]
    fn decimals_of_any_scale_join_by_value_and_no_type_joins_another() {
        let at = |m: i128, s| one(Values::Decimal128(&m.to_le_bytes(), s), &[]).unwrap();
        assert_eq!(at(500, 2), at(5, 0));
        assert_eq!(at(0, 7), at(0, 0));
        assert_eq!(at(-1230, 3), at(-123, 2));
        assert_ne!(at(5, 1), at(5, 0));
        let int = one(Values::Int64(&5i64.to_le_bytes()), &[]).unwrap();
        assert_eq!(int, one(Values::Int32(&5i32.to_le_bytes()), &[]).unwrap());
        assert_ne!(int, at(5, 0));
        assert_ne!(
            int,
            one(Values::TimestampUs(&5i64.to_le_bytes()), &[]).unwrap()
        );
    }

    #[test]
    fn columns_do_not_run_into_each_other() {
        let key = |a: &str, b: &str| {
            let (ao, bo) = ([0, a.len() as i32], [0, b.len() as i32]);
            let bytes = |o: [i32; 2]| o.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
            let (ao, bo) = (bytes(ao), bytes(bo));
            let columns = [
                Column::new("a", Values::Utf8(&ao, a.as_bytes()), None, &[], 1).unwrap(),
                Column::new("b", Values::Utf8(&bo, b.as_bytes()), None, &[], 1).unwrap(),
            ];
            digest_batch(&columns, 1, 0, OnInvalid::Refuse).unwrap()[0]
        };
        assert_ne!(key("ab", "c"), key("a", "bc"));
        assert_eq!(key("ab", "c"), key("ab", "c"));
    }

    #[test]
    fn nulls_have_no_key_and_bad_values_name_their_row() {
        let offsets: Vec<u8> = [0i64, 3, 3, 5]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let values = Values::LargeUtf8(&offsets, b"123xx");
        let validity = Bitmap::new(&[0b1010], 1, 3).unwrap();
        let column = Column::new("k", values, Some(validity), &[Step::Digits], 3).unwrap();
        let refusal =
            digest_batch(std::slice::from_ref(&column), 3, 100, OnInvalid::Refuse).unwrap_err();
        assert_eq!(refusal.code, "E_DATA");
        assert!(refusal.text.contains("row 102"), "{}", refusal.text);
        let keys = digest_batch(&[column], 3, 100, OnInvalid::NoKey).unwrap();
        assert_eq!(
            keys.iter().map(Option::is_some).collect::<Vec<_>>(),
            [true, false, false]
        );
    }

    #[test]
    fn buffers_that_do_not_fit_are_refused() {
        assert!(one(Values::Int64(&[0; 7]), &[]).is_err());
        assert!(one(Values::Int64(&[0; 8]), &[Step::Trim]).is_err());
        for scale in [i32::MIN, -129, 128, i32::MAX] {
            let ten = 10i128.to_le_bytes();
            let refusal = one(Values::Decimal128(&ten, scale), &[]).unwrap_err();
            assert_eq!(refusal.code, "E_TYPE", "{scale}");
        }
        for offsets in [[0i32, 3], [2, 1], [-1, 1], [0, -1]] {
            let bytes: Vec<u8> = offsets.iter().flat_map(|v| v.to_le_bytes()).collect();
            assert!(
                one(Values::Utf8(&bytes, b"ab"), &[]).is_err(),
                "{offsets:?}"
            );
        }
        let offsets: Vec<u8> = [0i32, 1].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(
            one(Values::Utf8(&offsets, b"\xff"), &[]).unwrap_err().code,
            "E_ENCODING"
        );
        assert!(Bitmap::new(&[0], 1, 8).is_err());
    }
}
