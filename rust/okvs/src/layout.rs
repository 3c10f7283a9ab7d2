//! Where the slots of a key lie.

use crate::store::Kind;

/// The most keys of one store: its failure bound is derived up to here.
pub const MOST_ITEMS: usize = 1 << 22;

/// Dense columns: bits of a mask that each key carries.
pub(crate) const DENSE: usize = 64;

/// Shape of a store: `windows + weight - 1` segments of `length` slots, then the dense slots. A key picks a window and
/// one slot in each of the `weight` segments that begin there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub weight: usize,
    pub windows: u64,
    pub length: u64,
    seed: [u64; 2],
    factor: [u64; 2],
}

/// One key's equation: its sparse slots and the mask of its dense ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<const K: usize> {
    pub slots: [u32; K],
    pub dense: u64,
}

impl Layout {
    pub fn new(items: usize, kind: Kind, seed: [u8; 16]) -> Self {
        let (weight, windows, length) = shape(items, kind);
        let word = |at: usize| u64::from_le_bytes(seed[at..at + 8].try_into().expect("8 bytes"));
        let (low, high) = (word(0), word(8));
        Self {
            weight,
            windows,
            length,
            seed: [low, high],
            factor: [high | 1, low | 1],
        }
    }

    /// A shape of its own, for measurements.
    #[cfg(test)]
    pub fn reduced(weight: usize, windows: u64, length: u64) -> Self {
        Self {
            weight,
            windows,
            length,
            seed: [0; 2],
            factor: [1; 2],
        }
    }

    /// Sparse slots.
    pub fn sparse(&self) -> usize {
        (self.windows as usize + self.weight - 1) * self.length as usize
    }

    /// All slots.
    pub fn slots(&self) -> usize {
        self.sparse() + DENSE
    }

    /// The window of a key, and what is left of the bits that chose it.
    #[inline(always)]
    pub fn window(&self, key: u128) -> (usize, u64) {
        // A product with an odd number permutes the 64-bit words, so that uniform keys stay uniform under every seed.
        let word = ((key >> 64) as u64 ^ self.seed[1]).wrapping_mul(self.factor[1]);
        split(word, self.windows)
    }

    /// The equation of a key; both halves of the key are independent, so are its slots and its mask.
    #[inline(always)]
    pub fn row<const K: usize>(&self, key: u128) -> Row<K> {
        let (window, mut rest) = self.window(key);
        let mut start = window as u32 * self.length as u32;
        let mut slots = [0; K];
        for slot in &mut slots {
            let (offset, next) = split(rest, self.length);
            *slot = start + offset as u32;
            start += self.length as u32;
            rest = next;
        }
        let dense = (key as u64 ^ self.seed[0]).wrapping_mul(self.factor[0]);
        Row { slots, dense }
    }
}

/// Multiply-shift: a number below `range` from the high end of `word`, and the fraction that is left.
#[inline(always)]
fn split(word: u64, range: u64) -> (usize, u64) {
    let product = u128::from(word) * u128::from(range);
    ((product >> 64) as usize, product as u64)
}

/// Slots of a store of up to `items` keys.
pub fn slots(items: usize, kind: Kind) -> usize {
    Layout::new(items, kind, [0; 16]).slots()
}

/// Weight, windows and length of a segment.
fn shape(items: usize, kind: Kind) -> (usize, u64, u64) {
    let items = items.max(1) as u64;
    let (weight, windows, permille) = match kind {
        Kind::Fast => bracket(&FAST, items),
        Kind::Dense => bracket(&DENSER, items),
    };
    let sparse = (items * permille).div_ceil(1000) + 8;
    let segments = windows + weight as u64 - 1;
    (weight, windows, sparse.div_ceil(segments))
}

/// Items below this number, weight, windows, sparse slots in thousandths of the items. Failure bounds of the tables are
/// derived by scripts/okvs_parameters.py.
type Bracket = (u64, usize, u64, u64);

fn bracket(table: &[Bracket], items: u64) -> (usize, u64, u64) {
    let row = table.iter().find(|row| items < row.0);
    let (_, weight, windows, permille) = *row.unwrap_or(&table[table.len() - 1]);
    (weight, windows, permille)
}

#[rustfmt::skip]
const FAST: [Bracket; 3] = [
    (1 << 14, 3, 1, 1300),
    (1 << 16, 3, 30, 1200),
    (1 << 23, 3, 100, 1150),
];

#[rustfmt::skip]
const DENSER: [Bracket; 6] = [
    (1 << 14, 3, 1, 1300),
    (1 << 16, 4, 60, 1100),
    (1 << 17, 4, 150, 1062),
    (1 << 18, 4, 150, 1048),
    (1 << 21, 4, 300, 1047),
    (1 << 23, 4, 500, 1047),
];
