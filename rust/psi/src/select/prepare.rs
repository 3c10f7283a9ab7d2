//! What is made ahead of need: a coin, and under it the correlations of many queries.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use atoll_ot::{Security, vole};
use atoll_primitives::stream::{Secret, Stream};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::asker::Asker;
use super::holder::Holder;
use super::parameters::{Parameters, Role, Shape, Use, correlations};
use super::query::Kind;
use crate::circuit::hash::Masks;
use crate::circuit::turns::{self, Half, Turns};
use crate::ecdh::Outgoing;
use crate::{Refusal, pool};

/// Bytes before the body: kind, and 1 in the last piece of a turn.
pub(crate) const HEADER: usize = 2;
/// Most bytes of a piece of a turn.
pub(crate) const PIECE: usize = 1 << 19;

/// What the queries of one preparation have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) shape: Shape,
    pub(crate) workers: Arc<rayon::ThreadPool>,
    seed: Secret<32>,
    attempt: u32,
    channel: String,
    coin: [u8; 32],
}

impl Common {
    fn new(seed: &Secret<32>, p: &Parameters) -> Result<Self, Refusal> {
        Ok(Self {
            shape: p.shape,
            workers: Arc::new(pool(p.threads)?),
            seed: seed.clone(),
            attempt: p.attempt,
            channel: p.channel.clone(),
            coin: [0; 32],
        })
    }

    /// This party's randomness for one step.
    pub(crate) fn stream(&self, step: &str) -> Stream {
        let step = format!("lookup-totals/{step}");
        Stream::new(&self.seed, self.attempt, &self.channel, &step)
    }

    fn part(&self, label: &str) -> [u8; 16] {
        let hash = Sha256::new()
            .chain_update(self.coin)
            .chain_update(label)
            .finalize();
        *hash.first_chunk().expect("32 bytes")
    }

    /// The hash of one use.
    pub(crate) fn masks(&self, label: &str) -> Masks {
        Masks::new(&self.part("masks"), label.as_bytes())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Commitment,
    Share,
    Opening,
    Turns,
    Done,
}

/// One party's side of the preparation of queries.
pub struct Preparation {
    parameters: Parameters,
    common: Common,
    binding: [u8; 32],
    share: [u8; 32],
    /// The peer's commitment, then its share.
    heard: [u8; 32],
    stage: Stage,
    correlations: [(Use, usize, u32); 3],
    turns: Turns,
    /// Lengths of the turns that have not ended.
    lengths: VecDeque<usize>,
    turn_of: Role,
    turn: usize,
    speech: Option<(Vec<u8>, usize)>,
    failed: bool,
}

impl fmt::Debug for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("select::Preparation")
    }
}

/// A digest of all that both sides must agree on.
fn binding(p: &Parameters) -> [u8; 32] {
    let mut hash = Sha256::new().chain_update(b"atoll lookup-totals parameters v1");
    for field in [p.channel.as_bytes(), &p.context] {
        hash.update((field.len() as u64).to_le_bytes());
        hash.update(field);
    }
    hash.update(p.attempt.to_le_bytes());
    for number in [p.shape.cells(), p.shape.words(), p.queries] {
        hash.update((number as u64).to_le_bytes());
    }
    hash.finalize().into()
}

fn commitment(binding: &[u8; 32], share: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"atoll lookup-totals commitment v1")
        .chain_update(binding)
        .chain_update(share)
        .finalize()
        .into()
}

fn early() -> Refusal {
    Refusal::protocol("a message came that must not come now")
}

impl Preparation {
    /// A preparation at its beginning; `E_RANGE` for other numbers of queries than it takes.
    pub fn new(seed: &Secret<32>, parameters: Parameters) -> Result<Self, Refusal> {
        let common = Common::new(seed, &parameters)?;
        Ok(Self {
            binding: binding(&parameters),
            share: common.stream("coin").bytes(),
            heard: [0; 32],
            stage: Stage::Commitment,
            correlations: correlations(&parameters)?,
            turns: Turns::new(Vec::new()),
            lengths: VecDeque::new(),
            turn_of: Role::Holder,
            turn: 0,
            speech: None,
            failed: false,
            common,
            parameters,
        })
    }

