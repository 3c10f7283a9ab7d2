//! Bit triples by SoftSpoken OT, for links with room.

use std::ops::Range;

use atoll_ot::soft::{Chooser, OPENING_LEN, Opening, Parameters, SETUP_LEN, Sender};

use crate::Refusal;
use crate::bits::{Bits, choosing};
use crate::session::{Outgoing, Session, body, part, unasked};

const OPENING: u8 = 1;
const ANSWER: u8 = 2;
const CORRECTIONS: u8 = 3;
/// Blocks of 128 transfers of one message: at most 504 KiB.
pub(crate) const PIECE: usize = 512;

/// Both directions of one party.
pub(crate) struct Rich {
    /// Of the transfers in which this side chooses, and in which it sends.
    parameters: [Parameters; 2],
    randomness: atoll_primitives::stream::Stream,
    opening: Option<Opening>,
    opened: bool,
    answer: Option<Vec<u8>>,
    chooser: Option<Chooser>,
    sender: Option<Sender>,
    out: Bits,
    blocks: usize,
    sent: usize,
    heard: usize,
}

fn add(words: &mut [u64], values: &[u128]) {
    for (pair, value) in words.as_chunks_mut::<2>().0.iter_mut().zip(values) {
        pair[0] ^= *value as u64;
        pair[1] ^= (value >> 64) as u64;
    }
}

impl Rich {
    pub(crate) fn new(session: &Session, binding: &[u8; 32], field: u32) -> Result<Self, Refusal> {
        if !(2..=8).contains(&field) {
            return Err(Refusal::new(
                "E_FORMAT",
                format!("a field of 2^{field} elements is not of 4 to 256"),
            ));
        }
        let parameters = [session.role, session.role.other()].map(|role| Parameters {
            field,
            context: part(binding, choosing(role), 0),
        });
        let opening = Opening::new(parameters[1], &mut session.stream("bits", "opening"))?;
        Ok(Self {
            parameters,
            randomness: session.stream("bits", "answer"),
            opening: Some(opening),
            opened: false,
            answer: None,
            chooser: None,
            sender: None,
            out: Bits::default(),
            blocks: 0,
            sent: 0,
            heard: 0,
        })
    }

    pub(crate) fn begin(&mut self, count: u64) -> Result<(), Refusal> {
        self.blocks = count.div_ceil(128) as usize;
        self.out = Bits::room(2 * self.blocks);
        (self.sent, self.heard) = (0, 0);
        Ok(())
    }

    /// The blocks of the message that begins at `from`.
    fn piece(&self, from: usize) -> Range<usize> {
        from..self.blocks.min(from + PIECE)
    }

    pub(crate) fn next_message(&mut self) -> Result<Option<Outgoing>, Refusal> {
        if !self.opened {
            self.opened = true;
            let opening = self.opening.as_ref().ok_or_else(unasked)?;
            return Ok(outgoing(OPENING, opening.message(), "opening"));
        }
        if let Some(answer) = self.answer.take() {
            return Ok(outgoing(ANSWER, &answer, "answer"));
        }
        let blocks = self.piece(self.sent);
        let Some(chooser) = self.chooser.as_mut().filter(|_| !blocks.is_empty()) else {
            return Ok(None);
        };
        let (chosen, corrections) = chooser.extend(blocks.len(), &[CORRECTIONS])?;
        let words = 2 * blocks.start..2 * blocks.end;
        add(&mut self.out.a[words.clone()], &chosen.choices);
        add(&mut self.out.c[words], &chosen.bits);
        self.sent = blocks.end;
        Ok(Some(Outgoing {
            bytes: corrections,
            step: format!("triples/bits/corrections/{}", blocks.start / PIECE),
        }))
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if self.chooser.is_none() {
            let opening = body(bytes, OPENING, OPENING_LEN)?;
            let (chooser, answer) =
                Chooser::new(self.parameters[0], opening, &mut self.randomness)?;
            (self.chooser, self.answer) = (Some(chooser), Some(answer));
            return Ok(());
        }
        let blocks = self.piece(self.heard);
        let Some(sender) = &mut self.sender else {
            if !self.opened {
                return Err(unasked());
            }
            let answer = body(bytes, ANSWER, SETUP_LEN)?;
            let opening = self.opening.take().ok_or_else(unasked)?;
            self.sender = Some(opening.finish(answer)?);
            return Ok(());
        };
        if blocks.is_empty() {
            return Err(unasked());
        }
        let length = self.parameters[1].length(blocks.len());
        let pairs = sender.extend(blocks.len(), body(bytes, CORRECTIONS, length)?)?;
        let words = 2 * blocks.start..2 * blocks.end;
        add(&mut self.out.b[words.clone()], &pairs.zeros);
        add(&mut self.out.b[words.clone()], &pairs.ones);
        add(&mut self.out.c[words], &pairs.zeros);
        self.heard = blocks.end;
        Ok(())
    }

    pub(crate) fn done(&self) -> bool {
        self.chooser.is_some()
            && self.sender.is_some()
            && self.answer.is_none()
            && self.sent == self.blocks
            && self.heard == self.blocks
    }

    pub(crate) fn progress(&self) -> (u64, u64) {
        let pieces = |blocks: usize| blocks.div_ceil(PIECE) as u64;
        let passed = pieces(self.sent) + pieces(self.heard);
        (passed, 2 * pieces(self.blocks))
    }

    pub(crate) fn take(&mut self) -> Bits {
        std::mem::take(&mut self.out)
    }
}

fn outgoing(kind: u8, body: &[u8], step: &str) -> Option<Outgoing> {
    Some(Outgoing {
        bytes: [&[kind], body].concat(),
        step: format!("triples/bits/{step}"),
    })
}
