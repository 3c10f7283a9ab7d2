//! The holder's side: garbles the function, and is the holder of the equality tests.

use std::fmt;

use atoll_ot::vole;
use zeroize::Zeroize;

use super::aes::RoundKeys;
use super::asker::{left, taken};
use super::garble::{Half, garble};
use super::parameters::{INPUT_BITS, Shape};
use super::prepare::Common;
use super::query::{Kind, Query, Side, Step, add, leaves_of, sum_rows};
use super::seal::Sealing;
use crate::Refusal;
use crate::circuit::equality;
use crate::circuit::products::{Chosen, Known, Place, pack};

/// Queries that were prepared, at the holder.
pub struct Holder {
    common: Common,
    queries: usize,
    next: usize,
    /// Masks of leaves.
    leaves: Vec<u16>,
    /// Labels of the asker's choices for its input, then for the own words.
    labels: vole::SenderOutput,
    /// Choices for the asker's words.
    own: vole::ReceiverOutput,
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("select::Holder")
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.labels.delta.zeroize();
    }
}

impl Holder {
    pub(crate) fn new(
        common: Common,
        queries: usize,
        leaves: vole::SenderOutput,
        labels: vole::SenderOutput,
        own: vole::ReceiverOutput,
    ) -> Result<Self, Refusal> {
        if labels.delta & 1 == 0 {
            return Err(Refusal::new("E_STATE", "labels have no colours"));
        }
        let masks = common.masks("leaves");
        Ok(Self {
            leaves: equality::holder(&masks, &leaves, 0),
            common,
            queries,
            next: 0,
            labels,
            own,
        })
    }

    /// Prepared queries that are left.
    pub fn left(&self) -> usize {
        self.queries - self.next
    }

    /// Answers the next query by the table that `sealing` sealed; `E_STATE` when none is left, `E_FORMAT` for a table
    /// of another shape.
    pub fn query(&mut self, sealing: &Sealing) -> Result<Query, Refusal> {
        left(self.next, self.queries)?;
        let (at, shape) = (self.next, self.common.shape);
        if *sealing.shape() != shape {
            return Err(Refusal::new(
                "E_FORMAT",
                "queries were prepared for cells of another shape",
            ));
        }
        self.next += 1;
        let choice = self.queries * INPUT_BITS + at;
        let leaves = shape.leaves();
        let (cells, words) = (shape.cells(), shape.words());
        let place = Place {
            row: words,
            first: 0,
            words,
        };
        let known = vole::SenderOutput {
            delta: self.labels.delta,
            b: taken(&mut self.labels.b, choice..choice + 1),
        };
        let chosen = vole::ReceiverOutput {
            a: taken(&mut self.own.a, at * cells..(at + 1) * cells),
            c: taken(&mut self.own.c, at * cells..(at + 1) * cells),
        };
        let masks = |label: &str| self.common.masks(&format!("{label}/{at}"));
        let mut stream = self.common.stream(&format!("query/{at}/labels"));
        let side = HolderSide {
            number: at,
            keys: sealing.round_keys(),
            delta: self.labels.delta,
            masked: taken(&mut self.labels.b, at * INPUT_BITS..(at + 1) * INPUT_BITS),
            labels: std::array::from_fn(|_| u128::from_le_bytes(stream.bytes())),
            leaves: taken(&mut self.leaves, at * leaves..(at + 1) * leaves),
            known: Known::new(masks("holder-words"), known, place),
            chosen: Chosen::new(masks("asker-words"), chosen, place),
            common: self.common.clone(),
            tag: 0,
            pads: Vec::new(),
            strings: Vec::new(),
            tables: Vec::new(),
            flip: 0,
            shares: Vec::new(),
        };
        let workers = self.common.workers.clone();
        Ok(Query::new(
            at as u32,
            &shape,
            workers,
            Side::Holder(Box::new(side)),
        ))
    }
}

/// What the holder has of one query.
pub(crate) struct HolderSide {
    common: Common,
    number: usize,
    keys: Vec<RoundKeys>,
    delta: u128,
    /// Labels of the asker's choices.
    masked: Vec<u128>,
    /// Labels of zeros of the input.
    labels: [u128; INPUT_BITS],
    leaves: Vec<u16>,
    known: Known,
    chosen: Chosen,
    /// Shares of the id's tag and pads.
    tag: u64,
    pads: Vec<u64>,
    /// Strings of the level that comes next; in the end their complements are halves of the matches.
    strings: Vec<u64>,
    tables: Vec<u8>,
    flip: u64,
    shares: Vec<u64>,
}

