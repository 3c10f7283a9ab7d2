//! The side without keys: it multiplies what came encrypted with its own words, and masks the sum.

use atoll_primitives::stream::Stream;
use rayon::prelude::*;
use zeroize::Zeroize;

use super::holder::{place, public};
use super::modulus::{Factor, Modulus};
use super::pack::unpack;
use super::sample::Source;
use super::{
    ANSWER_LEN, DROPPED, FLOOD_BITS, LIMBS, PLAIN, POLYNOMIAL_LEN, PRIMES, QUESTION_LEN, Ring,
    SEED_LEN, SLOTS, keys_len,
};
use crate::Refusal;

/// Purposes of one question.
const PURPOSES: u64 = 4;

/// A public key in one limb.
struct Key {
    first: Vec<u64>,
    second: Vec<u64>,
}

/// So many public keys by limbs, and the source of all public polynomials.
fn read_keys(bytes: &[u8], count: usize, ring: &Ring) -> Result<(Source, Vec<Vec<Key>>), Refusal> {
    if bytes.len() != keys_len(count) {
        return Err(Refusal::protocol(
            "public keys have another length than is due",
        ));
    }
    let (seed, polynomials) = bytes.split_at(SEED_LEN);
    let source = Source::new(std::array::from_fn(|i| seed[i]));
    let mut keys = Vec::new();
    for (plain, bytes) in polynomials.chunks_exact(POLYNOMIAL_LEN).enumerate() {
        let limbs = bytes.chunks_exact(POLYNOMIAL_LEN / LIMBS);
        let key = (limbs.zip(ring.limbs(plain)).enumerate()).map(|(limb, (bytes, ntt))| {
            let mut first = vec![0; SLOTS];
            unpack(bytes, ntt.modulus, &mut first)?;
            let second = public(&source, plain as u64, limb, ntt);
            Ok(Key { first, second })
        });
        keys.push(key.collect::<Result<Vec<_>, Refusal>>()?);
    }
    Ok((source, keys))
}

/// What the evaluator has.
pub(crate) struct Evaluator {
    ring: Ring,
    public: Source,
    secret: Source,
    /// Of each plaintext prime and limb.
    keys: Vec<Vec<Key>>,
}

/// `value` without so many low bits, rounded.
#[inline(always)]
pub(super) fn rounded(value: u128, dropped: u32) -> u128 {
    (value + (1 << (dropped - 1))) >> dropped
}

/// Drops R, and gives a number modulo p Q.
struct Switch {
    limbs: [Modulus; LIMBS],
    /// 1/R modulo p and Q.
    divide: [Factor; 2],
    /// 1/p modulo Q.
    join: Factor,
}

impl Switch {
    fn new(limbs: [Modulus; LIMBS]) -> Self {
        let [p, q, r] = limbs;
        let inverse = |m: Modulus, of: Modulus| m.factor(m.inverse(of.q % m.q));
        Self {
            limbs,
            divide: [inverse(p, r), inverse(q, r)],
            join: inverse(q, p),
        }
    }

    #[inline(always)]
    fn apply(&self, residues: [u64; LIMBS]) -> u128 {
        let [p, q, r] = self.limbs;
        let divided =
            |m: Modulus, x: u64, by: Factor| m.scale(m.sub(x, m.lift(residues[2], r)), by);
        let x = divided(p, residues[0], self.divide[0]);
        let y = divided(q, residues[1], self.divide[1]);
        let times = q.scale(q.sub(y, q.once(x)), self.join);
        u128::from(x) + u128::from(p.q) * u128::from(times)
    }
}

impl Evaluator {
    /// From the other side's public keys, of so many plaintext primes.
    ///
    /// # Errors
    /// `E_PROTOCOL` if these are not residues, [`keys_len`] bytes with the seed.
    pub(crate) fn new(
        bytes: &[u8],
        count: usize,
        randomness: &mut Stream,
    ) -> Result<Self, Refusal> {
        let ring = Ring::new(count);
        let (public, keys) = read_keys(bytes, count, &ring)?;
        Ok(Self {
            ring,
            public,
            secret: Source::new(randomness.bytes()),
            keys,
        })
    }

