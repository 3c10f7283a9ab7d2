//! Random transfers of words in one direction: the sender gets two uniform words of 64 bits each time, the receiver a
//! uniform bit and the word that it names.
//!
//! They come of SoftSpoken OT (Roy, eprint 2022/192) or of silent transfers, whose correlations `t = q + c delta` are
//! hashed by a tweakable correlation-robust hash (Guo, Katz, Wang & Yu, eprint 2019/074) under an index that serves once:
//! the number of the transfer in a session, or in a run whose context is its own. Of the hash's 128 bits 64 are kept.
//! Semi-honest: delta has 128 bits, and so has what a hash would have to be inverted for.

use atoll_ot::cot;
use rayon::prelude::*;

use crate::bits::{Source, choosing};
use crate::machine::{Face, Machine, Work};
use crate::runs::{Duties, Ended, PART, Runs};
use crate::session::{Outgoing, Session, part, unasked};
use crate::soft::{Choosing, Giving, PIECE};
use crate::{Refusal, Role};

/// Most transfers that are asked for at once.
pub const MAX_COUNT: u64 = 1 << 28;
const KIND: &str = "transfers";

/// The role of a side by its name: the first sends, the second receives.
///
/// # Errors
/// `E_FORMAT` for a name that is neither `sender` nor `receiver`.
pub fn role(name: &str) -> Result<Role, Refusal> {
    match name {
        "sender" => Ok(Role::First),
        "receiver" => Ok(Role::Second),
        _ => Err(Refusal::new(
            "E_FORMAT",
            format!("a role is sender or receiver, got {name}"),
        )),
    }
}

/// What one side has of a batch, by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transfers {
    /// The sender's words, one of each a transfer.
    Sent {
        /// What the receiver gets where it chose 0.
        zeros: Vec<u64>,
        /// The same where it chose 1.
        ones: Vec<u64>,
    },
    /// What the receiver has.
    Chosen {
        /// Packed choices, the first in the lowest bit; unused bits are zero.
        choices: Vec<u64>,
        /// The chosen word of each pair.
        words: Vec<u64>,
    },
}

impl Transfers {
    /// Room for so many transfers.
    fn room(role: Role, count: usize) -> Self {
        // Memory that is zero is not touched before it is written.
        let words = || vec![0; count];
        match role {
            Role::First => Self::Sent {
                zeros: words(),
                ones: words(),
            },
            Role::Second => Self::Chosen {
                choices: Vec::with_capacity(count.div_ceil(64)),
                words: words(),
            },
        }
    }

    /// Cuts what is beyond `count`.
    fn close(&mut self, count: usize) {
        match self {
            Self::Sent { zeros, ones } => {
                zeros.truncate(count);
                ones.truncate(count);
            }
            Self::Chosen { choices, words } => {
                choices.truncate(count.div_ceil(64));
                if let Some(last) = choices.last_mut() {
                    *last &= u64::MAX >> (count.wrapping_neg() % 64);
                }
                words.truncate(count);
            }
        }
    }
}

enum Way {
    Give(Box<Giving>),
    Choose(Box<Choosing>),
    Thin(Box<Runs>),
}

/// What a machine of transfers does behind its hello.
pub struct TransferWork {
    way: Way,
    role: Role,
    count: usize,
    out: Transfers,
    /// Transfers of runs that have ended.
    made: usize,
}

/// One party's machine; it makes as many batches as are asked for, one after the other.
pub type WordTransfers = Machine<TransferWork>;

impl WordTransfers {
    /// A session at its beginning, and its first batch of `count` transfers; the first side sends, the second chooses.
    ///
    /// # Errors
    /// `E_FORMAT` for a field, count or number of threads out of range.
    pub fn new(session: Session, source: Source, count: u64) -> Result<Self, Refusal> {
        let workers = session.pool()?;
        let binding = session.binding(KIND, &[source.number()]);
        let role = session.role;
        let context = part(&binding, choosing(Role::Second), 0);
        let way = match (source, role) {
            (Source::Rich { field }, Role::First) => {
                let mut randomness = session.stream(KIND, "opening");
                Way::Give(Box::new(Giving::new(field, context, &mut randomness)?))
            }
            (Source::Rich { field }, Role::Second) => {
                let randomness = session.stream(KIND, "answer");
                Way::Choose(Box::new(Choosing::new(field, context, randomness)?))
            }
            (Source::Thin, _) => {
                let duties = Duties {
                    gives: role == Role::First,
                    chooses: role == Role::Second,
                };
                Way::Thin(Box::new(Runs::new(session, KIND, binding, duties)))
            }
        };
        let work = TransferWork {
            way,
            role,
            count: 0,
            out: Transfers::room(role, 0),
            made: 0,
        };
        // Two senders or two receivers refuse each other: a hello names its side.
        let hello = |role: Role| [&binding[..], role.name().as_bytes()].concat();
        let face = Face {
            kind: KIND,
            most: MAX_COUNT,
            beyond: "transfers are made up to 2^28 at once",
            hellos: [hello(role), hello(role.other())],
        };
        Self::start(work, face, workers, count)
    }
}

