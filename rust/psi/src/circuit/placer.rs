//! The placer's side: cuckoo hashing, and the holder of the equality tests.

use std::ops::Range;

use atoll_ot::vole;
use rayon::prelude::*;

use super::cuckoo::{EMPTY, place, positions};
use super::entries::{entry, keys};
use super::equality;
use super::parameters::Shape;
use super::products::{Chosen, Known, Place, pack};
use super::schedule::{Kind, Step};
use super::side::{self, Coin, Leaves, Randomness, Use, bins_of, word_bytes};
use super::turns::Half;
use crate::Refusal;
use crate::keys::KeyDigest;

/// A bin's key of the stores where it holds an entry.
struct Placed {
    /// Entry of each bin, or `EMPTY`.
    table: Vec<u32>,
    /// Keys of the bins that hold an entry, in order of bins.
    keys: Vec<u128>,
}

pub(crate) struct Placer<D> {
    pub(crate) shape: Shape,
    pub(crate) randomness: Randomness,
    pub(crate) digests: D,
    /// Own words, row by row.
    pub(crate) payload: Vec<u64>,
    pub(crate) threads: usize,
    coin: Option<Coin>,
    entries: Option<vole::ReceiverOutput>,
    placed: Placed,
    slots: Vec<u128>,
    pads: Leaves<u16>,
    pub(crate) strings: Vec<u64>,
    /// Values of every bin, own words first; in the end this side's shares.
    pub(crate) values: Vec<u64>,
    /// Leaves whose masks are known.
    leaves: usize,
    placer_half: Option<Half>,
    mapper_half: Option<Half>,
    known: Option<Known>,
    chosen: Option<Chosen>,
    bits: Option<atoll_primitives::stream::Stream>,
    outbox: Vec<u8>,
}

