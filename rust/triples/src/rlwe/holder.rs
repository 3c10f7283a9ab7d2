//! The side that holds the keys: it encrypts its words, and opens the answers.

use atoll_primitives::stream::Stream;
use rayon::prelude::*;
use zeroize::Zeroize;

use super::evaluate::rounded;
use super::ntt::Ntt;
use super::pack::pack;
use super::sample::Source;
use super::{
    ANSWER_LEN, DROPPED, LIMBS, PLAIN, POLYNOMIAL_LEN, PRIMES, QUESTION_LEN, Ring, SEED_LEN, SLOTS,
};
use crate::Refusal;

/// What is encrypted.
#[derive(Clone, Copy)]
enum Message<'a> {
    /// Zero.
    Zero,
    /// Residues of the plaintext prime, one in each slot.
    Slots(&'a [u64]),
}

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
        .residues(ntt.modulus.q, &mut out);
    out
}

/// Places of public polynomials: those of so many public keys, then two for each question.
pub(super) fn place(keys: usize, question: u64, which: usize) -> u64 {
    keys as u64 + 2 * question + which as u64
}

/// Numbers of `N` bytes that lack low bits, below a modulus once these are there.
pub(super) fn numbers<const N: usize>(
    bytes: &[u8],
    dropped: u32,
    modulus: u128,
) -> Result<Vec<u128>, Refusal> {
    let most = rounded(modulus - 1, dropped);
    let numbers = bytes.as_chunks::<N>().0.iter().map(|bytes| {
        let mut wide = [0; 16];
        wide[..N].copy_from_slice(bytes);
        let value = u128::from_le_bytes(wide);
        if value > most {
            return Err(Refusal::protocol("an answer holds what is no residue"));
        }
        Ok(value << dropped)
    });
    numbers.collect()
}

impl Holder {
    /// A holder of so many keys.
    pub(crate) fn new(randomness: &mut Stream, count: usize) -> Self {
        let ring = Ring::new(count);
        let seed: [u8; SEED_LEN] = randomness.bytes();
        let public = Source::new(seed);
        let secret = Source::new(randomness.bytes());
        let errors = Source::new(randomness.bytes());
        let mut secrets = Vec::new();
        for plain in 0..count {
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
        for plain in 0..count {
            let mut key = vec![0; POLYNOMIAL_LEN];
            holder.encrypt(plain, plain as u64, Message::Zero, &mut key);
            holder.keys.extend(key);
        }
        holder
    }

    /// The seed of all public polynomials, and a public key for each plaintext prime.
    pub(crate) fn keys(&self) -> &[u8] {
        &self.keys
    }

    /// The first part of a ciphertext whose second is the public polynomial at a place, into [`POLYNOMIAL_LEN`] bytes.
    fn encrypt(&self, plain: usize, place: u64, message: Message<'_>, out: &mut [u8]) {
        let mut errors = vec![0i64; SLOTS];
        self.errors.draws(place).errors(&mut errors);
        let ntts = self.ring.limbs(plain);
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
                if let (0, Message::Slots(residues)) = (limb, message) {
                    let factor = m.factor(m.mul(PRIMES[PLAIN].q % m.q, PRIMES[PLAIN + 1].q % m.q));
                    for (value, residue) in values.iter_mut().zip(residues) {
                        *value = m.add(*value, m.scale(*residue, factor));
                    }
                }
                pack(&values, out);
                values.zeroize();
            });
        errors.zeroize();
    }

    /// Encryptions of a and b, residues of a plaintext prime, after the bytes of `head`.
    pub(crate) fn ask(
        &self,
        question: u64,
        plain: usize,
        own: [Vec<u64>; 2],
        head: &[u8],
    ) -> Vec<u8> {
        let mut out = vec![0; head.len() + QUESTION_LEN];
        out[..head.len()].copy_from_slice(head);
        let parts = out[head.len()..].chunks_exact_mut(POLYNOMIAL_LEN);
        for (which, (mut own, out)) in own.into_iter().zip(parts).enumerate() {
            let place = place(self.secrets.len(), question, which);
            self.encrypt(plain, place, Message::Slots(&own), out);
            own.zeroize();
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
        let low = numbers::<8>(low, DROPPED[0], modulus)?;
        let high = numbers::<9>(high, DROPPED[1], modulus)?;
        Ok(self.phase(plain, &high, |limb, values| {
            let m = [first, second][limb].modulus;
            for (value, low) in values.iter_mut().zip(&low) {
                *value = m.add(*value, m.reduce(*low));
            }
        }))
    }

    /// The product of a ciphertext's second part with the secret, modulo the first two primes, after `add` to each.
    fn phase(
        &self,
        plain: usize,
        second: &[u128],
        add: impl Fn(usize, &mut [u64]) + Sync,
    ) -> Vec<Vec<u64>> {
        let [p, q, _] = self.ring.limbs(plain);
        ([p, q].into_par_iter().enumerate())
            .map(|(limb, ntt)| {
                let m = ntt.modulus;
                let mut values: Vec<u64> = second.iter().map(|value| m.reduce(*value)).collect();
                ntt.forward(&mut values);
                for (value, secret) in values.iter_mut().zip(&self.secrets[plain][limb]) {
                    *value = m.fold(u128::from(*value) * u128::from(*secret));
                }
                ntt.backward(&mut values);
                add(limb, &mut values);
                values
            })
            .collect()
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
