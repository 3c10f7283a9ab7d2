//! Silent correlated oblivious transfer: the receiver gets random bits and `t`, the sender `delta` and `q`, with
//! `t[i] = q[i] + bit_i * delta`. A hash makes random transfers of them.
//!
//! It is VOLE with noise values of one bit, and takes less weight. Delta has all its 128 bits of entropy: the bits of the receiver are
//! coded apart, and none hides in `t`.

use atoll_primitives::stream::Stream;
use rayon::prelude::*;

use crate::code::Code;
use crate::vole::{self, Lengths};
use crate::{Party, Refusal, Security, prg, silent};

/// What both sides agree on before.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// Transfers, 1 to 2^25.
    pub size: usize,
    /// What the run withstands.
    pub security: Security,
    /// Threads of own work; no effect on any byte.
    pub threads: usize,
    /// Separates this run from all others; equal on both sides.
    pub context: [u8; 16],
}

impl From<Parameters> for silent::Parameters {
    fn from(p: Parameters) -> Self {
        Self {
            size: p.size,
            bits: 1,
            security: p.security,
            threads: p.threads,
            context: p.context,
        }
    }
}

/// Lengths of the messages of a semi-honest run of so many transfers; `E_STATE` as [`Sender::new`].
pub fn lengths(size: usize) -> Result<Lengths, Refusal> {
    vole::lengths(size, 1)
}

/// The tweakable correlation-robust hash that makes keys of correlations (Guo, Katz, Wang & Yu, eprint 2019/074):
/// the keys of transfer i are the hashes of `q[i]` and `q[i] ^ delta`, the receiver's is that of `t[i]`, under index i.
///
/// `first_index` is the index of the first value. No index may serve twice under one context.
pub fn hash(context: &[u8; 16], first_index: u64, values: &[u128]) -> Vec<u128> {
    prg::hash("atoll ot transfer", context, first_index, values)
}

/// The side that gets both keys.
pub struct Sender(silent::Sender);

/// What the sender has in the end.
#[derive(Clone, PartialEq, Eq)]
pub struct SenderOutput {
    /// Uniform below 2^128.
    pub delta: u128,
    /// `size` elements.
    pub q: Vec<u128>,
}

impl Sender {
    /// A sender that draws delta from `randomness`.
    ///
    /// # Errors
    /// `E_STATE` if the size is out of range.
    pub fn new(p: Parameters, randomness: Stream) -> Result<Self, Refusal> {
        silent::Sender::new(p.into(), randomness).map(Self)
    }

    /// The output, once the run is done.
    ///
    /// # Errors
    /// `E_STATE` before that, `E_MEMORY` if threads cannot start.
    pub fn finish(self) -> Result<SenderOutput, Refusal> {
        let (delta, q) = self.0.finish()?;
        Ok(SenderOutput { delta, q })
    }
}

impl Party for Sender {
    fn next_message(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
        self.0.next_message()
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.0.receive(bytes)
    }

    fn done(&self) -> bool {
        self.0.done()
    }
}

/// The side that gets one key of each transfer.
pub struct Receiver {
    machine: silent::Receiver<u128>,
    parameters: Parameters,
}

/// What the receiver has in the end.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceiverOutput {
    /// One pseudo-random bit for each transfer, least significant first; unused bits are zero.
    pub choices: Vec<u64>,
    /// `t[i] = q[i] ^ (choice_i * delta)`.
    pub t: Vec<u128>,
}

impl Receiver {
    /// A receiver that draws its noise from `randomness`.
    ///
    /// # Errors
    /// `E_STATE` if the size is out of range.
    pub fn new(p: Parameters, randomness: Stream) -> Result<Self, Refusal> {
        let machine = silent::Receiver::new(p.clone().into(), randomness)?;
        Ok(Self {
            machine,
            parameters: p,
        })
    }

    /// The output, once the run is done.
    ///
    /// # Errors
    /// `E_STATE` before that, `E_MEMORY` if threads cannot start.
    pub fn finish(self) -> Result<ReceiverOutput, Refusal> {
        let Parameters { size, context, .. } = self.parameters;
        let shared = silent::Parameters::from(self.parameters);
        let (rows, mut bits) = (self.machine.rows(), Vec::new());
        let t = self.machine.finish(|leaves, noise| {
            bits = vec![0u8; leaves.len()];
            noise.for_each(|(at, value)| bits[at] = value as u8);
        })?;
        let choices = shared.run(|| {
            Code::new(rows, &context).encode(&mut bits, size);
            bits.par_chunks(64)
                .map(|bits| (bits.iter().rev()).fold(0, |word, bit| word << 1 | u64::from(*bit)))
                .collect()
        })?;
        Ok(ReceiverOutput { choices, t })
    }
}

impl Party for Receiver {
    fn next_message(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
        self.machine.next_message()
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.machine.receive(bytes)
    }

    fn done(&self) -> bool {
        self.machine.done()
    }
}
