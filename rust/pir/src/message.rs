//! What travels: queries and answers (version, then words) and the changes between two versions.
//! Integers are little-endian.

use crate::{Layout, Refusal};

/// Names one state of a table; queries, answers and hints of two versions never meet.
pub type Version = [u8; 16];

/// Version and words as bytes.
pub fn encode(version: &Version, words: &[u32]) -> Vec<u8> {
    let mut bytes = version.to_vec();
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    bytes
}

/// The words of a message; `E_FORMAT` for a wrong length, `E_STATE` for another version.
pub fn parse(bytes: &[u8], version: &Version, count: usize) -> Result<Vec<u32>, Refusal> {
    let (head, body) = split_version(bytes)?;
    if body.len() != count * 4 {
        return Err(Refusal::new(
            "E_FORMAT",
            format!(
                "a message of {count} words has {} bytes, got {}",
                count * 4 + 16,
                bytes.len()
            ),
        ));
    }
    if head != *version {
        return Err(Refusal::new(
            "E_STATE",
            "the message is of another version of the table",
        ));
    }
    let (words, _) = body.as_chunks::<4>();
    Ok(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

fn split_version(bytes: &[u8]) -> Result<(Version, &[u8]), Refusal> {
    let (head, body) = bytes
        .split_first_chunk::<16>()
        .ok_or_else(|| Refusal::new("E_FORMAT", "a message begins with a version of 16 bytes"))?;
    Ok((*head, body))
}

/// A record that changed: what stood in `row` before and what stands there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Index of the record.
    pub row: usize,
    /// Bytes before.
    pub old: Vec<u8>,
    /// Bytes now.
    pub new: Vec<u8>,
}

/// All changes from one version to the next. Its size is proportional to the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// Version before.
    pub from: Version,
    /// Version after.
    pub to: Version,
    /// In the order in which they were made.
    pub changes: Vec<Change>,
}

impl Delta {
    /// Both versions, then for each change the row (u32), old and new bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = [self.from, self.to].concat();
        for change in &self.changes {
            bytes.extend_from_slice(&(change.row as u32).to_le_bytes());
            bytes.extend_from_slice(&change.old);
            bytes.extend_from_slice(&change.new);
        }
        bytes
    }

    /// The delta of a table of this shape; `E_FORMAT` for a wrong length, `E_RANGE` for a row outside.
    pub fn parse(bytes: &[u8], layout: &Layout) -> Result<Self, Refusal> {
        let (from, rest) = split_version(bytes)?;
        let (to, rest) = split_version(rest)?;
        let size = layout.record_bytes();
        let entries = rest.chunks_exact(4 + 2 * size);
        if !entries.remainder().is_empty() {
            return Err(Refusal::new("E_FORMAT", "a delta ends within a record"));
        }
        let parse = |entry: &[u8]| {
            let (head, records) = entry.split_at(4);
            let row = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            layout.place(row)?;
            let (old, new) = records.split_at(size);
            Ok(Change {
                row,
                old: old.to_vec(),
                new: new.to_vec(),
            })
        };
        Ok(Self {
            from,
            to,
            changes: entries.map(parse).collect::<Result<_, Refusal>>()?,
        })
    }
}
