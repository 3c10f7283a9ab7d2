//! Correlations of a few chosen values from 128 base transfers: `c = a * delta + b`, where one side knows `delta` and
//! `b`, the other chose `a`. With bits for `a` this is oblivious transfer extension (Ishai, Kilian, Nissim & Petrank 2003);
//! with wider values it is the product by base transfers of Gilboa 1999, in the same matrix.
//!
//! The chooser sends, for each bit of `delta`, a masked copy of all its values. The check against different copies sums
//! values with random coefficients in GF(2^128), as Keller, Orsini & Scholl do (eprint 2015/546, KOS15), but four times. Their
//! analysis of one sum did not hold (Roy, eprint 2022/192); with four, a union bound over all pairs of deltas is enough
//! (docs/protocols/vole.md): a chooser that passes has a correlation for all deltas that pass, and a guess of k bits of delta passes with
//! probability 2^-k.

use atoll_primitives::stream::Stream;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::base::{COUNT, Key};
use crate::field::{self, mul};
use crate::prg::Counter;
use crate::wire::Reader;
use crate::{Refusal, Security};

/// Sums of the check.
const CHECKS: usize = 4;

/// How many values of which width: bits, values of `bits` bits, and values of 128 bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) choices: usize,
    pub(crate) values: usize,
    pub(crate) bits: u32,
    pub(crate) wide: usize,
    pub(crate) security: Security,
}

impl Layout {
    fn checks(&self) -> usize {
        match self.security {
            Security::SemiHonest => 0,
            Security::Malicious => CHECKS,
        }
    }

    fn width(&self) -> usize {
        self.bits.div_ceil(8) as usize
    }

    fn mask(&self) -> u128 {
        u128::MAX >> (128 - self.bits)
    }

    /// Values that are no masks of the check.
    fn used(&self) -> usize {
        self.choices + self.values + self.wide
    }

    /// Bytes of one column.
    fn column(&self) -> usize {
        self.choices.div_ceil(8) + self.values * self.width() + 16 * (self.wide + self.checks())
    }

    /// Bytes of the chooser's message.
    pub(crate) fn length(&self) -> usize {
        COUNT * self.column() + 32 * self.checks()
    }

    /// Adds `x^power` times every value of a column to `sums`. Called with falling powers it is Horner's rule.
    fn absorb(&self, sums: &mut [u128], column: &[u8]) {
        let (bits, rest) = column.split_at(self.choices.div_ceil(8));
        let (values, wide) = rest.split_at(self.values * self.width());
        let (bit_sums, value_sums) = sums.split_at_mut(self.choices);
        let (value_sums, wide_sums) = value_sums.split_at_mut(self.values);
        for (i, sum) in bit_sums.iter_mut().enumerate() {
            *sum = field::double(*sum) ^ u128::from(bits[i / 8] >> (i % 8) & 1);
        }
        for (sum, bytes) in value_sums.iter_mut().zip(values.chunks_exact(self.width())) {
            let mut wide = [0u8; 16];
            wide[..bytes.len()].copy_from_slice(bytes);
            *sum = field::double(*sum) ^ (u128::from_le_bytes(wide) & self.mask());
        }
        for (sum, bytes) in wide_sums.iter_mut().zip(wide.as_chunks::<16>().0) {
            *sum = field::double(*sum) ^ u128::from_le_bytes(*bytes);
        }
    }

    /// The coefficients of sum `check`: from all that the chooser is bound to.
    fn coefficients(&self, bound: &[u8; 32], check: usize) -> Vec<u128> {
        let digest = Sha256::new()
            .chain_update(b"atoll ot extension coefficients v1")
            .chain_update(bound)
            .chain_update([check as u8])
            .finalize();
        let mut out = vec![0; self.used()];
        Counter::new(&std::array::from_fn(|i| digest[i])).blocks(&mut out);
        out
    }

    fn bind(&self, context: &[u8; 16], transcript: &[u8], columns: &[u8]) -> [u8; 32] {
        Sha256::new()
            .chain_update(b"atoll ot extension bind v1")
            .chain_update(context)
            .chain_update((transcript.len() as u64).to_le_bytes())
            .chain_update(transcript)
            .chain_update(columns)
            .finalize()
            .into()
    }
}

/// What the chooser chose, in the order of a [`Layout`].
pub(crate) struct Chosen<'a> {
    pub(crate) choices: &'a [bool],
    pub(crate) values: &'a [u128],
    pub(crate) wide: &'a [u128],
}

