//! Equality of two strings with a shared result (leaves as in CGS, eprint 2021/034; masks from correlations over a
//! small field, eprint 2019/1159).
//!
//! One leaf compares four bits by a 1-of-16 transfer: the table's holder masks the bit `[x = v] ^ r` for every v, the
//! chooser opens the one at v = y, and then both share `[x = y]`. Strings are equal if all their leaves are, that is,
//! if the chooser's bits are the complement of the holder's: again an equality of strings, a quarter as long. No AND
//! gate is needed.
//!
//! Transfers are made before the inputs are known: a correlation `c = a * delta ^ b` with a four-bit `a` gives the holder
//! the masks `H(b ^ v * delta)` for every v, the chooser the one at v = a. The chooser then sends `y ^ a`.

use atoll_ot::{field, vole};
use rayon::prelude::*;

use super::hash::{BATCH, Masks};
use super::parameters::LEAF;

const VALUES: usize = 1 << LEAF;

/// The holder's masks, 16 bits a leaf: bit v masks the entry at v.
pub(crate) fn holder(masks: &Masks, output: &vole::SenderOutput, first: usize) -> Vec<u16> {
    let steps: [u128; VALUES] = std::array::from_fn(|v| field::mul(v as u128, output.delta));
    let mut out = vec![0u16; output.b.len()];
    let leaves = BATCH / VALUES;
    out.par_chunks_mut(leaves)
        .zip(output.b.par_chunks(leaves))
        .enumerate()
        .for_each(|(at, (out, b))| {
            let mut blocks = [0u128; BATCH];
            for (blocks, b) in blocks.as_chunks_mut::<VALUES>().0.iter_mut().zip(b) {
                for (block, step) in blocks.iter_mut().zip(&steps) {
                    *block = b ^ step;
                }
            }
            let start = first + at * leaves;
            masks.hash(&mut blocks, |k| (start + k / VALUES) as u128);
            for (out, blocks) in out.iter_mut().zip(blocks.as_chunks::<VALUES>().0) {
                for (v, block) in blocks.iter().enumerate() {
                    *out |= ((*block as u16) & 1) << v;
                }
            }
        });
    out
}

/// The chooser's side: for every leaf its value a in the low four bits and its mask in the fifth.
pub(crate) fn chooser(masks: &Masks, output: vole::ReceiverOutput, first: usize) -> Vec<u8> {
    let vole::ReceiverOutput { a, mut c } = output;
    c.par_chunks_mut(BATCH).enumerate().for_each(|(at, part)| {
        masks.hash(part, |k| (first + at * BATCH + k) as u128);
    });
    c.par_iter()
        .zip(&a)
        .map(|(mask, a)| (*a as u8) | ((*mask as u8) & 1) << LEAF)
        .collect()
}

/// The four bits of `string` at `leaf`.
fn nibble(string: u64, leaf: usize) -> u8 {
    (string >> (LEAF * leaf)) as u8 & 15
}

/// What the chooser sends for one bin: `y ^ a` of each leaf, two a byte.
pub(crate) fn corrections(string: u64, choices: &[u8], out: &mut [u8]) {
    for (at, byte) in out.iter_mut().enumerate() {
        let correct = |leaf: usize| {
            choices
                .get(leaf)
                .map_or(0, |choice| nibble(string, leaf) ^ (choice & 15))
        };
        *byte = correct(2 * at) | correct(2 * at + 1) << LEAF;
    }
}

/// Moves bit v to v ^ d, for d below 16.
fn exchange(mut bits: u16, d: u8) -> u16 {
    const LOW: [u16; LEAF] = [0x5555, 0x3333, 0x0f0f, 0x00ff];
    for (k, low) in LOW.into_iter().enumerate() {
        let swapped = (bits & low) << (1 << k) | (bits >> (1 << k)) & low;
        let take = 0u16.wrapping_sub(u16::from(d >> k & 1));
        bits = bits & !take | swapped & take;
    }
    bits
}

/// What the holder sends for one bin: the masked table of each leaf. `bits` are its shares of the leaves.
pub(crate) fn tables(string: u64, pads: &[u16], corrections: &[u8], bits: u64, out: &mut [u8]) {
    for (leaf, (pad, out)) in pads.iter().zip(out.as_chunks_mut::<2>().0).enumerate() {
        let d = corrections[leaf / 2] >> (LEAF * (leaf % 2)) & 15;
        let share = 0u16.wrapping_sub((bits >> leaf) as u16 & 1);
        let table = exchange(*pad, d) ^ (1 << nibble(string, leaf)) ^ share;
        *out = table.to_le_bytes();
    }
}

/// The chooser's shares of the leaves of one bin.
pub(crate) fn open(string: u64, choices: &[u8], tables: &[u8]) -> u64 {
    let mut bits = 0;
    for (leaf, (choice, table)) in choices.iter().zip(tables.as_chunks::<2>().0).enumerate() {
        let y = nibble(string, leaf);
        // All bits are looked at, whatever y is.
        let entry = exchange(u16::from_le_bytes(*table), y) & 1;
        bits |= u64::from(entry ^ u16::from(choice >> LEAF & 1)) << leaf;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exchanging_moves_every_bit(bits in any::<u16>(), d in 0u8..16) {
            let plain = (0..16).fold(0u16, |out, v| out | (bits >> v & 1) << (v ^ u16::from(d)));
            prop_assert_eq!(exchange(bits, d), plain);
        }

        #[test]
        fn shared_leaves_say_which_nibbles_are_equal(
            x in any::<u64>(),
            flips in any::<u64>(),
            pads in proptest::collection::vec(any::<u16>(), 16),
            a in proptest::collection::vec(0u8..16, 16),
            bits in 0u64..1 << 16,
            leaves in 1usize..=16,
        ) {
            // Every other nibble stays equal.
            let y = x ^ (flips & 0x0f0f_0f0f_0f0f_0f0f);
            let choices: Vec<u8> = (0..leaves).map(|k| a[k] | ((pads[k] >> a[k]) as u8 & 1) << 4).collect();
            let mut sent = vec![0u8; leaves.div_ceil(2)];
            corrections(y, &choices, &mut sent);
            let mut answer = vec![0u8; 2 * leaves];
            tables(x, &pads[..leaves], &sent, bits, &mut answer);
            let opened = open(y, &choices, &answer);
            for leaf in 0..leaves {
                let equal = nibble(x, leaf) == nibble(y, leaf);
                prop_assert_eq!((opened ^ bits) >> leaf & 1 == 1, equal);
            }
        }
    }
}
