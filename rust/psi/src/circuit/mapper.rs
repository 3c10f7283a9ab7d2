//! The mapper's side: every row in each of its three bins, and the chooser of the equality tests.

use std::ops::Range;

use atoll_ot::{field, vole};
use rayon::prelude::*;

use super::cuckoo::{POSITIONS, positions};
use super::entries::{all_keys, copies, entry};
use super::equality;
use super::parameters::Shape;
use super::products::{Chosen, Known, Place, pack};
use super::schedule::{Kind, Step};
use super::side::{self, Coin, Leaves, Randomness, Use, bins_of, word_bytes};
use super::turns::Half;
use crate::Refusal;
use crate::keys::KeyDigest;

/// Keys that one thread works on at a time.
const PART: usize = 256;

pub(crate) struct Mapper<D> {
    pub(crate) shape: Shape,
    pub(crate) randomness: Randomness,
    pub(crate) digests: D,
    /// Own words, row by row.
    pub(crate) payload: Vec<u64>,
    pub(crate) threads: usize,
    coin: Option<Coin>,
    entries: Option<vole::SenderOutput>,
    slots: Vec<u128>,
    choices: Leaves<u8>,
    pub(crate) strings: Vec<u64>,
    /// Masks of the own words of every bin; in the end this side's shares of all words, the placer's first.
    pub(crate) values: Vec<u64>,
    /// Leaves whose masks are known.
    leaves: usize,
    placer_half: Option<Half>,
    mapper_half: Option<Half>,
    known: Option<Known>,
    chosen: Option<Chosen>,
    outbox: Vec<u8>,
}

impl<D: AsRef<[u8]> + Send + Sync> Mapper<D> {
    pub(crate) fn new(
        shape: Shape,
        randomness: Randomness,
        digests: D,
        payload: Vec<u64>,
        threads: usize,
    ) -> Self {
        Self {
            choices: Leaves::new(&shape),
            values: vec![0; shape.bins * shape.words()],
            strings: vec![0; shape.bins],
            shape,
            randomness,
            digests,
            payload,
            threads,
            coin: None,
            entries: None,
            slots: Vec::new(),
            leaves: 0,
            placer_half: None,
            mapper_half: None,
            known: None,
            chosen: None,
            outbox: Vec::new(),
        }
    }

    fn coin(&self) -> Result<&Coin, Refusal> {
        self.coin
            .as_ref()
            .ok_or_else(|| Refusal::new("E_STATE", "there is no coin yet"))
    }

    /// The coin has fallen.
    pub(crate) fn tossed(&mut self, coin: Coin) {
        self.coin = Some(coin);
    }

    /// Halves of one group of the correlations.
    pub(crate) fn halves(
        &self,
        all: &[(Use, usize, u32)],
        group: Range<usize>,
    ) -> Result<Vec<Half>, Refusal> {
        let receives = |purpose| matches!(purpose, Use::Leaves | Use::PlacerWords);
        side::halves(
            all,
            group,
            self.coin()?,
            &self.randomness,
            self.threads,
            receives,
        )
    }

    /// Works out what does not depend on keys, of one group of the correlations.
    pub(crate) fn correlated(
        &mut self,
        all: &[(Use, usize, u32)],
        halves: Vec<Half>,
    ) -> Result<(), Refusal> {
        let masks = self.coin()?.masks("leaves");
        for ((purpose, size, _), half) in all.iter().zip(halves) {
            match purpose {
                Use::Entries => self.entries = Some(half.sender()?),
                Use::Leaves => {
                    self.choices
                        .push(equality::chooser(&masks, half.receiver()?, self.leaves));
                    self.leaves += size;
                }
                Use::PlacerWords => self.placer_half = Some(half),
                Use::MapperWords => self.mapper_half = Some(half),
            }
        }
        Ok(())
    }

