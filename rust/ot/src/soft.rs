//! Random transfers of bits or words by SoftSpoken OT (Roy, CRYPTO 2022, eprint 2022/192), semi-honest: 128 base transfers once,
//! then `128 / k - 1` bits of one side's messages for each transfer, with fields of 2^k elements.
//!
//! The chooser holds all leaves of small trees, the other side all but one of each, which its delta names. With `r_x` the
//! pseudo-random bits of leaf x the chooser has `u = sum r_x` and `v = sum x r_x`, the other side
//! `w = sum (x + delta) r_x = delta u + v`. Corrections make `u` the same in all blocks; rows of all blocks are correlations
//! `q = t + u delta` under a delta of 128 bits. A bit of `P(x) + x`, under a permutation of the session's own, breaks the
//! correlation (correlation robustness, Guo, Katz, Wang & Yu, eprint 2019/074, section 7.2): rows are pseudo-random to the
//! chooser, so that none is met twice, and no tweak is needed against a peer that follows the protocol. Words are 64 bits
//! of the tweakable hash of section 7.4, under the number of the transfer in the session.

use aes::Block;
use atoll_primitives::stream::Stream;
use rayon::prelude::*;
use zeroize::Zeroize;

use crate::Refusal;
use crate::base::{self, CHOICES_LEN, COUNT, Key, REPLY_LEN};
use crate::ggm::{self, Shape};
use crate::prg::{Doubling, Permutation, key};
pub use crate::rows::{TILE, WordBlock};
use crate::{rows, simd};

/// Bytes of the sums of all levels.
const SUMS_LEN: usize = COUNT * 32;
/// Bytes of the chooser's set-up message.
pub const SETUP_LEN: usize = REPLY_LEN + SUMS_LEN;
/// Bytes of the other side's set-up message.
pub const OPENING_LEN: usize = CHOICES_LEN;
/// Most blocks of one session: as many as counters of 32 bits tell apart, 2^39 transfers.
pub const MAX_BLOCKS: u64 = 1 << 32;

/// What both sides agree on before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// log2 of the size of a field, 1 to 8: fewer bytes and more work the larger.
    pub field: u32,
    /// Separates this session from all others; equal on both sides.
    pub context: [u8; 16],
}

impl Parameters {
    /// First bit of delta and width of each block.
    fn blocks(&self) -> Vec<(usize, usize)> {
        let width = self.field as usize;
        (0..COUNT)
            .step_by(width)
            .map(|first| (first, width.min(COUNT - first)))
            .collect()
    }

    /// Columns of corrections.
    fn corrections(&self) -> usize {
        COUNT.div_ceil(self.field as usize) - 1
    }

    /// Bytes of the corrections for so many blocks of 128 transfers.
    pub fn length(&self, blocks: usize) -> usize {
        16 * blocks * self.corrections()
    }

    fn check(&self) -> Result<(), Refusal> {
        if (1..=8).contains(&self.field) {
            return Ok(());
        }
        Err(Refusal::new(
            "E_FORMAT",
            format!("a field of 2^{} elements is not of 2 to 256", self.field),
        ))
    }
}

/// The generators of one block of delta, that of leaf `x ^ delta` (at the chooser: x) at place x.
struct Fan {
    first: usize,
    width: usize,
    leaves: Vec<Option<Permutation>>,
}

impl Fan {
    /// Columns `first..first + width` of a tile, and the sum of all leaves' bits.
    fn fold(&self, counters: &[Block], columns: &mut [[u128; TILE]], sum: &mut [u128; TILE]) {
        let count = counters.len();
        let mut bits = [[Block::default(); TILE]; 4];
        let mut four = [0u128; TILE];
        sum.fill(0);
        let columns = &mut columns[self.first..self.first + self.width];
        columns.iter_mut().for_each(|column| column.fill(0));
        for (group, leaves) in self.leaves.chunks(4).enumerate() {
            for (leaf, bits) in leaves.iter().zip(&mut bits) {
                match leaf {
                    Some(leaf) => leaf.apply(counters, &mut bits[..count]),
                    None => bits.fill(Block::default()),
                }
            }
            let (low, high) = columns.split_at_mut(self.width.min(2));
            match low {
                [one, two] => simd::add_four(&bits, one, two, &mut four),
                // A field of two elements: places 2 and 3 stay zero.
                [one] => simd::add_four(&bits, one, &mut [0; TILE], &mut four),
                _ => {}
            }
            simd::add(sum, &four);
            for (bit, column) in high.iter_mut().enumerate() {
                // Places are public.
                if group >> bit & 1 == 1 {
                    simd::add(column, &four);
                }
            }
        }
    }
}

