//! The asker's side: evaluates the garbled function, and is the chooser of the equality tests.

use std::fmt;

use atoll_ot::vole;
use zeroize::Zeroize;

use super::garble::{Half, evaluate};
use super::parameters::{INPUT_BITS, Shape};
use super::prepare::Common;
use super::query::{Kind, Query, Side, Step, add, leaves_of, sum_rows};
use super::seal::{input, split};
use crate::Refusal;
use crate::circuit::equality;
use crate::circuit::products::{Chosen, Known, Place};
use crate::keys::KeyDigest;

/// Queries that were prepared, at the asker.
pub struct Asker {
    common: Common,
    queries: usize,
    next: usize,
    /// Values and masks of leaves.
    leaves: Vec<u8>,
    /// Choices and labels of input bits, then of the holder's words.
    own: vole::ReceiverOutput,
    /// Masks of the own words.
    words: vole::SenderOutput,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("select::Asker")
    }
}

/// Takes a range out: what was taken once is no longer there.
pub(crate) fn taken<T: Zeroize + Clone>(all: &mut [T], range: std::ops::Range<usize>) -> Vec<T> {
    let part = &mut all[range];
    let out = part.to_vec();
    part.iter_mut().for_each(Zeroize::zeroize);
    out
}

/// `E_STATE` if `next` is not below the number of prepared queries.
pub(crate) fn left(next: usize, queries: usize) -> Result<(), Refusal> {
    if next < queries {
        return Ok(());
    }
    Err(Refusal::new("E_STATE", "all prepared queries are used"))
}

impl Asker {
    pub(crate) fn new(
        common: Common,
        queries: usize,
        leaves: vole::ReceiverOutput,
        own: vole::ReceiverOutput,
        words: vole::SenderOutput,
    ) -> Result<Self, Refusal> {
        let masks = common.masks("leaves");
        Ok(Self {
            leaves: equality::chooser(&masks, leaves, 0),
            common,
            queries,
            next: 0,
            own,
            words,
        })
    }

    /// Prepared queries that are left.
    pub fn left(&self) -> usize {
        self.queries - self.next
    }

    /// The next query, still without id and column; `E_STATE` when none is left.
    pub fn query(&mut self) -> Result<Query, Refusal> {
        left(self.next, self.queries)?;
        let (at, shape) = (self.next, self.common.shape);
        self.next += 1;
        let bits = at * INPUT_BITS..(at + 1) * INPUT_BITS;
        let choice = self.queries * INPUT_BITS + at;
        let leaves = shape.leaves();
        let (cells, words) = (shape.cells(), shape.words());
        let place = Place {
            row: words,
            first: 0,
            words,
        };
        let known = vole::SenderOutput {
            delta: self.words.delta,
            b: taken(&mut self.words.b, at * cells..(at + 1) * cells),
        };
        let chosen = vole::ReceiverOutput {
            a: taken(&mut self.own.a, choice..choice + 1),
            c: taken(&mut self.own.c, choice..choice + 1),
        };
        let masks = |label: &str| self.common.masks(&format!("{label}/{at}"));
        let side = AskerSide {
            number: at,
            input: None,
            blocks: Vec::new(),
            choices: taken(&mut self.own.a, bits.clone()),
            labels: taken(&mut self.own.c, bits),
            leaves: taken(&mut self.leaves, at * leaves..(at + 1) * leaves),
            known: Known::new(masks("asker-words"), known, place),
            chosen: Chosen::new(masks("holder-words"), chosen, place),
            common: self.common.clone(),
            column: None,
            tag: 0,
            pads: Vec::new(),
            strings: Vec::new(),
            values: Vec::new(),
            flips: Vec::new(),
            shares: Vec::new(),
        };
        let workers = self.common.workers.clone();
        Ok(Query::new(
            at as u32,
            &shape,
            workers,
            Side::Asker(Box::new(side)),
        ))
    }
}

/// What the asker has of one query.
pub(crate) struct AskerSide {
    common: Common,
    number: usize,
    input: Option<[u8; 16]>,
    blocks: Vec<Vec<u8>>,
    choices: Vec<u128>,
    /// Labels of the choices, then of the input.
    labels: Vec<u128>,
    leaves: Vec<u8>,
    known: Known,
    chosen: Chosen,
    column: Option<Vec<u8>>,
    /// Shares of the id's tag and pads.
    tag: u64,
    pads: Vec<u64>,
    /// Strings of the level that comes next, in the end the halves of the matches.
    strings: Vec<u64>,
    /// Words of all cells, then shares of them.
    values: Vec<u64>,
    flips: Vec<u64>,
    shares: Vec<u64>,
}

impl Drop for AskerSide {
    fn drop(&mut self) {
        self.input.zeroize();
        self.labels.zeroize();
    }
}

impl AskerSide {
    fn shape(&self) -> Shape {
        self.common.shape
    }

