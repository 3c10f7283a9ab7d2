//! Bit triples by silent transfers, for links without room: in runs, of which each makes both directions anew.

use atoll_ot::{Party, Security, cot};
use rayon::prelude::*;

use crate::bits::{Bits, choosing};
use crate::session::{Outgoing, Session, part, unasked};
use crate::{Refusal, Role};

/// Most triples of one run. More would send less for each, and take more memory.
pub(crate) const RUN: usize = 1 << 22;
/// Transfers that are hashed together; a multiple of 64.
const PART: usize = 1 << 12;

/// Whose message is the next in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    /// The side that gets both bits.
    Sender,
    /// The side that chooses.
    Chooser,
}

/// The run that is being made.
struct Run {
    number: u64,
    size: usize,
    contexts: [[u8; 16]; 2],
    sender: cot::Sender,
    chooser: cot::Receiver,
    /// Whose messages each side sends, in their order. Both send the same.
    order: Vec<Half>,
    sent: usize,
    heard: usize,
}

/// Both directions of one party.
pub(crate) struct Thin {
    session: Session,
    binding: [u8; 32],
    /// Runs of the session that have begun.
    begun: u64,
    run: Option<Run>,
    out: Bits,
    /// Triples of this batch that are made, and all.
    made: usize,
    count: usize,
}

impl Thin {
    pub(crate) fn new(session: Session, binding: [u8; 32]) -> Self {
        Self {
            session,
            binding,
            begun: 0,
            run: None,
            out: Bits::default(),
            made: 0,
            count: 0,
        }
    }

    pub(crate) fn begin(&mut self, count: u64) -> Result<(), Refusal> {
        (self.made, self.count) = (0, count as usize);
        self.out = Bits::default();
        self.next_run()
    }

    fn next_run(&mut self) -> Result<(), Refusal> {
        let size = (self.count - self.made).min(RUN);
        if size == 0 {
            return Ok(());
        }
        let number = self.begun;
        self.begun += 1;
        let contexts = [self.session.role, self.session.role.other()]
            .map(|role: Role| part(&self.binding, choosing(role), number));
        let parameters = |context| cot::Parameters {
            size,
            security: Security::SemiHonest,
            threads: self.session.threads,
            context,
        };
        let stream = |name| self.session.stream("bits", &format!("{name}/{number}"));
        let lengths = cot::lengths(size)?;
        let order = [
            (Half::Sender, lengths.choices.len()),
            (Half::Chooser, lengths.extension.len()),
            (Half::Sender, lengths.trees.len()),
        ];
        self.run = Some(Run {
            number,
            size,
            contexts,
            chooser: cot::Receiver::new(parameters(contexts[0]), stream("choose"))?,
            sender: cot::Sender::new(parameters(contexts[1]), stream("send"))?,
            order: (order.into_iter())
                .flat_map(|(half, count)| std::iter::repeat_n(half, count))
                .collect(),
            sent: 0,
            heard: 0,
        });
        Ok(())
    }

    pub(crate) fn next_message(
        &mut self,
        workers: &rayon::ThreadPool,
    ) -> Result<Option<Outgoing>, Refusal> {
        let Some(run) = &mut self.run else {
            return Ok(None);
        };
        let message = match run.order.get(run.sent) {
            Some(Half::Sender) => run.sender.next_message()?,
            Some(Half::Chooser) => run.chooser.next_message()?,
            None => None,
        };
        let Some(bytes) = message else {
            return Ok(None);
        };
        let step = format!("triples/bits/silent/{}/{}", run.number, run.sent);
        run.sent += 1;
        self.close(workers)?;
        Ok(Some(Outgoing { bytes, step }))
    }

    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        workers: &rayon::ThreadPool,
    ) -> Result<(), Refusal> {
        let run = self.run.as_mut().ok_or_else(unasked)?;
        match run.order.get(run.heard) {
            Some(Half::Sender) => run.chooser.receive(bytes)?,
            Some(Half::Chooser) => run.sender.receive(bytes)?,
            None => return Err(unasked()),
        }
        run.heard += 1;
        self.close(workers)
    }

    /// Makes triples of a run that has ended, and begins the next.
    fn close(&mut self, workers: &rayon::ThreadPool) -> Result<(), Refusal> {
        let ended = |run: &mut Run| run.sent == run.order.len() && run.heard == run.order.len();
        let Some(run) = self.run.take_if(ended) else {
            return Ok(());
        };
        let words = run.size.div_ceil(64);
        let chosen = run.chooser.finish()?;
        let mut c = vec![0u64; words];
        workers.install(|| add_bits(&mut c, &run.contexts[0], &chosen.t, 0));
        drop(chosen.t);
        let sent = run.sender.finish()?;
        let mut zeros = vec![0u64; words];
        let mut b = vec![0u64; words];
        workers.install(|| {
            add_bits(&mut zeros, &run.contexts[1], &sent.q, 0);
            add_bits(&mut b, &run.contexts[1], &sent.q, sent.delta);
        });
        for ((b, c), zero) in b.iter_mut().zip(&mut c).zip(&zeros) {
            *b ^= zero;
            *c ^= zero;
        }
        self.out.a.extend(chosen.choices);
        self.out.b.extend(b);
        self.out.c.extend(c);
        self.made += run.size;
        self.next_run()
    }

    pub(crate) fn done(&self) -> bool {
        self.run.is_none() && self.made == self.count
    }

    pub(crate) fn progress(&self) -> (u64, u64) {
        let runs = |count: usize| count.div_ceil(RUN) as u64;
        // All runs have about as many messages: parts of one are hundredths.
        let within = self.run.as_ref().map_or(0, |run| {
            100 * (run.sent + run.heard) / (2 * run.order.len()).max(1)
        });
        (
            100 * runs(self.made) + within as u64,
            100 * runs(self.count),
        )
    }

    pub(crate) fn take(&mut self) -> Bits {
        std::mem::take(&mut self.out)
    }
}

/// Adds bit 0 of the hash of every value, with `shift` added to it, to packed bits.
fn add_bits(out: &mut [u64], context: &[u8; 16], values: &[u128], shift: u128) {
    out.par_chunks_mut(PART / 64)
        .zip(values.par_chunks(PART))
        .enumerate()
        .for_each(|(part, (out, values))| {
            let shifted: Vec<u128> = values.iter().map(|value| value ^ shift).collect();
            let hashes = cot::hash(context, (part * PART) as u64, &shifted);
            for (word, hashes) in out.iter_mut().zip(hashes.chunks(64)) {
                let bits = hashes.iter().rev();
                *word ^= bits.fold(0, |word, hash| word << 1 | (*hash as u64 & 1));
            }
        });
}
