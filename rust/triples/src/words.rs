//! Word triples: words a, b and c on each side, with `(a0 + a1)(b0 + b1) = c0 + c1` modulo 2^64, or modulo 2^128.
//!
//! The first side encrypts its a and b; the second multiplies them with its own, adds a mask, and sends the sum back. Words
//! are taken signed, so that the cross terms are below 2^127, and masked modulo three primes of 62 bits: the mask is
//! uniform, and the sum is right unless it leaves their range, with probability 2^-61. Those of wide words are below
//! 2^255, and masked modulo five primes: 2^-57.

use std::collections::VecDeque;

use atoll_primitives::stream::Stream;

use crate::Refusal;
use crate::rlwe::{
    ANSWER_LEN, Evaluator, Holder, QUESTION_LEN, SLOTS, Word, combine, keys_len, residues,
};
use crate::session::{self, Outgoing, Role, Session, failed, unasked, unfinished};

/// Most triples of words of 64 bits that are asked for at once.
pub const MAX_COUNT: u64 = 1 << u64::MOST[0];
/// The same of wide words.
pub const MAX_WIDE_COUNT: u64 = 1 << u128::MOST[0];
const HELLO: u8 = 0;
const KEYS: u8 = 1;
const QUESTION: u8 = 2;
const ANSWER: u8 = 3;
/// Questions that may be on their way without an answer.
const WINDOW: u64 = 12;

/// One side's triples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words<W = u64> {
    /// Uniform.
    pub a: Vec<W>,
    /// Uniform.
    pub b: Vec<W>,
    /// This side's share of the products.
    pub c: Vec<W>,
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

/// Triples modulo 2^64.
pub type WordTriples = Products<u64>;
/// Triples modulo 2^128.
pub type WideTriples = Products<u128>;

/// One party's machine; it makes as many batches as are asked for, one after the other.
pub struct Products<W> {
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
    residues: Vec<Vec<u64>>,
    out: Words<W>,
    taken: bool,
    failed: bool,
}

impl<W: Word> std::fmt::Debug for Products<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Products({})", W::KIND)
    }
}

impl<W: Word> Products<W> {
    /// A session at its beginning, and its first batch of `count` triples.
    ///
    /// # Errors
    /// `E_FORMAT` for a count or number of threads out of range.
    pub fn new(session: Session, count: u64) -> Result<Self, Refusal> {
        let workers = session.pool()?;
        let mut words = session.stream(W::KIND, "shares");
        let side = match session.role {
            Role::First => Side::First {
                holder: Box::new(
                    workers.install(|| Holder::new(&mut session.stream(W::KIND, "keys"), W::PLAIN)),
                ),
                introduced: false,
            },
            Role::Second => Side::Second {
                evaluator: None,
                randomness: Box::new(session.stream(W::KIND, "answers")),
                answers: VecDeque::new(),
            },
        };
        let mut machine = Self {
            side,
            own: atoll_ot::prg::Counter::new(&words.bytes()),
            workers,
            binding: session.binding(W::KIND, &[]),
            greeted: false,
            met: false,
            count: 0,
            first: 0,
            questions: 0,
            asked: 0,
            answered: 0,
            residues: vec![Vec::new(); W::PLAIN],
            out: Words::default(),
            taken: true,
            failed: false,
        };
        machine.begin(count)?;
        Ok(machine)
    }

    fn begin(&mut self, count: u64) -> Result<(), Refusal> {
        let [batch, session] = W::MOST;
        if count > 1 << batch {
            return Err(Refusal::new(
                "E_FORMAT",
                format!("products are made up to 2^{batch} at once, got {count}"),
            ));
        }
        let groups = count.div_ceil(SLOTS as u64);
        let first = self.first + self.questions;
        if (first / W::PLAIN as u64 + groups) * SLOTS as u64 > 1 << session {
            return Err(Refusal::new(
                "E_TOO_LARGE",
                format!("a session makes at most 2^{session} products"),
            ));
        }
        let mut uniform = || {
            let bytes = groups as usize * SLOTS * size_of::<W>();
            let mut blocks = vec![0u128; bytes / size_of::<u128>()];
            self.own.blocks(&mut blocks);
            W::of_blocks(blocks)
        };
        let (a, b): (Vec<W>, Vec<W>) = (uniform(), uniform());
        let c = a.iter().zip(&b).map(|(a, b)| a.times(*b)).collect();
        self.out = Words { a, b, c };
        (self.first, self.questions) = (first, groups * W::PLAIN as u64);
        (self.asked, self.answered) = (0, 0);
        (self.count, self.taken) = (count, false);
        Ok(())
    }

    /// Begins another batch of the session, after the one before was taken by [`finish`](Self::finish).
    ///
    /// # Errors
    /// `E_STATE` before that, `E_FORMAT` for a count out of range, `E_TOO_LARGE` beyond 2^32 products of a session (2^28
    /// wide ones), which the numbers on the page are for.
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
            let step = format!("triples/{}/{step}", W::KIND);
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
                let (number, plain) = (self.first + self.asked, plain::<W>(self.asked));
                let words = slots::<W>(self.asked);
                let own = [&self.out.a[words.clone()], &self.out.b[words]];
                let ask =
                    || holder.ask(number, plain, own.map(|w| residues(plain, w)), &[QUESTION]);
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
                let opened = self.workers.install(|| holder.open(plain::<W>(at), body))?;
                self.answered += 1;
                self.residue(at, opened, W::plus);
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
                let (at, words) = (self.asked, slots::<W>(self.asked));
                let (number, plain) = (self.first + at, plain::<W>(at));
                let own = [&self.out.a[words.clone()], &self.out.b[words]];
                let answer = || {
                    let own = own.map(|w| residues(plain, w));
                    evaluator.answer(number, plain, body, own, &[ANSWER])
                };
                let (answer, masks) = self.workers.install(answer)?;
                answers.push_back(answer);
                self.asked += 1;
                self.residue(at, masks, W::minus);
            }
            Side::Second {
                evaluator,
                randomness,
                ..
            } => {
                let keys = session::body(bytes, KEYS, keys_len(W::PLAIN))?;
                *evaluator = Some(Box::new(Evaluator::new(keys, W::PLAIN, randomness)?));
            }
        }
        Ok(())
    }

    /// Keeps what a question gave, and adds the integers to c once all residues are there.
    fn residue(&mut self, at: u64, residues: Vec<u64>, add: impl Fn(W, W) -> W) {
        self.residues[plain::<W>(at)] = residues;
        if plain::<W>(at) + 1 == W::PLAIN {
            let c = &mut self.out.c[slots::<W>(at)];
            combine(&self.residues, |slot, value| c[slot] = add(c[slot], value));
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
    pub fn finish(&mut self) -> Result<Words<W>, Refusal> {
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
fn plain<W: Word>(question: u64) -> usize {
    question as usize % W::PLAIN
}

/// The words of a question of a batch.
fn slots<W: Word>(question: u64) -> std::ops::Range<usize> {
    let first = question as usize / W::PLAIN * SLOTS;
    first..first + SLOTS
}
