//! Both sides' steps of a product of matrices: the holder encrypts blocks of the right one, the evaluator has the left one.

use std::ops::Range;

use atoll_primitives::stream::Stream;
use rayon::prelude::*;
use zeroize::Zeroize;

use super::evaluate::rounded;
use super::lanes::{self, LANES, Lane, Packed};
use super::matrix::{
    BLOCK_LEN, Decoder, Encoder, FIRST, LIMB_BITS, LIMBS, MATRIX_DROPPED, Plan, SECOND, SUMS,
    Switch,
};
use super::pack::{pack_long, pack_short, unpack_long, unpack_short};
use super::sample::Source;
use super::transform::Transform;
use super::{FLOOD_BITS, SEED_LEN, SLOTS};
use crate::Refusal;

/// Bytes of the public key, with the seed.
pub(crate) const BLOCK_KEY_LEN: usize = SEED_LEN + BLOCK_LEN;
/// Primes of a ciphertext's modulus.
const COUNT: usize = LIMBS.len();
/// Purposes of one answer.
const PURPOSES: u64 = 4;
/// Values of a polynomial that are added up at once.
const TILE: usize = 64;
/// Blocks of the left matrix that are transformed together, so that lanes of several stand side by side in memory.
const BATCH: usize = 16;

/// Values of a polynomial, or its coefficients, modulo one prime.
type Values = Box<[u64; SLOTS]>;

fn zeros() -> Values {
    vec![0; SLOTS]
        .into_boxed_slice()
        .try_into()
        .expect("a polynomial of 8192 values")
}

fn transforms() -> [Transform; COUNT] {
    LIMBS.map(Transform::new)
}

/// The public polynomial at a place, in one limb.
fn public(source: &Source, place: u64, limb: usize) -> Values {
    let mut out = zeros();
    source
        .draws(place * COUNT as u64 + limb as u64)
        .residues(LIMBS[limb].q, &mut out[..]);
    out
}

/// The side with the right matrix: one secret key.
pub(crate) struct BlockHolder {
    transforms: [Transform; COUNT],
    /// Of each limb the transform of the secret times 2^52.
    secrets: [Values; COUNT],
    errors: Source,
    public: Source,
    keys: Vec<u8>,
}

impl Drop for BlockHolder {
    fn drop(&mut self) {
        self.secrets.iter_mut().for_each(|secret| secret.zeroize());
    }
}

impl BlockHolder {
    /// A holder of a new key.
    pub(crate) fn new(randomness: &mut Stream) -> Self {
        let transforms = transforms();
        let seed: [u8; SEED_LEN] = randomness.bytes();
        let public = Source::new(seed);
        let secret = Source::new(randomness.bytes());
        let errors = Source::new(randomness.bytes());
        let mut coefficients = vec![0i64; SLOTS];
        secret.draws(0).ternary(&mut coefficients);
        let secrets = transforms.each_ref().map(|transform| {
            let m = transform.modulus;
            let radix = m.factor(m.radix());
            let mut values = zeros();
            (values.iter_mut().zip(&coefficients)).for_each(|(value, x)| *value = m.signed(*x));
            transform.forward(&mut values);
            values.iter_mut().for_each(|x| *x = m.scale(*x, radix));
            values
        });
        coefficients.zeroize();
        let mut holder = Self {
            transforms,
            secrets,
            errors,
            public,
            keys: seed.to_vec(),
        };
        let mut key = vec![0; BLOCK_LEN];
        holder.encrypt(0, &[0; SLOTS], &mut key);
        holder.keys.extend(key);
        holder
    }

    /// The seed of all public polynomials, and the public key.
    pub(crate) fn keys(&self) -> &[u8] {
        &self.keys
    }

    /// The first part of a ciphertext of words whose second is the public polynomial at a place: [`BLOCK_LEN`] bytes.
    fn encrypt(&self, place: u64, words: &[u64], out: &mut [u8]) {
        let mut errors = vec![0i64; SLOTS];
        self.errors.draws(place).errors(&mut errors);
        (out.par_chunks_exact_mut(BLOCK_LEN / COUNT).enumerate()).for_each(|(limb, out)| {
            let transform = &self.transforms[limb];
            let m = transform.modulus;
            let encoder = Encoder::new(m);
            let mut values = zeros();
            for ((value, error), word) in values.iter_mut().zip(&errors).zip(words) {
                *value = m.add(m.signed(*error), encoder.encode(*word));
            }
            transform.forward(&mut values);
            let public = public(&self.public, place, limb);
            let mut products = zeros();
            lanes::add_products(m, &mut products[..], &public[..], &self.secrets[limb][..]);
            for (value, product) in values.iter_mut().zip(products.iter()) {
                *value = m.sub(*value, *product);
            }
            pack_short(&values[..], LIMB_BITS, out);
            values.zeroize();
            products.zeroize();
        });
        errors.zeroize();
    }

