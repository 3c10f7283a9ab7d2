//! The machine of one party: messages in their agreed order, checked before anything looks into them.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use atoll_okvs::slots;
use atoll_primitives::stream::Secret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::entries::copies;
use super::mapper::Mapper;
use super::parameters::{Parameters, Role, Shape};
use super::placer::Placer;
use super::products::pack;
use super::schedule::{HEADER, Kind, Step, TURN_PIECE, schedule};
use super::side::{Coin, Randomness, Use, correlations, groups};
use super::sizes;
use super::turns::Turns;
use crate::ecdh::Outgoing;
use crate::{Refusal, pool};

const NONE: u32 = u32::MAX;

/// What one party has at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Number of bins.
    pub bins: usize,
    /// This party's halves of "the entry of this bin matched", packed, the first in the lowest bit.
    pub matched: Vec<u64>,
    /// This party's shares modulo 2^64 of the words times that bit: bin by bin, the placer's words first.
    pub words: Vec<u64>,
    /// At the placer the own row that stands in each bin, `u32::MAX` for none. It is the placer's secret.
    pub rows: Option<Vec<u32>>,
}

enum Side<D> {
    Placer(Box<Placer<D>>),
    Mapper(Box<Mapper<D>>),
}

/// One party's side of the protocol. `D` holds digests of keys, 32 bytes each: the placer's all different, the mapper's one
/// for each row.
pub struct Machine<D> {
    role: Role,
    shape: Shape,
    side: Side<D>,
    binding: [u8; 32],
    share: [u8; 32],
    /// The peer's commitment, then its share.
    heard: [u8; 32],
    steps: Vec<Step>,
    at: usize,
    /// Units of the current step that went by.
    units: usize,
    /// Use, size and bits of all correlations, the groups still to be made, and the one that is being made.
    correlations: Vec<(Use, usize, u32)>,
    groups: VecDeque<Range<usize>>,
    group: Range<usize>,
    turns: Option<Turns>,
    /// Lengths of the turns of this group that have not ended.
    lengths: VecDeque<usize>,
    turn_of: Role,
    speech: Option<(Vec<u8>, usize)>,
    turn: usize,
    workers: rayon::ThreadPool,
    failed: bool,
}

impl<D> fmt::Debug for Machine<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("circuit::Machine")
    }
}

/// A digest of all that both sides must agree on.
fn binding(p: &Parameters) -> [u8; 32] {
    let mut hash = Sha256::new().chain_update(b"atoll circuit-psi parameters v1");
    for field in [p.channel.as_bytes(), &p.context] {
        hash.update((field.len() as u64).to_le_bytes());
        hash.update(field);
    }
    hash.update(p.attempt.to_le_bytes());
    hash.update(p.multiplicity.to_le_bytes());
    let words = [p.placer_words as u64, p.mapper_words as u64];
    for number in [p.placer_items, p.mapper_items].into_iter().chain(words) {
        hash.update(number.to_le_bytes());
    }
    hash.finalize().into()
}

fn commitment(binding: &[u8; 32], share: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"atoll circuit-psi commitment v1")
        .chain_update(binding)
        .chain_update(share)
        .finalize()
        .into()
}

impl<D: AsRef<[u8]> + Send + Sync> Machine<D> {
    /// A machine at its beginning. `payload` holds this side's words, row by row.
    ///
    /// # Errors
    /// `E_FORMAT` for inputs of other lengths or parameters out of range, `E_TOO_LARGE` beyond one bucket, `E_DUPLICATE`
    /// if a key stands on more rows than declared (at the placer: on more than one).
    pub fn new(
        seed: &Secret<32>,
        parameters: Parameters,
        digests: D,
        payload: Vec<u64>,
    ) -> Result<Self, Refusal> {
        let shape = Shape::new(&parameters)?;
        let (keys, rest) = digests.as_ref().as_chunks::<32>();
        let (items, words, most) = match parameters.role {
            Role::Placer => (parameters.placer_items, parameters.placer_words, 1),
            Role::Mapper => (
                parameters.mapper_items,
                parameters.mapper_words,
                parameters.multiplicity,
            ),
        };
        if !rest.is_empty() || keys.len() as u64 != items {
            return Err(Refusal::new(
                "E_FORMAT",
                "digests have 32 bytes each, one for each declared item",
            ));
        }
        if payload.len() != keys.len() * words {
            return Err(Refusal::new(
                "E_FORMAT",
                "every row has the declared number of payload words",
            ));
        }
        copies(keys, most)?;
        let entry_slots = slots(shape.entries, atoll_okvs::Kind::Fast);
        let store_slots = slots(3 * shape.rows, atoll_okvs::Kind::Fast);
        let steps = schedule(&shape, entry_slots, store_slots);
        let correlations = if shape.empty() {
            Vec::new()
        } else {
            correlations(&shape, entry_slots)
        };
        let binding = binding(&parameters);
        let randomness = Randomness {
            seed: seed.clone(),
            attempt: parameters.attempt,
            channel: parameters.channel,
        };
        let share = randomness.stream("coin").bytes();
        let threads = parameters.threads;
        let side = match parameters.role {
            Role::Placer => Side::Placer(Box::new(Placer::new(
                shape.clone(),
                randomness,
                digests,
                payload,
                threads,
            ))),
            Role::Mapper => Side::Mapper(Box::new(Mapper::new(
                shape.clone(),
                randomness,
                digests,
                payload,
                threads,
            ))),
        };
        Ok(Self {
            role: parameters.role,
            shape,
            side,
            binding,
            share,
            heard: [0; 32],
            steps,
            at: 0,
            units: 0,
            groups: groups(&correlations).into(),
            group: 0..0,
            correlations,
            turns: None,
            lengths: VecDeque::new(),
            turn_of: Role::Placer,
            speech: None,
            turn: 0,
            workers: pool(threads)?,
            failed: false,
        })
    }

