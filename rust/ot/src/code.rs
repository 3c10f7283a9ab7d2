//! The expand-convolute code (Raghuraman, Rindal & Tanguy, eprint 2023/882) at rate one half, systematic, transposed: what
//! makes `rows` pseudo-random values of a sparse vector.
//!
//! `output = first rows + B (C rest)`. C is a convolution: values go in groups of four, and each takes in its
//! predecessor, and by a random bit each of the 24 values of the six groups before and what else is before it in its own. B adds seven values, one from each seventh of the whole. Bits and places are public, from AES-128 in counter mode.

use rayon::prelude::*;

use crate::prg::{Counter, key};

/// Values that each output gathers.
pub(crate) const EXPAND: usize = 7;
/// How far back the convolution reaches at least.
pub(crate) const WIDTH: usize = 24;
/// Values of which the convolution tables the subset sums.
const GROUP: usize = 4;
/// Values whose bits or places are drawn together.
const CHUNK: usize = 1024;
/// Outputs that stay near while they gather from parts that do not.
const TILE: usize = 32 * CHUNK;
/// Bytes of a part that stays near while all outputs gather from it.
const NEAR: usize = 3 << 20;

/// What the code adds up.
pub(crate) trait Element: Copy + Default + Send + Sync {
    /// An element that holds a leaf of a tree.
    fn leaf(value: u128) -> Self;
    /// The sum.
    fn plus(self, other: Self) -> Self;
    /// Itself where the mask is all ones, zero where it is zero.
    fn and(self, mask: u64) -> Self;
}

impl Element for u128 {
    fn leaf(value: u128) -> Self {
        value
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self ^ other
    }
    #[inline(always)]
    fn and(self, mask: u64) -> Self {
        self & (mask as u128 | (mask as u128) << 64)
    }
}

impl Element for u8 {
    fn leaf(_: u128) -> Self {
        0
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self ^ other
    }
    #[inline(always)]
    fn and(self, mask: u64) -> Self {
        self & mask as u8
    }
}

/// Two values that travel together, so that one access to memory fetches both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(align(32))]
pub(crate) struct Pair {
    pub(crate) c: u128,
    pub(crate) a: u128,
}

impl Element for Pair {
    fn leaf(value: u128) -> Self {
        Self { c: value, a: 0 }
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self {
            c: self.c ^ other.c,
            a: self.a ^ other.a,
        }
    }
    #[inline(always)]
    fn and(self, mask: u64) -> Self {
        Self {
            c: self.c.and(mask),
            a: self.a.and(mask),
        }
    }
}

/// One code: its number of outputs and its public keys.
pub(crate) struct Code {
    rows: usize,
    places: [u8; 16],
    bits: [u8; 16],
}

impl Code {
    pub(crate) fn new(rows: usize, context: &[u8; 16]) -> Self {
        Self {
            rows,
            places: key("atoll ot code places", context),
            bits: key("atoll ot code bits", context),
        }
    }

    /// Puts the outputs into the first `size` values. `values` are at least `2 * rows` of them.
    pub(crate) fn encode<T: Element>(&self, values: &mut Vec<T>, size: usize) {
        let (outputs, rest) = values.split_at_mut(self.rows);
        self.convolve(rest);
        self.expand(rest, &mut outputs[..size]);
        values.truncate(size);
        values.shrink_to_fit();
    }