/// The chooser's half: the message of [`Layout::length`] bytes, and `c` of every value.
///
/// `transcript` is all that passed before on this channel.
pub(crate) fn choose(
    layout: &Layout,
    keys: &[[Key; 2]],
    chosen: &Chosen<'_>,
    context: &[u8; 16],
    transcript: &[u8],
    randomness: &mut Stream,
) -> (Vec<u8>, Vec<u128>) {
    let mut masks = vec![0u128; layout.checks()];
    masks.fill_with(|| u128::from_le_bytes(randomness.bytes()));
    let mut data = Vec::with_capacity(layout.column());
    data.resize(layout.choices.div_ceil(8), 0);
    for (i, choice) in chosen.choices.iter().enumerate() {
        data[i / 8] |= u8::from(*choice) << (i % 8);
    }
    for value in chosen.values {
        data.extend_from_slice(&value.to_le_bytes()[..layout.width()]);
    }
    for value in chosen.wide.iter().chain(&masks) {
        data.extend_from_slice(&value.to_le_bytes());
    }
    debug_assert_eq!(data.len(), layout.column());
    let column = layout.column();
    let mut message = vec![0u8; COUNT * column];
    let mut sums = vec![0u128; layout.used() + layout.checks()];
    let mut second = vec![0u8; column];
    for (pair, out) in keys.iter().zip(message.chunks_exact_mut(column)).rev() {
        Counter::new(&pair[0]).bytes(out);
        Counter::new(&pair[1]).bytes(&mut second);
        layout.absorb(&mut sums, out);
        for ((out, second), data) in out.iter_mut().zip(&second).zip(&data) {
            *out ^= second ^ data;
        }
    }
    if layout.checks() > 0 {
        let values: Vec<u128> = (chosen.choices.iter().map(|c| u128::from(*c)))
            .chain(chosen.values.iter().copied())
            .chain(chosen.wide.iter().copied())
            .collect();
        let bound = layout.bind(context, transcript, &message);
        for (check, mask) in masks.iter().enumerate() {
            let coefficients = layout.coefficients(&bound, check);
            let a = mask ^ field::inner(&values, &coefficients);
            let c =
                sums[layout.used() + check] ^ field::inner(&sums[..layout.used()], &coefficients);
            message.extend([a, c].iter().flat_map(|v| v.to_le_bytes()));
        }
    }
    data.zeroize();
    second.zeroize();
    masks.zeroize();
    sums.truncate(layout.used());
    (message, sums)
}

