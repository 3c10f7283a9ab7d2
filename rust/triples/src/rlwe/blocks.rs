//! Both sides' steps of a product of matrices: the holder encrypts blocks of the right one, the evaluator has the left one.

use std::ops::Range;

use atoll_primitives::stream::Stream;
use rayon::prelude::*;
use zeroize::Zeroize;

use super::evaluate::{Key, Switch, read_keys, rounded};
use super::holder::{Holder, Message, numbers, public};
use super::matrix::{Decoder, Encoder, MATRIX_DROPPED, Plan, SUMS};
use super::modulus::Modulus;
use super::pack::unpack;
use super::sample::Source;
use super::simd::{self, TILE};
use super::{FLOOD_BITS, LIMBS, POLYNOMIAL_LEN, PRIMES, Ring, SLOTS};
use crate::Refusal;

/// Purposes of one answer.
const PURPOSES: u64 = 4;

/// A polynomial's residues, or their transforms, by limbs.
type Limbs = [Vec<u64>; LIMBS];

impl Holder {
    /// The encryption of a block of the right matrix, after the bytes of `head`; `number` counts those of the session.
    pub(crate) fn ask_block(
        &self,
        number: u64,
        plan: &Plan,
        matrix: &[u64],
        block: [usize; 2],
        head: &[u8],
    ) -> Vec<u8> {
        let mut words = plan.right(matrix, block[0], block[1]);
        let mut out = vec![0; head.len() + POLYNOMIAL_LEN];
        out[..head.len()].copy_from_slice(head);
        // The place 0 is that of the key.
        let message = Message::Coefficients(&words);
        self.encrypt(0, 1 + number, message, &mut out[head.len()..]);
        words.zeroize();
        out
    }

    /// The entries that an answer holds, row by row of the block.
    ///
    /// # Errors
    /// `E_PROTOCOL` if it has another length than is due, or holds what is no residue.
    pub(crate) fn open_block(&self, plan: &Plan, answer: &[u8]) -> Result<Vec<u64>, Refusal> {
        if answer.len() != plan.answer_len() {
            return Err(Refusal::protocol(
                "an answer has another length than is due",
            ));
        }
        let modulus = u128::from(PRIMES[0].q) * u128::from(PRIMES[3].q);
        let (low, high) = answer.split_at(answer.len() - 10 * SLOTS);
        let low = numbers::<9>(low, MATRIX_DROPPED[0], modulus)?;
        let high = numbers::<10>(high, MATRIX_DROPPED[1], modulus)?;
        let phases = self.phase(0, &high, |_, _| {});
        let decoder = Decoder::new();
        let [first, second] = [PRIMES[0], PRIMES[3]];
        Ok((plan.places().zip(&low))
            .map(|(at, low)| {
                let phase = [
                    first.add(phases[0][at], first.reduce(*low)),
                    second.add(phases[1][at], second.reduce(*low)),
                ];
                decoder.decode(phase)
            })
            .collect())
    }
}

/// The side with the left matrix.
pub(crate) struct BlockEvaluator {
    ring: Ring,
    public: Source,
    secret: Source,
    key: Vec<Key>,
    plan: Plan,
    /// Of each limb the transforms of the left matrix's blocks: by tiles, then rows of blocks, then blocks, so that sums are
    /// made in the order of memory.
    left: Vec<Vec<u64>>,
    /// First and second parts of the ciphertexts of columns of blocks.
    right: Vec<[Limbs; 2]>,
    answers: u64,
}

impl Drop for BlockEvaluator {
    fn drop(&mut self) {
        self.left.iter_mut().for_each(Zeroize::zeroize);
    }
}

/// An answer's bytes, and the masks of its entries.
pub(crate) type Answer = (Vec<u8>, Vec<u64>);

/// Sums of products of blocks in one tile, with both parts of ciphertexts.
fn products(m: Modulus, left: &[[u64; TILE]], right: &[[&[u64; TILE]; 2]]) -> [[u64; TILE]; 2] {
    let mut out = [[0; TILE]; 2];
    for (left, right) in left
        .chunks(simd::TOGETHER)
        .zip(right.chunks(simd::TOGETHER))
    {
        for (part, out) in out.iter_mut().enumerate() {
            let mut pairs = [(&left[0], &left[0]); simd::TOGETHER];
            for (pair, (left, right)) in pairs.iter_mut().zip(left.iter().zip(right)) {
                *pair = (left, right[part]);
            }
            simd::add_products(m, &pairs[..left.len()], out);
        }
    }
    out
}

