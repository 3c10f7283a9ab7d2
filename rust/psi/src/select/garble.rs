//! Garbled blocks of AES with half gates (Zahur, Rosulek and Evans, eprint 2014/756), and what both sides take out of
//! them: bits shared by XOR, or 64 bits as shares of a word modulo 2^64.
//!
//! A label's lowest bit is its colour; the difference of a wire's two labels has the lowest bit 1. The colours of a
//! wire that nobody decodes are shares of its bit. For a word every bit k has a row more: the evaluator takes the
//! hash of its label, and adds the row if the colour is 1; the row makes both ways lead to `2^k bit + r`, of which
//! the garbler knows r.

use super::aes::{ANDS, RoundKeys, encrypt};
use super::tower::{Gates, LANES, Wire};
use crate::circuit::hash::Masks;

/// Bytes of the tables of one block.
pub(crate) const TABLES: usize = ANDS * 32;
/// Bits of a word.
const WORD: usize = 64;

/// All ones if `bit` is odd.
fn all(bit: u128) -> u128 {
    0u128.wrapping_sub(bit & 1)
}

/// The tweak of block k of a batch, `LANES` left inputs first: no two hashes of a block have the same.
fn tweak(gate: usize, k: usize, each: usize) -> u128 {
    (2 * (gate + k % LANES) + k / (each * LANES)) as u128
}

struct Garbler<'a> {
    masks: &'a Masks,
    delta: u128,
    gate: usize,
    tables: Vec<u8>,
}

impl Gates for Garbler<'_> {
    fn and(&mut self, x: &Wire, y: &Wire) -> Wire {
        let mut hashes = [0u128; 4 * LANES];
        for lane in 0..LANES {
            hashes[lane] = x[lane];
            hashes[LANES + lane] = x[lane] ^ self.delta;
            hashes[2 * LANES + lane] = y[lane];
            hashes[3 * LANES + lane] = y[lane] ^ self.delta;
        }
        let gate = self.gate;
        self.masks.hash(&mut hashes, |k| tweak(gate, k, 2));
        self.gate += LANES;
        std::array::from_fn(|lane| {
            let [x0, x1, y0, y1] = std::array::from_fn(|k| hashes[k * LANES + lane]);
            let left = x0 ^ x1 ^ all(y[lane]) & self.delta;
            let right = y0 ^ y1 ^ x[lane];
            self.tables.extend_from_slice(&left.to_le_bytes());
            self.tables.extend_from_slice(&right.to_le_bytes());
            x0 ^ all(x[lane]) & left ^ y0 ^ all(y[lane]) & (right ^ x[lane])
        })
    }
}

struct Evaluator<'a> {
    masks: &'a Masks,
    gate: usize,
    tables: &'a [[u8; 16]],
}

impl Gates for Evaluator<'_> {
    fn and(&mut self, x: &Wire, y: &Wire) -> Wire {
        let mut hashes = [0u128; 2 * LANES];
        hashes[..LANES].copy_from_slice(x);
        hashes[LANES..].copy_from_slice(y);
        let gate = self.gate;
        self.masks.hash(&mut hashes, |k| tweak(gate, k, 1));
        self.gate += LANES;
        std::array::from_fn(|lane| {
            let row = |k: usize| u128::from_le_bytes(self.tables[2 * (gate + lane) + k]);
            let left = hashes[lane] ^ all(x[lane]) & row(0);
            let right = hashes[LANES + lane] ^ all(y[lane]) & (row(1) ^ x[lane]);
            left ^ right
        })
    }
}

/// Labels in the order of the block's bits.
fn bits(wires: &[Wire]) -> [u128; 128] {
    std::array::from_fn(|at| wires[at % 8][at / 8])
}

/// Wires of labels in the order of the block's bits.
fn wires(labels: &[u128; 128]) -> Vec<Wire> {
    (0..8)
        .map(|bit| std::array::from_fn(|byte| labels[8 * byte + bit]))
        .collect()
}