    /// The encryption of a block of the right matrix, after the bytes of `head`; `number` counts those of the session.
    pub(crate) fn ask(
        &self,
        number: u64,
        plan: &Plan,
        matrix: &[u64],
        block: [usize; 2],
        head: &[u8],
    ) -> Vec<u8> {
        let mut words = plan.right(matrix, block[0], block[1]);
        let mut out = vec![0; head.len() + BLOCK_LEN];
        out[..head.len()].copy_from_slice(head);
        // The place 0 is that of the key.
        self.encrypt(1 + number, &words, &mut out[head.len()..]);
        words.zeroize();
        out
    }

    /// The entries that an answer holds, row by row of the block.
    ///
    /// # Errors
    /// `E_PROTOCOL` if it has another length than is due, or holds what is no residue.
    pub(crate) fn open(&self, plan: &Plan, answer: &[u8]) -> Result<Vec<u64>, Refusal> {
        if answer.len() != plan.answer_len() {
            return Err(Refusal::protocol(
                "an answer has another length than is due",
            ));
        }
        let (low, high) = answer.split_at(answer.len() - SECOND);
        let low = low.as_chunks::<FIRST>().0.iter().map(|bytes| {
            let mut wide = [0; 16];
            wide[..FIRST].copy_from_slice(bytes);
            u128::from_le_bytes(wide)
        });
        let low = restored(low.collect(), MATRIX_DROPPED[0])?;
        let mut seconds = vec![0; SLOTS];
        unpack_long(high, &mut seconds);
        let high = restored(seconds, MATRIX_DROPPED[1])?;
        let phases: Vec<Values> = (self.transforms[..2].par_iter().enumerate())
            .map(|(limb, transform)| {
                let m = transform.modulus;
                let half = m.half();
                let mut values = zeros();
                for (value, high) in values.iter_mut().zip(&high) {
                    *value = m.reduce_long(*high, half);
                }
                transform.forward(&mut values);
                let mut products = zeros();
                lanes::add_products(m, &mut products[..], &values[..], &self.secrets[limb][..]);
                transform.backward(&mut products);
                products
            })
            .collect();
        let decoder = Decoder::new();
        let halves = [LIMBS[0].half(), LIMBS[1].half()];
        Ok((plan.places().zip(&low))
            .map(|(at, low)| {
                decoder.decode([0, 1].map(|limb: usize| {
                    let m = LIMBS[limb];
                    m.add(phases[limb][at], m.reduce_long(*low, halves[limb]))
                }))
            })
            .collect())
    }
}

/// Numbers that lack low bits, below the product of two primes once these are there.
fn restored(mut numbers: Vec<u128>, dropped: u32) -> Result<Vec<u128>, Refusal> {
    let modulus = u128::from(LIMBS[0].q) * u128::from(LIMBS[1].q);
    let most = rounded(modulus - 1, dropped);
    if numbers.iter().any(|number| *number > most) {
        return Err(Refusal::protocol("an answer holds what is no residue"));
    }
    numbers.iter_mut().for_each(|number| *number <<= dropped);
    Ok(numbers)
}

/// The side with the left matrix.
pub(crate) struct BlockEvaluator {
    transforms: [Transform; COUNT],
    public: Source,
    secret: Source,
    /// Both parts of the public key, by limbs.
    key: Vec<[Values; 2]>,
    plan: Plan,
    /// Of each limb the transforms of the left matrix's blocks: by lanes, then rows of blocks, then blocks, so that sums
    /// are made in the order of memory.
    left: Vec<Vec<Packed>>,
    /// Of each limb both parts of ciphertexts of columns of blocks: by lanes, then columns, then blocks; and how many
    /// came.
    right: Vec<Vec<[Lane; 2]>>,
    taken: usize,
    answers: u64,
}

impl Drop for BlockEvaluator {
    fn drop(&mut self) {
        self.left.iter_mut().for_each(Zeroize::zeroize);
    }
}

/// An answer's bytes, and the masks of its entries.
pub(crate) type Answer = (Vec<u8>, Vec<u64>);
/// Sums of one limb and tile: of each row and column of blocks, with both parts.
type Sums = Vec<[u64; TILE]>;

