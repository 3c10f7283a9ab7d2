//! Bit triples by silent transfers, for links without room.

use atoll_ot::cot;
use rayon::prelude::*;

use crate::Refusal;
use crate::bits::Bits;
use crate::runs::{Duties, Ended, PART, Runs};
use crate::session::{Outgoing, Session};

/// Both directions of one party.
pub(crate) struct Thin {
    runs: Runs,
    out: Bits,
}

impl Thin {
    pub(crate) fn new(session: Session, binding: [u8; 32]) -> Self {
        let duties = Duties {
            gives: true,
            chooses: true,
        };
        Self {
            runs: Runs::new(session, "bits", binding, duties),
            out: Bits::default(),
        }
    }

    pub(crate) fn begin(&mut self, count: u64) -> Result<(), Refusal> {
        self.out = Bits::default();
        self.runs.begin(count)
    }

    pub(crate) fn next_message(
        &mut self,
        workers: &rayon::ThreadPool,
    ) -> Result<Option<Outgoing>, Refusal> {
        let out = &mut self.out;
        self.runs
            .next_message(|ended| workers.install(|| close(out, ended)))
    }

    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        workers: &rayon::ThreadPool,
    ) -> Result<(), Refusal> {
        let out = &mut self.out;
        self.runs
            .receive(bytes, |ended| workers.install(|| close(out, ended)))
    }

    pub(crate) fn done(&self) -> bool {
        self.runs.done()
    }

    pub(crate) fn progress(&self) -> (u64, u64) {
        self.runs.progress()
    }

    pub(crate) fn take(&mut self) -> Bits {
        std::mem::take(&mut self.out)
    }
}

/// Makes triples of a run that has ended.
fn close(out: &mut Bits, ended: Ended) {
    let words = ended.size.div_ceil(64);
    let mut c = vec![0u64; words];
    if let Some((chosen, context)) = ended.chosen {
        add_bits(&mut c, &context, &chosen.t, 0);
        out.a.extend(chosen.choices);
    }
    let mut b = vec![0u64; words];
    if let Some((given, context)) = ended.given {
        let mut zeros = vec![0u64; words];
        add_bits(&mut zeros, &context, &given.q, 0);
        add_bits(&mut b, &context, &given.q, given.delta);
        for ((b, c), zero) in b.iter_mut().zip(&mut c).zip(&zeros) {
            *b ^= zero;
            *c ^= zero;
        }
    }
    out.b.extend(b);
    out.c.extend(c);
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
