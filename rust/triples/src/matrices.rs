//! Shares of products of matrices modulo 2^64: the first side has the right matrix, the second the left one.
//!
//! The first encrypts blocks of its matrix; the second multiplies them with blocks of its own, adds them up and masks the
//! sums. Its matrix is transformed once, and serves for as many right ones as are asked for.

use std::collections::VecDeque;

use atoll_primitives::stream::Stream;

use crate::Refusal;
use crate::rlwe::{BLOCK_KEY_LEN, BLOCK_LEN, BlockEvaluator, BlockHolder};
use crate::session::{self, Outgoing, Role, Session, failed, unasked, unfinished};

pub use crate::rlwe::Plan;

const HELLO: u8 = 0;
const KEYS: u8 = 1;
const BLOCK: u8 = 2;
const ANSWER: u8 = 3;
/// Groups of columns of blocks that may be on their way without all answers.
const WINDOW: u64 = 2;
/// Most blocks of a session: what counters tell apart.
const MAX_BLOCKS: u64 = 1 << 40;

enum Side {
    First {
        holder: Box<BlockHolder>,
        introduced: bool,
        right: Vec<u64>,
    },
    Second {
        evaluator: Option<Box<BlockEvaluator>>,
        randomness: Box<Stream>,
        left: Vec<u64>,
        answers: VecDeque<Vec<u8>>,
    },
}

/// One party's machine.
pub struct MatrixProduct {
    plan: Plan,
    side: Side,
    workers: rayon::ThreadPool,
    binding: [u8; 32],
    greeted: bool,
    met: bool,
    /// Number of the product's first block among all of the session.
    first: u64,
    /// Blocks of this product that were sent or taken, and answers.
    asked: u64,
    answered: u64,
    out: Vec<u64>,
    taken: bool,
    failed: bool,
}

impl std::fmt::Debug for MatrixProduct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MatrixProduct")
    }
}

impl MatrixProduct {
    /// A session at its beginning. `own` is the first side's right matrix (`inner` rows) or the second's left one (`rows`), row by row.
    ///
    /// # Errors
    /// `E_FORMAT` for a matrix of another size or threads out of range.
    pub fn new(session: Session, plan: Plan, own: Vec<u64>) -> Result<Self, Refusal> {
        let workers = session.pool()?;
        let sizes = [plan.rows, plan.inner, plan.columns].map(|size| size as u64);
        let binding = session.binding("matrices", &sizes);
        check(&plan, session.role, &own)?;
        let side = match session.role {
            Role::First => Side::First {
                holder: Box::new(
                    workers.install(|| BlockHolder::new(&mut session.stream("matrices", "keys"))),
                ),
                introduced: false,
                right: own,
            },
            Role::Second => Side::Second {
                evaluator: None,
                randomness: Box::new(session.stream("matrices", "answers")),
                left: own,
                answers: VecDeque::new(),
            },
        };
        Ok(Self {
            plan,
            side,
            workers,
            binding,
            greeted: false,
            met: false,
            first: 0,
            asked: 0,
            answered: 0,
            out: vec![0; plan.rows * plan.columns],
            taken: false,
            failed: false,
        })
    }

    /// Begins a product of the same left matrix with another right one of the same size, which the first side gives.
    ///
    /// # Errors
    /// `E_STATE` if the product before was not taken, `E_FORMAT` for a matrix of another size, or at the second side.
    pub fn again(&mut self, right: Option<Vec<u64>>) -> Result<(), Refusal> {
        if self.failed {
            return Err(failed());
        }
        if !self.taken {
            return Err(unfinished());
        }
        let next = self.first + self.blocks();
        if next + self.blocks() > MAX_BLOCKS {
            return Err(Refusal::new(
                "E_TOO_LARGE",
                "a session makes at most 2^40 blocks",
            ));
        }
        match (&mut self.side, right) {
            (Side::First { right: own, .. }, Some(right)) => {
                check(&self.plan, Role::First, &right)?;
                *own = right;
            }
            (Side::Second { .. }, None) => {}
            _ => {
                return Err(Refusal::new(
                    "E_FORMAT",
                    "the first side gives the next right matrix, and it alone",
                ));
            }
        }
        self.first = next;
        (self.asked, self.answered) = (0, 0);
        self.out = vec![0; self.plan.rows * self.plan.columns];
        self.taken = false;
        Ok(())
    }

    fn blocks(&self) -> u64 {
        let [_, inner, columns] = self.plan.counts();
        (inner * columns) as u64
    }

    fn answers(&self) -> u64 {
        let [rows, _, columns] = self.plan.counts();
        (rows * columns) as u64
    }