/// The other half: `b` of every value, from the chooser's message.
///
/// # Errors
/// `E_PROTOCOL` if the message has another length, or fails the check.
pub(crate) fn correlate(
    layout: &Layout,
    keys: &[Key],
    delta: u128,
    context: &[u8; 16],
    transcript: &[u8],
    message: &[u8],
) -> Result<Vec<u128>, Refusal> {
    let mut reader = Reader(message);
    let column = layout.column();
    let columns = reader.bytes(COUNT * column)?;
    let mut sums = vec![0u128; layout.used() + layout.checks()];
    let mut own = vec![0u8; column];
    for (i, (key, sent)) in keys
        .iter()
        .zip(columns.chunks_exact(column))
        .enumerate()
        .rev()
    {
        Counter::new(key).bytes(&mut own);
        let mask = 0u8.wrapping_sub((delta >> i & 1) as u8);
        for (own, sent) in own.iter_mut().zip(sent) {
            *own ^= sent & mask;
        }
        layout.absorb(&mut sums, &own);
    }
    let bound = layout.bind(context, transcript, columns);
    let mut wrong = 0;
    for check in 0..layout.checks() {
        let (a, c) = (reader.value()?, reader.value()?);
        let coefficients = layout.coefficients(&bound, check);
        let b = sums[layout.used() + check] ^ field::inner(&sums[..layout.used()], &coefficients);
        wrong |= c ^ mul(a, delta) ^ b;
    }
    if wrong != 0 {
        return Err(Refusal::protocol(
            "the values of a transfer extension are not consistent",
        ));
    }
    if !reader.0.is_empty() {
        return Err(Refusal::protocol("a message is too long"));
    }
    own.zeroize();
    sums.truncate(layout.used());
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout {
        choices: 21,
        values: 5,
        bits: 80,
        wide: 1,
        security: Security::Malicious,
    };

    fn keys() -> Vec<[Key; 2]> {
        let mut stream = Stream::derive(b"extend", &[b"keys"]);
        (0..COUNT)
            .map(|_| [stream.bytes(), stream.bytes()])
            .collect()
    }

    fn data() -> (Vec<bool>, Vec<u128>, Vec<u128>) {
        let mut stream = Stream::derive(b"extend", &[b"data"]);
        let mut value = || u128::from_le_bytes(stream.bytes());
        (
            (0..21).map(|_| value() & 1 == 1).collect(),
            (0..5).map(|_| value() >> 48).collect(),
            vec![value()],
        )
    }

    fn chosen_keys(delta: u128) -> Vec<Key> {
        keys()
            .iter()
            .enumerate()
            .map(|(i, k)| k[(delta >> i & 1) as usize])
            .collect()
    }

    /// The chooser's message; where `lie` names a column and a byte, another value stands in that column, and the check
    /// is computed over what is sent, as a cheat would.
    fn message(layout: &Layout, lie: Option<(usize, usize)>) -> (Vec<u8>, Vec<u128>) {
        let (choices, values, wide) = data();
        let chosen = Chosen {
            choices: &choices,
            values: &values,
            wide: &wide,
        };
        let mut randomness = Stream::derive(b"extend", &[b"randomness"]);
        let masks: Vec<u128> = (0..layout.checks())
            .map(|_| u128::from_le_bytes(randomness.bytes()))
            .collect();
        let mut randomness = Stream::derive(b"extend", &[b"randomness"]);
        let (mut message, sums) = choose(layout, &keys(), &chosen, &[1; 16], b"t", &mut randomness);
        let Some((column, byte)) = lie else {
            return (message, sums);
        };
        let length = layout.column();
        let mut all = vec![0u128; layout.used() + layout.checks()];
        let mut bytes = vec![0u8; length];
        for pair in keys().iter().rev() {
            Counter::new(&pair[0]).bytes(&mut bytes);
            layout.absorb(&mut all, &bytes);
        }
        message[column * length + byte] ^= 1;
        message.truncate(COUNT * length);
        let honest: Vec<u128> = (choices.iter().map(|c| u128::from(*c)))
            .chain(values)
            .chain(wide)
            .collect();
        let bound = layout.bind(&[1; 16], b"t", &message);
        for (check, mask) in masks.iter().enumerate() {
            let coefficients = layout.coefficients(&bound, check);
            let a = mask ^ field::inner(&honest, &coefficients);
            let c = all[layout.used() + check] ^ field::inner(&all[..layout.used()], &coefficients);
            message.extend([a, c].iter().flat_map(|v| v.to_le_bytes()));
        }
        (message, sums)
    }

    #[test]
    fn every_value_is_correlated() {
        for security in [Security::SemiHonest, Security::Malicious] {
            for delta in [0, 1, u128::MAX, 0x1234_5678_9abc_def0 << 60] {
                let layout = Layout { security, ..LAYOUT };
                let (sent, c) = message(&layout, None);
                assert_eq!(sent.len(), layout.length());
                let b =
                    correlate(&layout, &chosen_keys(delta), delta, &[1; 16], b"t", &sent).unwrap();
                let (choices, values, wide) = data();
                let a = choices
                    .iter()
                    .map(|c| u128::from(*c))
                    .chain(values)
                    .chain(wide);
                assert!(a.zip(b).zip(c).all(|((a, b), c)| c == mul(a, delta) ^ b));
            }
        }
    }

    #[test]
    fn a_column_with_another_value_is_caught_unless_its_bit_of_delta_is_guessed() {
        // A bit, a value, a wide value.
        for byte in [0, 5, 3 + 50 + 2] {
            let (sent, _) = message(&LAYOUT, Some((77, byte)));
            let run =
                |delta: u128| correlate(&LAYOUT, &chosen_keys(delta), delta, &[1; 16], b"t", &sent);
            assert_eq!(run(1 << 77 | 5).unwrap_err().code, "E_PROTOCOL");
            assert_eq!(run(u128::MAX).unwrap_err().code, "E_PROTOCOL");
            // The column is not read where the bit is zero: a guess of k bits passes with probability 2^-k.
            assert!(run(5).is_ok());
        }
    }

    #[test]
    fn the_check_is_bound_to_context_and_transcript() {
        let (sent, _) = message(&LAYOUT, None);
        for (context, transcript) in [([2; 16], b"t"), ([1; 16], b"u")] {
            let refused = correlate(&LAYOUT, &chosen_keys(9), 9, &context, transcript, &sent);
            assert_eq!(refused.unwrap_err().code, "E_PROTOCOL");
        }
        for bad in [&sent[1..], &[&sent[..], &[0]].concat()] {
            assert!(correlate(&LAYOUT, &chosen_keys(9), 9, &[1; 16], b"t", bad).is_err());
        }
    }
}
