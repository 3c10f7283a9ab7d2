//! Unbalanced join by a kept DH-OPRF, semi-honest: Jarecki and Liu 2010; Kiss, Liu, Schneider, Asokan and Pinkas,
//! PoPETs 2017; Chen, Huang, Laine and Rindal 2018 for the pre-processed server set; the function is RFC 9497's.
//!
//! The holder of the large set sends the outputs of its keys once (`kept_update`), later what changed. To ask,
//! the asker has its keys evaluated (`Asker`, `Evaluator`), each message under a proof, and looks them up in what it
//! keeps. Who moves first: the holder in an update, the asker in an asking.

use std::fmt;

use atoll_ot::Party;
use atoll_primitives::stream::Stream;
use curve25519_dalek::ristretto::RistrettoPoint;
use rayon::prelude::*;
use zeroize::Zeroize;

use crate::group::Point;
use crate::kept_messages::{Ask, MAX_ITEMS, Message, WIDTHS};
use crate::kept_store::Store;
use crate::messages::parse_points;
use crate::voprf::{Blinds, Hasher, Key, Proof, PublicKey, finalize};
use crate::{Refusal, pool};

/// Items that one thread works on at a time.
pub(crate) const BLOCK: usize = 128;

pub(crate) fn failed() -> Refusal {
    Refusal::new("E_STATE", "the protocol ended with an error before")
}

/// One message's worth of an asking: inputs, blinds, blinded elements.
struct Batch {
    from: usize,
    blinds: Vec<Blinds>,
    points: Vec<RistrettoPoint>,
    blinded: Vec<Point>,
}

/// The asker's side of an asking. `D` holds the digests of its distinct keys, 32 bytes each.
pub struct Asker<D> {
    store: Store,
    public: PublicKey,
    digests: D,
    secret: [u8; 32],
    chunk: usize,
    hasher: Hasher,
    workers: rayon::ThreadPool,
    head_sent: bool,
    sent: usize,
    waiting: std::collections::VecDeque<Batch>,
    received: usize,
    matched: Vec<u32>,
    failed: bool,
}

impl<D> fmt::Debug for Asker<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kept_oprf::Asker")
    }
}

impl<D> Drop for Asker<D> {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl<D: AsRef<[u8]> + Send + Sync> Asker<D> {
    /// Asks for the digests in their order, `chunk` (1 to 16,384) in a message. `E_STATE` if nothing is kept.
    pub fn new(
        store: Store,
        digests: D,
        mut randomness: Stream,
        chunk: usize,
        threads: usize,
    ) -> Result<Self, Refusal> {
        if digests.as_ref().len() % 32 != 0 || digests.as_ref().len() / 32 >= u32::MAX as usize {
            return Err(Refusal::new(
                "E_FORMAT",
                "digests have 32 bytes each, fewer than 2^32",
            ));
        }
        if !(1..=MAX_ITEMS).contains(&chunk) {
            return Err(Refusal::new(
                "E_FORMAT",
                format!("chunk is 1 to {MAX_ITEMS}"),
            ));
        }
        let public = PublicKey::parse(&store.state().public)
            .ok_or_else(|| Refusal::new("E_STATE", "nothing of the holder is kept yet"))?;
        Ok(Self {
            public,
            store,
            digests,
            secret: randomness.bytes(),
            chunk,
            hasher: Hasher::default(),
            workers: pool(threads)?,
            head_sent: false,
            sent: 0,
            waiting: Default::default(),
            received: 0,
            matched: Vec::new(),
            failed: false,
        })
    }

    fn items(&self) -> &[Point] {
        self.digests.as_ref().as_chunks().0
    }