impl Drop for HolderSide {
    fn drop(&mut self) {
        self.keys.zeroize();
        self.delta.zeroize();
        self.labels.zeroize();
    }
}

impl HolderSide {
    fn shape(&self) -> Shape {
        self.common.shape
    }

    /// This side's half of "the cell is the id's".
    fn half(&self, cell: usize) -> u64 {
        !self.strings[cell] & 1
    }

    /// This side's half of "a cell was the id's".
    fn hit(&self) -> u64 {
        (0..self.strings.len()).fold(0, |hit, cell| hit ^ self.half(cell))
    }

    /// Tables in answer to the corrections of one level.
    fn answer(&mut self, level: usize, corrections: &[u8]) {
        let shape = self.shape();
        let leaves = leaves_of(&shape, level, 0).len();
        if level == 0 {
            self.strings = vec![self.tag & shape.tag_mask(); shape.cells()];
        }
        let mut random = self
            .common
            .stream(&format!("query/{}/leaves/{level}", self.number));
        let mask = u64::MAX >> (64 - leaves);
        self.tables = vec![0; 2 * leaves * shape.cells()];
        let tables = self.tables.chunks_exact_mut(2 * leaves);
        let corrections = corrections.chunks_exact(leaves.div_ceil(2));
        for (cell, (out, corrections)) in tables.zip(corrections).enumerate() {
            let bits = u64::from(u16::from_le_bytes(random.bytes())) & mask;
            let pads = &self.leaves[leaves_of(&shape, level, cell)];
            equality::tables(self.strings[cell], pads, corrections, bits, out);
            self.strings[cell] = !bits & mask;
        }
    }

    pub(crate) fn produce(&mut self, step: &Step) -> Result<Vec<u8>, Refusal> {
        let shape = self.shape();
        match step.kind {
            Kind::Labels => {
                let masked = self.labels.iter().zip(&self.masked);
                let masked = masked.map(|(label, mask)| label ^ mask);
                Ok(masked.flat_map(u128::to_le_bytes).collect())
            }
            Kind::Block => {
                let masks = self
                    .common
                    .masks(&format!("block/{}/{}", self.number, step.level));
                let (halves, keys) = (shape.halves(step.level), &self.keys[step.level]);
                let (message, found) = garble(&masks, self.delta, keys, &self.labels, halves);
                for (half, share) in halves.into_iter().zip(found) {
                    match half {
                        Half::Bits => self.tag = share,
                        Half::Word => self.pads.push(share),
                        Half::Unused => {}
                    }
                }
                Ok(message)
            }
            Kind::Tables => Ok(std::mem::take(&mut self.tables)),
            Kind::HolderFlips => {
                let flip = |cell: usize| self.chosen.flip(cell, self.half(cell));
                let flips = pack(shape.cells(), flip);
                Ok(flips.into_iter().flat_map(u64::to_le_bytes).collect())
            }
            _ => {
                let hit = self.hit();
                let message = self.known.send(0, |_| hit, &[self.flip], &mut self.pads);
                add(&mut self.shares, &self.pads);
                Ok(message)
            }
        }
    }

    pub(crate) fn consume(&mut self, step: &Step, body: &[u8]) -> Result<(), Refusal> {
        let shape = self.shape();
        match step.kind {
            Kind::Choices => {
                for (at, mask) in self.masked.iter_mut().enumerate() {
                    let flip = body[at / 8] >> (at % 8) & 1;
                    *mask ^= self.delta & 0u128.wrapping_sub(flip.into());
                }
            }
            Kind::Corrections => self.answer(step.level, body),
            Kind::AskerWords => {
                let mut values = vec![0; shape.cells() * shape.words()];
                let strings = &self.strings;
                let half = |cell: usize| !strings[cell] & 1;
                self.chosen.receive(0, half, body, &mut values);
                self.shares = sum_rows(&values, shape.words());
            }
            _ => self.flip = body.iter().take(1).fold(0, |_, byte| u64::from(*byte)),
        }
        Ok(())
    }

    pub(crate) fn shares(&self) -> &[u64] {
        &self.shares
    }
}