/// Room for the columns of a tile.
fn columns() -> Vec<[u128; TILE]> {
    vec![[0; TILE]; COUNT]
}

/// Counters of the blocks from `first` on.
fn counters(first: u64, count: usize) -> [Block; TILE] {
    let mut out = [Block::default(); TILE];
    for (counter, block) in (first..).zip(&mut out[..count]) {
        *block = u128::from(counter).to_le_bytes().into();
    }
    out
}

/// The permutations that make bits and words of rows.
struct Hashes {
    bits: Permutation,
    words: Permutation,
}

impl Hashes {
    fn new(context: &[u8; 16]) -> Self {
        let permutation = |label| Permutation::new(&key(label, context));
        Self {
            bits: permutation("atoll ot soft transfer"),
            words: permutation("atoll ot soft words"),
        }
    }
}

/// Takes blocks off the session's counter.
fn reserve(next: &mut u64, blocks: usize) -> Result<u64, Refusal> {
    let first = *next;
    if blocks as u64 > MAX_BLOCKS - first {
        return Err(Refusal::new(
            "E_TOO_LARGE",
            "a session makes at most 2^39 transfers",
        ));
    }
    *next += blocks as u64;
    Ok(first)
}

/// The side that gets one bit of each pair.
pub struct Chooser {
    parameters: Parameters,
    fans: Vec<Fan>,
    hashes: Hashes,
    next: u64,
}

/// Random choices and the bits that they choose, 128 transfers a value, the first in the lowest place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The choices.
    pub choices: Vec<u128>,
    /// The chosen bit of each pair.
    pub bits: Vec<u128>,
}

impl Chooser {
    /// A session from the other side's opening, and the answer of [`SETUP_LEN`] bytes.
    ///
    /// # Errors
    /// `E_FORMAT` for a field out of range, `E_PROTOCOL` if the opening is not [`OPENING_LEN`] bytes of points.
    pub fn new(
        parameters: Parameters,
        opening: &[u8],
        randomness: &mut Stream,
    ) -> Result<(Self, Vec<u8>), Refusal> {
        parameters.check()?;
        let (keys, mut answer) = base::send(opening, &parameters.context, randomness)?;
        let doubling = Doubling::new(&parameters.context);
        let mut fans = Vec::new();
        for (first, width) in parameters.blocks() {
            let shape = Shape::new(1 << width);
            let mut root = u128::from_le_bytes(randomness.bytes());
            let mut leaves = vec![0; shape.leaves];
            let mut spare = vec![0; ggm::spare(shape)];
            let mut sums = vec![[0; 2]; width];
            ggm::grow(shape, &doubling, root, &mut leaves, &mut spare, &mut sums);
            root.zeroize();
            for (sums, keys) in sums.iter().zip(&keys[first..]) {
                for (sum, key) in sums.iter().zip(keys) {
                    answer.extend((sum ^ u128::from_le_bytes(*key)).to_le_bytes());
                }
            }
            let generator = |leaf: &u128| Some(Permutation::new(&leaf.to_le_bytes()));
            fans.push(Fan {
                first,
                width,
                leaves: leaves.iter().map(generator).collect(),
            });
            leaves.zeroize();
            spare.zeroize();
        }
        let chooser = Self {
            parameters,
            fans,
            hashes: Hashes::new(&parameters.context),
            next: 0,
        };
        Ok((chooser, answer))
    }

    /// The next `blocks` times 128 transfers, and the corrections for the other side, after the bytes of `head`.
    ///
    /// # Errors
    /// `E_TOO_LARGE` beyond [`MAX_BLOCKS`].
    pub fn extend(&mut self, blocks: usize, head: &[u8]) -> Result<(Chosen, Vec<u8>), Refusal> {
        let hash = self.hashes.bits.clone();
        let mut bits = vec![0; blocks];
        let (choices, message) = self.extend_by(head, &mut bits, |columns, _, out| {
            rows::bits(&hash, columns, [0], [out]);
        })?;
        Ok((Chosen { choices, bits }, message))
    }

