//! The messages of one query, in their agreed order, checked before anything looks into them.

use std::fmt;
use std::sync::Arc;

use super::asker::AskerSide;
use super::holder::HolderSide;
use super::parameters::{Role, Shape};
use crate::Refusal;
use crate::ecdh::Outgoing;
use crate::keys::KeyDigest;

/// Bytes before the body: kind, level, number of the query.
pub(crate) const HEADER: usize = 6;

/// What a message holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Commitment of the holder to its share of the coin.
    Commitment = 1,
    /// The asker's share of the coin.
    Share,
    /// The holder's share of the coin.
    Opening,
    /// A piece of a turn of the correlations.
    Turn,
    /// One garbled block of the function.
    Block,
    /// The asker's input under its choices.
    Choices,
    /// Labels of the input, masked.
    Labels,
    /// The asker's corrections of one level.
    Corrections,
    /// The holder's tables of one level.
    Tables,
    /// The holder's halves of all cells under its choices.
    HolderFlips,
    /// The asker's words, masked.
    AskerWords,
    /// The asker's half of the hit under its choice.
    AskerFlip,
    /// The holder's words, masked.
    HolderWords,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Commitment => "commitment",
            Self::Share => "share",
            Self::Opening => "opening",
            Self::Turn => "turn",
            Self::Block => "block",
            Self::Choices => "choices",
            Self::Labels => "labels",
            Self::Corrections => "corrections",
            Self::Tables => "tables",
            Self::HolderFlips => "holder-flips",
            Self::AskerWords => "asker-words",
            Self::AskerFlip => "asker-flip",
            Self::HolderWords => "holder-words",
        }
    }
}

/// One message: from whom, of what kind and level, and the bytes of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) from: Role,
    pub(crate) kind: Kind,
    pub(crate) level: usize,
    pub(crate) length: usize,
}

/// The messages of a query, the same list on both sides.
pub(crate) fn schedule(shape: &Shape) -> Vec<Step> {
    use Kind::*;
    use Role::{Asker, Holder};
    let (cells, words) = (shape.cells(), shape.words());
    let mut steps = Vec::new();
    let mut add = |from, kind, level, length| {
        steps.push(Step {
            from,
            kind,
            level,
            length,
        });
    };
    for block in 0..shape.blocks() {
        add(Holder, Block, block, shape.garbled_bytes(block));
    }
    add(Asker, Choices, 0, 16);
    add(Holder, Labels, 0, 128 * 16);
    for (level, leaves) in shape.levels().into_iter().enumerate() {
        add(Asker, Corrections, level, cells * leaves.div_ceil(2));
        add(Holder, Tables, level, cells * 2 * leaves);
    }
    add(Holder, HolderFlips, 0, 8 * cells.div_ceil(64));
    add(Asker, AskerWords, 0, 8 * words * cells);
    add(Asker, AskerFlip, 0, 8);
    add(Holder, HolderWords, 0, 8 * words);
    steps
}

pub(crate) enum Side {
    Asker(Box<AskerSide>),
    Holder(Box<HolderSide>),
}

/// One party's side of a query.
pub struct Query {
    number: u32,
    steps: Vec<Step>,
    at: usize,
    side: Side,
    workers: Arc<rayon::ThreadPool>,
    failed: bool,
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("select::Query")
    }
}

impl Query {
    pub(crate) fn new(
        number: u32,
        shape: &Shape,
        workers: Arc<rayon::ThreadPool>,
        side: Side,
    ) -> Self {
        Self {
            number,
            steps: schedule(shape),
            at: 0,
            side,
            workers,
            failed: false,
        }
    }

    /// Number of the query, from 0 on: which of the prepared ones it takes. Both sides must be at the same one.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Gives the asker's side the digest of its id. Before that it takes the garbled blocks, which may so cross ahead
    /// of need, and sends nothing.
    ///
    /// # Errors
    /// `E_STATE` at the holder or if there is one.
    pub fn ask(&mut self, digest: &KeyDigest) -> Result<(), Refusal> {
        match &mut self.side {
            Side::Asker(side) => side.ask(digest),
            Side::Holder(_) => Err(Refusal::new("E_STATE", "the holder has no id")),
        }
    }

