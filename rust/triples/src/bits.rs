//! Bit triples: packed bits a, b and c on each side, with `(a0 + a1)(b0 + b1) = c0 + c1` modulo 2.
//!
//! Each side chooses in random transfers with its a, and sends in others with its b, the sum of both bits: what is chosen
//! plus the first bit of the pair is a share of `a0 b1`, and of `a1 b0`. Nothing more is sent than the transfers need.

use crate::rich::Rich;
use crate::session::{self, Outgoing, Session, failed, unfinished};
use crate::thin::Thin;
use crate::{Refusal, Role};

/// Most triples that are asked for at once.
pub const MAX_COUNT: u64 = 1 << 32;
const HELLO: u8 = 0;

/// How the transfers are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// By SoftSpoken OT in fields of 2^field elements, 2 to 8: little work, `32 / field` bytes a triple.
    Rich {
        /// log2 of the size of the field.
        field: u32,
    },
    /// By silent transfers: below one bit a triple, and more work.
    Thin,
}

/// One side's triples, the first in the lowest bit; unused bits are zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bits {
    /// Uniform.
    pub a: Vec<u64>,
    /// Uniform.
    pub b: Vec<u64>,
    /// This side's share of the products.
    pub c: Vec<u64>,
}

impl Bits {
    /// Room for so many triples.
    pub(crate) fn room(count: usize) -> Self {
        let zeros = || vec![0; count];
        Self {
            a: zeros(),
            b: zeros(),
            c: zeros(),
        }
    }

    /// Adds the own product, and cuts what is beyond `count`.
    fn close(&mut self, count: u64) {
        let words = count.div_ceil(64) as usize;
        for out in [&mut self.a, &mut self.b, &mut self.c] {
            out.truncate(words);
            if let Some(last) = out.last_mut() {
                *last &= u64::MAX >> (count.wrapping_neg() % 64);
            }
        }
        let own = self.a.iter().zip(&self.b).map(|(a, b)| a & b);
        self.c.iter_mut().zip(own).for_each(|(c, own)| *c ^= own);
    }
}

enum Transfers {
    Rich(Box<Rich>),
    Thin(Box<Thin>),
}

/// One party's machine; it makes as many batches as are asked for, one after the other.
pub struct BitTriples {
    transfers: Transfers,
    workers: rayon::ThreadPool,
    binding: [u8; 32],
    greeted: bool,
    met: bool,
    count: u64,
    taken: bool,
    failed: bool,
}

impl std::fmt::Debug for BitTriples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BitTriples")
    }
}

impl BitTriples {
    /// A session at its beginning, and its first batch of `count` triples.
    ///
    /// # Errors
    /// `E_FORMAT` for a field, count or number of threads out of range.
    pub fn new(session: Session, source: Source, count: u64) -> Result<Self, Refusal> {
        let workers = session.pool()?;
        let number = match source {
            Source::Rich { field } => u64::from(field),
            Source::Thin => 0,
        };
        let binding = session.binding("bits", &[number]);
        let transfers = match source {
            Source::Rich { field } => {
                Transfers::Rich(Box::new(Rich::new(&session, &binding, field)?))
            }
            Source::Thin => Transfers::Thin(Box::new(Thin::new(session, binding))),
        };
        let mut machine = Self {
            transfers,
            workers,
            binding,
            greeted: false,
            met: false,
            count: 0,
            taken: true,
            failed: false,
        };
        machine.begin(count)?;
        Ok(machine)
    }

    fn begin(&mut self, count: u64) -> Result<(), Refusal> {
        if count > MAX_COUNT {
            return Err(Refusal::new(
                "E_FORMAT",
                format!("triples are made up to 2^32 at once, got {count}"),
            ));
        }
        match &mut self.transfers {
            Transfers::Rich(transfers) => transfers.begin(count)?,
            Transfers::Thin(transfers) => transfers.begin(count)?,
        }
        (self.count, self.taken) = (count, false);
        Ok(())
    }

    /// Begins another batch of the session, after the one before was taken by [`finish`](Self::finish).
    ///
    /// # Errors
    /// `E_STATE` before that, `E_FORMAT` for a count out of range, `E_TOO_LARGE` beyond 2^39 triples of a session.
    pub fn again(&mut self, count: u64) -> Result<(), Refusal> {
        if self.failed {
            return Err(failed());
        }
        if !self.taken {
            return Err(unfinished());
        }
        self.begin(count)
    }

    /// The next message, or `None` while the peer's must come first and at the end.
    ///
    /// # Errors
    /// `E_STATE` after a refusal, `E_MEMORY` if threads cannot start.
    pub fn next_message(&mut self) -> Result<Option<Outgoing>, Refusal> {
        if self.failed {
            return Err(failed());
        }
        if !self.greeted {
            self.greeted = true;
            return Ok(Some(Outgoing {
                bytes: [&[HELLO], &self.binding[..]].concat(),
                step: "triples/bits/hello".into(),
            }));
        }
        let transfers = &mut self.transfers;
        let sent = match transfers {
            Transfers::Rich(transfers) => self.workers.install(|| transfers.next_message()),
            Transfers::Thin(transfers) => transfers.next_message(&self.workers),
        };
        self.failed = sent.is_err();
        sent
    }

    /// Takes the peer's next message. After a refusal the machine is of no more use.
    ///
    /// # Errors
    /// `E_PROTOCOL` for a message that breaks the protocol, `E_STATE` after a refusal.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if self.failed {
            return Err(failed());
        }
        let taken = if self.met {
            match &mut self.transfers {
                Transfers::Rich(transfers) => self.workers.install(|| transfers.receive(bytes)),
                Transfers::Thin(transfers) => transfers.receive(bytes, &self.workers),
            }
        } else {
            self.meet(bytes)
        };
        self.failed = taken.is_err();
        taken
    }

    fn meet(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if *session::body(bytes, HELLO, 32)? != self.binding {
            return Err(Refusal::protocol(
                "the peer makes triples with other parameters",
            ));
        }
        self.met = true;
        Ok(())
    }

    /// True when nothing of this batch is left to send or to receive.
    pub fn done(&self) -> bool {
        !self.failed
            && self.greeted
            && self.met
            && match &self.transfers {
                Transfers::Rich(transfers) => transfers.done(),
                Transfers::Thin(transfers) => transfers.done(),
            }
    }

    /// Messages of this batch that went by, and all of them; set-up not counted.
    pub fn progress(&self) -> (u64, u64) {
        match &self.transfers {
            Transfers::Rich(transfers) => transfers.progress(),
            Transfers::Thin(transfers) => transfers.progress(),
        }
    }

    /// The triples of this batch, which are handed out once.
    ///
    /// # Errors
    /// `E_STATE` before the end and after it.
    pub fn finish(&mut self) -> Result<Bits, Refusal> {
        if !self.done() || self.taken {
            return Err(unfinished());
        }
        self.taken = true;
        let mut out = match &mut self.transfers {
            Transfers::Rich(transfers) => transfers.take(),
            Transfers::Thin(transfers) => transfers.take(),
        };
        out.close(self.count);
        Ok(out)
    }
}

/// Names of the transfers in which a side chooses.
pub(crate) fn choosing(role: Role) -> &'static str {
    match role {
        Role::First => "first chooses",
        Role::Second => "second chooses",
    }
}
