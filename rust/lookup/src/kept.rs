//! The sealed table whole, at an asker that asks so often that its columns would cost more one by one.

use atoll_pir::{Delta, Layout, Version};

use crate::{Refusal, Shape};

/// All columns of one version, one after the other.
#[derive(Debug)]
pub struct Kept {
    layout: Layout,
    version: Version,
    bytes: Vec<u8>,
}

impl Kept {
    /// What a holder sent; `E_FORMAT` for a wrong length.
    pub fn new(shape: &Shape, version: Version, bytes: Vec<u8>) -> Result<Self, Refusal> {
        let layout = shape.layout()?;
        let length = layout.columns() * layout.column_bytes();
        if bytes.len() != length {
            return Err(Refusal::new(
                "E_FORMAT",
                format!("the table has {length} bytes, got {}", bytes.len()),
            ));
        }
        Ok(Self {
            layout,
            version,
            bytes,
        })
    }

    /// One column; `E_RANGE` outside the table.
    pub fn column(&self, column: usize) -> Result<&[u8], Refusal> {
        let size = self.layout.column_bytes();
        let found = self.bytes.chunks_exact(size).nth(column);
        found.ok_or_else(|| {
            Refusal::new(
                "E_RANGE",
                format!("the table has {} columns", self.layout.columns()),
            )
        })
    }

    /// Brings it to the next version; `E_STATE` for a delta from another one, `E_RANGE` or `E_FORMAT` for a change
    /// outside the table. It is as before after a refusal.
    pub fn apply(&mut self, delta: &Delta) -> Result<(), Refusal> {
        if delta.from != self.version {
            return Err(Refusal::new(
                "E_STATE",
                "the delta begins at another version of the table",
            ));
        }
        let mut places = Vec::with_capacity(delta.changes.len());
        for change in &delta.changes {
            let (column, offset) = self.layout.place(change.row)?;
            if change.new.len() != self.layout.record_bytes() {
                return Err(Refusal::new("E_FORMAT", "a change has another length"));
            }
            places.push(column * self.layout.column_bytes() + offset);
        }
        for (&at, change) in places.iter().zip(&delta.changes) {
            self.bytes[at..at + change.new.len()].copy_from_slice(&change.new);
        }
        self.version = delta.to;
        Ok(())
    }
}