    /// Gives the asker's side the column that it fetched. It may come after the first message, but nothing else is
    /// sent before.
    ///
    /// # Errors
    /// `E_FORMAT` for another length, `E_STATE` at the holder or if there is one.
    pub fn column(&mut self, column: &[u8]) -> Result<(), Refusal> {
        match &mut self.side {
            Side::Asker(side) => side.column(column),
            Side::Holder(_) => Err(Refusal::new("E_STATE", "the holder fetches no column")),
        }
    }

    fn role(&self) -> Role {
        match self.side {
            Side::Asker(_) => Role::Asker,
            Side::Holder(_) => Role::Holder,
        }
    }

    fn usable(&self) -> Result<(), Refusal> {
        if self.failed {
            return Err(Refusal::new(
                "E_STATE",
                "the query ended with an error before",
            ));
        }
        Ok(())
    }

    fn header(&self, step: &Step) -> [u8; HEADER] {
        let [a, b, c, d] = self.number.to_le_bytes();
        [step.kind as u8, step.level as u8, a, b, c, d]
    }

    /// The next message, or `None` while the peer's, the id or the column must come first and at the end.
    pub fn next_message(&mut self) -> Result<Option<Outgoing>, Refusal> {
        self.usable()?;
        let step = match self.steps.get(self.at) {
            Some(step) if step.from == self.role() => *step,
            _ => return Ok(None),
        };
        let side = &mut self.side;
        let body = match side {
            Side::Asker(side) if !side.ready(step.kind) => {
                return Ok(None);
            }
            Side::Asker(side) => self.workers.install(|| side.produce(&step)),
            Side::Holder(side) => self.workers.install(|| side.produce(&step)),
        };
        self.failed = body.is_err();
        self.at += 1;
        Ok(Some(Outgoing {
            bytes: [&self.header(&step)[..], &body?].concat(),
            step: format!(
                "lookup-totals/{}/{}/{}",
                self.number,
                step.kind.name(),
                step.level
            ),
            opens: false,
        }))
    }

    /// Takes the peer's next message. After a refusal the query is of no more use.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.usable()?;
        let taken = self.take(bytes);
        self.failed = taken.is_err();
        taken
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let step = match self.steps.get(self.at) {
            Some(step) if step.from != self.role() => *step,
            _ => return Err(Refusal::protocol("a message came that must not come now")),
        };
        let body = bytes.strip_prefix(&self.header(&step)).ok_or_else(|| {
            Refusal::protocol("a message is of another kind or query than the one that comes next")
        })?;
        if body.len() != step.length {
            return Err(Refusal::protocol(
                "the length of a message does not fit the agreed sizes",
            ));
        }
        let side = &mut self.side;
        self.workers.install(|| match side {
            Side::Asker(side) => side.consume(&step, body),
            Side::Holder(side) => side.consume(&step, body),
        })?;
        self.at += 1;
        Ok(())
    }

    /// True when nothing is left to send or to receive.
    pub fn done(&self) -> bool {
        !self.failed && self.at == self.steps.len()
    }

    /// This party's shares modulo 2^64 of the words of the id's cell, zeros if it has none; `E_STATE` before the end.
    pub fn shares(&self) -> Result<&[u64], Refusal> {
        if !self.done() {
            return Err(Refusal::new("E_STATE", "the query has not ended"));
        }
        Ok(match &self.side {
            Side::Asker(side) => side.shares(),
            Side::Holder(side) => side.shares(),
        })
    }
}

/// Adds up the rows of `words` words.
pub(crate) fn sum_rows(values: &[u64], words: usize) -> Vec<u64> {
    let mut sums = vec![0u64; words];
    for row in values.chunks_exact(words) {
        add(&mut sums, row);
    }
    sums
}

/// Adds `values` to `sums`, modulo 2^64.
pub(crate) fn add(sums: &mut [u64], values: &[u64]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = sum.wrapping_add(*value);
    }
}

/// Where the leaves of `cell` at `level` stand among those of a query: level by level, then cell by cell.
pub(crate) fn leaves_of(shape: &Shape, level: usize, cell: usize) -> std::ops::Range<usize> {
    let levels = shape.levels();
    let before: usize = levels[..level].iter().sum();
    let start = before * shape.cells() + cell * levels[level];
    start..start + levels[level]
}