    /// Programs the function: what the placer finds at a key of ours is the string of its bin, and our words masked.
    fn encode(&mut self) -> Result<(), Refusal> {
        let coin = *self.coin()?;
        let (lanes, own) = (self.shape.lanes(), self.shape.mapper_words);
        let digests: &[KeyDigest] = self.digests.as_ref().as_chunks::<32>().0;
        let copies = copies(digests, self.shape.copies)?;
        let placement = coin.part("placement");
        let entries: Vec<_> = digests
            .par_iter()
            .zip(&copies)
            .map(|(digest, copy)| entry(&placement, digest, *copy))
            .collect();
        let keys = all_keys(&coin.masks("keys"), &entries);
        let store = side::entry_store(&self.shape, &coin, self.threads)?;
        let mut function = vec![0u128; keys.len()];
        store.decode_into(&keys, &self.slots, &mut function)?;
        self.slots = Vec::new();
        let delta = self
            .entries
            .take()
            .map(|entries| entries.delta)
            .unwrap_or_default();
        self.strings = self.randomness.words("strings", self.shape.bins);
        let mask = self.shape.string_mask();
        self.strings.iter_mut().for_each(|string| *string &= mask);
        let random = self.randomness.words("masks", self.shape.bins * own);
        let masks = coin.masks("function");
        let mut values = vec![0u128; keys.len() * lanes];
        let program = |at: usize, values: &mut [u128], keys: &[u128], function: &mut [u128]| {
            for (z, key) in function.iter_mut().zip(keys) {
                *z ^= field::mul(*key, delta);
            }
            for lane in 0..lanes {
                let mut blocks = function.to_vec();
                masks.hash(&mut blocks, |k| keys[k] ^ lane as u128);
                for (k, block) in blocks.into_iter().enumerate() {
                    values[k * lanes + lane] = block;
                }
            }
            for (k, record) in values.chunks_exact_mut(lanes).enumerate() {
                let (row, position) = ((at + k) / POSITIONS, (at + k) % POSITIONS);
                let bin = positions(entries[row].word, self.shape.bins)[position] as usize;
                record[0] ^= u128::from(self.strings[bin]);
                for word in 0..own {
                    let value =
                        self.payload[row * own + word].wrapping_sub(random[bin * own + word]);
                    let at = 1 + word;
                    record[at / 2] ^= u128::from(value) << (64 * (at % 2));
                }
            }
        };
        values
            .par_chunks_mut(PART * lanes)
            .zip(keys.par_chunks(PART))
            .zip(function.par_chunks_mut(PART))
            .enumerate()
            .for_each(|(at, ((values, keys), function))| {
                program(at * PART, values, keys, function)
            });
        drop((function, entries));
        let store = side::value_store(&self.shape, &coin, self.threads)?;
        let mut fill = self.randomness.stream("values/fill");
        self.slots = store.encode_wide(&keys, &values, lanes, 128, &mut fill)?;
        let row = self.shape.words();
        for (out, random) in self
            .values
            .chunks_exact_mut(row.max(1))
            .zip(random.chunks_exact(own.max(1)))
        {
            out[row - own..].copy_from_slice(random);
        }
        Ok(())
    }

    /// This side's share of `matched` at `bin`, once the last level is opened.
    pub(crate) fn half(&self, bin: usize) -> u64 {
        self.strings[bin] & 1
    }

    /// The words that a product is about.
    fn place(&self, purpose: Use) -> Place {
        let row = self.shape.words();
        let first = if purpose == Use::MapperWords {
            self.shape.placer_words
        } else {
            0
        };
        Place {
            row,
            first,
            words: row - first,
        }
    }

    fn prepare_words(&mut self) -> Result<(), Refusal> {
        if let Some(half) = self.placer_half.take() {
            let masks = self.coin()?.masks("placer-words");
            self.chosen = Some(Chosen::new(
                masks,
                half.receiver()?,
                self.place(Use::PlacerWords),
            ));
        }
        if let Some(half) = self.mapper_half.take() {
            let masks = self.coin()?.masks("mapper-words");
            self.known = Some(Known::new(
                masks,
                half.sender()?,
                self.place(Use::MapperWords),
            ));
        }
        Ok(())
    }

