//! The expand-convolute code (Raghuraman, Rindal & Tanguy, eprint 2023/882) at rate one half, systematic, transposed: what
//! makes `rows` pseudo-random values of a sparse vector.
//!
//! `output = first rows + B (C rest)`. C is a convolution: each value takes in its predecessor and each of the 23 before
//! that by a random bit. B adds seven values, one from each seventh of the whole. Bits and places are public, from AES-128 in counter mode.

use rayon::prelude::*;

use crate::prg::{Counter, key};

/// Values that each output gathers.
pub(crate) const EXPAND: usize = 7;
/// How far back the convolution reaches.
pub(crate) const WIDTH: usize = 24;
/// Outputs whose places are drawn together.
const CHUNK: usize = 1024;

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
    }

    fn convolve<T: Element>(&self, values: &mut [T]) {
        let mut draws = Counter::new(&self.bits);
        let mut coefficients = vec![0u128; CHUNK / 4];
        // Zeros stand before the first value.
        let mut window = [T::default(); WIDTH + CHUNK];
        for chunk in values.chunks_mut(CHUNK) {
            draws.blocks(&mut coefficients);
            window.copy_within(CHUNK.., 0);
            window[WIDTH..WIDTH + chunk.len()].copy_from_slice(chunk);
            for i in 0..chunk.len() {
                let bits = (coefficients[i / 4] >> (32 * (i % 4))) as u32;
                let before: &[T; WIDTH] = window[i..i + WIDTH].try_into().expect("so long");
                let mut sum = window[WIDTH + i];
                for (j, value) in before[..WIDTH - 1].iter().enumerate() {
                    sum = sum.plus(value.and(0u64.wrapping_sub(u64::from(bits >> j & 1))));
                }
                sum = sum.plus(before[WIDTH - 1]);
                window[WIDTH + i] = sum;
            }
            chunk.copy_from_slice(&window[WIDTH..WIDTH + chunk.len()]);
        }
    }

    fn expand<T: Element>(&self, values: &[T], outputs: &mut [T]) {
        const BLOCKS: usize = CHUNK * EXPAND / 4;
        let part = values.len() / EXPAND;
        outputs
            .par_chunks_mut(CHUNK)
            .enumerate()
            .for_each(|(c, outputs)| {
                let mut draws = [0u128; BLOCKS];
                Counter::at(&self.places, (c * BLOCKS) as u128).blocks(&mut draws);
                let mut places = [0u32; CHUNK * EXPAND];
                for (four, draw) in places.as_chunks_mut::<4>().0.iter_mut().zip(draws) {
                    *four = std::array::from_fn(|i| (draw >> (32 * i)) as u32);
                }
                for (output, places) in outputs.iter_mut().zip(places.as_chunks::<EXPAND>().0) {
                    let mut sum = *output;
                    for (j, place) in places.iter().enumerate() {
                        // The last part takes what does not divide by seven.
                        let wide = if j + 1 == EXPAND {
                            values.len() - j * part
                        } else {
                            part
                        };
                        let at = (u64::from(*place) * wide as u64 >> 32) as usize;
                        sum = sum.plus(values[j * part + at]);
                    }
                    *output = sum;
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
