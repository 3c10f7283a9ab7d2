//! A cell: a write number in clear, then a record sealed under its key, the cell's place and that number.

use atoll_primitives::stream::Stream;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use zeroize::{Zeroize, ZeroizeOnDrop};

const WRITE_BYTES: usize = 4;
const TAG_BYTES: usize = 16;
/// Bytes of a cell beside its record.
pub const OVERHEAD: usize = WRITE_BYTES + TAG_BYTES;

/// Where a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its column.
    pub column: u32,
    /// Its number in the column.
    pub slot: u32,
}

/// What opens the record of one key: derived from the pseudorandom function's value at it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RecordKey([u8; 32]);

impl std::fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordKey")
    }
}

/// The key of a record, and the column of its cell, under the `salt` by which keys were placed.
pub fn derive(output: &[u8; 64], salt: &[u8; 16], columns: usize) -> (RecordKey, u32) {
    let key = Stream::derive(output, &[b"sealed-lookup/v1/record"]).bytes();
    let column = Stream::derive(output, &[b"sealed-lookup/v1/column", salt]).below(columns as u64);
    (RecordKey(key), column as u32)
}

impl RecordKey {
    /// Slot and write number are the nonce: under one key no two records have both.
    fn nonce(slot: u32, write: [u8; WRITE_BYTES]) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&slot.to_le_bytes());
        nonce[4..8].copy_from_slice(&write);
        nonce.into()
    }

    /// Writes the cell of `record` at `place`.
    pub fn seal(&self, place: Place, write: u32, record: &[u8], cell: &mut [u8]) {
        let (head, body) = cell.split_at_mut(WRITE_BYTES);
        let (tag, text) = body.split_at_mut(TAG_BYTES);
        head.copy_from_slice(&write.to_le_bytes());
        text.copy_from_slice(record);
        let nonce = Self::nonce(place.slot, write.to_le_bytes());
        let sealed = ChaCha20Poly1305::new(&self.0.into())
            .encrypt_inout_detached(&nonce, &place.column.to_le_bytes(), text.into())
            .expect("a record is far below the cipher's bound");
        tag.copy_from_slice(&sealed);
    }

    /// The record in `cell`, if it was sealed under this key at `place`.
    pub fn open(&self, place: Place, cell: &[u8]) -> Option<Vec<u8>> {
        let (head, body) = cell.split_first_chunk::<WRITE_BYTES>()?;
        let (tag, text) = body.split_first_chunk::<TAG_BYTES>()?;
        let mut record = text.to_vec();
        ChaCha20Poly1305::new(&self.0.into())
            .decrypt_inout_detached(
                &Self::nonce(place.slot, *head),
                &place.column.to_le_bytes(),
                record.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .ok()?;
        Some(record)
    }
}

/// Writes a cell that holds nothing and looks like one that does.
pub fn fill(write: u32, stream: &mut Stream, cell: &mut [u8]) {
    let (head, body) = cell.split_at_mut(WRITE_BYTES);
    head.copy_from_slice(&write.to_le_bytes());
    stream.fill_bytes(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_opens_under_its_key_at_its_place_unchanged() {
        let (key, column) = derive(&[7; 64], &[1; 16], 32);
        assert!(column < 32);
        let place = Place { column, slot: 5 };
        let mut cell = [0; OVERHEAD + 3];
        key.seal(place, 9, b"abc", &mut cell);
        assert_eq!(key.open(place, &cell).unwrap(), b"abc");
        for at in 0..cell.len() {
            let mut other = cell;
            other[at] ^= 1;
            assert_eq!(key.open(place, &other), None);
        }
        assert_eq!(key.open(Place { slot: 6, ..place }, &cell), None);
        assert_eq!(
            key.open(
                Place {
                    column: column + 1,
                    ..place
                },
                &cell
            ),
            None
        );
        let (foreign, _) = derive(&[8; 64], &[1; 16], 32);
        assert_eq!(foreign.open(place, &cell), None);
        assert_eq!(key.open(place, &cell[..3]), None);
    }

    #[test]
    fn writes_of_one_record_share_no_bytes() {
        let (key, column) = derive(&[7; 64], &[1; 16], 32);
        let place = Place { column, slot: 5 };
        let mut cells = [[0; OVERHEAD + 32]; 2];
        for (write, cell) in cells.iter_mut().enumerate() {
            key.seal(place, write as u32, &[0; 32], cell);
        }
        let alike = |from: usize| {
            cells[0][from..]
                .iter()
                .zip(&cells[1][from..])
                .filter(|(a, b)| a == b)
                .count()
        };
        assert!(alike(WRITE_BYTES) < 6);
    }
}
