//! The encryption under which one side multiplies words of the other: BFV (Brakerski 2012; Fan & Vercauteren, eprint
//! 2012/144) with one value in each slot, over polynomials modulo X^8192 + 1. docs/protocols/products.md derives the numbers.
//!
//! A plaintext prime p divides the ciphertexts' modulus q = p Q R, so that the factor of a message is the integer Q R: it
//! is zero modulo Q and R, and modulo p the transform of a ciphertext holds the slots themselves. Products of matrices
//! have words in coefficients, and a modulus of shorter primes ([`matrix`], [`short`]).

mod blocks;
mod evaluate;
mod holder;
mod lanes;
mod matrix;
mod modulus;
mod ntt;
mod pack;
mod sample;
mod short;
mod simd;
mod transform;

pub(crate) use blocks::{BLOCK_KEY_LEN, BlockEvaluator, BlockHolder};
pub(crate) use evaluate::Evaluator;
pub(crate) use holder::Holder;
pub(crate) use matrix::BLOCK_LEN;
pub use matrix::Plan;
use modulus::{Factor, Modulus};
use ntt::Ntt;

/// Slots of a ciphertext.
pub(crate) const SLOTS: usize = 1 << 13;
/// Plaintext primes of words of 64 bits: a value stands modulo each.
pub(crate) const PLAIN: usize = 3;
/// Plaintext primes of wide words.
pub(crate) const WIDE_PLAIN: usize = 5;
/// Primes of a ciphertext's modulus: the plaintext's, and two of which one is dropped before the way back.
const LIMBS: usize = 3;
/// The largest primes below 2^62 that are 1 modulo 2^14: three of plaintexts, Q, R, and two more of plaintexts.
const PRIMES: [Modulus; 7] = [
    Modulus::new((1 << 62) - 65_535),
    Modulus::new((1 << 62) - 98_303),
    Modulus::new((1 << 62) - 933_887),
    Modulus::new((1 << 62) - 1_130_495),
    Modulus::new((1 << 62) - 1_572_863),
    Modulus::new((1 << 62) - 2_506_751),
    Modulus::new((1 << 62) - 2_654_207),
];
/// Bits of a residue of a ciphertext.
const RESIDUE_BITS: u32 = 62;
/// Low bits that an answer drops, of its first and of its second part.
const DROPPED: [u32; 2] = [60, 52];
/// log2 of the range of each of three uniform numbers whose sum hides the noise of an answer.
const FLOOD_BITS: u32 = 120;

/// Bytes of the seed of public polynomials.
pub(crate) const SEED_LEN: usize = 16;
/// Bytes of one packed polynomial of a ciphertext.
pub(crate) const POLYNOMIAL_LEN: usize = LIMBS * SLOTS * RESIDUE_BITS as usize / 8;
/// Bytes of public keys, one for each of so many plaintext primes.
pub(crate) const fn keys_len(count: usize) -> usize {
    SEED_LEN + count * POLYNOMIAL_LEN
}
/// Bytes of the encryptions of a and b modulo one plaintext prime.
pub(crate) const QUESTION_LEN: usize = 2 * POLYNOMIAL_LEN;
/// Bytes of their answer.
pub(crate) const ANSWER_LEN: usize = SLOTS * 17;

/// Where a plaintext prime stands among all.
const fn index(plain: usize) -> usize {
    if plain < PLAIN { plain } else { plain + 2 }
}

/// Transforms of all primes.
pub(crate) struct Ring {
    ntts: Vec<Ntt>,
}

impl Ring {
    /// Of so many plaintext primes, Q and R.
    pub(crate) fn new(plain: usize) -> Self {
        let primes = &PRIMES[..=index(plain - 1).max(PLAIN + 1)];
        Self {
            ntts: primes.iter().map(|prime| Ntt::new(*prime, SLOTS)).collect(),
        }
    }