impl BlockEvaluator {
    /// From the other side's public key and the own matrix, row by row.
    ///
    /// # Errors
    /// `E_PROTOCOL` if the key is not what [`super::keys_len`] and residues say.
    pub(crate) fn new(
        bytes: &[u8],
        randomness: &mut Stream,
        plan: Plan,
        matrix: &[u64],
    ) -> Result<Self, Refusal> {
        let ring = Ring::new(1);
        let (public, mut keys) = read_keys(bytes, 1, &ring)?;
        let [rows, inner, _] = plan.counts();
        let blocks = rows * inner;
        let left = (ring.limbs(0).into_par_iter())
            .map(|ntt| {
                let mut all = vec![0; blocks * SLOTS];
                for block in 0..blocks {
                    let mut values = plan.left(matrix, block / inner, block % inner);
                    for value in &mut values {
                        *value = ntt.modulus.word(*value);
                    }
                    ntt.forward(&mut values);
                    let tiles = all.as_chunks_mut::<TILE>().0.iter_mut();
                    let own = tiles.skip(block).step_by(blocks);
                    for (out, tile) in own.zip(values.as_chunks::<TILE>().0) {
                        *out = *tile;
                    }
                    values.zeroize();
                }
                all
            })
            .collect();
        Ok(Self {
            ring,
            public,
            secret: Source::new(randomness.bytes()),
            key: keys.swap_remove(0),
            plan,
            left,
            right: Vec::new(),
            answers: 0,
        })
    }

    /// Takes the encryption of the next block of a column of blocks; `number` counts those of the session.
    ///
    /// # Errors
    /// `E_PROTOCOL` if it is not [`POLYNOMIAL_LEN`] bytes of residues.
    pub(crate) fn take(&mut self, number: u64, bytes: &[u8]) -> Result<(), Refusal> {
        if bytes.len() != POLYNOMIAL_LEN {
            return Err(Refusal::protocol("a block has another length than is due"));
        }
        let mut parts: [Limbs; 2] = Default::default();
        let limbs = bytes.chunks_exact(POLYNOMIAL_LEN / LIMBS);
        for (limb, (bytes, ntt)) in limbs.zip(self.ring.limbs(0)).enumerate() {
            parts[0][limb] = vec![0; SLOTS];
            unpack(bytes, ntt.modulus, &mut parts[0][limb])?;
            parts[1][limb] = public(&self.public, 1 + number, limb, ntt);
        }
        self.right.push(parts);
        Ok(())
    }

    /// The answers of columns of blocks, whose encryptions were taken, after the bytes of `head`, and their masks: a column
    /// after the other.
    pub(crate) fn answer(&mut self, head: &[u8]) -> Vec<Answer> {
        let right = std::mem::take(&mut self.right);
        let [rows, inner, _] = self.plan.counts();
        let columns = right.len() / inner;
        let first = self.answers;
        self.answers += (rows * columns) as u64;
        let most = (SUMS / columns).max(1);
        let mut out: Vec<Option<Answer>> = (0..rows * columns).map(|_| None).collect();
        for start in (0..rows).step_by(most) {
            let some = start..rows.min(start + most);
            let sums = self.sums(&right, some.clone());
            let tiles = SLOTS / TILE;
            let made: Vec<(usize, Answer)> = (0..some.len() * columns)
                .into_par_iter()
                .map(|at| {
                    let gather = |limb: usize, part: usize| {
                        let tiles = sums[limb * tiles..(limb + 1) * tiles].iter();
                        tiles.flat_map(|sums| sums[at][part]).collect()
                    };
                    let place = at % columns * rows + start + at / columns;
                    (place, self.finish(first + place as u64, gather, head))
                })
                .collect();
            for (place, answer) in made {
                out[place] = Some(answer);
            }
        }
        out.into_iter().flatten().collect()
    }

