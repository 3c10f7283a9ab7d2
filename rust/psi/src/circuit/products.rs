//! Additive shares modulo 2^64 of a bit times words that one side knows, where the bit is shared: with halves p and q
//! of the bit, `(p ^ q) v = p v + q (1 - 2 p) v`, and the second term is one transfer with choice q.

use atoll_ot::vole;
use rayon::prelude::*;

use super::hash::Masks;

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

/// Bins that one thread works on at a time.
const PART: usize = 128;

/// Where the words of a bin stand among values: rows of `row` words, of which `words` from `first` on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) row: usize,
    pub(crate) first: usize,
    pub(crate) words: usize,
}

/// Hashes a block of each bin from `first` on to `words` words, an even number of words each.
fn expand(
    masks: &Masks,
    first: usize,
    words: usize,
    blocks: impl Iterator<Item = u128>,
) -> Vec<u64> {
    let lanes = words.div_ceil(2);
    let mut out: Vec<u128> = blocks
        .flat_map(|block| std::iter::repeat_n(block, lanes))
        .collect();
    masks.hash(&mut out, |k| (first * lanes + k) as u128);
    out.iter()
        .flat_map(|block| [*block as u64, (block >> 64) as u64])
        .collect()
}

/// Words of one side that are multiplied with a shared bit, one group for each bin.
pub(crate) struct Known {
    masks: Masks,
    output: vole::SenderOutput,
    place: Place,
}

impl Known {
    pub(crate) fn new(masks: Masks, output: vole::SenderOutput, place: Place) -> Self {
        Self {
            masks,
            output,
            place,
        }
    }

    /// The message for the bins from `first` on whose `values` these are. The words are replaced by this side's shares;
    /// `half` is its half of a bin's bit, `flips` what the peer sent: its half and its choice, added.
    pub(crate) fn send(
        &self,
        first: usize,
        half: impl Fn(usize) -> u64 + Sync,
        flips: &[u64],
        values: &mut [u64],
    ) -> Vec<u8> {
        let Place {
            row,
            first: offset,
            words,
        } = self.place;
        let mut out = vec![0u8; values.len() / row * words * 8];
        values
            .par_chunks_mut(PART * row)
            .zip(out.par_chunks_mut(PART * words * 8))
            .enumerate()
            .for_each(|(part, (values, out))| {
                let start = part * PART;
                let bins = first + start..first + start + values.len() / row;
                let with = |other: u64| {
                    let block = move |bin: usize| {
                        let choice = bit(flips, bin - first) ^ other;
                        self.output.b[bin] ^ self.output.delta & 0u128.wrapping_sub(choice.into())
                    };
                    expand(&self.masks, bins.start, words, bins.clone().map(block))
                };
                let width = words.next_multiple_of(2);
                let (zero, one) = (with(0), with(1));
                let masks = zero.chunks_exact(width).zip(one.chunks_exact(width));
                let rows = values
                    .chunks_exact_mut(row)
                    .zip(out.chunks_exact_mut(words * 8));
                for ((bin, (zero, one)), (values, out)) in bins.clone().zip(masks).zip(rows) {
                    let half = half(bin);
                    let values = values[offset..offset + words].iter_mut();
                    let masks = zero.iter().zip(one);
                    for ((value, (zero, one)), out) in values.zip(masks).zip(out.as_chunks_mut().0)
                    {
                        let own = value.wrapping_mul(half);
                        let term = value.wrapping_sub(own.wrapping_mul(2));
                        *out = zero.wrapping_add(term).wrapping_sub(*one).to_le_bytes();
                        *value = own.wrapping_sub(*zero);
                    }
                }
            });
        out
    }
}

/// The other side of `Known`: it has nothing but its half of the bit.
pub(crate) struct Chosen {
    masks: Masks,
    output: vole::ReceiverOutput,
    place: Place,
}

impl Chosen {
    pub(crate) fn new(masks: Masks, output: vole::ReceiverOutput, place: Place) -> Self {
        Self {
            masks,
            output,
            place,
        }
    }

    /// What to send for `bin`: this side's half of the bit and its choice, added.
    pub(crate) fn flip(&self, bin: usize, half: u64) -> u64 {
        (half ^ self.output.a[bin] as u64) & 1
    }

    /// Adds the shares for the bins from `first` on to their `values`.
    pub(crate) fn receive(
        &self,
        first: usize,
        half: impl Fn(usize) -> u64 + Sync,
        message: &[u8],
        values: &mut [u64],
    ) {
        let Place {
            row,
            first: offset,
            words,
        } = self.place;
        values
            .par_chunks_mut(PART * row)
            .zip(message.par_chunks(PART * words * 8))
            .enumerate()
            .for_each(|(part, (values, message))| {
                let start = first + part * PART;
                let bins = start..start + values.len() / row;
                let blocks = self.output.c[bins.clone()].iter().copied();
                let masks = expand(&self.masks, start, words, blocks);
                let masks = masks.chunks_exact(words.next_multiple_of(2));
                let rows = values
                    .chunks_exact_mut(row)
                    .zip(message.chunks_exact(words * 8));
                for ((bin, masks), (values, message)) in bins.zip(masks).zip(rows) {
                    let half = half(bin);
                    let values = values[offset..offset + words].iter_mut();
                    for ((value, mask), message) in values.zip(masks).zip(message.as_chunks().0) {
                        let term = u64::from_le_bytes(*message).wrapping_mul(half);
                        *value = value.wrapping_add(*mask).wrapping_add(term);
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
        fn shares_add_up_to_the_product(
            values in proptest::collection::vec(any::<u64>(), 1..6),
            halves in (0u64..2, 0u64..2),
            choice in 0u64..2,
            delta in any::<u128>(),
            b in any::<u128>(),
        ) {
            let masks = || Masks::new(&[1; 16], b"p");
            let place = Place { row: values.len() + 1, first: 1, words: values.len() };
            let c = b ^ if choice == 1 { delta } else { 0 };
            let known = Known::new(masks(), vole::SenderOutput { delta, b: vec![b] }, place);
            let output = vole::ReceiverOutput { a: vec![choice.into()], c: vec![c] };
            let chosen = Chosen::new(masks(), output, place);
            let mut mine = [&[9], values.as_slice()].concat();
            let message = known.send(0, |_| halves.0, &[chosen.flip(0, halves.1)], &mut mine);
            // What stands there is added to.
            let mut theirs = [&[9][..], &vec![0; values.len()]].concat();
            chosen.receive(0, |_| halves.1, &message, &mut theirs);
            prop_assert_eq!((mine.remove(0), theirs.remove(0)), (9, 9));
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
