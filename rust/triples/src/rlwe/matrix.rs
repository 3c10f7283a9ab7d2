//! Products of matrices by words in coefficients (Huang, Lu, Hong & Ding, *Cheetah*, eprint 2022/207): of a block of the
//! left matrix and one of the right, each in a polynomial, the product holds all inner products.
//!
//! Words count modulo 2^64, so no integer is masked: the mask is a uniform word.

use super::modulus::{Factor, Modulus};
use super::{POLYNOMIAL_LEN, PRIMES, SLOTS};
use crate::Refusal;

/// Low bits that an answer drops, of its first and of its second part.
pub(super) const MATRIX_DROPPED: [u32; 2] = [52, 44];
/// Bytes of a number of an answer's second part.
const SECOND: usize = 10;
/// Most entries of a matrix.
pub(super) const MAX_ENTRIES: u64 = 1 << 26;
/// Sums that are made together, 400 KB each.
pub(super) const SUMS: usize = 512;
/// Most bytes of the left matrix in transformed form.
const MAX_ROOM: u64 = 1 << 30;

/// Words modulo 2^64 as residues: `round(q word / 2^64)`, where q is the product of all limbs.
pub(super) struct Encoder {
    modulus: Modulus,
    /// q modulo 2^64.
    low: u64,
    /// -1/2^64.
    divide: Factor,
}

impl Encoder {
    pub(super) fn new(modulus: Modulus) -> Self {
        let limbs = [PRIMES[0], PRIMES[3], PRIMES[4]];
        Self {
            modulus,
            low: limbs.iter().fold(1, |low: u64, m| low.wrapping_mul(m.q)),
            divide: modulus.factor(modulus.q - modulus.inverse(modulus.radix())),
        }
    }

    #[inline(always)]
    pub(super) fn encode(&self, word: u64) -> u64 {
        // q word less what it lacks to a multiple of 2^64, and q is zero here.
        let rest = self.low.wrapping_mul(word);
        self.modulus.scale(self.modulus.word(rest), self.divide)
    }
}

/// The word of a phase modulo p Q: `round(2^64 phase / (p Q))`.
pub(super) struct Decoder {
    first: Modulus,
    second: Modulus,
    radix: [Factor; 2],
    join: Factor,
    /// -1/(p Q) modulo 2^64.
    negative_inverse: u64,
}

impl Decoder {
    pub(super) fn new() -> Self {
        let (first, second) = (PRIMES[0], PRIMES[3]);
        let product = first.q.wrapping_mul(second.q);
        let mut inverse = product;
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(product.wrapping_mul(inverse)));
        }
        Self {
            first,
            second,
            radix: [first, second].map(|m| m.factor(m.radix())),
            join: second.factor(second.inverse(first.q % second.q)),
            negative_inverse: inverse.wrapping_neg(),
        }
    }

    #[inline(always)]
    pub(super) fn decode(&self, phase: [u64; 2]) -> u64 {
        let x = self.first.scale(phase[0], self.radix[0]);
        let y = self.second.scale(phase[1], self.radix[1]);
        let times = self
            .second
            .scale(self.second.sub(y, self.second.once(x)), self.join);
        // 2^64 noise, between -p Q / 2 and p Q / 2.
        let rest = u128::from(x) + u128::from(self.first.q) * u128::from(times);
        let modulus = u128::from(self.first.q) * u128::from(self.second.q);
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
                let [left, ..] = plan.counts();
                let room = (left * plan.counts()[1] * 24 * SLOTS) as u64;
                let bytes = plan.bytes();
                if (room <= MAX_ROOM || column_block == 1)
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
        (SUMS / self.counts()[0]).clamp(1, 4)
    }

    /// Bytes of the answer of one block.
    pub(crate) fn answer_len(&self) -> usize {
        9 * self.row_block * self.column_block + SECOND * SLOTS
    }

    /// Bytes of all ciphertexts, both ways.
    pub fn bytes(&self) -> u64 {
        let [rows, inner, columns] = self.counts().map(|count| count as u64);
        columns * (inner * POLYNOMIAL_LEN as u64 + rows * self.answer_len() as u64)
    }

    /// Coefficients of a block of the left matrix, row by row.
    pub(super) fn left(&self, matrix: &[u64], row_block: usize, inner_block: usize) -> Vec<u64> {
        let mut out = vec![0; SLOTS];
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
        out
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
