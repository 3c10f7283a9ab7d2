//! The side that holds the keys: it encrypts its words, and opens the answers.

use atoll_primitives::stream::Stream;
use rayon::prelude::*;
use zeroize::Zeroize;

use super::ntt::Ntt;
use super::pack::pack;
use super::sample::Source;
use super::{
    ANSWER_LEN, DROPPED, KEYS_LEN, LIMBS, PLAIN, POLYNOMIAL_LEN, PRIMES, QUESTION_LEN, Ring,
    SEED_LEN, SLOTS,
};
use crate::Refusal;

/// A secret key for each plaintext prime.
pub(crate) struct Holder {
    ring: Ring,
    /// Of each plaintext prime and limb the transform of the secret times 2^64.
    secrets: Vec<[Vec<u64>; LIMBS]>,
    errors: Source,
    public: Source,
    keys: Vec<u8>,
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.secrets.iter_mut().flatten().for_each(Zeroize::zeroize);
    }
}

/// The public polynomial at a place, in one limb.
pub(super) fn public(source: &Source, place: u64, limb: usize, ntt: &Ntt) -> Vec<u64> {
    let mut out = vec![0; SLOTS];
    source
        .draws(place * LIMBS as u64 + limb as u64)
        .residues(ntt.modulus, &mut out);
    out
}

/// Places of public polynomials: those of the public keys, then two for each question.
pub(super) fn place(question: u64, which: usize) -> u64 {
    PLAIN as u64 + 2 * question + which as u64
}

impl Holder {
    pub(crate) fn new(randomness: &mut Stream) -> Self {
        let ring = Ring::new();
        let seed: [u8; SEED_LEN] = randomness.bytes();
        let public = Source::new(seed);
        let secret = Source::new(randomness.bytes());
        let errors = Source::new(randomness.bytes());
        let mut secrets = Vec::new();
        for plain in 0..PLAIN {
            let mut coefficients = vec![0i64; SLOTS];
            secret.draws(plain as u64).ternary(&mut coefficients);
            secrets.push(ring.limbs(plain).map(|ntt| {
                let m = ntt.modulus;
                let mut values: Vec<u64> = coefficients.iter().map(|x| m.signed(*x)).collect();
                ntt.forward(&mut values);
                let radix = m.factor(m.radix());
                values.iter_mut().for_each(|x| *x = m.scale(*x, radix));
                values
            }));
            coefficients.zeroize();
        }
        let mut holder = Self {
            ring,
            secrets,
            errors,
            public,
            keys: seed.to_vec(),
        };
        for plain in 0..PLAIN {
            let key = holder.encrypt(plain, plain as u64, &[]);
            holder.keys.extend(key);
        }
        debug_assert_eq!(holder.keys.len(), KEYS_LEN);
        holder
    }

    /// The seed of all public polynomials, and a public key for each plaintext prime.
    pub(crate) fn keys(&self) -> &[u8] {
        &self.keys
    }

    /// The first part of a ciphertext whose second is the public polynomial at a place. Without words it holds zero.
    fn encrypt(&self, plain: usize, place: u64, words: &[u64]) -> Vec<u8> {
        let mut errors = vec![0i64; SLOTS];
        self.errors.draws(place).errors(&mut errors);
        let ntts = self.ring.limbs(plain);
        let mut out = vec![0u8; POLYNOMIAL_LEN];
        (out.par_chunks_exact_mut(POLYNOMIAL_LEN / LIMBS))
            .zip(ntts)
            .enumerate()
            .for_each(|(limb, (out, ntt))| {
                let m = ntt.modulus;
                let mut values: Vec<u64> = errors.iter().map(|x| m.signed(*x)).collect();
                ntt.forward(&mut values);
                let public = public(&self.public, place, limb, ntt);
                let secret = &self.secrets[plain][limb];
                for ((value, public), secret) in values.iter_mut().zip(&public).zip(secret) {
                    let product = m.fold(u128::from(*public) * u128::from(*secret));
                    *value = m.sub(*value, product);
                }
                if limb == 0 {
                    let factor = m.factor(m.mul(PRIMES[PLAIN].q % m.q, PRIMES[PLAIN + 1].q % m.q));
                    for (value, word) in values.iter_mut().zip(words) {
                        *value = m.add(*value, m.scale(m.word(*word), factor));
                    }
                }
                pack(&values, out);
                values.zeroize();
            });
        errors.zeroize();
        out
    }