/// Both parts of a ciphertext of which the first came.
fn ciphertext(
    public_source: &Source,
    place: u64,
    bytes: &[u8],
) -> Result<[[Values; 2]; COUNT], Refusal> {
    let mut parts = [(); COUNT].map(|()| [zeros(), zeros()]);
    for (limb, (parts, bytes)) in
        (parts.iter_mut().zip(bytes.chunks_exact(BLOCK_LEN / COUNT))).enumerate()
    {
        unpack_short(bytes, LIMB_BITS, LIMBS[limb].q, &mut parts[0][..])?;
        parts[1] = public(public_source, place, limb);
    }
    Ok(parts)
}

/// The transforms of a matrix's blocks.
fn transformed(transforms: &[Transform; COUNT], plan: &Plan, matrix: &[u64]) -> Vec<Vec<Packed>> {
    let [rows, inner, _] = plan.counts();
    let blocks = rows * inner;
    let mut left: Vec<Vec<Packed>> = transforms
        .iter()
        .map(|_| vec![[0; 6]; blocks * SLOTS / LANES])
        .collect();
    let mut words: Vec<Values> = (0..BATCH.min(blocks)).map(|_| zeros()).collect();
    for first in (0..blocks).step_by(BATCH) {
        let count = BATCH.min(blocks - first);
        (words[..count].par_iter_mut().enumerate()).for_each(|(at, words)| {
            plan.left(matrix, (first + at) / inner, (first + at) % inner, words);
        });
        (left.par_iter_mut().zip(transforms)).for_each(|(left, transform)| {
            let mut values = zeros();
            let mut packed = vec![[0; 6]; count * SLOTS / LANES];
            for (words, packed) in words[..count]
                .iter()
                .zip(packed.chunks_exact_mut(SLOTS / LANES))
            {
                values.copy_from_slice(&words[..]);
                lanes::words(transform.modulus, &mut values[..]);
                transform.forward(&mut values);
                lanes::pack(&values[..], packed);
            }
            for (lane, out) in left.chunks_exact_mut(blocks).enumerate() {
                let packed = packed[lane..].iter().step_by(SLOTS / LANES);
                for (out, packed) in out[first..first + count].iter_mut().zip(packed) {
                    *out = *packed;
                }
            }
            values.zeroize();
            packed.zeroize();
        });
    }
    words.iter_mut().for_each(|words| words.zeroize());
    left
}

impl BlockEvaluator {
    /// From the other side's public key and the own matrix, row by row.
    ///
    /// # Errors
    /// `E_PROTOCOL` if the key is not [`BLOCK_KEY_LEN`] bytes, or holds what is no residue.
    pub(crate) fn new(
        bytes: &[u8],
        randomness: &mut Stream,
        plan: Plan,
        matrix: &[u64],
    ) -> Result<Self, Refusal> {
        if bytes.len() != BLOCK_KEY_LEN {
            return Err(Refusal::protocol(
                "public keys have another length than is due",
            ));
        }
        let transforms = transforms();
        let (seed, key) = bytes.split_at(SEED_LEN);
        let public = Source::new(std::array::from_fn(|i| seed[i]));
        let key = Vec::from(ciphertext(&public, 0, key)?);
        let left = transformed(&transforms, &plan, matrix);
        let room = plan.counts()[1] * plan.group();
        Ok(Self {
            transforms,
            public,
            secret: Source::new(randomness.bytes()),
            key,
            plan,
            left,
            right: vec![vec![[[0; LANES]; 2]; room * SLOTS / LANES]; COUNT],
            taken: 0,
            answers: 0,
        })
    }

    /// Takes the encryption of the next block of a column of blocks; `number` counts those of the session.
    ///
    /// # Errors
    /// `E_PROTOCOL` if it is not [`BLOCK_LEN`] bytes of residues.
    pub(crate) fn take(&mut self, number: u64, bytes: &[u8]) -> Result<(), Refusal> {
        if bytes.len() != BLOCK_LEN {
            return Err(Refusal::protocol("a block has another length than is due"));
        }
        let parts = ciphertext(&self.public, 1 + number, bytes)?;
        let room = self.right[0].len() / (SLOTS / LANES);
        debug_assert!(self.taken < room);
        for (right, [first, second]) in self.right.iter_mut().zip(parts) {
            let lanes = first
                .as_chunks::<LANES>()
                .0
                .iter()
                .zip(second.as_chunks::<LANES>().0);
            let places = right[self.taken..].iter_mut().step_by(room);
            for (place, (first, second)) in places.zip(lanes) {
                *place = [*first, *second];
            }
        }
        self.taken += 1;
        Ok(())
    }