/// The colours of one half of a block.
fn colours(labels: &[u128]) -> u64 {
    let bits = labels.iter().enumerate();
    bits.fold(0, |word, (at, label)| word | (*label as u64 & 1) << at)
}

/// One of the two words of a block, and what it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    /// Shared by XOR.
    Bits,
    /// Shared by addition modulo 2^64.
    Word,
    /// Nobody needs it.
    Unused,
}

/// Bytes of a garbled block.
pub(crate) fn length(halves: [Half; 2]) -> usize {
    TABLES + halves.iter().filter(|half| **half == Half::Word).count() * 8 * WORD
}

/// Where the tweaks of the words begin, behind those of the gates.
fn word_tweak(half: usize, bit: usize) -> u128 {
    (2 * ANDS + half * WORD + bit) as u128
}

/// The garbled block, and this side's shares of both halves (zero for one that nobody needs). `labels` are those of 0
/// of the input, in the order of its bits; the lowest bit of `delta` is 1.
pub(crate) fn garble(
    masks: &Masks,
    delta: u128,
    keys: &RoundKeys,
    labels: &[u128; 128],
    halves: [Half; 2],
) -> (Vec<u8>, [u64; 2]) {
    let mut garbler = Garbler {
        masks,
        delta,
        gate: 0,
        tables: Vec::with_capacity(length(halves)),
    };
    let out = bits(&encrypt(&mut garbler, wires(labels), Some((keys, delta))));
    let mut message = garbler.tables;
    let shares = std::array::from_fn(|half| {
        let out = &out[half * WORD..(half + 1) * WORD];
        match halves[half] {
            Half::Bits => colours(out),
            Half::Unused => 0,
            Half::Word => word_rows(masks, delta, half, out, &mut message),
        }
    });
    (message, shares)
}

/// Appends the rows of a word; the share is what the evaluator's is too large by, negated.
fn word_rows(masks: &Masks, delta: u128, half: usize, out: &[u128], message: &mut Vec<u8>) -> u64 {
    // By colour: the labels of colour 0, then those of colour 1.
    let mut hashes = [0u128; 2 * WORD];
    for (bit, label) in out.iter().enumerate() {
        let shift = all(*label) & delta;
        hashes[bit] = label ^ shift;
        hashes[WORD + bit] = label ^ shift ^ delta;
    }
    masks.hash(&mut hashes, |k| word_tweak(half, k % WORD));
    let mut share = 0u64;
    for (bit, label) in out.iter().enumerate() {
        // The bit that the label of colour 0 stands for.
        let zero = *label as u64 & 1;
        let (first, second) = (hashes[bit] as u64, hashes[WORD + bit] as u64);
        let random = first.wrapping_sub(zero << bit);
        let row = ((zero ^ 1) << bit)
            .wrapping_add(random)
            .wrapping_sub(second);
        message.extend_from_slice(&row.to_le_bytes());
        share = share.wrapping_sub(random);
    }
    share
}

