//! Products of matrices by words in coefficients (Huang, Lu, Hong & Ding, *Cheetah*, eprint 2022/207): of a block of the
//! left matrix and one of the right, each in a polynomial, the product holds all inner products.
//!
//! Words count modulo 2^64, so no integer is masked: the mask is a uniform word.

use super::SLOTS;
use super::short::{Short, ShortFactor};
use crate::Refusal;

/// Primes of the modulus q of a ciphertext: the largest below 2^47 that are 1 modulo 2^14. The last two are dropped
/// before the way back.
pub(super) const LIMBS: [Short; 4] = [
    Short::new((1 << 47) - 81_919),
    Short::new((1 << 47) - 229_375),
    Short::new((1 << 47) - 311_295),
    Short::new((1 << 47) - 1_048_575),
];
/// Bits of a residue.
pub(super) const LIMB_BITS: u32 = 47;
/// Bytes of the encryption of a block.
pub(crate) const BLOCK_LEN: usize = LIMBS.len() * SLOTS * LIMB_BITS as usize / 8;
/// Low bits that an answer drops of its first and of its second part, numbers of 94 bits.
pub(super) const MATRIX_DROPPED: [u32; 2] = [22, 20];
/// Bytes of a number of an answer's first part, and of all of its second.
pub(super) const FIRST: usize = 9;
pub(super) const SECOND: usize = SLOTS * 74 / 8;
/// Most entries of a matrix.
pub(super) const MAX_ENTRIES: u64 = 1 << 26;
/// Sums that are made together, 512 KB each.
pub(super) const SUMS: usize = 128;
/// Answers of the columns of blocks that are multiplied together.
const GROUPED: usize = 512;
/// Bytes of the left matrix in transformed form: at most, and for a block.
const MAX_ROOM: u64 = 1 << 30;
const TRANSFORMED: usize = 6 * LIMBS.len() * SLOTS;

/// Words modulo 2^64 as residues: `round(q word / 2^64)`.
pub(super) struct Encoder {
    modulus: Short,
    /// q modulo 2^64.
    low: u64,
    /// -1/2^64.
    divide: ShortFactor,
}

impl Encoder {
    pub(super) fn new(modulus: Short) -> Self {
        let radix = modulus.public_product(modulus.radix(), 1 << 12);
        Self {
            modulus,
            low: LIMBS.iter().fold(1, |low: u64, m| low.wrapping_mul(m.q)),
            divide: modulus.factor(modulus.q - modulus.inverse(radix)),
        }
    }

    #[inline(always)]
    pub(super) fn encode(&self, word: u64) -> u64 {
        // q word less what it lacks to a multiple of 2^64, and q is zero here.
        let rest = self.low.wrapping_mul(word);
        let rest = self.modulus.word_lazy(rest);
        self.modulus.scale(rest, self.divide)
    }
}

/// Drops the last two primes, one after the other, and gives numbers modulo the product of the first two.
pub(super) struct Switch {
    /// Of each step: the inverse of what is dropped modulo what is left.
    divide: [[ShortFactor; 3]; 2],
    join: ShortFactor,
}

impl Switch {
    pub(super) fn new() -> Self {
        let inverse = |m: Short, of: Short| m.factor(m.inverse(of.q));
        let [p, q, r, s] = LIMBS;
        Self {
            divide: [
                [p, q, r].map(|m| inverse(m, s)),
                [p, q, q].map(|m| inverse(m, r)),
            ],
            join: inverse(q, p),
        }
    }

    #[inline(always)]
    pub(super) fn apply(&self, residues: [u64; 4]) -> u128 {
        let [p, q, r, s] = LIMBS;
        let divided = |m: Short, x: u64, rest: u64, from: Short, by: ShortFactor| {
            m.scale(m.sub(x, m.lift(rest, from)), by)
        };
        let [by_s, by_r] = self.divide;
        let z = divided(r, residues[2], residues[3], s, by_s[2]);
        let x = divided(
            p,
            divided(p, residues[0], residues[3], s, by_s[0]),
            z,
            r,
            by_r[0],
        );
        let y = divided(
            q,
            divided(q, residues[1], residues[3], s, by_s[1]),
            z,
            r,
            by_r[1],
        );
        let times = q.scale(q.sub(y, q.once(x)), self.join);
        u128::from(x) + u128::from(p.q) * u128::from(times)
    }
}

/// The word of a phase modulo the product of the first two primes: `round(2^64 phase / product)`.
pub(super) struct Decoder {
    radix: [ShortFactor; 2],
    join: ShortFactor,
    /// -1/product modulo 2^64.
    negative_inverse: u64,
}

impl Decoder {
    pub(super) fn new() -> Self {
        let [first, second, ..] = LIMBS;
        let product = first.q.wrapping_mul(second.q);
        let mut inverse = product;
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(product.wrapping_mul(inverse)));
        }
        Self {
            radix: [first, second].map(|m| m.factor(m.public_product(m.radix(), 1 << 12))),
            join: second.factor(second.inverse(first.q)),
            negative_inverse: inverse.wrapping_neg(),
        }
    }

    #[inline(always)]
    pub(super) fn decode(&self, phase: [u64; 2]) -> u64 {
        let [first, second, ..] = LIMBS;
        let x = first.scale(phase[0], self.radix[0]);
        let y = second.scale(phase[1], self.radix[1]);
        let times = second.scale(second.sub(y, second.once(x)), self.join);
        // 2^64 noise, between minus and plus half of the product.
        let rest = u128::from(x) + u128::from(first.q) * u128::from(times);
        let modulus = u128::from(first.q) * u128::from(second.q);
        let negative = ((modulus / 2).wrapping_sub(rest) >> 127) as u64;
        let low = (rest as u64).wrapping_sub(modulus as u64 & negative.wrapping_neg());
        low.wrapping_mul(self.negative_inverse)
    }
}

