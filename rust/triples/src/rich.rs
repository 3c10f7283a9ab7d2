//! Bit triples by SoftSpoken OT, for links with room.

use crate::Refusal;
use crate::bits::{Bits, choosing};
use crate::session::{Outgoing, Session, part};
use crate::soft::{Choosing, Giving, PIECE};

/// Both directions of one party.
pub(crate) struct Rich {
    giving: Giving,
    choosing: Choosing,
    out: Bits,
}

fn add(words: &mut [u64], values: &[u128]) {
    for (pair, value) in words.as_chunks_mut::<2>().0.iter_mut().zip(values) {
        pair[0] ^= *value as u64;
        pair[1] ^= (value >> 64) as u64;
    }
}

impl Rich {
    pub(crate) fn new(session: &Session, binding: &[u8; 32], field: u32) -> Result<Self, Refusal> {
        let context = |role| part(binding, choosing(role), 0);
        let mut opening = session.stream("bits", "opening");
        Ok(Self {
            giving: Giving::new(field, context(session.role.other()), &mut opening)?,
            choosing: Choosing::new(
                field,
                context(session.role),
                session.stream("bits", "answer"),
            )?,
            out: Bits::default(),
        })
    }

    pub(crate) fn begin(&mut self, count: u64) {
        let blocks = count.div_ceil(128) as usize;
        self.giving.begin(blocks);
        self.choosing.begin(blocks);
        self.out = Bits::room(2 * blocks);
    }

    pub(crate) fn next_message(&mut self) -> Result<Option<Outgoing>, Refusal> {
        let outgoing = |bytes, step: &str| {
            Ok(Some(Outgoing {
                bytes,
                step: format!("triples/bits/{step}"),
            }))
        };
        if let Some(opening) = self.giving.next_message() {
            return outgoing(opening, "opening");
        }
        if let Some(answer) = self.choosing.answer() {
            return outgoing(answer, "answer");
        }
        let piece = (self.choosing)
            .next_piece(|chooser, blocks, head| chooser.extend(blocks.len(), head))?;
        let Some((blocks, (chosen, corrections))) = piece else {
            return Ok(None);
        };
        let words = 2 * blocks.start..2 * blocks.end;
        add(&mut self.out.a[words.clone()], &chosen.choices);
        add(&mut self.out.c[words], &chosen.bits);
        outgoing(
            corrections,
            &format!("corrections/{}", blocks.start / PIECE),
        )
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if self.choosing.waits() {
            return self.choosing.receive(bytes);
        }
        let piece = (self.giving).receive(bytes, |sender, blocks, corrections| {
            sender.extend(blocks.len(), corrections)
        })?;
        let Some((blocks, pairs)) = piece else {
            return Ok(());
        };
        let words = 2 * blocks.start..2 * blocks.end;
        add(&mut self.out.b[words.clone()], &pairs.zeros);
        add(&mut self.out.b[words.clone()], &pairs.ones);
        add(&mut self.out.c[words], &pairs.zeros);
        Ok(())
    }

    pub(crate) fn done(&self) -> bool {
        self.giving.done() && self.choosing.done()
    }

    pub(crate) fn progress(&self) -> (u64, u64) {
        let [giving, choosing] = [self.giving.progress(), self.choosing.progress()];
        (giving.0 + choosing.0, giving.1 + choosing.1)
    }

    pub(crate) fn take(&mut self) -> Bits {
        std::mem::take(&mut self.out)
    }
}
