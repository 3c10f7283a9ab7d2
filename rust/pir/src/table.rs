//! The holder's table, and the pass over it that answers queries.

use std::mem::take;
use std::ops::Range;

use crate::kernel::{Path, Split, TILE_COLUMNS, TILE_ROWS, place};
use crate::message::{encode, parse};
use crate::{Change, Delta, Layout, Refusal, Version};

/// Cells of one byte in tiles, one after the other as a pass reads them: blocks of `TILE_COLUMNS` columns,
/// in each tiles of `TILE_ROWS` rows.
#[derive(Debug)]
pub struct Table {
    layout: Layout,
    version: Version,
    cells: Vec<u8>,
    changes: Vec<Change>,
}

impl Table {
    /// A table from all its records, one after the other; `E_FORMAT` for a wrong length.
    pub fn new(layout: Layout, version: Version, records: &[u8]) -> Result<Self, Refusal> {
        let size = layout.record_bytes();
        if records.len() != layout.rows() * size {
            return Err(Refusal::new(
                "E_FORMAT",
                format!(
                    "records have {} bytes, got {}",
                    layout.rows() * size,
                    records.len()
                ),
            ));
        }
        let cells = vec![0; padded_height(&layout) * layout.columns()];
        let mut table = Self {
            layout,
            version,
            cells,
            changes: Vec::new(),
        };
        for (row, record) in records.chunks_exact(size).enumerate() {
            table.write(row, record)?;
        }
        Ok(table)
    }

    /// The shape.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The version that queries must name.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Puts `record` in place of record `row`; it counts as changed until `publish`. The table answers no query
    /// meanwhile: a holder that goes on answering changes a second table.
    pub fn change(&mut self, row: usize, record: &[u8]) -> Result<(), Refusal> {
        if record.len() != self.layout.record_bytes() {
            return Err(Refusal::new(
                "E_FORMAT",
                format!(
                    "a record has {} bytes, got {}",
                    self.layout.record_bytes(),
                    record.len()
                ),
            ));
        }
        let (column, offset) = self.layout.place(row)?;
        let old = (offset..offset + record.len())
            .map(|i| self.cells[self.cell(i, column)])
            .collect();
        self.write(row, record)?;
        self.changes.push(Change {
            row,
            old,
            new: record.to_vec(),
        });
        Ok(())
    }

    /// The bytes of some columns, one after the other: for whoever takes the table whole.
    ///
    /// `E_RANGE` outside the table, `E_STATE` for changes that are not published.
    pub fn columns(&self, range: Range<usize>) -> Result<Vec<u8>, Refusal> {
        self.check_published()?;
        if range.start > range.end || range.end > self.layout.columns() {
            return Err(Refusal::new(
                "E_RANGE",
                format!("the table has {} columns", self.layout.columns()),
            ));
        }
        let rows = 0..self.layout.column_bytes();
        let cell = |column: usize| {
            let rows = rows.clone();
            rows.map(move |row| self.cells[self.cell(row, column)])
        };
        Ok(range.flat_map(cell).collect())
    }

    fn check_published(&self) -> Result<(), Refusal> {
        if self.changes.is_empty() {
            return Ok(());
        }
        Err(Refusal::new(
            "E_STATE",
            "changes of the table are not published",
        ))
    }

    /// Names the changed table `version`, and says what changed; `E_STATE` for the version that it had.
    pub fn publish(&mut self, version: Version) -> Result<Delta, Refusal> {
        if version == self.version {
            return Err(Refusal::new(
                "E_STATE",
                "a changed table needs a new version",
            ));
        }
        let from = std::mem::replace(&mut self.version, version);
        Ok(Delta {
            from,
            to: version,
            changes: take(&mut self.changes),
        })
    }

    /// Answers to `queries`, all in one pass; refuses them all if one is refused.
    ///
    /// `E_FORMAT` for a wrong length, `E_STATE` for another version or for changes that are not published.
    pub fn answer(&self, queries: &[&[u8]]) -> Result<Vec<Vec<u8>>, Refusal> {
        let answers = self.answer_words(queries)?;
        Ok(answers
            .iter()
            .map(|words| encode(&self.version, words))
            .collect())
    }

    /// As `answer`, the words alone.
    pub fn answer_words(&self, queries: &[&[u8]]) -> Result<Vec<Vec<u32>>, Refusal> {
        self.check_published()?;
        let split = queries
            .iter()
            .map(|query| {
                Ok(Split::new(parse(
                    query,
                    &self.version,
                    self.layout.columns(),
                )?))
            })
            .collect::<Result<Vec<_>, Refusal>>()?;
        Ok(self.products(Path::best(), &split))
    }

    /// The matrix of cells times each vector of `columns` words: `column_bytes` words each.
    ///
    /// # Panics
    /// If a vector has another length.
    pub fn products(&self, path: Path, vectors: &[Split]) -> Vec<Vec<u32>> {
        assert!(
            vectors
                .iter()
                .all(|vector| vector.len() == self.layout.columns())
        );
        let height = padded_height(&self.layout);
        let mut sums = vec![vec![[0u32; TILE_ROWS]; height / TILE_ROWS]; vectors.len()];
        let mut rest = self.cells.as_slice();
        for first in (0..self.layout.columns()).step_by(TILE_COLUMNS) {
            let width = TILE_COLUMNS.min(self.layout.columns() - first);
            let (block, later) = rest.split_at(width * height);
            for (group, tile) in block.chunks_exact(width * TILE_ROWS).enumerate() {
                for (vector, sums) in vectors.iter().zip(&mut sums) {
                    vector.add_tile(path, tile, first, width, &mut sums[group]);
                }
            }
            rest = later;
        }
        let cut = |sums: Vec<[u32; TILE_ROWS]>| {
            let mut words = sums.into_flattened();
            words.truncate(self.layout.column_bytes());
            words
        };
        sums.into_iter().map(cut).collect()
    }

    fn cell(&self, row: usize, column: usize) -> usize {
        let first = column / TILE_COLUMNS * TILE_COLUMNS;
        let width = TILE_COLUMNS.min(self.layout.columns() - first);
        let tile = row / TILE_ROWS * TILE_ROWS * width;
        first * padded_height(&self.layout) + tile + place(row % TILE_ROWS, column - first)
    }

    fn write(&mut self, row: usize, record: &[u8]) -> Result<(), Refusal> {
        let (column, offset) = self.layout.place(row)?;
        for (i, &byte) in record.iter().enumerate() {
            let at = self.cell(offset + i, column);
            self.cells[at] = byte;
        }
        Ok(())
    }
}

fn padded_height(layout: &Layout) -> usize {
    layout.column_bytes().next_multiple_of(TILE_ROWS)
}
