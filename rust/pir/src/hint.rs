//! The public matrix, and the hint: the table times it, which an asker keeps and brings up to date.

use atoll_primitives::stream::Stream;

use crate::kernel::{Path, Split};
use crate::message::{encode, parse};
use crate::parameters::N;
use crate::{Delta, Layout, Refusal, Table, Version};

/// Columns of the matrix that one pass takes.
const BATCH: usize = 16;

/// The public matrix: `columns` rows of `N` words, each row a stream of its own.
#[derive(Debug)]
pub struct Matrix {
    words: Vec<u32>,
}

impl Matrix {
    /// Expands the matrix of a table with that many columns from a public seed; `4 N columns` bytes of memory.
    pub fn expand(seed: &[u8; 32], columns: usize) -> Self {
        let mut words = Vec::with_capacity(columns * N);
        let mut bytes = [0u8; N * 4];
        for column in 0..columns {
            let label = (column as u32).to_be_bytes();
            Stream::derive(seed, &[b"index-pir/v1/matrix", &label]).fill_bytes(&mut bytes);
            let (chunks, _) = bytes.as_chunks::<4>();
            words.extend(chunks.iter().map(|word| u32::from_le_bytes(*word)));
        }
        Self { words }
    }

    /// Rows of the matrix, which are columns of the table.
    pub fn columns(&self) -> usize {
        self.words.len() / N
    }

    /// The `N` words that belong to one column of the table.
    pub(crate) fn row(&self, column: usize) -> &[u32] {
        &self.words[column * N..][..N]
    }

    /// `N` words for each column of the table.
    pub(crate) fn words(&self) -> &[u32] {
        &self.words
    }

    fn check(&self, layout: &Layout) -> Result<(), Refusal> {
        if self.columns() != layout.columns() {
            return Err(Refusal::new(
                "E_STATE",
                "the matrix is of a table with other columns",
            ));
        }
        Ok(())
    }
}

/// Cells times matrix: `column_bytes` rows of `N` words, for one version of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    layout: Layout,
    version: Version,
    words: Vec<u32>,
}

impl Hint {
    /// The hint of a table: N / 16 passes over it. `E_STATE` for a matrix of other columns.
    pub fn compute(table: &Table, matrix: &Matrix) -> Result<Self, Refusal> {
        let layout = *table.layout();
        matrix.check(&layout)?;
        let mut words = vec![0; layout.column_bytes() * N];
        for first in (0..N).step_by(BATCH) {
            let vectors: Vec<Split> = (first..first + BATCH)
                .map(|k| Split::new((0..layout.columns()).map(|j| matrix.row(j)[k]).collect()))
                .collect();
            let products = table.products(Path::best(), &vectors);
            for (k, product) in products.iter().enumerate() {
                for (row, &word) in product.iter().enumerate() {
                    words[row * N + first + k] = word;
                }
            }
        }
        Ok(Self {
            layout,
            version: *table.version(),
            words,
        })
    }

    /// The shape of the table.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The version of the table.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// `N` words for each byte of the column.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Brings the hint to the next version, in time proportional to the change.
    ///
    /// `E_STATE` for a delta from another version or a matrix of other columns, `E_RANGE` or `E_FORMAT` for a
    /// change outside the table; the hint is then as before.
    pub fn apply(&mut self, delta: &Delta, matrix: &Matrix) -> Result<(), Refusal> {
        matrix.check(&self.layout)?;
        if delta.from != self.version {
            return Err(Refusal::new(
                "E_STATE",
                "the delta begins at another version of the table",
            ));
        }
        let size = self.layout.record_bytes();
        for change in &delta.changes {
            self.layout.place(change.row)?;
            if change.old.len() != size || change.new.len() != size {
                return Err(Refusal::new(
                    "E_FORMAT",
                    format!("a record has {size} bytes"),
                ));
            }
        }
        for change in &delta.changes {
            let (column, offset) = self.layout.place(change.row)?;
            for (i, (&old, &new)) in change.old.iter().zip(&change.new).enumerate() {
                let step = (new as i8 as u32).wrapping_sub(old as i8 as u32);
                if step != 0 {
                    let row = &mut self.words[(offset + i) * N..][..N];
                    for (word, &a) in row.iter_mut().zip(matrix.row(column)) {
                        *word = word.wrapping_add(step.wrapping_mul(a));
                    }
                }
            }
        }
        self.version = delta.to;
        Ok(())
    }

    /// Version and words as bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.version, &self.words)
    }

    /// The hint of a version; `E_FORMAT` for a wrong length, `E_STATE` for another version.
    pub fn parse(bytes: &[u8], layout: Layout, version: Version) -> Result<Self, Refusal> {
        let words = parse(bytes, &version, layout.column_bytes() * N)?;
        Ok(Self {
            layout,
            version,
            words,
        })
    }
}