impl<D: AsRef<[u8]> + Send + Sync> Placer<D> {
    pub(crate) fn new(
        shape: Shape,
        randomness: Randomness,
        digests: D,
        payload: Vec<u64>,
        threads: usize,
    ) -> Self {
        Self {
            pads: Leaves::new(&shape),
            values: vec![0; shape.bins * shape.words()],
            strings: vec![0; shape.bins],
            shape,
            randomness,
            digests,
            payload,
            threads,
            coin: None,
            entries: None,
            placed: Placed {
                table: Vec::new(),
                keys: Vec::new(),
            },
            slots: Vec::new(),
            leaves: 0,
            placer_half: None,
            mapper_half: None,
            known: None,
            chosen: None,
            bits: None,
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
        let receives = |purpose| matches!(purpose, Use::Entries | Use::MapperWords);
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
                Use::Entries => self.entries = Some(half.receiver()?),
                Use::Leaves => {
                    self.pads
                        .push(equality::holder(&masks, &half.sender()?, self.leaves));
                    self.leaves += size;
                }
                Use::PlacerWords => self.placer_half = Some(half),
                Use::MapperWords => self.mapper_half = Some(half),
            }
        }
        Ok(())
    }

    /// Places the keys and encodes them.
    fn encode(&mut self) -> Result<(), Refusal> {
        let coin = *self.coin()?;
        let digests: &[KeyDigest] = self.digests.as_ref().as_chunks::<32>().0;
        let copies = self.shape.copies as usize;
        let placement = coin.part("placement");
        let entries: Vec<_> = (0..self.shape.entries)
            .into_par_iter()
            .map(|k| entry(&placement, &digests[k / copies], (k % copies) as u32))
            .collect();
        let words: Vec<u128> = entries.iter().map(|entry| entry.word).collect();
        let table = place(&words, self.shape.bins)?;
        let named: Vec<(u128, usize)> = table
            .iter()
            .enumerate()
            .filter(|(_, at)| **at != EMPTY)
            .map(|(bin, at)| {
                let entry = &entries[*at as usize];
                let named = positions(entry.word, table.len());
                let position = named.iter().position(|named| *named as usize == bin);
                (entry.name, position.unwrap_or_default())
            })
            .collect();
        let keys = keys(&coin.masks("keys"), named.into_par_iter());
        let store = side::entry_store(&self.shape, &coin, self.threads)?;
        let mut fill = self.randomness.stream("entries/fill");
        self.slots = store.encode(&keys, &keys, 128, &mut fill)?;
        let a = self
            .entries
            .as_mut()
            .map(|entries| std::mem::take(&mut entries.a));
        for (slot, a) in self.slots.iter_mut().zip(a.unwrap_or_default()) {
            *slot ^= a;
        }
        self.placed = Placed { table, keys };
        Ok(())
    }

    /// Reads the mapper's store at the placed keys.
    fn decode(&mut self) -> Result<(), Refusal> {
        let coin = *self.coin()?;
        let (lanes, keys) = (self.shape.lanes(), &self.placed.keys);
        let entries = side::entry_store(&self.shape, &coin, self.threads)?;
        let values = side::value_store(&self.shape, &coin, self.threads)?;
        let c = self
            .entries
            .take()
            .map(|entries| entries.c)
            .unwrap_or_default();
        let mut function = vec![0u128; keys.len()];
        entries.decode_into(keys, &c, &mut function)?;
        drop(c);
        let mut found = vec![0u128; keys.len() * lanes];
        values.decode_wide_into(keys, &self.slots, lanes, &mut found)?;
        self.slots = Vec::new();
        let masks = coin.masks("function");
        let part = 256;
        found
            .par_chunks_mut(part * lanes)
            .zip(function.par_chunks(part))
            .zip(keys.par_chunks(part))
            .for_each(|((found, function), keys)| {
                for lane in 0..lanes {
                    let mut blocks = function.to_vec();
                    masks.hash(&mut blocks, |k| keys[k] ^ lane as u128);
                    for (k, block) in blocks.into_iter().enumerate() {
                        found[k * lanes + lane] ^= block;
                    }
                }
            });
        let (own, theirs) = (self.shape.placer_words, self.shape.mapper_words);
        let row = self.shape.words();
        let random = self
            .randomness
            .words("empty", self.shape.bins * (1 + theirs));
        let mut found = found.chunks_exact(lanes);
        for (bin, at) in self.placed.table.iter().enumerate() {
            let random = &random[bin * (1 + theirs)..(bin + 1) * (1 + theirs)];
            let record = if *at == EMPTY { None } else { found.next() };
            let word = |k: usize| match record {
                Some(record) => (record[k / 2] >> (64 * (k % 2))) as u64,
                None => random[k],
            };
            self.strings[bin] = word(0) & self.shape.string_mask();
            let out = &mut self.values[bin * row..(bin + 1) * row];
            if *at != EMPTY {
                let from = *at as usize / self.shape.copies as usize * own;
                out[..own].copy_from_slice(&self.payload[from..from + own]);
            }
            for (k, out) in out[own..].iter_mut().enumerate() {
                *out = word(1 + k);
            }
        }
        Ok(())
    }

    /// Tables for the bins of a piece, in answer to its corrections.
    fn answer(&mut self, level: usize, from: usize, body: &[u8]) {
        let leaves = self.shape.levels[level];
        let (unit, out_unit) = (leaves.div_ceil(2), 2 * leaves);
        if from == 0 {
            self.outbox.clear();
            self.bits = Some(self.randomness.stream(&format!("leaves/{level}")));
        }
        let bins = body.len() / unit;
        let mut random = vec![0u8; 2 * bins];
        if let Some(bits) = &mut self.bits {
            bits.fill_bytes(&mut random);
        }
        let start = self.outbox.len();
        self.outbox.resize(start + bins * out_unit, 0);
        let (pads, shape) = (&self.pads, &self.shape);
        let mask = u64::MAX >> (64 - leaves);
        self.outbox[start..]
            .par_chunks_mut(out_unit)
            .zip(self.strings[from..from + bins].par_iter_mut())
            .zip(body.par_chunks(unit))
            .zip(random.par_chunks(2))
            .enumerate()
            .with_min_len(256)
            .for_each(|(k, (((out, string), corrections), random))| {
                let bits = u64::from(u16::from_le_bytes([random[0], random[1]])) & mask;
                let pads = pads.of(shape, level, from + k);
                equality::tables(*string, pads, corrections, bits, out);
                *string = !bits & mask;
            });
    }

    /// This side's share of `matched` at `bin`, once the last level is answered.
    pub(crate) fn half(&self, bin: usize) -> u64 {
        !self.strings[bin] & 1
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
            self.known = Some(Known::new(
                masks,
                half.sender()?,
                self.place(Use::PlacerWords),
            ));
        }
        if let Some(half) = self.mapper_half.take() {
            let masks = self.coin()?.masks("mapper-words");
            self.chosen = Some(Chosen::new(
                masks,
                half.receiver()?,
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
            Kind::Entries => {
                if from == 0 {
                    self.encode()?;
                }
                let out = self.slots[from..to]
                    .iter()
                    .flat_map(|slot| slot.to_le_bytes());
                let out = out.collect();
                if to == step.units {
                    self.slots = Vec::new();
                }
                Ok(out)
            }
            Kind::PlacerFlips => {
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
        match step.kind {
            Kind::Store => {
                let lanes = self.shape.lanes();
                for value in body.chunks_exact(step.unit) {
                    self.slots.extend((0..lanes).map(|lane| {
                        let part = &value[16 * lane..value.len().min(16 * (lane + 1))];
                        let mut bytes = [0u8; 16];
                        bytes[..part.len()].copy_from_slice(part);
                        u128::from_le_bytes(bytes)
                    }));
                }
                if to == step.units {
                    self.decode()?;
                }
            }
            Kind::Corrections => self.answer(step.level, from, body),
            Kind::MapperFlips => {
                self.prepare_words()?;
                if from == 0 {
                    self.outbox.clear();
                }
                let words = self.shape.words();
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
                let words = self.shape.words();
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

    /// For every bin the own row that stands in it, or `u32::MAX`.
    pub(crate) fn rows(&self) -> Vec<u32> {
        let row = |at: &u32| {
            if *at == EMPTY {
                EMPTY
            } else {
                at / self.shape.copies
            }
        };
        self.placed.table.iter().map(row).collect()
    }
}
