//! Bit triples: packed bits a, b and c on each side, with `(a0 + a1)(b0 + b1) = c0 + c1` modulo 2.
//!
//! Each side chooses in random transfers with its a, and sends in others with its b, the sum of both bits: what is chosen
//! plus the first bit of the pair is a share of `a0 b1`, and of `a1 b0`. Nothing more is sent than the transfers need.

use crate::machine::{Face, Machine, Work};
use crate::rich::Rich;
use crate::session::{Outgoing, Session};
use crate::thin::Thin;
use crate::{Refusal, Role};

/// Most triples that are asked for at once.
pub const MAX_COUNT: u64 = 1 << 32;

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

impl Source {
    /// What both sides agree on.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Rich { field } => u64::from(field),
            Self::Thin => 0,
        }
    }
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

/// What a machine of bit triples does behind its hello.
pub struct BitWork {
    transfers: Transfers,
    count: u64,
}

/// One party's machine; it makes as many batches as are asked for, one after the other.
pub type BitTriples = Machine<BitWork>;

impl BitTriples {
    /// A session at its beginning, and its first batch of `count` triples.
    ///
    /// # Errors
    /// `E_FORMAT` for a field, count or number of threads out of range.
    pub fn new(session: Session, source: Source, count: u64) -> Result<Self, Refusal> {
        let workers = session.pool()?;
        let binding = session.binding("bits", &[source.number()]);
        let transfers = match source {
            Source::Rich { field } => {
                Transfers::Rich(Box::new(Rich::new(&session, &binding, field)?))
            }
            Source::Thin => Transfers::Thin(Box::new(Thin::new(session, binding))),
        };
        let work = BitWork {
            transfers,
            count: 0,
        };
        let face = Face {
            kind: "bits",
            most: MAX_COUNT,
            beyond: "triples are made up to 2^32 at once",
            hellos: [binding.to_vec(), binding.to_vec()],
        };
        Self::start(work, face, workers, count)
    }
}

impl Work for BitWork {
    type Out = Bits;

    fn begin(&mut self, count: u64) -> Result<(), Refusal> {
        self.count = count;
        match &mut self.transfers {
            Transfers::Rich(transfers) => transfers.begin(count),
            Transfers::Thin(transfers) => transfers.begin(count)?,
        }
        Ok(())
    }

    fn next_message(&mut self, workers: &rayon::ThreadPool) -> Result<Option<Outgoing>, Refusal> {
        match &mut self.transfers {
            Transfers::Rich(transfers) => workers.install(|| transfers.next_message()),
            Transfers::Thin(transfers) => transfers.next_message(workers),
        }
    }

    fn receive(&mut self, bytes: &[u8], workers: &rayon::ThreadPool) -> Result<(), Refusal> {
        match &mut self.transfers {
            Transfers::Rich(transfers) => workers.install(|| transfers.receive(bytes)),
            Transfers::Thin(transfers) => transfers.receive(bytes, workers),
        }
    }

    fn done(&self) -> bool {
        match &self.transfers {
            Transfers::Rich(transfers) => transfers.done(),
            Transfers::Thin(transfers) => transfers.done(),
        }
    }

    fn progress(&self) -> (u64, u64) {
        match &self.transfers {
            Transfers::Rich(transfers) => transfers.progress(),
            Transfers::Thin(transfers) => transfers.progress(),
        }
    }

    fn take(&mut self) -> Bits {
        let mut out = match &mut self.transfers {
            Transfers::Rich(transfers) => transfers.take(),
            Transfers::Thin(transfers) => transfers.take(),
        };
        out.close(self.count);
        out
    }
}

/// Names of the transfers in which a side chooses.
pub(crate) fn choosing(role: Role) -> &'static str {
    match role {
        Role::First => "first chooses",
        Role::Second => "second chooses",
    }
}