    fn usable(&self) -> Result<(), Refusal> {
        if self.failed {
            return Err(Refusal::new(
                "E_STATE",
                "the protocol ended with an error before",
            ));
        }
        Ok(())
    }

    /// The next message, or `None` while the peer's must come first and at the end.
    pub fn next_message(&mut self) -> Result<Option<Outgoing>, Refusal> {
        self.usable()?;
        let sent = self.send();
        self.failed = sent.is_err();
        sent
    }

    fn send(&mut self) -> Result<Option<Outgoing>, Refusal> {
        let Some(step) = self.steps.get(self.at).copied() else {
            return Ok(None);
        };
        if step.kind == Kind::Turn {
            return self.speak();
        }
        if step.from != self.role {
            return Ok(None);
        }
        let (from, to) = (self.units, step.until(self.units));
        let body = match step.kind {
            Kind::Commitment => commitment(&self.binding, &self.share).to_vec(),
            Kind::Share | Kind::Opening => self.share.to_vec(),
            _ => {
                let side = &mut self.side;
                self.workers.install(|| match side {
                    Side::Placer(side) => side.produce(&step, from, to),
                    Side::Mapper(side) => side.produce(&step, from, to),
                })?
            }
        };
        self.passed(&step, to)?;
        Ok(Some(Outgoing {
            bytes: [&step.header()[..], &body].concat(),
            step: step.label(from),
            opens: false,
        }))
    }

    /// The next piece of this side's turn, if it has one.
    fn speak(&mut self) -> Result<Option<Outgoing>, Refusal> {
        let Some(turns) = &mut self.turns else {
            return Ok(None);
        };
        if self.turn_of != self.role {
            return Ok(None);
        }
        let (speech, from) = match self.speech.take() {
            Some(speech) => speech,
            None => (self.workers.install(|| turns.speak())?, 0),
        };
        let to = speech.len().min(from + TURN_PIECE);
        let last = to == speech.len();
        let outgoing = Outgoing {
            bytes: [&[Kind::Turn as u8, u8::from(last)][..], &speech[from..to]].concat(),
            step: format!("circuit-psi/turn/{}/{}", self.turn, from / TURN_PIECE),
            opens: false,
        };
        if last {
            self.turned()?;
        } else {
            self.speech = Some((speech, to));
        }
        Ok(Some(outgoing))
    }

    /// A turn has ended: the peer's comes next, unless nothing is left.
    fn turned(&mut self) -> Result<(), Refusal> {
        self.turn_of = self.turn_of.other();
        self.turn += 1;
        self.lengths.pop_front();
        let done = self.turns.as_mut().is_some_and(Turns::done);
        if done && let Some(turns) = self.turns.take() {
            let (side, all) = (&mut self.side, &self.correlations[self.group.clone()]);
            self.workers.install(|| match side {
                Side::Placer(side) => side.correlated(all, turns.into_halves()),
                Side::Mapper(side) => side.correlated(all, turns.into_halves()),
            })?;
            self.next_group()?;
        }
        Ok(())
    }

    /// Begins the next group of correlations; after the last the turns are over.
    fn next_group(&mut self) -> Result<(), Refusal> {
        let Some(group) = self.groups.pop_front() else {
            self.at += 1;
            return Ok(());
        };
        let halves = match &self.side {
            Side::Placer(side) => side.halves(&self.correlations, group.clone())?,
            Side::Mapper(side) => side.halves(&self.correlations, group.clone())?,
        };
        self.lengths = sizes::turns(&self.correlations[group.clone()])?.into();
        self.group = group;
        self.turns = Some(Turns::new(halves));
        self.turn_of = Role::Placer;
        Ok(())
    }