impl Work for TransferWork {
    type Out = Transfers;

    fn begin(&mut self, count: u64) -> Result<(), Refusal> {
        (self.count, self.made) = (count as usize, 0);
        let blocks = self.count.div_ceil(128);
        self.out = Transfers::room(self.role, 128 * blocks);
        match &mut self.way {
            Way::Give(giving) => giving.begin(blocks),
            Way::Choose(choosing) => choosing.begin(blocks),
            Way::Thin(runs) => runs.begin(count)?,
        }
        Ok(())
    }

    fn next_message(&mut self, workers: &rayon::ThreadPool) -> Result<Option<Outgoing>, Refusal> {
        let (bytes, step) = match &mut self.way {
            Way::Give(giving) => match giving.next_message() {
                Some(opening) => (opening, "opening".into()),
                None => return Ok(None),
            },
            Way::Choose(choosing) => {
                if let Some(answer) = choosing.answer() {
                    (answer, "answer".into())
                } else {
                    let Transfers::Chosen { choices, words } = &mut self.out else {
                        return Err(unasked());
                    };
                    let words = words.as_chunks_mut().0;
                    let piece = workers.install(|| {
                        choosing.next_piece(|chooser, blocks, head| {
                            chooser.extend_words(head, &mut words[blocks])
                        })
                    })?;
                    let Some((blocks, (chosen, corrections))) = piece else {
                        return Ok(None);
                    };
                    let halves = |value: &u128| [*value as u64, (value >> 64) as u64];
                    choices.extend(chosen.iter().flat_map(halves));
                    (corrections, format!("corrections/{}", blocks.start / PIECE))
                }
            }
            Way::Thin(runs) => {
                let (out, made) = (&mut self.out, &mut self.made);
                return runs.next_message(|ended| workers.install(|| close(out, made, ended)));
            }
        };
        Ok(Some(Outgoing {
            bytes,
            step: format!("triples/{KIND}/{step}"),
        }))
    }

    fn receive(&mut self, bytes: &[u8], workers: &rayon::ThreadPool) -> Result<(), Refusal> {
        match &mut self.way {
            Way::Give(giving) => {
                let Transfers::Sent { zeros, ones } = &mut self.out else {
                    return Err(unasked());
                };
                let (zeros, ones) = (zeros.as_chunks_mut().0, ones.as_chunks_mut().0);
                workers.install(|| {
                    giving.receive(bytes, |sender, blocks, corrections| {
                        let words = [&mut zeros[blocks.clone()], &mut ones[blocks]];
                        sender.extend_words(corrections, words)
                    })
                })?;
                Ok(())
            }
            Way::Choose(choosing) => workers.install(|| choosing.receive(bytes)),
            Way::Thin(runs) => {
                let (out, made) = (&mut self.out, &mut self.made);
                runs.receive(bytes, |ended| workers.install(|| close(out, made, ended)))
            }
        }
    }

    fn done(&self) -> bool {
        match &self.way {
            Way::Give(giving) => giving.done(),
            Way::Choose(choosing) => choosing.done(),
            Way::Thin(runs) => runs.done(),
        }
    }

    fn progress(&self) -> (u64, u64) {
        match &self.way {
            Way::Give(giving) => giving.progress(),
            Way::Choose(choosing) => choosing.progress(),
            Way::Thin(runs) => runs.progress(),
        }
    }

    fn take(&mut self) -> Transfers {
        let mut out = std::mem::replace(&mut self.out, Transfers::room(self.role, 0));
        out.close(self.count);
        out
    }
}

/// Hashes the correlations of a run that has ended.
fn close(out: &mut Transfers, made: &mut usize, ended: Ended) {
    let room = *made..*made + ended.size;
    *made = room.end;
    match out {
        Transfers::Sent { zeros, ones } => {
            if let Some((given, context)) = ended.given {
                hash(&mut zeros[room.clone()], &context, &given.q, 0);
                hash(&mut ones[room], &context, &given.q, given.delta);
            }
        }
        Transfers::Chosen { choices, words } => {
            if let Some((chosen, context)) = ended.chosen {
                hash(&mut words[room], &context, &chosen.t, 0);
                choices.extend(chosen.choices);
            }
        }
    }
}

/// The low half of the hash of every value, with `shift` added to it.
fn hash(out: &mut [u64], context: &[u8; 16], values: &[u128], shift: u128) {
    out.par_chunks_mut(PART)
        .zip(values.par_chunks(PART))
        .enumerate()
        .for_each(|(part, (out, values))| {
            let shifted: Vec<u128> = values.iter().map(|value| value ^ shift).collect();
            let hashes = cot::hash(context, (part * PART) as u64, &shifted);
            for (word, hash) in out.iter_mut().zip(&hashes) {
                *word = *hash as u64;
            }
        });
}
