//! Additive shares modulo 2^64 of a bit times words that one side knows, where the bit is shared: with halves p and q
//! of the bit, `(p ^ q) v = p v + q (1 - 2 p) v`, and the second term is one transfer with choice q.

use atoll_ot::vole;

use super::hash::{BATCH, Masks};

/// Bit `at` of packed bits.
pub(crate) fn bit(bits: &[u64], at: usize) -> u64 {
    bits[at / 64] >> (at % 64) & 1
}

/// Packs bits, the first in the lowest place.
pub(crate) fn pack(count: usize, of: impl Fn(usize) -> u64) -> Vec<u64> {
    (0..count.div_ceil(64))
        .map(|word| {
            let end = count.min(64 * (word + 1));
            (64 * word..end).fold(0, |out, at| out | (of(at) & 1) << (at % 64))
        })
        .collect()
}

/// Hashes one block to `words` words.
fn expand(masks: &Masks, at: usize, block: u128, words: usize, out: &mut Vec<u64>) {
    out.clear();
    let lanes = words.div_ceil(2);
    let mut blocks = [0u128; BATCH];
    blocks[..lanes].fill(block);
    masks.hash(&mut blocks[..lanes], |lane| (at * lanes + lane) as u128);
    for block in &blocks[..lanes] {
        out.extend([*block as u64, (block >> 64) as u64]);
    }
    out.truncate(words);
}

/// Words of one side that are multiplied with a shared bit, one group for each bin.
pub(crate) struct Known {
    masks: Masks,
    output: vole::SenderOutput,
    words: usize,
}

impl Known {
    pub(crate) fn new(masks: Masks, output: vole::SenderOutput, words: usize) -> Self {
        Self {
            masks,
            output,
            words,
        }
    }

    /// The message for `bin`, appended to `out`. `values` are replaced by this side's shares; `half` is its half of the
    /// bit, `flip` what the peer sent: its half and its choice, added.
    pub(crate) fn send(
        &self,
        bin: usize,
        half: u64,
        flip: u64,
        values: &mut [u64],
        out: &mut Vec<u8>,
    ) {
        let (mut zero, mut one) = (Vec::new(), Vec::new());
        let with = |choice: u64| {
            self.output.b[bin] ^ (self.output.delta & 0u128.wrapping_sub(u128::from(choice)))
        };
        expand(&self.masks, bin, with(flip), self.words, &mut zero);
        expand(&self.masks, bin, with(flip ^ 1), self.words, &mut one);
        for ((value, zero), one) in values.iter_mut().zip(zero).zip(one) {
            let own = value.wrapping_mul(half);
            let term = value.wrapping_sub(own.wrapping_mul(2));
            let message = zero.wrapping_add(term).wrapping_sub(one);
            out.extend_from_slice(&message.to_le_bytes());
            *value = own.wrapping_sub(zero);
        }
    }
}

/// The other side of `Known`: it has nothing but its half of the bit.
pub(crate) struct Chosen {
    masks: Masks,
    output: vole::ReceiverOutput,
    words: usize,
}

impl Chosen {
    pub(crate) fn new(masks: Masks, output: vole::ReceiverOutput, words: usize) -> Self {
        Self {
            masks,
            output,
            words,
        }
    }

    /// What to send for `bin`: this side's half of the bit and its choice, added.
    pub(crate) fn flip(&self, bin: usize, half: u64) -> u64 {
        (half ^ self.output.a[bin] as u64) & 1
    }

    /// Adds the shares for `bin` to `shares`.
    pub(crate) fn receive(&self, bin: usize, half: u64, message: &[u8], shares: &mut [u64]) {
        let mut own = Vec::new();
        expand(&self.masks, bin, self.output.c[bin], self.words, &mut own);
        let message = message.as_chunks::<8>().0;
        for ((share, own), message) in shares.iter_mut().zip(own).zip(message) {
            let term = u64::from_le_bytes(*message).wrapping_mul(half);
            *share = share.wrapping_add(own).wrapping_add(term);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_add_up_to_the_product(
            values in proptest::collection::vec(any::<u64>(), 1..6),
            halves in (0u64..2, 0u64..2),
            choice in 0u64..2,
            delta in any::<u128>(),
            b in any::<u128>(),
        ) {
            let masks = || Masks::new(&[1; 16], b"p");
            let c = b ^ if choice == 1 { delta } else { 0 };
            let known = Known::new(masks(), vole::SenderOutput { delta, b: vec![b] }, values.len());
            let output = vole::ReceiverOutput { a: vec![choice.into()], c: vec![c] };
            let chosen = Chosen::new(masks(), output, values.len());
            let (mut mine, mut message) = (values.clone(), Vec::new());
            known.send(0, halves.0, chosen.flip(0, halves.1), &mut mine, &mut message);
            let mut theirs = vec![0; values.len()];
            chosen.receive(0, halves.1, &message, &mut theirs);
            for ((mine, theirs), value) in mine.iter().zip(theirs).zip(values) {
                prop_assert_eq!(mine.wrapping_add(theirs), value * (halves.0 ^ halves.1));
            }
        }

        #[test]
        fn packed_bits_are_read_back(bits in proptest::collection::vec(0u64..2, 0..200)) {
            let packed = pack(bits.len(), |at| bits[at]);
            prop_assert_eq!(packed.len(), bits.len().div_ceil(64));
            prop_assert!(bits.iter().enumerate().all(|(at, b)| bit(&packed, at) == *b));
        }
    }
}