    fn usable(&self) -> Result<(), Refusal> {
        if self.failed {
            return Err(Refusal::new(
                "E_STATE",
                "the preparation ended with an error before",
            ));
        }
        Ok(())
    }

    /// Who sends in this stage, and what.
    fn due(&self) -> Option<(Role, Kind)> {
        match self.stage {
            Stage::Commitment => Some((Role::Holder, Kind::Commitment)),
            Stage::Share => Some((Role::Asker, Kind::Share)),
            Stage::Opening => Some((Role::Holder, Kind::Opening)),
            Stage::Turns => Some((self.turn_of, Kind::Turn)),
            Stage::Done => None,
        }
    }

    /// The next message, or `None` while the peer's must come first and at the end.
    pub fn next_message(&mut self) -> Result<Option<Outgoing>, Refusal> {
        self.usable()?;
        let sent = self.send();
        self.failed = sent.is_err();
        sent
    }

    fn send(&mut self) -> Result<Option<Outgoing>, Refusal> {
        let kind = match self.due() {
            Some((from, kind)) if from == self.parameters.role => kind,
            _ => return Ok(None),
        };
        if kind == Kind::Turn {
            return self.speak().map(Some);
        }
        let body = if kind == Kind::Commitment {
            commitment(&self.binding, &self.share)
        } else {
            self.share
        };
        self.passed()?;
        Ok(Some(Outgoing {
            bytes: [&[kind as u8, 0][..], &body].concat(),
            step: format!("lookup-totals/{}", kind.name()),
            opens: false,
        }))
    }

    /// The next piece of this side's turn.
    fn speak(&mut self) -> Result<Outgoing, Refusal> {
        let turns = &mut self.turns;
        let (speech, from) = match self.speech.take() {
            Some(speech) => speech,
            None => (self.common.workers.install(|| turns.speak())?, 0),
        };
        let to = speech.len().min(from + PIECE);
        let last = to == speech.len();
        let outgoing = Outgoing {
            bytes: [&[Kind::Turn as u8, u8::from(last)][..], &speech[from..to]].concat(),
            step: format!("lookup-totals/turn/{}/{}", self.turn, from / PIECE),
            opens: false,
        };
        if last {
            self.turned();
        } else {
            self.speech = Some((speech, to));
        }
        Ok(outgoing)
    }

    fn turned(&mut self) {
        self.turn_of = self.turn_of.other();
        self.turn += 1;
        self.lengths.pop_front();
        if self.turns.done() {
            self.stage = Stage::Done;
        }
    }