    /// The transforms of a ciphertext's modulus: of the plaintext's prime, Q, and R.
    fn limbs(&self, plain: usize) -> [&Ntt; LIMBS] {
        [
            &self.ntts[index(plain)],
            &self.ntts[PLAIN],
            &self.ntts[PLAIN + 1],
        ]
    }
}

/// A word of a triple, signed where it is encrypted.
pub trait Word: Copy + Default + Send + Sync + From<u64> + std::fmt::Debug + 'static {
    /// Plaintext primes that its products take.
    const PLAIN: usize;
    /// What labels and messages call its triples.
    const KIND: &'static str;
    /// log2 of the most triples of a batch, and of a session.
    const MOST: [u32; 2];

    /// Sums, differences and products of its ring.
    fn plus(self, other: Self) -> Self;
    /// As above.
    fn minus(self, other: Self) -> Self;
    /// As above.
    fn times(self, other: Self) -> Self;
    /// Uniform words of uniform blocks.
    fn of_blocks(blocks: Vec<u128>) -> Vec<Self>;
    /// The signed word as a residue.
    fn residue(self, modulus: Modulus) -> u64;
}

impl Word for u64 {
    const PLAIN: usize = PLAIN;
    const KIND: &'static str = "words";
    const MOST: [u32; 2] = [28, 32];

    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    fn minus(self, other: Self) -> Self {
        self.wrapping_sub(other)
    }

    fn times(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }

    fn of_blocks(blocks: Vec<u128>) -> Vec<Self> {
        let words = blocks.iter().flat_map(|x| [*x as u64, (x >> 64) as u64]);
        words.collect()
    }

    #[inline(always)]
    fn residue(self, modulus: Modulus) -> u64 {
        modulus.word(self)
    }
}

impl Word for u128 {
    const PLAIN: usize = WIDE_PLAIN;
    const KIND: &'static str = "wide";
    const MOST: [u32; 2] = [26, 28];

    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    fn minus(self, other: Self) -> Self {
        self.wrapping_sub(other)
    }

    fn times(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }

    fn of_blocks(blocks: Vec<u128>) -> Vec<Self> {
        blocks
    }

    #[inline(always)]
    fn residue(self, modulus: Modulus) -> u64 {
        modulus.wide_word(self)
    }
}

/// Words as residues of a plaintext prime.
pub(crate) fn residues<W: Word>(plain: usize, words: &[W]) -> Vec<u64> {
    let modulus = PRIMES[index(plain)];
    words.iter().map(|word| word.residue(modulus)).collect()
}

/// What integers modulo the product of the plaintext primes are as words (Garner 1959): digits of mixed radix, one a prime.
pub(crate) fn combine<W: Word>(residues: &[Vec<u64>], mut each: impl FnMut(usize, W)) {
    let primes: Vec<Modulus> = (0..W::PLAIN).map(|plain| PRIMES[index(plain)]).collect();
    let inverses: Vec<Vec<Factor>> = (primes.iter().enumerate())
        .map(|(at, m)| {
            let before = primes[..at].iter();
            before.map(|p| m.factor(m.inverse(p.q % m.q))).collect()
        })
        .collect();
    let mut weights = vec![W::from(1)];
    for prime in &primes[..W::PLAIN - 1] {
        let last = *weights.last().expect("there is the first");
        weights.push(last.times(W::from(prime.q)));
    }
    let mut digits = [0; WIDE_PLAIN];
    for slot in 0..SLOTS {
        let mut value = W::default();
        for ((at, m), residues) in primes.iter().enumerate().zip(residues) {
            let mut digit = residues[slot];
            for (before, inverse) in digits.iter().zip(&inverses[at]) {
                digit = m.scale(m.sub(digit, m.once(*before)), *inverse);
            }
            digits[at] = digit;
            value = value.plus(weights[at].times(W::from(digit)));
        }
        each(slot, value);
    }
}

#[cfg(test)]
mod tests;