    /// Values go in groups of four. The sums of each subset of a group are tabled once, and serve the six groups that follow.
    fn convolve<T: Element>(&self, values: &mut [T]) {
        let mut draws = Counter::new(&self.bits);
        let mut coefficients = [0u128; CHUNK / 4];
        let mut tables = [[T::default(); 1 << GROUP]; WIDTH / GROUP];
        let mut oldest = 0;
        let mut last = T::default();
        for chunk in values.chunks_mut(CHUNK) {
            draws.blocks(&mut coefficients);
            for (group, bits) in chunk.chunks_mut(GROUP).zip(&coefficients) {
                let mut own = [T::default(); GROUP];
                for (i, value) in group.iter_mut().enumerate() {
                    let bits = (bits >> (32 * i)) as u32;
                    let mut sum = value.plus(last);
                    for (j, table) in tables.iter().enumerate() {
                        sum = sum.plus(table[(bits >> (GROUP * j)) as usize % (1 << GROUP)]);
                    }
                    for (j, before) in own[..i.saturating_sub(1)].iter().enumerate() {
                        let bit = u64::from(bits >> (WIDTH + j) & 1);
                        sum = sum.plus(before.and(0u64.wrapping_sub(bit)));
                    }
                    (own[i], last, *value) = (sum, sum, sum);
                }
                let table = &mut tables[oldest];
                oldest = (oldest + 1) % (WIDTH / GROUP);
                for (i, value) in own.iter().enumerate() {
                    for j in 0..1 << i {
                        table[(1 << i) + j] = table[j].plus(*value);
                    }
                }
            }
        }
    }

    /// A tile of outputs gathers from one part of the values after the other: its pages and much of its lines stay near.
    /// Where a part fits the cache, a tile is all that a thread does: outputs are run through in order, which costs less
    /// than to fetch the part again.
    fn expand<T: Element>(&self, values: &[T], outputs: &mut [T]) {
        let part = values.len() / EXPAND;
        let tile_size = if part * size_of::<T>() <= NEAR {
            let each = outputs.len().div_ceil(rayon::current_num_threads());
            each.next_multiple_of(CHUNK).max(CHUNK)
        } else {
            TILE
        };
        (outputs.par_chunks_mut(tile_size).enumerate()).for_each(|(tile, outputs)| {
            let mut draws = Counter::new(&self.places);
            let mut places = [0u128; CHUNK / 4];
            for j in 0..EXPAND {
                // The last part takes what does not divide by seven.
                let end = if j + 1 == EXPAND {
                    values.len()
                } else {
                    (j + 1) * part
                };
                let values = &values[j * part..end];
                let wide = values.len() as u64;
                for (c, outputs) in outputs.chunks_mut(CHUNK).enumerate() {
                    let chunk = tile * (tile_size / CHUNK) + c;
                    draws.seek(((chunk * EXPAND + j) * (CHUNK / 4)) as u128);
                    draws.blocks(&mut places);
                    for (outputs, draw) in outputs.chunks_mut(4).zip(places) {
                        for (i, output) in outputs.iter_mut().enumerate() {
                            let draw = u64::from((draw >> (32 * i)) as u32);
                            *output = output.plus(values[((draw * wide) >> 32) as usize]);
                        }
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_element_type_gives_the_same_linear_map(
            rows in 20usize..1500, more in 0usize..30, a: u64, b: u64,
        ) {
            let code = Code::new(rows, &[5; 16]);
            let draw = |seed: u64| {
                let mut values = vec![0u128; 2 * rows + more];
                Counter::new(&std::array::from_fn(|i| (seed >> (8 * (i % 8))) as u8)).blocks(&mut values);
                values
            };
            let (a, b) = (draw(a), draw(b));
            let mut pairs: Vec<Pair> = a.iter().zip(&b).map(|(c, a)| Pair { c: *c, a: *a }).collect();
            let mut both: Vec<u128> = a.iter().zip(&b).map(|(a, b)| a ^ b).collect();
            let mut bits: Vec<u8> = a.iter().map(|v| *v as u8).collect();
            code.encode(&mut pairs, rows);
            code.encode(&mut both, rows);
            code.encode(&mut bits, rows);
            for ((pair, both), bits) in pairs.iter().zip(&both).zip(&bits) {
                prop_assert_eq!(pair.c ^ pair.a, *both);
                prop_assert_eq!(pair.c as u8, *bits);
            }
        }
    }

    #[test]
    fn one_value_reaches_half_of_the_outputs() {
        let rows = 8192;
        let code = Code::new(rows, &[9; 16]);
        let mut values = vec![0u8; 2 * rows];
        values[rows + 5] = 1;
        code.encode(&mut values, rows);
        let ones = values.iter().filter(|v| **v == 1).count();
        assert!((3700..4500).contains(&ones), "{ones}");
    }
}
