//! Streams of random words that neighbours hold alike.
//!
//! Of three parties in a circle, party i holds key i with the party before it and key i + 1 with the one after. What both
//! holders of a key draw from it must be the same, in the same order; nothing is drawn twice, since a position is never
//! gone back to.

use atoll_ot::Counter;

use crate::wide;

/// Words that are drawn at a time where they are used at once.
const PIECE: usize = 1 << 12;
/// Largest number of places of a permutation.
pub const MOST_PLACES: usize = 1 << 28;

/// One key's stream: AES-128 in counter mode.
pub struct Stream(Counter);

impl Stream {
    /// The stream of a secret key.
    pub fn new(key: &[u8; 16]) -> Self {
        Self(Counter::new(key))
    }

    /// The next words.
    pub fn fill(&mut self, out: &mut [u64]) {
        let mut blocks = [0u128; PIECE / 2];
        for piece in out.chunks_mut(PIECE) {
            let blocks = &mut blocks[..piece.len().div_ceil(2)];
            self.0.blocks(blocks);
            for (pair, block) in piece.chunks_mut(2).zip(blocks.iter()) {
                pair[0] = *block as u64;
                if let [_, second] = pair {
                    *second = (*block >> 64) as u64;
                }
            }
        }
    }

    /// A uniform permutation of `places` (at most 2^28): place `i` takes what stood at `result[i]`.
    pub fn permutation(&mut self, places: usize) -> Vec<u32> {
        assert!(places <= MOST_PLACES, "checked by the caller");
        let mut order: Vec<u32> = (0..places as u32).collect();
        let mut draws = Draws::new(self);
        for last in (1..places).rev() {
            order.swap(last, draws.below(last as u64 + 1) as usize);
        }
        order
    }
}

/// Single words of a stream; what is left of a piece at the end is never used.
struct Draws<'a> {
    stream: &'a mut Stream,
    words: [u64; PIECE],
    next: usize,
}

impl<'a> Draws<'a> {
    fn new(stream: &'a mut Stream) -> Self {
        Self {
            stream,
            words: [0; PIECE],
            next: PIECE,
        }
    }

    fn word(&mut self) -> u64 {
        if self.next == PIECE {
            self.stream.fill(&mut self.words);
            self.next = 0;
        }
        self.next += 1;
        self.words[self.next - 1]
    }

    /// A uniform number below `bound` (Lemire, ACM TOMACS 2019: multiply, and draw again where numbers would be uneven).
    fn below(&mut self, bound: u64) -> u64 {
        let uneven = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.word()) * u128::from(bound);
            if product as u64 >= uneven {
                return (product >> 64) as u64;
            }
        }
    }
}

/// Both streams of a party: the one that it shares with the party before it, and with the one after.
pub struct Pair {
    /// Shared with the party before.
    pub before: Stream,
    /// Shared with the party after.
    pub after: Stream,
}

impl Pair {
    /// Adds this party's part of a sharing of zeros: the three parts add up to nothing, modulo 2^64.
    pub fn add_zero(&mut self, words: &mut [u64]) {
        self.mask(words, |word, before, after| {
            word.wrapping_add(before).wrapping_sub(after)
        });
    }

    /// The same over bits: the three parts cancel under exclusive or.
    pub fn flip_zero(&mut self, words: &mut [u64]) {
        self.mask(words, |word, before, after| word ^ before ^ after);
    }

    /// The same modulo 2^128, for numbers of two words each.
    pub fn add_wide_zero(&mut self, words: &mut [u64]) {
        let (mut before, mut after) = ([0u64; PIECE], [0u64; PIECE]);
        for piece in words.chunks_mut(PIECE) {
            let (before, after) = (&mut before[..piece.len()], &mut after[..piece.len()]);
            self.before.fill(before);
            self.after.fill(after);
            let masks = before.as_chunks().0.iter().zip(after.as_chunks().0);
            for (slot, (b, a)) in piece.as_chunks_mut().0.iter_mut().zip(masks) {
                let [word, b, a] = [*slot, *b, *a].map(wide::number);
                *slot = wide::words(word.wrapping_add(b).wrapping_sub(a));
            }
        }
    }

    fn mask(&mut self, words: &mut [u64], put: impl Fn(u64, u64, u64) -> u64) {
        let (mut before, mut after) = ([0u64; PIECE], [0u64; PIECE]);
        for piece in words.chunks_mut(PIECE) {
            let (before, after) = (&mut before[..piece.len()], &mut after[..piece.len()]);
            self.before.fill(before);
            self.after.fill(after);
            for ((word, b), a) in piece.iter_mut().zip(before.iter()).zip(after.iter()) {
                *word = put(*word, *b, *a);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parties() -> [Pair; 3] {
        let keys = [[1u8; 16], [2; 16], [3; 16]];
        std::array::from_fn(|i| Pair {
            before: Stream::new(&keys[i]),
            after: Stream::new(&keys[(i + 1) % 3]),
        })
    }

    #[test]
    fn parts_of_zero_cancel_whatever_the_length() {
        for length in [1, 2, 63, PIECE, PIECE + 1, 3 * PIECE - 1] {
            let (mut sums, mut flips) = (vec![0u64; length], vec![0u64; length]);
            let mut wide = vec![0u64; 2 * length];
            for mut pair in parties() {
                pair.add_zero(&mut sums);
                pair.flip_zero(&mut flips);
                pair.add_wide_zero(&mut wide);
            }
            assert!(sums.iter().chain(&flips).chain(&wide).all(|w| *w == 0));
        }
    }

    #[test]
    fn one_part_of_zero_is_not_zero_and_never_the_same() {
        let mut pair = parties().into_iter().next().unwrap();
        let (mut first, mut second) = (vec![0u64; 1000], vec![0u64; 1000]);
        pair.add_zero(&mut first);
        pair.add_zero(&mut second);
        assert!(first.iter().chain(&second).all(|w| *w != 0));
        assert!(first.iter().zip(&second).all(|(a, b)| a != b));
    }

    #[test]
    fn a_permutation_has_every_place_once_and_all_orders_come() {
        let mut stream = Stream::new(&[7; 16]);
        for places in [0, 1, 2, 1000, PIECE + 5] {
            let mut order = stream.permutation(places);
            order.sort_unstable();
            assert!(order.iter().enumerate().all(|(i, p)| i == *p as usize));
        }
        let mut seen = std::collections::HashMap::new();
        for _ in 0..6000 {
            *seen.entry(stream.permutation(3)).or_insert(0) += 1;
        }
        // Each of six orders comes 1000 times; six standard deviations are 173.
        assert_eq!(seen.len(), 6);
        assert!(
            seen.values().all(|n: &i32| (n - 1000).abs() < 173),
            "{seen:?}"
        );
    }
}