    /// Encryptions of signed words a and b modulo a plaintext prime, after the bytes of `head`.
    pub(crate) fn ask(
        &self,
        question: u64,
        plain: usize,
        a: &[u64],
        b: &[u64],
        head: &[u8],
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(head.len() + QUESTION_LEN);
        out.extend_from_slice(head);
        for (which, words) in [a, b].into_iter().enumerate() {
            out.extend(self.encrypt(plain, place(question, which), words));
        }
        out
    }

    /// Q times what an answer holds, and noise, modulo the plaintext prime and modulo Q.
    fn phases(&self, plain: usize, answer: &[u8]) -> Result<Vec<Vec<u64>>, Refusal> {
        if answer.len() != ANSWER_LEN {
            return Err(Refusal::protocol(
                "an answer has another length than is due",
            ));
        }
        let [first, second, _] = self.ring.limbs(plain);
        let modulus = u128::from(first.modulus.q) * u128::from(second.modulus.q);
        let (low, high) = answer.split_at(8 * SLOTS);
        let low: Vec<u128> = (low.as_chunks::<8>().0.iter())
            .map(|bytes| u128::from(u64::from_le_bytes(*bytes)))
            .collect();
        let high: Vec<u128> = (high.as_chunks::<9>().0.iter())
            .map(|bytes| {
                let mut wide = [0; 16];
                wide[..9].copy_from_slice(bytes);
                u128::from_le_bytes(wide)
            })
            .collect();
        for (values, dropped) in [&low, &high].into_iter().zip(DROPPED) {
            let most = super::evaluate::rounded(modulus - 1, dropped);
            if values.iter().any(|value| *value > most) {
                return Err(Refusal::protocol("an answer holds what is no residue"));
            }
        }
        Ok([first, second]
            .into_par_iter()
            .enumerate()
            .map(|(limb, ntt)| {
                let m = ntt.modulus;
                let mut values: Vec<u64> = high
                    .iter()
                    .map(|value| m.reduce(value << DROPPED[1]))
                    .collect();
                ntt.forward(&mut values);
                for (value, secret) in values.iter_mut().zip(&self.secrets[plain][limb]) {
                    *value = m.fold(u128::from(*value) * u128::from(*secret));
                }
                ntt.backward(&mut values);
                for (value, low) in values.iter_mut().zip(&low) {
                    *value = m.add(*value, m.reduce(low << DROPPED[0]));
                }
                values
            })
            .collect())
    }

    /// What an answer holds, modulo its plaintext prime.
    ///
    /// # Errors
    /// `E_PROTOCOL` if it is not [`ANSWER_LEN`] bytes of residues.
    pub(crate) fn open(&self, plain: usize, answer: &[u8]) -> Result<Vec<u64>, Refusal> {
        let phases = self.phases(plain, answer)?;
        let [first, second, _] = self.ring.limbs(plain);
        let m = first.modulus;
        let divide = m.factor(m.inverse(second.modulus.q % m.q));
        let mut out: Vec<u64> = (phases[0].iter().zip(&phases[1]))
            .map(|(x, rest)| m.scale(m.sub(*x, m.lift(*rest, second.modulus)), divide))
            .collect();
        first.forward(&mut out);
        Ok(out)
    }

    /// The noise of an answer, in parts of what it may be.
    #[cfg(test)]
    pub(super) fn noise(&self, plain: usize, answer: &[u8]) -> Vec<f64> {
        let phases = self.phases(plain, answer).unwrap();
        let half = self.ring.limbs(plain)[1].modulus.q / 2;
        (phases[1].iter())
            .map(|x| (*x as f64 - if *x > half { 2.0 * half as f64 } else { 0.0 }) / half as f64)
            .collect()
    }
}