    pub(crate) fn produce(
        &mut self,
        step: &Step,
        from: usize,
        to: usize,
    ) -> Result<Vec<u8>, Refusal> {
        match step.kind {
            Kind::Store => {
                if from == 0 {
                    self.encode()?;
                }
                let lanes = self.shape.lanes();
                let mut out = Vec::with_capacity((to - from) * step.unit);
                for value in self.slots[from * lanes..to * lanes].chunks_exact(lanes) {
                    let bytes = value.iter().flat_map(|lane| lane.to_le_bytes());
                    out.extend(bytes.take(step.unit));
                }
                if to == step.units {
                    self.slots = Vec::new();
                }
                Ok(out)
            }
            Kind::Corrections => {
                let mut out = vec![0u8; (to - from) * step.unit];
                let (choices, shape) = (&self.choices, &self.shape);
                out.par_chunks_mut(step.unit)
                    .zip(&self.strings[from..to])
                    .enumerate()
                    .with_min_len(PART)
                    .for_each(|(k, (out, string))| {
                        let choices = choices.of(shape, step.level, from + k);
                        equality::corrections(*string, choices, out);
                    });
                Ok(out)
            }
            Kind::MapperFlips => {
                self.prepare_words()?;
                let Some(chosen) = &self.chosen else {
                    return Err(Refusal::new("E_STATE", "there are no words to receive"));
                };
                let bins = bins_of(from..to, self.shape.bins);
                let flip = |k: usize| chosen.flip(bins.start + k, self.half(bins.start + k));
                Ok(word_bytes(&pack(bins.len(), flip)))
            }
            _ => Ok(self.outbox[from * step.unit..to * step.unit].to_vec()),
        }
    }

    pub(crate) fn consume(
        &mut self,
        step: &Step,
        from: usize,
        to: usize,
        body: &[u8],
    ) -> Result<(), Refusal> {
        let words = self.shape.words();
        match step.kind {
            Kind::Entries => {
                let Some(entries) = &mut self.entries else {
                    return Err(Refusal::new("E_STATE", "there is no correlation yet"));
                };
                let delta = entries.delta;
                let masked = entries.b[from..to].par_iter().zip(body.as_chunks::<16>().0);
                self.slots.par_extend(
                    masked.map(|(b, a)| b ^ field::mul(delta, u128::from_le_bytes(*a))),
                );
                if to == step.units {
                    entries.b = Vec::new();
                }
            }
            Kind::Tables => {
                let (choices, shape) = (&self.choices, &self.shape);
                self.strings[from..to]
                    .par_iter_mut()
                    .zip(body.par_chunks(step.unit))
                    .enumerate()
                    .with_min_len(PART)
                    .for_each(|(k, (string, tables))| {
                        let choices = choices.of(shape, step.level, from + k);
                        *string = equality::open(*string, choices, tables);
                    });
            }
            Kind::PlacerFlips => {
                self.prepare_words()?;
                let flips: Vec<u64> = body
                    .as_chunks()
                    .0
                    .iter()
                    .map(|w| u64::from_le_bytes(*w))
                    .collect();
                let mut values = std::mem::take(&mut self.values);
                if let Some(known) = &self.known {
                    let bins = bins_of(from..to, self.shape.bins);
                    let values = &mut values[bins.start * words..bins.end * words];
                    let half = |bin| self.half(bin);
                    self.outbox
                        .extend(known.send(bins.start, half, &flips, values));
                }
                self.values = values;
            }
            _ => {
                let mut values = std::mem::take(&mut self.values);
                if let Some(chosen) = &self.chosen {
                    let values = &mut values[from * words..to * words];
                    chosen.receive(from, |bin| self.half(bin), body, values);
                }
                self.values = values;
            }
        }
        Ok(())
    }
}