    /// The same of words, which are written: as many blocks as there is room for. Returns the choices and the message.
    /// Transfers of both kinds may follow each other in a session, in the same order on both sides.
    ///
    /// # Errors
    /// `E_TOO_LARGE` beyond [`MAX_BLOCKS`].
    pub fn extend_words(
        &mut self,
        head: &[u8],
        words: &mut [WordBlock],
    ) -> Result<(Vec<u128>, Vec<u8>), Refusal> {
        let hash = self.hashes.words.clone();
        self.extend_by(head, words, |columns, first, out| {
            rows::words(&hash, columns, 128 * first, [0], [out]);
        })
    }

    /// Choices and message, after `hash` has written what it makes of the columns of each tile and its first block.
    fn extend_by<T: Send>(
        &mut self,
        head: &[u8],
        out: &mut [T],
        hash: impl Fn(&[[u128; TILE]], u64, &mut [T]) + Sync,
    ) -> Result<(Vec<u128>, Vec<u8>), Refusal> {
        let blocks = out.len();
        let start = reserve(&mut self.next, blocks)?;
        let mut message = vec![0u8; head.len() + self.parameters.length(blocks)];
        message[..head.len()].copy_from_slice(head);
        let mut choices = vec![0u128; blocks];
        let corrections = self.parameters.corrections();
        // Without corrections (which no field here has) chunks would have no bytes.
        (choices.par_chunks_mut(TILE))
            .zip(out.par_chunks_mut(TILE))
            .zip(message[head.len()..].par_chunks_mut(16 * TILE * corrections))
            .enumerate()
            .for_each_init(columns, |columns, (tile, ((choices, out), message))| {
                let count = choices.len();
                let first = start + (tile * TILE) as u64;
                let counters = counters(first, count);
                let mut sum = [0u128; TILE];
                for (at, fan) in self.fans.iter().enumerate() {
                    fan.fold(&counters[..count], columns, &mut sum);
                    if at == 0 {
                        choices.copy_from_slice(&sum[..count]);
                        continue;
                    }
                    let part = &mut message[16 * count * (at - 1)..16 * count * at];
                    let parts = part.as_chunks_mut::<16>().0;
                    for ((out, sum), choice) in parts.iter_mut().zip(&sum).zip(&*choices) {
                        *out = (sum ^ choice).to_le_bytes();
                    }
                }
                hash(columns, first, out);
            });
        Ok((choices, message))
    }
}

/// The side that gets both bits, before the chooser's answer.
pub struct Opening {
    parameters: Parameters,
    delta: u128,
    base: base::Receiver,
}

/// The side that gets both bits of each pair.
pub struct Sender {
    parameters: Parameters,
    delta: u128,
    fans: Vec<Fan>,
    hashes: Hashes,
    next: u64,
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.delta.zeroize();
    }
}

/// Pairs of random bits, 128 transfers a value, the first in the lowest place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs {
    /// What the chooser gets where it chose 0.
    pub zeros: Vec<u128>,
    /// The same where it chose 1.
    pub ones: Vec<u128>,
}

/// The part of delta that a block names.
fn point(delta: u128, first: usize, width: usize) -> usize {
    (delta >> first) as usize & ((1 << width) - 1)
}

impl Opening {
    /// Draws delta.
    ///
    /// # Errors
    /// `E_FORMAT` for a field out of range.
    pub fn new(parameters: Parameters, randomness: &mut Stream) -> Result<Self, Refusal> {
        parameters.check()?;
        let delta = u128::from_le_bytes(randomness.bytes());
        let mut choices = 0u128;
        for (first, width) in parameters.blocks() {
            let shape = Shape::new(1 << width);
            for level in 0..width {
                // The side that the path to the point does not take.
                let side = 1 - shape.turn(point(delta, first, width), level);
                choices |= (side as u128) << (first + level);
            }
        }
        let base = base::Receiver::new(choices, parameters.context, randomness);
        choices.zeroize();
        Ok(Self {
            parameters,
            delta,
            base,
        })
    }

    /// The message to the chooser, [`OPENING_LEN`] bytes.
    pub fn message(&self) -> &[u8] {
        self.base.message()
    }