    fn blind(&mut self) -> Vec<u8> {
        let from = self.sent;
        let to = self.items().len().min(from + self.chunk);
        let (secret, hasher) = (&self.secret, &self.hasher);
        let block = |(i, inputs): (usize, &[Point])| {
            let index = ((from + i * BLOCK) as u64).to_le_bytes();
            let mut stream = Stream::derive(secret, &[b"kept-oprf/blinds", &index]);
            let blinds = Blinds::draw(inputs.len(), &mut stream);
            let points = blinds.blind(hasher, inputs);
            let blinded: Vec<Point> = points.iter().map(|p| p.compress().0).collect();
            (blinds, points, blinded)
        };
        let inputs = &self.items()[from..to];
        let blocks: Vec<_> = self
            .workers
            .install(|| inputs.par_chunks(BLOCK).enumerate().map(block).collect());
        let mut batch = Batch {
            from,
            blinds: Vec::new(),
            points: Vec::with_capacity(to - from),
            blinded: Vec::with_capacity(to - from),
        };
        for (blinds, points, blinded) in blocks {
            batch.blinds.push(blinds);
            batch.points.extend(points);
            batch.blinded.extend(blinded);
        }
        let bytes = Message::Blinded(&batch.blinded).encode(32);
        self.waiting.push_back(batch);
        self.sent = to;
        bytes
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let Message::Evaluated(proof, evaluated) = Message::parse(bytes, *WIDTHS.start())? else {
            return Err(Refusal::protocol(
                "an answer to an asking is of another type",
            ));
        };
        let batch = self
            .waiting
            .pop_front()
            .ok_or_else(|| Refusal::protocol("an answer came that was not asked for"))?;
        if evaluated.len() != batch.blinded.len() {
            return Err(Refusal::protocol(
                "an answer has another number of elements than its question",
            ));
        }
        let proof = Proof::parse(proof)
            .ok_or_else(|| Refusal::protocol("a proof's scalars are not canonical"))?;
        let elements = parse_many(&self.workers, evaluated)?;
        let proven = self.public.verify(
            (&batch.points, &elements),
            &batch.blinded,
            evaluated,
            &proof,
        );
        if !proven {
            return Err(Refusal::protocol(
                "the proof does not show the key that is kept",
            ));
        }
        let (public, store) = (&self.public, &self.store);
        let inputs = &self.items()[batch.from..batch.from + evaluated.len()];
        let look_up = |i: usize, blinds: &Blinds, inputs: &[Point], elements: &[RistrettoPoint]| {
            let first = batch.from + i * BLOCK;
            let mut found = Vec::new();
            for (j, (input, element)) in inputs
                .iter()
                .zip(blinds.unblind(public, elements))
                .enumerate()
            {
                if store.contains(&finalize(input, &element)[..store.width()]) {
                    found.push((first + j) as u32);
                }
            }
            found
        };
        let found: Vec<Vec<u32>> = self.workers.install(|| {
            let parts = inputs.par_chunks(BLOCK).zip(elements.par_chunks(BLOCK));
            batch
                .blinds
                .par_iter()
                .enumerate()
                .zip(parts)
                .map(|((i, blinds), (inputs, elements))| look_up(i, blinds, inputs, elements))
                .collect()
        });
        self.received += evaluated.len();
        self.matched.extend(found.concat());
        Ok(())
    }

    /// Indices of the asker's keys that the holder has, ascending; `E_STATE` before the end.
    pub fn matched(&self) -> Result<&[u32], Refusal> {
        if self.done() {
            Ok(&self.matched)
        } else {
            Err(Refusal::new("E_STATE", "the protocol has not ended"))
        }
    }

    /// Keys answered and keys asked.
    pub fn progress(&self) -> (u64, u64) {
        (self.received as u64, self.items().len() as u64)
    }
}

/// Parses points in parallel.
fn parse_many(workers: &rayon::ThreadPool, raw: &[Point]) -> Result<Vec<RistrettoPoint>, Refusal> {
    let blocks: Vec<Vec<RistrettoPoint>> = workers.install(|| {
        let blocks = raw.par_chunks(BLOCK).map(parse_points);
        blocks.collect::<Result<_, Refusal>>()
    })?;
    Ok(blocks.concat())
}

impl<D: AsRef<[u8]> + Send + Sync> Party for Asker<D> {
    fn next_message(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
        if self.failed {
            return Err(failed());
        }
        if !self.head_sent {
            self.head_sent = true;
            let ask = Ask {
                state: self.store.state(),
                count: self.items().len() as u64,
            };
            return Ok(Some(Message::Ask(ask).encode(32)));
        }
        Ok((self.sent < self.items().len()).then(|| self.blind()))
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if self.failed {
            return Err(failed());
        }
        let taken = self.take(bytes);
        self.failed = taken.is_err();
        taken
    }