    pub(crate) fn column(&mut self, column: &[u8]) -> Result<(), Refusal> {
        let bytes = self.shape().column_bytes();
        if column.len() != bytes {
            return Err(Refusal::new(
                "E_FORMAT",
                format!("a column has {bytes} bytes, got {}", column.len()),
            ));
        }
        if self.column.is_some() {
            return Err(Refusal::new("E_STATE", "the query has its column"));
        }
        self.column = Some(column.to_vec());
        Ok(())
    }

    pub(crate) fn ask(&mut self, digest: &KeyDigest) -> Result<(), Refusal> {
        if self.input.is_some() {
            return Err(Refusal::new("E_STATE", "the query has its id"));
        }
        self.input = Some(input(digest));
        Ok(())
    }

    /// True once there is what a message of this kind takes.
    pub(crate) fn ready(&self, kind: Kind) -> bool {
        match kind {
            Kind::Choices => self.input.is_some(),
            Kind::Corrections => self.column.is_some(),
            _ => true,
        }
    }

    /// Evaluates the blocks at the labels of the id.
    fn evaluate(&mut self) -> Result<(), Refusal> {
        let labels = self
            .labels
            .first_chunk()
            .ok_or_else(|| Refusal::new("E_STATE", "there are no labels"))?;
        for (number, block) in std::mem::take(&mut self.blocks).iter().enumerate() {
            let masks = self
                .common
                .masks(&format!("block/{}/{number}", self.number));
            let halves = self.common.shape.halves(number);
            let found = evaluate(&masks, block, labels, halves);
            for (half, share) in halves.into_iter().zip(found) {
                match half {
                    Half::Bits => self.tag = share,
                    Half::Word => self.pads.push(share),
                    Half::Unused => {}
                }
            }
        }
        Ok(())
    }

    /// Strings that are the holder's where a tag is the id's, and words that are the values but for the holder's
    /// shares of the pads.
    fn compare(&mut self) {
        let shape = self.shape();
        let column = self.column.as_deref().unwrap_or_default();
        let (tags, mut words) = split(&shape, column);
        let own = self.tag & shape.tag_mask();
        self.strings = tags.into_iter().map(|tag| tag ^ own).collect();
        for words in words.chunks_exact_mut(shape.words()) {
            add(words, &self.pads);
        }
        self.values = words;
    }

    /// This side's half of "a cell was the id's".
    fn hit(&self) -> u64 {
        self.strings.iter().fold(0, |hit, half| hit ^ half) & 1
    }

    pub(crate) fn produce(&mut self, step: &Step) -> Result<Vec<u8>, Refusal> {
        let shape = self.shape();
        match step.kind {
            Kind::Choices => Ok((self
                .input
                .iter()
                .flatten()
                .zip(self.choices.chunks_exact(8)))
            .map(|(byte, choices)| {
                let bits = choices.iter().enumerate();
                bits.fold(*byte, |byte, (bit, a)| byte ^ (*a as u8 & 1) << bit)
            })
            .collect()),
            Kind::Corrections => {
                if step.level == 0 {
                    self.compare();
                }
                let mut out = vec![0; step.length];
                let unit = step.length / shape.cells();
                for (cell, out) in out.chunks_exact_mut(unit).enumerate() {
                    let choices = &self.leaves[leaves_of(&shape, step.level, cell)];
                    equality::corrections(self.strings[cell], choices, out);
                }
                Ok(out)
            }
            Kind::AskerWords => {
                let strings = &self.strings;
                let half = |cell: usize| strings[cell] & 1;
                let message = self.known.send(0, half, &self.flips, &mut self.values);
                self.shares = sum_rows(&self.values, shape.words());
                Ok(message)
            }
            _ => Ok(self.chosen.flip(0, self.hit()).to_le_bytes().to_vec()),
        }
    }

    pub(crate) fn consume(&mut self, step: &Step, body: &[u8]) -> Result<(), Refusal> {
        let shape = self.shape();
        match step.kind {
            Kind::Labels => {
                for (label, masked) in self.labels.iter_mut().zip(body.as_chunks().0) {
                    *label ^= u128::from_le_bytes(*masked);
                }
                self.evaluate()?;
            }
            Kind::Block => self.blocks.push(body.to_vec()),
            Kind::Tables => {
                let unit = step.length / shape.cells();
                for (cell, tables) in body.chunks_exact(unit).enumerate() {
                    let choices = &self.leaves[leaves_of(&shape, step.level, cell)];
                    self.strings[cell] = equality::open(self.strings[cell], choices, tables);
                }
            }
            Kind::HolderFlips => {
                let words = body.as_chunks().0.iter();
                self.flips = words.map(|word| u64::from_le_bytes(*word)).collect();
            }
            _ => {
                let mut product = vec![0; shape.words()];
                self.chosen.receive(0, |_| self.hit(), body, &mut product);
                add(&mut self.shares, &product);
            }
        }
        Ok(())
    }

    pub(crate) fn shares(&self) -> &[u64] {
        &self.shares
    }
}