/// Sizes of a product and of the blocks that share a polynomial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Rows of the left matrix.
    pub rows: usize,
    /// Its columns, and the right matrix's rows.
    pub inner: usize,
    /// Columns of the right matrix.
    pub columns: usize,
    row_block: usize,
    inner_block: usize,
    column_block: usize,
}

impl Plan {
    /// The blocks that send the fewest bytes.
    ///
    /// # Errors
    /// `E_FORMAT` for a size of zero, `E_TOO_LARGE` for more than 2^26 entries of a matrix.
    pub fn new(rows: usize, inner: usize, columns: usize) -> Result<Self, Refusal> {
        if rows == 0 || inner == 0 || columns == 0 {
            return Err(Refusal::new("E_FORMAT", "a matrix has no entry"));
        }
        for (one, other) in [(rows, inner), (inner, columns), (rows, columns)] {
            let entries = (one as u64).checked_mul(other as u64);
            if entries.is_none_or(|entries| entries > MAX_ENTRIES) {
                return Err(Refusal::new(
                    "E_TOO_LARGE",
                    "a matrix has more than 2^26 entries",
                ));
            }
        }
        let mut best: Option<(u64, Self)> = None;
        for inner_block in 1..=inner.min(SLOTS) {
            for column_block in 1..=columns.min(SLOTS / inner_block) {
                let plan = Self {
                    rows,
                    inner,
                    columns,
                    row_block: (SLOTS / inner_block / column_block).min(rows),
                    inner_block,
                    column_block,
                };
                let bytes = plan.bytes();
                if (plan.room() <= MAX_ROOM || column_block == 1)
                    && best.is_none_or(|(least, _)| bytes < least)
                {
                    best = Some((bytes, plan));
                }
            }
        }
        best.map(|(_, plan)| plan)
            .ok_or_else(|| Refusal::new("E_FORMAT", "a matrix has no entry"))
    }

    /// Any blocks that fit.
    #[cfg(test)]
    pub(super) fn of(sizes: [usize; 3], blocks: [usize; 3]) -> Self {
        let ([rows, inner, columns], [row_block, inner_block, column_block]) = (sizes, blocks);
        Self {
            rows,
            inner,
            columns,
            row_block,
            inner_block,
            column_block,
        }
    }

    /// Blocks of rows, of the inner size, and of columns.
    pub(crate) fn counts(&self) -> [usize; 3] {
        [
            self.rows.div_ceil(self.row_block),
            self.inner.div_ceil(self.inner_block),
            self.columns.div_ceil(self.column_block),
        ]
    }

    /// Columns of blocks that are multiplied together, so that the left matrix is read once for all of them.
    pub(crate) fn group(&self) -> usize {
        let [rows, _, columns] = self.counts();
        (GROUPED / rows).clamp(1, 4).min(columns)
    }

    /// Bytes of the left matrix in transformed form.
    pub fn room(&self) -> u64 {
        let [rows, inner, _] = self.counts();
        (rows * inner * TRANSFORMED) as u64
    }

    /// Bytes of the answer of one block.
    pub(crate) fn answer_len(&self) -> usize {
        FIRST * self.row_block * self.column_block + SECOND
    }

    /// Bytes of all ciphertexts, both ways.
    pub fn bytes(&self) -> u64 {
        let [rows, inner, columns] = self.counts().map(|count| count as u64);
        columns * (inner * BLOCK_LEN as u64 + rows * self.answer_len() as u64)
    }

    /// Coefficients of a block of the left matrix, row by row, and zeros.
    pub(super) fn left(
        &self,
        matrix: &[u64],
        row_block: usize,
        inner_block: usize,
        out: &mut [u64; SLOTS],
    ) {
        out.fill(0);
        let width = self.inner_block;
        let first = inner_block * width;
        let inner = width.min(self.inner - first);
        for row in 0..self.row_block.min(self.rows - row_block * self.row_block) {
            let from = (row_block * self.row_block + row) * self.inner + first;
            let at = row * self.column_block * width;
            for (column, word) in matrix[from..from + inner].iter().enumerate() {
                out[at + width - 1 - column] = *word;
            }
        }
    }

    /// Coefficients of a block of the right matrix.
    pub(super) fn right(
        &self,
        matrix: &[u64],
        inner_block: usize,
        column_block: usize,
    ) -> Vec<u64> {
        let mut out = vec![0; SLOTS];
        let first = column_block * self.column_block;
        for column in 0..self.column_block.min(self.columns - first) {
            for row in 0..self
                .inner_block
                .min(self.inner - inner_block * self.inner_block)
            {
                let from = (inner_block * self.inner_block + row) * self.columns + first + column;
                out[column * self.inner_block + row] = matrix[from];
            }
        }
        out
    }

    /// Where the products of a block stand: coefficients, row by row of the block.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        let width = self.inner_block;
        (0..self.row_block * self.column_block).map(move |at| at * width + width - 1)
    }

    /// Puts the entries of a block where they belong in the product.
    pub(crate) fn put(&self, block: [usize; 2], entries: &[u64], product: &mut [u64]) {
        let [rows, columns] = [block[0] * self.row_block, block[1] * self.column_block];
        let width = self.column_block.min(self.columns - columns);
        let parts = entries.chunks_exact(self.column_block);
        for (row, part) in parts.enumerate().take(self.rows - rows) {
            let at = (rows + row) * self.columns + columns;
            product[at..at + width].copy_from_slice(&part[..width]);
        }
    }
}