    /// Takes the peer's next message. After a refusal the machine is of no more use.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.usable()?;
        let taken = self.take(bytes);
        self.failed = taken.is_err();
        taken
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let early = || Refusal::protocol("a message came that must not come now");
        let step = self.steps.get(self.at).copied().ok_or_else(early)?;
        if step.kind == Kind::Turn {
            return self.hear(bytes);
        }
        if step.from == self.role {
            return Err(early());
        }
        let (from, to) = (self.units, step.until(self.units));
        let body = step.body(bytes, from, to)?;
        match step.kind {
            Kind::Commitment | Kind::Share => self.heard.copy_from_slice(body),
            Kind::Opening => {
                if !bool::from(commitment(&self.binding, body).ct_eq(&self.heard)) {
                    return Err(Refusal::protocol(
                        "the coin does not open, or the two sides do not agree on the parameters",
                    ));
                }
                self.heard.copy_from_slice(body);
            }
            _ => {
                let side = &mut self.side;
                self.workers.install(|| match side {
                    Side::Placer(side) => side.consume(&step, from, to, body),
                    Side::Mapper(side) => side.consume(&step, from, to, body),
                })?;
            }
        }
        self.passed(&step, to)
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let early = || Refusal::protocol("a message came that must not come now");
        if self.turn_of == self.role {
            return Err(early());
        }
        let turns = self.turns.as_mut().ok_or_else(early)?;
        let whole = *self.lengths.front().ok_or_else(early)?;
        let Some((&[kind, last], piece)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(Refusal::protocol("a message is shorter than its header"));
        };
        // A turn that lacks a message would otherwise put off what comes next.
        let left = whole - turns.heard();
        let ends = left <= TURN_PIECE;
        if kind != Kind::Turn as u8 || last != u8::from(ends) {
            return Err(Refusal::protocol("not the piece of a turn that comes next"));
        }
        if piece.len() != left.min(TURN_PIECE) {
            return Err(Refusal::protocol(
                "the length of a turn does not fit the agreed sizes",
            ));
        }
        self.workers.install(|| turns.hear(piece, ends))?;
        if ends { self.turned() } else { Ok(()) }
    }

    /// Units up to `to` of a step went by.
    fn passed(&mut self, step: &Step, to: usize) -> Result<(), Refusal> {
        self.units = to;
        if to < step.units {
            return Ok(());
        }
        self.units = 0;
        self.at += 1;
        if step.kind == Kind::Opening && !self.shape.empty() {
            let (placer, mapper) = match self.role {
                Role::Placer => (&self.share, &self.heard),
                Role::Mapper => (&self.heard, &self.share),
            };
            let coin = Coin::new(&self.binding, placer, mapper);
            match &mut self.side {
                Side::Placer(side) => side.tossed(coin),
                Side::Mapper(side) => side.tossed(coin),
            }
            self.next_group()?;
        }
        Ok(())
    }

    /// True when nothing is left to send or to receive.
    pub fn done(&self) -> bool {
        !self.failed && self.at == self.steps.len()
    }

    /// Bytes of messages of known length that went by, and of all of them.
    pub fn progress(&self) -> (u64, u64) {
        let bytes = |steps: &[Step]| steps.iter().map(|s| (s.unit * s.units) as u64).sum::<u64>();
        let now = self
            .steps
            .get(self.at)
            .map_or(0, |step| step.unit * self.units);
        (
            bytes(&self.steps[..self.at]) + now as u64,
            bytes(&self.steps),
        )
    }

    /// This party's shares; `E_STATE` before the end.
    pub fn output(&self) -> Result<Output, Refusal> {
        if !self.done() {
            return Err(Refusal::new("E_STATE", "the protocol has not ended"));
        }
        let (bins, empty) = (self.shape.bins, self.shape.empty());
        let half = |bin: usize| match &self.side {
            _ if empty => 0,
            Side::Placer(side) => side.half(bin),
            Side::Mapper(side) => side.half(bin),
        };
        let (words, rows) = match &self.side {
            Side::Placer(side) if empty => (side.values.clone(), Some(vec![NONE; bins])),
            Side::Placer(side) => (side.values.clone(), Some(side.rows())),
            Side::Mapper(side) => (side.values.clone(), None),
        };
        Ok(Output {
            bins,
            matched: pack(bins, half),
            words,
            rows,
        })
    }
}
