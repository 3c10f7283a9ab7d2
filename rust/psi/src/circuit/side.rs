//! What both roles have in common.

use std::ops::Range;

use atoll_okvs::{Kind, Store};
use atoll_ot::{Security, vole};
use atoll_primitives::stream::{Secret, Stream};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use super::hash::Masks;
use super::parameters::{LEAF, Shape};
use super::turns::Half;
use crate::Refusal;

/// This party's randomness, by step.
pub(crate) struct Randomness {
    pub(crate) seed: Secret<32>,
    pub(crate) attempt: u32,
    pub(crate) channel: String,
}

impl Randomness {
    pub(crate) fn stream(&self, step: &str) -> Stream {
        let step = format!("circuit-psi/{step}");
        Stream::new(&self.seed, self.attempt, &self.channel, &step)
    }

    /// Uniform words.
    pub(crate) fn words(&self, step: &str, count: usize) -> Vec<u64> {
        let mut stream = self.stream(step);
        let mut out = vec![0u64; count];
        let mut bytes = [0u8; 1024];
        for part in out.chunks_mut(128) {
            stream.fill_bytes(&mut bytes);
            for (word, bytes) in part.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *word = u64::from_le_bytes(*bytes);
            }
        }
        bytes.zeroize();
        out
    }
}

/// The coin of a run, which every hash and placement is under.
#[derive(Clone, Copy)]
pub(crate) struct Coin([u8; 32]);

impl Coin {
    /// The coin of both shares.
    pub(crate) fn new(parameters: &[u8; 32], placer: &[u8], mapper: &[u8]) -> Self {
        let hash = Sha256::new()
            .chain_update(b"atoll circuit-psi coin v1")
            .chain_update(parameters)
            .chain_update(placer)
            .chain_update(mapper);
        Self(hash.finalize().into())
    }

    /// Sixteen bytes for one use.
    pub(crate) fn part(&self, label: &str) -> [u8; 16] {
        let hash = Sha256::new()
            .chain_update(self.0)
            .chain_update(label)
            .finalize();
        *hash.first_chunk().expect("32 bytes")
    }

    pub(crate) fn masks(&self, label: &str) -> Masks {
        Masks::new(&self.part("masks"), label.as_bytes())
    }
}

/// The correlations of a run, in the order of their turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// The pseudorandom function: the placer receives.
    Entries,
    /// Leaves of one chunk of bins: the mapper receives.
    Leaves,
    /// Products of the placer's words: the mapper receives.
    PlacerWords,
    /// Products of the mapper's words: the placer receives.
    MapperWords,
}

/// Use, size and bits of every correlation.
pub(crate) fn correlations(shape: &Shape, entry_slots: usize) -> Vec<(Use, usize, u32)> {
    let mut out = vec![(Use::Entries, entry_slots, 128)];
    out.extend(
        shape
            .chunks()
            .map(|bins| (Use::Leaves, bins * shape.leaves(), LEAF as u32)),
    );
    if shape.words() > 0 {
        out.push((Use::PlacerWords, shape.bins, 1));
    }
    if shape.mapper_words > 0 {
        out.push((Use::MapperWords, shape.bins, 1));
    }
    out
}

/// Most values of correlations that are made side by side: what is not yet finished lies in memory whole.
const GROUP: usize = 1 << 22;

/// The correlations that are made together, in order; each group holds at least one.
pub(crate) fn groups(all: &[(Use, usize, u32)]) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut values = GROUP;
    for (number, (_, size, _)) in all.iter().enumerate() {
        values += size;
        match out.last_mut() {
            Some(group) if values <= GROUP => group.end = number + 1,
            _ => {
                out.push(number..number + 1);
                values = *size;
            }
        }
    }
    out
}

/// This side's halves of the correlations of a group; `receives` says of which it is the receiver.
pub(crate) fn halves(
    all: &[(Use, usize, u32)],
    group: Range<usize>,
    coin: &Coin,
    randomness: &Randomness,
    threads: usize,
    receives: impl Fn(Use) -> bool,
) -> Result<Vec<Half>, Refusal> {
    let mut out = Vec::new();
    for number in group {
        let (purpose, size, bits) = all[number];
        let parameters = vole::Parameters {
            size,
            bits,
            security: Security::SemiHonest,
            threads,
            context: coin.part(&format!("correlation/{number}")),
        };
        let stream = randomness.stream(&format!("correlation/{number}"));
        out.push(if receives(purpose) {
            Half::Receiver(vole::Receiver::new(parameters, stream)?)
        } else {
            Half::Sender(vole::Sender::new(parameters, stream)?)
        });
    }
    Ok(out)
}

/// The store of the placer's entries.
pub(crate) fn entry_store(shape: &Shape, coin: &Coin, threads: usize) -> Result<Store, Refusal> {
    Store::new(shape.entries, Kind::Fast, coin.part("entries"), threads)
}

/// The mapper's store.
pub(crate) fn value_store(shape: &Shape, coin: &Coin, threads: usize) -> Result<Store, Refusal> {
    Store::new(3 * shape.rows, Kind::Fast, coin.part("values"), threads)
}

/// Per leaf something, chunk by chunk; within a chunk level by level, then bin by bin.
pub(crate) struct Leaves<T> {
    chunks: Vec<Vec<T>>,
    bins: usize,
}

impl<T> Leaves<T> {
    pub(crate) fn new(shape: &Shape) -> Self {
        Self {
            chunks: Vec::new(),
            bins: shape.chunks().next().unwrap_or(1),
        }
    }

    /// Adds the next chunk.
    pub(crate) fn push(&mut self, chunk: Vec<T>) {
        self.chunks.push(chunk);
    }

    /// The leaves of `bin` at `level`.
    pub(crate) fn of(&self, shape: &Shape, level: usize, bin: usize) -> &[T] {
        let chunk = bin / self.bins;
        let before: usize = shape.levels[..level].iter().sum();
        let leaves = shape.levels[level];
        let bins = self.bins.min(shape.bins - chunk * self.bins);
        let start = before * bins + bin % self.bins * leaves;
        &self.chunks[chunk][start..start + leaves]
    }
}

/// Little-endian bytes of words.
pub(crate) fn word_bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Bits of the bins of a range of 64-bin groups.
pub(crate) fn bins_of(groups: Range<usize>, bins: usize) -> Range<usize> {
    64 * groups.start..bins.min(64 * groups.end)
}