    /// Whether another block would be one too many on its way.
    fn full(&self) -> bool {
        let [rows, inner, _] = self.plan.counts().map(|count| count as u64);
        self.asked == self.blocks()
            || self.asked / inner - self.answered / rows >= WINDOW * self.plan.group() as u64
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
            let step = format!("triples/matrices/{step}");
            Ok(Some(Outgoing { bytes, step }))
        };
        if !self.greeted {
            self.greeted = true;
            return outgoing([&[HELLO], &self.binding[..]].concat(), "hello".into());
        }
        let [rows, inner, _] = self.plan.counts();
        let full = self.full();
        match &mut self.side {
            Side::First {
                holder,
                introduced,
                right,
            } => {
                if !*introduced {
                    *introduced = true;
                    return outgoing([&[KEYS], holder.keys()].concat(), "keys".into());
                }
                if full {
                    return Ok(None);
                }
                let (at, number) = (self.asked as usize, self.first + self.asked);
                let block = [at % inner, at / inner];
                let ask = || holder.ask(number, &self.plan, right, block, &[BLOCK]);
                let bytes = self.workers.install(ask);
                self.asked += 1;
                outgoing(bytes, format!("block/{number}"))
            }
            Side::Second { answers, .. } => {
                let Some(bytes) = answers.pop_front() else {
                    return Ok(None);
                };
                let number = self.first / inner as u64 * rows as u64 + self.answered;
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
                "the peer multiplies with other parameters",
            ));
        }
        self.met = true;
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let [rows, inner, _] = self.plan.counts();
        let (full, all) = (self.full(), self.blocks());
        match &mut self.side {
            Side::First { holder, .. } => {
                // Answers come when whole columns of blocks are there.
                let due = self.asked / inner as u64 * rows as u64;
                if self.answered == due {
                    return Err(unasked());
                }
                let body = session::body(bytes, ANSWER, self.plan.answer_len())?;
                let entries = self.workers.install(|| holder.open(&self.plan, body))?;
                let at = self.answered as usize;
                self.plan
                    .put([at % rows, at / rows], &entries, &mut self.out);
                self.answered += 1;
            }
            Side::Second {
                evaluator: Some(evaluator),
                answers,
                ..
            } => {
                if full {
                    return Err(unasked());
                }
                let body = session::body(bytes, BLOCK, BLOCK_LEN)?;
                evaluator.take(self.first + self.asked, body)?;
                self.asked += 1;
                let group = (inner * self.plan.group()) as u64;
                if self.asked.is_multiple_of(group) || self.asked == all {
                    let made = self.workers.install(|| evaluator.answer(&[ANSWER]));
                    let first = self.asked as usize / inner - made.len() / rows;
                    for (at, (answer, mut masks)) in made.into_iter().enumerate() {
                        masks
                            .iter_mut()
                            .for_each(|mask| *mask = mask.wrapping_neg());
                        let block = [at % rows, first + at / rows];
                        self.plan.put(block, &masks, &mut self.out);
                        answers.push_back(answer);
                    }
                }
            }
            Side::Second {
                evaluator,
                randomness,
                left,
                ..
            } => {
                let keys = session::body(bytes, KEYS, BLOCK_KEY_LEN)?;
                let (plan, matrix) = (self.plan, std::mem::take(left));
                let build = || BlockEvaluator::new(keys, randomness, plan, &matrix);
                *evaluator = Some(Box::new(self.workers.install(build)?));
            }
        }
        Ok(())
    }

    /// True when nothing of this product is left to send or to receive.
    pub fn done(&self) -> bool {
        let introduced = match &self.side {
            Side::First { introduced, .. } => *introduced,
            Side::Second { evaluator, .. } => evaluator.is_some(),
        };
        !self.failed
            && self.greeted
            && self.met
            && introduced
            && self.asked == self.blocks()
            && self.answered == self.answers()
    }

    /// Blocks and answers of this product that went by, and all of them.
    pub fn progress(&self) -> (u64, u64) {
        (self.asked + self.answered, self.blocks() + self.answers())
    }

    /// This side's share of the product, row by row, handed out once.
    ///
    /// # Errors
    /// `E_STATE` before the end and after it.
    pub fn finish(&mut self) -> Result<Vec<u64>, Refusal> {
        if !self.done() || self.taken {
            return Err(unfinished());
        }
        self.taken = true;
        Ok(std::mem::take(&mut self.out))
    }
}

fn check(plan: &Plan, role: Role, own: &[u64]) -> Result<(), Refusal> {
    let [rows, columns] = match role {
        Role::First => [plan.inner, plan.columns],
        Role::Second => [plan.rows, plan.inner],
    };
    if own.len() == rows * columns {
        return Ok(());
    }
    Err(Refusal::new(
        "E_FORMAT",
        format!(
            "a matrix of {rows} by {columns} has not {} entries",
            own.len()
        ),
    ))
}