    /// The session, from the chooser's answer.
    ///
    /// # Errors
    /// `E_PROTOCOL` if the answer is not [`SETUP_LEN`] bytes with points in front.
    pub fn finish(self, answer: &[u8]) -> Result<Sender, Refusal> {
        if answer.len() != SETUP_LEN {
            return Err(Refusal::protocol("a set-up answer has another length"));
        }
        let (parameters, delta) = (self.parameters, self.delta);
        let (reply, sums) = answer.split_at(REPLY_LEN);
        let keys: Vec<Key> = self.base.finish(reply)?;
        let sums = sums.as_chunks::<16>().0.as_chunks::<2>().0;
        let doubling = Doubling::new(&parameters.context);
        let mut fans = Vec::new();
        for (first, width) in parameters.blocks() {
            let (shape, point) = (Shape::new(1 << width), point(delta, first, width));
            let known: Vec<u128> = (0..width)
                .map(|level| {
                    let side = 1 - shape.turn(point, level);
                    let [sum, key] = [sums[first + level][side], keys[first + level]];
                    u128::from_le_bytes(sum) ^ u128::from_le_bytes(key)
                })
                .collect();
            let mut leaves = vec![0; shape.leaves];
            let mut spare = vec![0; ggm::spare(shape)];
            ggm::grow_punctured(shape, &doubling, point, &known, &mut leaves, &mut spare);
            let generator = |place: usize| Permutation::new(&leaves[place ^ point].to_le_bytes());
            fans.push(Fan {
                first,
                width,
                leaves: (0..leaves.len())
                    .map(|place| (place > 0).then(|| generator(place)))
                    .collect(),
            });
            leaves.zeroize();
            spare.zeroize();
        }
        Ok(Sender {
            parameters,
            delta,
            fans,
            hashes: Hashes::new(&parameters.context),
            next: 0,
        })
    }
}

impl Sender {
    /// The next `blocks` times 128 transfers, from the chooser's corrections.
    ///
    /// # Errors
    /// `E_PROTOCOL` if the corrections have another length than is due, `E_TOO_LARGE` beyond [`MAX_BLOCKS`].
    pub fn extend(&mut self, blocks: usize, corrections: &[u8]) -> Result<Pairs, Refusal> {
        let (hash, delta) = (self.hashes.bits.clone(), self.delta);
        let mut zeros = vec![0; blocks];
        let mut ones = vec![0; blocks];
        self.extend_by(corrections, [&mut zeros, &mut ones], |columns, _, out| {
            rows::bits(&hash, columns, [0, delta], out);
        })?;
        Ok(Pairs { zeros, ones })
    }

    /// The same of words, which are written: what the chooser gets where it chose 0, and where it chose 1. Both have room
    /// for equally many blocks.
    ///
    /// # Errors
    /// As [`extend`](Self::extend).
    pub fn extend_words(
        &mut self,
        corrections: &[u8],
        words: [&mut [WordBlock]; 2],
    ) -> Result<(), Refusal> {
        let (hash, delta) = (self.hashes.words.clone(), self.delta);
        self.extend_by(corrections, words, |columns, first, out| {
            rows::words(&hash, columns, 128 * first, [0, delta], out);
        })
    }

    /// `hash` writes what it makes of the columns of each tile and its first block.
    fn extend_by<T: Send>(
        &mut self,
        corrections: &[u8],
        [zeros, ones]: [&mut [T]; 2],
        hash: impl Fn(&[[u128; TILE]], u64, [&mut [T]; 2]) + Sync,
    ) -> Result<(), Refusal> {
        let blocks = zeros.len();
        if corrections.len() != self.parameters.length(blocks) {
            return Err(Refusal::protocol(
                "corrections of transfers have another length than is due",
            ));
        }
        let start = reserve(&mut self.next, blocks)?;
        (zeros.par_chunks_mut(TILE))
            .zip(ones.par_chunks_mut(TILE))
            .zip(corrections.par_chunks(16 * TILE * self.parameters.corrections()))
            .enumerate()
            .for_each_init(columns, |columns, (tile, ((zeros, ones), corrections))| {
                let count = zeros.len();
                let first = start + (tile * TILE) as u64;
                let counters = counters(first, count);
                let mut sum = [0u128; TILE];
                for (at, fan) in self.fans.iter().enumerate() {
                    fan.fold(&counters[..count], columns, &mut sum);
                    let Some(at) = at.checked_sub(1) else {
                        continue;
                    };
                    let part = &corrections[16 * count * at..16 * count * (at + 1)];
                    let mine = &mut columns[fan.first..fan.first + fan.width];
                    for (bit, column) in mine.iter_mut().enumerate() {
                        let mask = 0u128.wrapping_sub(self.delta >> (fan.first + bit) & 1);
                        let parts = part.as_chunks::<16>().0;
                        for (value, part) in column.iter_mut().zip(parts) {
                            *value ^= u128::from_le_bytes(*part) & mask;
                        }
                    }
                }
                hash(columns, first, [zeros, ones]);
            });
        Ok(())
    }
}