    /// Of each limb and tile the sums of some rows of blocks, with each column: what is multiplied stays near.
    fn sums(&self, right: &[[Limbs; 2]], some: Range<usize>) -> Vec<Vec<[[u64; TILE]; 2]>> {
        let [rows, inner, _] = self.plan.counts();
        let tiles = SLOTS / TILE;
        (0..LIMBS * tiles)
            .into_par_iter()
            .map(|task| {
                let (limb, at) = (task / tiles, task % tiles);
                let m = self.ring.limbs(0)[limb].modulus;
                let right: Vec<[&[u64; TILE]; 2]> = (right.iter())
                    .map(|parts| [0, 1].map(|part| &parts[part][limb].as_chunks::<TILE>().0[at]))
                    .collect();
                let left = self.left[limb].as_chunks::<TILE>().0.chunks_exact(inner);
                let left = left.skip(at * rows + some.start).take(some.len());
                left.flat_map(|left| {
                    (right.chunks_exact(inner)).map(move |right| products(m, left, right))
                })
                .collect()
            })
            .collect()
    }

    /// Covers, masks and floods a sum, and drops what an answer need not have.
    fn finish(&self, number: u64, sums: impl Fn(usize, usize) -> Vec<u64>, head: &[u8]) -> Answer {
        let plan = &self.plan;
        let purpose = |which: u64| self.secret.draws(number * PURPOSES + which);
        let places: Vec<usize> = plan.places().collect();
        let mut masks = vec![0u64; places.len()];
        purpose(0).words(&mut masks);
        let mut ternary = vec![0i64; SLOTS];
        purpose(1).ternary(&mut ternary);
        let mut errors = vec![0i64; SLOTS];
        purpose(2).errors(&mut errors);
        let mut draws = purpose(3);
        let mut flood: Vec<u128> = places.iter().map(|_| draws.flood()).collect();
        let ntts = self.ring.limbs(0);
        let mut limbs: Vec<[Vec<u64>; 2]> = Vec::new();
        for (limb, (ntt, key)) in ntts.into_iter().zip(&self.key).enumerate() {
            let m = ntt.modulus;
            let mut cover: Vec<u64> = ternary.iter().map(|x| m.signed(*x)).collect();
            ntt.forward(&mut cover);
            let parts = [(0, &key.first), (1, &key.second)].map(|(part, key)| {
                let mut values = sums(limb, part);
                for ((value, key), cover) in values.iter_mut().zip(key).zip(&cover) {
                    *value = m.add(*value, m.fold(u128::from(*key) * u128::from(*cover)));
                }
                ntt.backward_folded(&mut values);
                values
            });
            cover.zeroize();
            let [mut low, mut high] = parts;
            // Three uniform numbers are centred at this.
            let centre = m.reduce(3 << (FLOOD_BITS - 1));
            let encoder = Encoder::new(m);
            for ((at, mask), flood) in places.iter().zip(&masks).zip(&flood) {
                let noise = m.sub(m.reduce(*flood), centre);
                low[*at] = m.add(low[*at], m.add(encoder.encode(*mask), noise));
            }
            for (value, error) in high.iter_mut().zip(&errors) {
                *value = m.add(*value, m.signed(*error));
            }
            limbs.push([low, high]);
        }
        let switch = Switch::new(ntts.map(|ntt| ntt.modulus));
        let residues = |part: usize, at: usize| [0, 1, 2].map(|limb: usize| limbs[limb][part][at]);
        let mut out = Vec::with_capacity(head.len() + plan.answer_len());
        out.extend_from_slice(head);
        for at in &places {
            let value = rounded(switch.apply(residues(0, *at)), MATRIX_DROPPED[0]);
            out.extend_from_slice(&value.to_le_bytes()[..9]);
        }
        for at in 0..SLOTS {
            let value = rounded(switch.apply(residues(1, at)), MATRIX_DROPPED[1]);
            out.extend_from_slice(&value.to_le_bytes()[..10]);
        }
        ternary.zeroize();
        errors.zeroize();
        flood.zeroize();
        (out, masks)
    }
}