    /// The answers of columns of blocks, whose encryptions were taken, after the bytes of `head`, and their masks: a column
    /// after the other.
    pub(crate) fn answer(&mut self, head: &[u8]) -> Vec<Answer> {
        let [rows, inner, _] = self.plan.counts();
        let columns = std::mem::take(&mut self.taken) / inner;
        let first = self.answers;
        self.answers += (rows * columns) as u64;
        let most = (SUMS / columns).max(1);
        let mut out: Vec<Option<Answer>> = (0..rows * columns).map(|_| None).collect();
        for start in (0..rows).step_by(most) {
            let some = start..rows.min(start + most);
            let sums = self.sums(columns, some.clone());
            let made: Vec<(usize, Answer)> = (0..some.len() * columns)
                .into_par_iter()
                .map(|at| {
                    let gather = |limb: usize, part: usize, values: &mut [u64; SLOTS]| {
                        let tiles = sums[limb * SLOTS / TILE..].iter();
                        for (out, sums) in values.as_chunks_mut::<TILE>().0.iter_mut().zip(tiles) {
                            *out = sums[2 * at + part];
                        }
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
    fn sums(&self, columns: usize, some: Range<usize>) -> Vec<Sums> {
        let [rows, inner, _] = self.plan.counts();
        let tiles = SLOTS / TILE;
        (0..COUNT * tiles)
            .into_par_iter()
            .map(|task| {
                let (limb, tile) = (task / tiles, task % tiles);
                let room = self.right[limb].len() / (SLOTS / LANES);
                let mut out = vec![[0; TILE]; some.len() * columns * 2];
                let mut sums: Vec<Lane> = vec![[0; LANES]; out.len()];
                for at in 0..TILE / LANES {
                    let lane = tile * TILE / LANES + at;
                    let left = &self.left[limb][(lane * rows + some.start) * inner..]
                        [..some.len() * inner];
                    let right = &self.right[limb][lane * room..][..columns * inner];
                    sums.fill([0; LANES]);
                    lanes::sums(LIMBS[limb], left, right, [inner, columns], &mut sums);
                    for (out, sum) in out.iter_mut().zip(&sums) {
                        out[at * LANES..(at + 1) * LANES].copy_from_slice(sum);
                    }
                }
                out
            })
            .collect()
    }

    /// Covers, masks and floods a sum, and drops what an answer need not have.
    fn finish(
        &self,
        number: u64,
        sums: impl Fn(usize, usize, &mut [u64; SLOTS]),
        head: &[u8],
    ) -> Answer {
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
        let mut cover = zeros();
        let limbs: Vec<[Values; 2]> = (self.transforms.iter().zip(&self.key).enumerate())
            .map(|(limb, (transform, key))| {
                let m = transform.modulus;
                (cover.iter_mut().zip(&ternary)).for_each(|(value, x)| *value = m.signed(*x));
                transform.forward(&mut cover);
                let mut parts = [zeros(), zeros()];
                for (part, values) in parts.iter_mut().enumerate() {
                    sums(limb, part, values);
                    lanes::add_products(m, &mut values[..], &key[part][..], &cover[..]);
                    transform.backward_folded(values);
                }
                let [low, high] = &mut parts;
                // Three uniform numbers are centred at this.
                let centre = m.reduce_wide(3 << (FLOOD_BITS - 1));
                let encoder = Encoder::new(m);
                for ((at, mask), flood) in places.iter().zip(&masks).zip(&flood) {
                    let noise = m.sub(m.reduce_wide(*flood), centre);
                    low[*at] = m.add(low[*at], m.add(encoder.encode(*mask), noise));
                }
                for (value, error) in high.iter_mut().zip(&errors) {
                    *value = m.add(*value, m.signed(*error));
                }
                parts
            })
            .collect();
        let switch = Switch::new();
        let left_over = |part: usize, at: usize| {
            let residues = [0, 1, 2, 3].map(|limb: usize| limbs[limb][part][at]);
            rounded(switch.apply(residues), MATRIX_DROPPED[part])
        };
        let mut out = vec![0; head.len() + plan.answer_len()];
        out[..head.len()].copy_from_slice(head);
        let (low, high) = out[head.len()..].split_at_mut(FIRST * places.len());
        for (at, bytes) in places.iter().zip(low.as_chunks_mut::<FIRST>().0) {
            bytes.copy_from_slice(&left_over(0, *at).to_le_bytes()[..FIRST]);
        }
        let seconds: Vec<u128> = (0..SLOTS).map(|at| left_over(1, at)).collect();
        pack_long(&seconds, high);
        ternary.zeroize();
        errors.zeroize();
        flood.zeroize();
        cover.zeroize();
        (out, masks)
    }
}