    /// Takes the peer's next message. After a refusal the preparation is of no more use.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.usable()?;
        let taken = self.take(bytes);
        self.failed = taken.is_err();
        taken
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let kind = match self.due() {
            Some((from, kind)) if from != self.parameters.role => kind,
            _ => return Err(early()),
        };
        let Some((&[named, last], body)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(Refusal::protocol("a message is shorter than its header"));
        };
        if named != kind as u8 {
            return Err(Refusal::protocol(
                "a message is of another kind than the one that comes next",
            ));
        }
        if kind == Kind::Turn {
            return self.hear(last, body);
        }
        let body: &[u8; 32] = match body.try_into() {
            Ok(body) if last == 0 => body,
            _ => return Err(Refusal::protocol("a part of the coin has 32 bytes")),
        };
        if kind == Kind::Opening && !bool::from(commitment(&self.binding, body).ct_eq(&self.heard))
        {
            return Err(Refusal::protocol(
                "the coin does not open, or the two sides do not agree on the parameters",
            ));
        }
        self.heard = *body;
        self.passed()
    }

    fn hear(&mut self, last: u8, piece: &[u8]) -> Result<(), Refusal> {
        let whole = *self.lengths.front().ok_or_else(early)?;
        // A turn that lacks a message would otherwise put off what comes next.
        let left = whole - self.turns.heard();
        let ends = left <= PIECE;
        if last != u8::from(ends) || piece.len() != left.min(PIECE) {
            return Err(Refusal::protocol(
                "the length of a turn does not fit the agreed sizes",
            ));
        }
        let turns = &mut self.turns;
        self.common.workers.install(|| turns.hear(piece, ends))?;
        if ends {
            self.turned();
        }
        Ok(())
    }

    /// A part of the coin went by.
    fn passed(&mut self) -> Result<(), Refusal> {
        self.stage = match self.stage {
            Stage::Commitment => Stage::Share,
            Stage::Share => Stage::Opening,
            _ => Stage::Turns,
        };
        if self.stage != Stage::Turns {
            return Ok(());
        }
        let (holder, asker) = match self.parameters.role {
            Role::Holder => (&self.share, &self.heard),
            Role::Asker => (&self.heard, &self.share),
        };
        self.common.coin = Sha256::new()
            .chain_update(b"atoll lookup-totals coin v1")
            .chain_update(self.binding)
            .chain_update(holder)
            .chain_update(asker)
            .finalize()
            .into();
        let halves: Result<Vec<Half>, Refusal> = (0..self.correlations.len())
            .map(|number| self.half(number))
            .collect();
        self.turns = Turns::new(halves?);
        self.lengths = lengths(&self.correlations)?.into();
        Ok(())
    }

    /// This side of one correlation.
    fn half(&self, number: usize) -> Result<Half, Refusal> {
        let (purpose, size, bits) = self.correlations[number];
        let parameters = vole::Parameters {
            size,
            bits,
            security: Security::SemiHonest,
            threads: self.parameters.threads,
            context: self.common.part(&format!("correlation/{number}")),
        };
        let receives = (purpose == Use::Holder) == (self.parameters.role == Role::Holder);
        let label = format!("correlation/{number}");
        Ok(if receives {
            let stream = self.common.stream(&label);
            Half::Receiver(vole::Receiver::new(parameters, stream)?)
        } else if purpose == Use::Asker {
            Half::Sender(vole::Sender::new(parameters, self.odd(&label))?)
        } else {
            let stream = self.common.stream(&label);
            Half::Sender(vole::Sender::new(parameters, stream)?)
        })
    }

    /// A stream that begins with an odd number: delta, whose lowest bit tells the two labels of a wire apart.
    fn odd(&self, label: &str) -> Stream {
        let mut at = 0u64;
        loop {
            let stream = || self.common.stream(&format!("{label}/{at}"));
            let [first] = stream().bytes::<1>();
            if first & 1 == 1 {
                return stream();
            }
            at += 1;
        }
    }

    /// True when nothing is left to send or to receive.
    pub fn done(&self) -> bool {
        !self.failed && self.stage == Stage::Done
    }

    fn finished(self, role: Role) -> Result<(Common, usize, [Half; 3]), Refusal> {
        if !self.done() || self.parameters.role != role {
            return Err(Refusal::new(
                "E_STATE",
                "the preparation has not ended, or is of the other side",
            ));
        }
        let halves = self.turns.into_halves();
        let halves: [Half; 3] = halves
            .try_into()
            .map_err(|_| Refusal::new("E_STATE", "correlations are missing"))?;
        Ok((self.common, self.parameters.queries, halves))
    }

    /// The asker's prepared queries; `E_STATE` before the end, or at the holder.
    pub fn asker(self) -> Result<Asker, Refusal> {
        let (common, queries, [leaves, own, other]) = self.finished(Role::Asker)?;
        let workers = common.workers.clone();
        workers.install(|| {
            Asker::new(
                common,
                queries,
                leaves.receiver()?,
                own.receiver()?,
                other.sender()?,
            )
        })
    }

    /// The holder's prepared queries; `E_STATE` before the end, or at the asker.
    pub fn holder(self) -> Result<Holder, Refusal> {
        let (common, queries, [leaves, other, own]) = self.finished(Role::Holder)?;
        let workers = common.workers.clone();
        workers.install(|| {
            Holder::new(
                common,
                queries,
                leaves.sender()?,
                other.sender()?,
                own.receiver()?,
            )
        })
    }
}

/// Bytes of the turns, the holder's first, without headers of pieces.
pub(crate) fn lengths(all: &[(Use, usize, u32)]) -> Result<Vec<usize>, Refusal> {
    turns::lengths(
        all.iter()
            .map(|(purpose, size, bits)| (*purpose != Use::Holder, *size, *bits)),
    )
}
