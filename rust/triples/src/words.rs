//! Word triples: words a, b and c on each side, with `(a0 + a1)(b0 + b1) = c0 + c1` modulo 2^64.
//!
//! The first side encrypts its a and b; the second multiplies them with its own, adds a mask, and sends the sum back. Words
//! are taken signed, so that the cross terms are below 2^127, and masked modulo three primes of 62 bits: the mask is
//! uniform, and the sum is right unless it leaves their range, with probability 2^-61.

use std::collections::VecDeque;

use atoll_primitives::stream::Stream;

use crate::Refusal;
use crate::rlwe::{ANSWER_LEN, Evaluator, Holder, KEYS_LEN, PLAIN, QUESTION_LEN, SLOTS, combine};
use crate::session::{self, Outgoing, Role, Session, failed, unasked, unfinished};

/// Most triples that are asked for at once.
pub const MAX_COUNT: u64 = 1 << 28;
/// Most triples of one session: what the numbers on the page are for.
pub const MAX_SESSION: u64 = 1 << 32;
const HELLO: u8 = 0;
const KEYS: u8 = 1;
const QUESTION: u8 = 2;
const ANSWER: u8 = 3;
/// Questions that may be on their way without an answer.
const WINDOW: u64 = 12;

/// One side's triples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// Uniform.
    pub a: Vec<u64>,
    /// Uniform.
    pub b: Vec<u64>,
    /// This side's share of the products.
    pub c: Vec<u64>,
}

enum Side {
    First {
        holder: Box<Holder>,
        introduced: bool,
    },
    Second {
        evaluator: Option<Box<Evaluator>>,
        randomness: Box<Stream>,
        answers: VecDeque<Vec<u8>>,
    },
}

/// One party's machine; it makes as many batches as are asked for, one after the other.
pub struct WordTriples {
    side: Side,
    own: atoll_ot::prg::Counter,
    workers: rayon::ThreadPool,
    binding: [u8; 32],
    greeted: bool,
    met: bool,
    count: u64,
    /// Number of the batch's first question among all of the session, and of questions of the batch.
    first: u64,
    questions: u64,
    /// Questions of this batch that were sent or taken, and answers.
    asked: u64,
    answered: u64,
    /// What the answers of one ciphertext's words hold, at the second side the masks.
    residues: [Vec<u64>; PLAIN],
    out: Words,
    taken: bool,
    failed: bool,
}

impl std::fmt::Debug for WordTriples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WordTriples")
    }
}