    /// The encryption of `a0 b1 + b0 a1 + r` modulo a plaintext prime, after the bytes of `head`, and r, uniform. `question` holds
    /// the encryptions of a0 and b0; a and b are this side's residues.
    ///
    /// # Errors
    /// `E_PROTOCOL` if the question is not [`QUESTION_LEN`] bytes of residues.
    pub(crate) fn answer(
        &self,
        number: u64,
        plain: usize,
        question: &[u8],
        own: [Vec<u64>; 2],
        head: &[u8],
    ) -> Result<(Vec<u8>, Vec<u64>), Refusal> {
        if question.len() != QUESTION_LEN {
            return Err(Refusal::protocol(
                "a question has another length than is due",
            ));
        }
        let ntts = self.ring.limbs(plain);
        let p = ntts[0].modulus;
        let purpose = |which: u64| self.secret.draws(number * PURPOSES + which);
        let mut masks = vec![0u64; SLOTS];
        purpose(0).residues(p.q, &mut masks);
        let mut ternary = vec![0i64; SLOTS];
        purpose(1).ternary(&mut ternary);
        let mut errors = vec![0i64; SLOTS];
        purpose(2).errors(&mut errors);
        let mut draws = purpose(3);
        let mut flood: Vec<u128> = (0..SLOTS).map(|_| draws.flood()).collect();
        // Slots are values at the roots of p; their polynomials are what is multiplied with.
        let mut slots = own;
        let mut polynomials = slots.clone();
        (polynomials.par_iter_mut()).for_each(|polynomial| ntts[0].backward(polynomial));
        let limbs: Vec<[Vec<u64>; 2]> = (ntts.into_par_iter().enumerate())
            .map(|(limb, ntt)| {
                let m = ntt.modulus;
                let length = POLYNOMIAL_LEN / LIMBS;
                // Each ciphertext is multiplied with the other of the own words.
                let factors: Vec<Vec<u64>> = [1, 0]
                    .into_iter()
                    .map(|which| {
                        if limb == 0 {
                            return slots[which].clone();
                        }
                        let mut factor: Vec<u64> =
                            polynomials[which].iter().map(|x| m.lift(*x, p)).collect();
                        ntt.forward(&mut factor);
                        factor
                    })
                    .collect();
                let mut cover: Vec<u64> = ternary.iter().map(|x| m.signed(*x)).collect();
                ntt.forward(&mut cover);
                let mut given = [vec![0; SLOTS], vec![0; SLOTS]];
                for (given, bytes) in given.iter_mut().zip(question.chunks_exact(POLYNOMIAL_LEN)) {
                    unpack(&bytes[limb * length..(limb + 1) * length], m, given)?;
                }
                let seconds = [0, 1].map(|which| {
                    public(
                        &self.public,
                        place(self.keys.len(), number, which),
                        limb,
                        ntt,
                    )
                });
                let key = &self.keys[plain][limb];
                let [mut first, mut second] =
                    [(&given, &key.first), (&seconds, &key.second)].map(|(parts, key)| {
                        let sum = |at: usize| {
                            let products = [
                                (parts[0][at], factors[0][at]),
                                (parts[1][at], factors[1][at]),
                                (key[at], cover[at]),
                            ];
                            // Three products are below 2^64 q.
                            m.fold(
                                products
                                    .iter()
                                    .map(|(x, y)| u128::from(*x) * u128::from(*y))
                                    .sum(),
                            )
                        };
                        (0..SLOTS).map(sum).collect::<Vec<u64>>()
                    });
                if limb == 0 {
                    let factor = m.mul(PRIMES[PLAIN].q % m.q, PRIMES[PLAIN + 1].q % m.q);
                    let factor = m.factor(m.mul(factor, m.inverse(m.radix())));
                    for (value, mask) in first.iter_mut().zip(&masks) {
                        *value = m.add(*value, m.scale(*mask, factor));
                    }
                }
                ntt.backward_folded(&mut first);
                ntt.backward_folded(&mut second);
                // Three uniform numbers are centred at this.
                let centre = m.reduce(3 << (FLOOD_BITS - 1));
                for (value, flood) in first.iter_mut().zip(&flood) {
                    *value = m.sub(m.add(*value, m.reduce(*flood)), centre);
                }
                for (value, error) in second.iter_mut().zip(&errors) {
                    *value = m.add(*value, m.signed(*error));
                }
                Ok([first, second])
            })
            .collect::<Result<_, Refusal>>()?;
        let switch = Switch::new(ntts.map(|ntt| ntt.modulus));
        let mut out = vec![0u8; head.len() + ANSWER_LEN];
        out[..head.len()].copy_from_slice(head);
        let (low, high) = out[head.len()..].split_at_mut(8 * SLOTS);
        let residues = |part: usize, at: usize| [0, 1, 2].map(|limb: usize| limbs[limb][part][at]);
        for (at, bytes) in low.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let value = rounded(switch.apply(residues(0, at)), DROPPED[0]);
            *bytes = (value as u64).to_le_bytes();
        }
        for (at, bytes) in high.as_chunks_mut::<9>().0.iter_mut().enumerate() {
            let value = rounded(switch.apply(residues(1, at)), DROPPED[1]);
            bytes.copy_from_slice(&value.to_le_bytes()[..9]);
        }
        ternary.zeroize();
        errors.zeroize();
        flood.zeroize();
        slots
            .iter_mut()
            .chain(&mut polynomials)
            .for_each(Zeroize::zeroize);
        Ok((out, masks))
    }
}