    fn done(&self) -> bool {
        !self.failed && self.head_sent && self.received == self.items().len()
    }
}

/// The holder's side of an asking.
pub struct Evaluator {
    key: Key,
    version: u64,
    max_items: u64,
    secret: [u8; 32],
    workers: rayon::ThreadPool,
    declared: Option<u64>,
    received: u64,
    answered: u64,
    questions: std::collections::VecDeque<Vec<Point>>,
    failed: bool,
}

impl fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kept_oprf::Evaluator")
    }
}

impl Drop for Evaluator {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Evaluator {
    /// Answers at most `max_items` keys about the set of `version`.
    pub fn new(
        key: Key,
        version: u64,
        max_items: u64,
        mut randomness: Stream,
        threads: usize,
    ) -> Result<Self, Refusal> {
        Ok(Self {
            key,
            version,
            max_items,
            secret: randomness.bytes(),
            workers: pool(threads)?,
            declared: None,
            received: 0,
            answered: 0,
            questions: Default::default(),
            failed: false,
        })
    }

    /// Number of keys that the asker declared, once it has.
    pub fn declared(&self) -> Option<u64> {
        self.declared
    }

    /// Keys answered and keys declared.
    pub fn progress(&self) -> (u64, u64) {
        (self.answered, self.declared.unwrap_or(0))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        match (Message::parse(bytes, *WIDTHS.start())?, self.declared) {
            (Message::Ask(ask), None) => {
                if ask.state.public != *self.key.public() {
                    return Err(Refusal::protocol("the asker keeps outputs of another key"));
                }
                if ask.state.version != self.version {
                    return Err(Refusal::protocol(format!(
                        "the asker keeps version {}, the set has version {}",
                        ask.state.version, self.version
                    )));
                }
                if ask.count > self.max_items {
                    return Err(Refusal::protocol(
                        "the asker asks for more keys than it may",
                    ));
                }
                self.declared = Some(ask.count);
            }
            (Message::Blinded(points), Some(declared)) => {
                self.received += points.len() as u64;
                if self.received > declared {
                    return Err(Refusal::protocol("more keys are asked than were declared"));
                }
                self.questions.push_back(points.to_vec());
            }
            _ => return Err(Refusal::protocol("a message of an asking is out of order")),
        }
        Ok(())
    }

    fn answer(&mut self, blinded: &[Point]) -> Result<Vec<u8>, Refusal> {
        let points = parse_many(&self.workers, blinded)?;
        let key = &self.key;
        let evaluated: Vec<Point> = self.workers.install(|| {
            let blocks = points.par_chunks(BLOCK).map(|block| key.evaluate(block));
            blocks.collect::<Vec<_>>().concat()
        });
        let index = self.answered.to_le_bytes();
        let mut stream = Stream::derive(&self.secret, &[b"kept-oprf/proof", &index]);
        let proof = key
            .prove(&points, blinded, &evaluated, &mut stream)
            .to_bytes();
        self.answered += evaluated.len() as u64;
        Ok(Message::Evaluated(&proof, &evaluated).encode(32))
    }
}

impl Party for Evaluator {
    fn next_message(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
        if self.failed {
            return Err(failed());
        }
        let Some(question) = self.questions.pop_front() else {
            return Ok(None);
        };
        let answer = self.answer(&question);
        self.failed = answer.is_err();
        answer.map(Some)
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if self.failed {
            return Err(failed());
        }
        let taken = self.take(bytes);
        self.failed = taken.is_err();
        taken
    }

    fn done(&self) -> bool {
        !self.failed && self.declared == Some(self.answered)
    }
}