impl WordTriples {
    /// A session at its beginning, and its first batch of `count` triples.
    ///
    /// # Errors
    /// `E_FORMAT` for a count or number of threads out of range.
    pub fn new(session: Session, count: u64) -> Result<Self, Refusal> {
        let workers = session.pool()?;
        let mut words = session.stream("words", "shares");
        let side = match session.role {
            Role::First => Side::First {
                holder: Box::new(
                    workers.install(|| Holder::new(&mut session.stream("words", "keys"))),
                ),
                introduced: false,
            },
            Role::Second => Side::Second {
                evaluator: None,
                randomness: Box::new(session.stream("words", "answers")),
                answers: VecDeque::new(),
            },
        };
        let mut machine = Self {
            side,
            own: atoll_ot::prg::Counter::new(&words.bytes()),
            workers,
            binding: session.binding("words", &[]),
            greeted: false,
            met: false,
            count: 0,
            first: 0,
            questions: 0,
            asked: 0,
            answered: 0,
            residues: Default::default(),
            out: Words::default(),
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
                format!("products are made up to 2^28 at once, got {count}"),
            ));
        }
        let groups = count.div_ceil(SLOTS as u64);
        let first = self.first + self.questions;
        if (first / PLAIN as u64 + groups) * SLOTS as u64 > MAX_SESSION {
            return Err(Refusal::new(
                "E_TOO_LARGE",
                "a session makes at most 2^32 products",
            ));
        }
        let mut uniform = || {
            let mut blocks = vec![0u128; groups as usize * SLOTS / 2];
            self.own.blocks(&mut blocks);
            let words = blocks.iter().flat_map(|x| [*x as u64, (x >> 64) as u64]);
            words.collect::<Vec<u64>>()
        };
        let (a, b) = (uniform(), uniform());
        let c = a.iter().zip(&b).map(|(a, b)| a.wrapping_mul(*b)).collect();
        self.out = Words { a, b, c };
        (self.first, self.questions) = (first, groups * PLAIN as u64);
        (self.asked, self.answered) = (0, 0);
        (self.count, self.taken) = (count, false);
        Ok(())
    }

    /// Begins another batch of the session, after the one before was taken by [`finish`](Self::finish).
    ///
    /// # Errors
    /// `E_STATE` before that, `E_FORMAT` for a count out of range, `E_TOO_LARGE` beyond [`MAX_SESSION`].
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
    /// `E_STATE` after a refusal.
    pub fn next_message(&mut self) -> Result<Option<Outgoing>, Refusal> {
        if self.failed {
            return Err(failed());
        }
        let outgoing = |bytes, step: String| {
            let step = format!("triples/words/{step}");
            Ok(Some(Outgoing { bytes, step }))
        };
        if !self.greeted {
            self.greeted = true;
            return outgoing([&[HELLO], &self.binding[..]].concat(), "hello".into());
        }
        match &mut self.side {
            Side::First { holder, introduced } => {
                if !*introduced {
                    *introduced = true;
                    return outgoing([&[KEYS], holder.keys()].concat(), "keys".into());
                }
                if self.asked == self.questions || self.asked - self.answered == WINDOW {
                    return Ok(None);
                }
                let (number, plain) = (self.first + self.asked, plain(self.asked));
                let words = slots(self.asked);
                let own = [&self.out.a[words.clone()], &self.out.b[words]];
                let ask = || holder.ask(number, plain, own, &[QUESTION]);
                let bytes = self.workers.install(ask);
                self.asked += 1;
                outgoing(bytes, format!("question/{number}"))
            }
            Side::Second { answers, .. } => {
                let Some(bytes) = answers.pop_front() else {
                    return Ok(None);
                };
                let number = self.first + self.answered;
                self.answered += 1;
                outgoing(bytes, format!("answer/{number}"))
            }
        }
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
            self.take(bytes)
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

    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        match &mut self.side {
            Side::First { holder, .. } => {
                if self.answered == self.asked {
                    return Err(unasked());
                }
                let body = session::body(bytes, ANSWER, ANSWER_LEN)?;
                let at = self.answered;
                let opened = self.workers.install(|| holder.open(plain(at), body))?;
                self.answered += 1;
                self.residue(at, opened, |c, sum| c.wrapping_add(sum));
            }
            Side::Second {
                evaluator: Some(evaluator),
                answers,
                ..
            } => {
                if self.asked == self.questions || self.asked - self.answered == WINDOW {
                    return Err(unasked());
                }
                let body = session::body(bytes, QUESTION, QUESTION_LEN)?;
                let (at, words) = (self.asked, slots(self.asked));
                let number = self.first + at;
                let own = [&self.out.a[words.clone()], &self.out.b[words]];
                let answer = || evaluator.answer(number, plain(at), body, own, &[ANSWER]);
                let (answer, masks) = self.workers.install(answer)?;
                answers.push_back(answer);
                self.asked += 1;
                self.residue(at, masks, |c, mask| c.wrapping_sub(mask));
            }
            Side::Second {
                evaluator,
                randomness,
                ..
            } => {
                let keys = session::body(bytes, KEYS, KEYS_LEN)?;
                *evaluator = Some(Box::new(Evaluator::new(keys, randomness)?));
            }
        }
        Ok(())
    }

    /// Keeps what a question gave, and adds the integers to c once all residues are there.
    fn residue(&mut self, at: u64, residues: Vec<u64>, add: impl Fn(u64, u64) -> u64) {
        self.residues[plain(at)] = residues;
        if plain(at) + 1 == PLAIN {
            let c = &mut self.out.c[slots(at)];
            let [x, y, z] = &self.residues;
            combine([x, y, z], |slot, value| c[slot] = add(c[slot], value));
        }
    }

    /// True when nothing of this batch is left to send or to receive.
    pub fn done(&self) -> bool {
        let introduced = match &self.side {
            Side::First { introduced, .. } => *introduced,
            Side::Second { evaluator, .. } => evaluator.is_some(),
        };
        !self.failed
            && self.greeted
            && self.met
            && introduced
            && self.asked == self.questions
            && self.answered == self.questions
    }

    /// Questions and answers of this batch that went by, and all of them.
    pub fn progress(&self) -> (u64, u64) {
        (self.asked + self.answered, 2 * self.questions)
    }

    /// The triples of this batch, which are handed out once.
    ///
    /// # Errors
    /// `E_STATE` before the end and after it.
    pub fn finish(&mut self) -> Result<Words, Refusal> {
        if !self.done() || self.taken {
            return Err(unfinished());
        }
        self.taken = true;
        let mut out = std::mem::take(&mut self.out);
        for words in [&mut out.a, &mut out.b, &mut out.c] {
            words.truncate(self.count as usize);
        }
        Ok(out)
    }
}

/// The plaintext prime of a question of a batch.
fn plain(question: u64) -> usize {
    question as usize % PLAIN
}

/// The words of a question of a batch.
fn slots(question: u64) -> std::ops::Range<usize> {
    let first = question as usize / PLAIN * SLOTS;
    first..first + SLOTS
}
