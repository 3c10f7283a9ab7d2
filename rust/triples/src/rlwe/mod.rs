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
use modulus::Modulus;
use ntt::Ntt;

/// Slots of a ciphertext.
pub(crate) const SLOTS: usize = 1 << 13;
/// Plaintext primes: a value stands modulo each.
pub(crate) const PLAIN: usize = 3;
/// Primes of a ciphertext's modulus: the plaintext's, and two of which one is dropped before the way back.
const LIMBS: usize = 3;
/// The largest primes below 2^62 that are 1 modulo 2^14: those of plaintexts, Q, and R.
const PRIMES: [Modulus; 5] = [
    Modulus::new((1 << 62) - 65_535),
    Modulus::new((1 << 62) - 98_303),
    Modulus::new((1 << 62) - 933_887),
    Modulus::new((1 << 62) - 1_130_495),
    Modulus::new((1 << 62) - 1_572_863),
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
/// Bytes of public keys for all plaintext primes.
pub(crate) const KEYS_LEN: usize = SEED_LEN + PLAIN * POLYNOMIAL_LEN;
/// Bytes of the encryptions of a and b modulo one plaintext prime.
pub(crate) const QUESTION_LEN: usize = 2 * POLYNOMIAL_LEN;
/// Bytes of their answer.
pub(crate) const ANSWER_LEN: usize = SLOTS * 17;

/// Transforms of all primes.
pub(crate) struct Ring {
    ntts: [Ntt; 5],
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self {
            ntts: PRIMES.map(|prime| Ntt::new(prime, SLOTS)),
        }
    }

    /// The transforms of a ciphertext's modulus: of the plaintext's prime, Q, and R.
    fn limbs(&self, plain: usize) -> [&Ntt; LIMBS] {
        [&self.ntts[plain], &self.ntts[PLAIN], &self.ntts[PLAIN + 1]]
    }
}

/// What integers modulo the product of the plaintext primes are modulo 2^64 (Garner 1959).
pub(crate) fn combine(residues: [&[u64]; PLAIN], mut each: impl FnMut(usize, u64)) {
    let [first, second, third] = [PRIMES[0], PRIMES[1], PRIMES[2]];
    let by_first = second.factor(second.inverse(first.q % second.q));
    let by_first_third = third.factor(third.inverse(first.q % third.q));
    let by_second = third.factor(third.inverse(second.q % third.q));
    let product = first.q.wrapping_mul(second.q);
    for (at, x) in residues[0].iter().enumerate() {
        let y = second.scale(second.sub(residues[1][at], second.once(*x)), by_first);
        let z = third.scale(third.sub(residues[2][at], third.once(*x)), by_first_third);
        let z = third.scale(third.sub(z, third.once(y)), by_second);
        let low = x.wrapping_add(first.q.wrapping_mul(y));
        each(at, low.wrapping_add(product.wrapping_mul(z)));
    }
}

#[cfg(test)]
mod tests;
