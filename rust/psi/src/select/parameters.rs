//! Sizes, all of them public: they follow from what both sides agreed on.

use super::garble::{self, Half};
use crate::Refusal;
use crate::circuit::parameters::{LEAF, levels, string_bits};

/// Most cells of a column.
pub const MOST_CELLS: usize = 4096;
/// Most words of a cell.
pub const MOST_WORDS: usize = 16;
/// Most values of one correlation: queries times cells times leaves.
const MOST_VALUES: usize = 1 << 22;
/// Input bits of a query.
pub(crate) const INPUT_BITS: usize = 128;

/// Who a party is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Knows an id, and a column of the holder's sealed table.
    Asker,
    /// Has sealed the table.
    Holder,
}

impl Role {
    /// The peer's role.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Asker => Self::Holder,
            Self::Holder => Self::Asker,
        }
    }
}

/// What the cells of a table are like; both sides agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    cells: usize,
    words: usize,
}

impl Shape {
    /// Columns of `cells` cells (1 to 4096) with `words` words each (1 to 16); `E_RANGE` outside.
    pub fn new(cells: usize, words: usize) -> Result<Self, Refusal> {
        if !(1..=MOST_CELLS).contains(&cells) || !(1..=MOST_WORDS).contains(&words) {
            return Err(Refusal::new(
                "E_RANGE",
                format!("a column has 1 to {MOST_CELLS} cells of 1 to {MOST_WORDS} words"),
            ));
        }
        Ok(Self { cells, words })
    }

    /// Cells of a column.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Words of a cell.
    pub fn words(&self) -> usize {
        self.words
    }

    /// Bits of a tag: another id's is equal to one of a column with probability below 2^-40.
    pub fn tag_bits(&self) -> u32 {
        string_bits(self.cells)
    }

    /// Bytes of a tag in its cell.
    pub fn tag_bytes(&self) -> usize {
        self.tag_bits().div_ceil(8) as usize
    }

    /// Bytes of a cell: tag and words.
    pub fn cell_bytes(&self) -> usize {
        self.tag_bytes() + 8 * self.words
    }

    /// Bytes of a column.
    pub fn column_bytes(&self) -> usize {
        self.cells * self.cell_bytes()
    }

    /// Mask of a tag.
    pub(crate) fn tag_mask(&self) -> u64 {
        u64::MAX >> (64 - self.tag_bits())
    }

    /// Leaves of each level of the equality test of one cell.
    pub(crate) fn levels(&self) -> Vec<usize> {
        levels(self.tag_bits())
    }

    /// Values that the equality tests of one query take.
    pub(crate) fn leaves(&self) -> usize {
        self.cells * self.levels().iter().sum::<usize>()
    }

    /// Blocks of the function: the tag, then the pad of each word, 64 bits each.
    pub(crate) fn blocks(&self) -> usize {
        (1 + self.words).div_ceil(2)
    }

    /// What both halves of block `block` are.
    pub(crate) fn halves(&self, block: usize) -> [Half; 2] {
        [2 * block, 2 * block + 1].map(|at| match at {
            0 => Half::Bits,
            at if at <= self.words => Half::Word,
            _ => Half::Unused,
        })
    }

    /// Bytes of garbled block `block`.
    pub(crate) fn garbled_bytes(&self, block: usize) -> usize {
        garble::length(self.halves(block))
    }
}

/// Parameters of one preparation and of the queries that follow; both sides agree on all but role and threads.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// Number of the attempt: a new one draws fresh randomness.
    pub attempt: u32,
    /// Name of the channel, a label of the randomness.
    pub channel: String,
    /// Bytes that name the job; bound into every hash.
    pub context: Vec<u8>,
    /// What this party is.
    pub role: Role,
    /// What columns and cells are like.
    pub shape: Shape,
    /// Queries to prepare, at least 1.
    pub queries: usize,
    /// Worker threads.
    pub threads: usize,
}

/// What a correlation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Leaves of the equality tests: the asker receives.
    Leaves,
    /// The asker's input bits, then its choice for the holder's words, of each query: the asker receives.
    Asker,
    /// The holder's choices for the asker's words: the holder receives.
    Holder,
}

/// Use, size and bits of the correlations; `E_RANGE` for no query, or for more than one preparation takes.
pub(crate) fn correlations(p: &Parameters) -> Result<[(Use, usize, u32); 3], Refusal> {
    let leaves = p.queries.checked_mul(p.shape.leaves());
    match leaves {
        Some(leaves @ 1..=MOST_VALUES) => Ok([
            (Use::Leaves, leaves, LEAF as u32),
            (Use::Asker, p.queries * (INPUT_BITS + 1), 1),
            (Use::Holder, p.queries * p.shape.cells, 1),
        ]),
        _ => Err(Refusal::new(
            "E_RANGE",
            format!(
                "one preparation is for 1 to {} queries of this shape",
                MOST_VALUES / p.shape.leaves()
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_from_cells_and_words() {
        let shape = Shape::new(154, 1).unwrap();
        assert_eq!((shape.tag_bits(), shape.cell_bytes()), (48, 14));
        assert_eq!(shape.levels(), [12, 3, 1]);
        assert_eq!((shape.blocks(), shape.leaves()), (1, 154 * 16));
        let shape = Shape::new(1, 4).unwrap();
        assert_eq!((shape.tag_bits(), shape.blocks()), (40, 3));
        assert_eq!(shape.halves(0), [Half::Bits, Half::Word]);
        assert_eq!(shape.halves(1), [Half::Word; 2]);
        assert_eq!(shape.halves(2), [Half::Word, Half::Unused]);
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        for (cells, words) in [(0, 1), (MOST_CELLS + 1, 1), (1, 0), (1, MOST_WORDS + 1)] {
            assert_eq!(Shape::new(cells, words).unwrap_err().code, "E_RANGE");
        }
        let with = |queries| Parameters {
            attempt: 0,
            channel: String::new(),
            context: Vec::new(),
            role: Role::Asker,
            shape: Shape::new(154, 1).unwrap(),
            queries,
            threads: 1,
        };
        for queries in [0, MOST_VALUES / (154 * 16) + 1, usize::MAX] {
            assert_eq!(correlations(&with(queries)).unwrap_err().code, "E_RANGE");
        }
        assert!(correlations(&with(MOST_VALUES / (154 * 16))).is_ok());
    }
}