/// The evaluator's shares of both halves of a block of `length(halves)` bytes, from one label of each input bit.
pub(crate) fn evaluate(
    masks: &Masks,
    message: &[u8],
    labels: &[u128; 128],
    halves: [Half; 2],
) -> [u64; 2] {
    let (tables, rows) = message.split_at(TABLES);
    let mut evaluator = Evaluator {
        masks,
        gate: 0,
        tables: tables.as_chunks().0,
    };
    let out = bits(&encrypt(&mut evaluator, wires(labels), None));
    let mut rows = rows.as_chunks::<8>().0.iter();
    std::array::from_fn(|half| {
        let out = &out[half * WORD..(half + 1) * WORD];
        match halves[half] {
            Half::Bits => colours(out),
            Half::Unused => 0,
            Half::Word => {
                let mut hashes: [u128; WORD] = std::array::from_fn(|bit| out[bit]);
                masks.hash(&mut hashes, |bit| word_tweak(half, bit));
                let terms = out.iter().zip(hashes).zip(rows.by_ref());
                terms.fold(0, |sum: u64, ((label, hash), row)| {
                    let row = u64::from_le_bytes(*row) & all(*label) as u64;
                    sum.wrapping_add(hash as u64).wrapping_add(row)
                })
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::aes::round_keys;
    use super::*;
    use aes::Aes128Enc;
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    use atoll_primitives::stream::Stream;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn shares_are_of_the_encrypted_block(
            key in any::<[u8; 16]>(),
            block in any::<[u8; 16]>(),
            seed in any::<[u8; 32]>(),
            second in 0usize..3,
        ) {
            let masks = Masks::new(&[3; 16], b"garble");
            let mut stream = Stream::derive(&seed, &[b"labels"]);
            let delta = u128::from_le_bytes(stream.bytes()) | 1;
            let labels: [u128; 128] = std::array::from_fn(|_| u128::from_le_bytes(stream.bytes()));
            let active = std::array::from_fn(|at| {
                labels[at] ^ all((block[at / 8] >> (at % 8)).into()) & delta
            });
            let halves = [Half::Bits, [Half::Bits, Half::Word, Half::Unused][second]];
            let (message, mine) = garble(&masks, delta, &round_keys(&key), &labels, halves);
            prop_assert_eq!(message.len(), length(halves));
            let theirs = evaluate(&masks, &message, &active, halves);
            let mut out = block.into();
            Aes128Enc::new(&key.into()).encrypt_block(&mut out);
            let words = u128::from_le_bytes(out.into());
            prop_assert_eq!(mine[0] ^ theirs[0], words as u64);
            let high = (words >> 64) as u64;
            match halves[1] {
                Half::Bits => prop_assert_eq!(mine[1] ^ theirs[1], high),
                Half::Word => prop_assert_eq!(mine[1].wrapping_add(theirs[1]), high),
                Half::Unused => prop_assert_eq!((mine[1], theirs[1]), (0, 0)),
            }
        }
    }

    #[test]
    fn what_the_evaluator_has_does_not_depend_on_the_block() {
        // The same key and block under 400 seeds: a bit is off by more than five sigma once in 10^6.
        let (key, block) = ([5u8; 16], 3u128);
        let mut ones = [0f64; 128];
        for seed in 0..400u32 {
            let masks = Masks::new(&[3; 16], &seed.to_le_bytes());
            let mut stream = Stream::derive(&seed.to_le_bytes(), &[b"labels"]);
            let delta = u128::from_le_bytes(stream.bytes()) | 1;
            let labels: [u128; 128] = std::array::from_fn(|_| u128::from_le_bytes(stream.bytes()));
            let active = std::array::from_fn(|at| labels[at] ^ all(block >> at) & delta);
            let halves = [Half::Bits, Half::Word];
            let (message, _) = garble(&masks, delta, &round_keys(&key), &labels, halves);
            let [tag, pad] = evaluate(&masks, &message, &active, halves);
            for (at, ones) in ones.iter_mut().enumerate() {
                *ones += ([tag, pad][at / 64] >> (at % 64) & 1) as f64;
            }
        }
        assert!(ones.iter().all(|ones| (ones - 200.0).abs() < 50.0));
    }

    #[test]
    fn no_two_hashes_of_a_block_have_the_same_tweak() {
        let mut seen = std::collections::HashSet::new();
        for gate in (0..ANDS).step_by(LANES) {
            for k in 0..2 * LANES {
                assert!(seen.insert(tweak(gate, k, 1)));
                // The garbler has both labels of an input under one tweak.
                let [zero, one] =
                    [0, LANES].map(|by| tweak(gate, k / LANES * 2 * LANES + k % LANES + by, 2));
                assert_eq!((zero, one), (tweak(gate, k, 1), tweak(gate, k, 1)));
            }
        }
        assert!((0..2 * WORD).all(|k| seen.insert(word_tweak(k / WORD, k % WORD))));
    }
}
