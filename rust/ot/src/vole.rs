//! Silent sub-field VOLE: the receiver gets random `a` and `c`, the sender `delta` and `b`, with `c = a * delta + b` in GF(2^128).
//!
//! Messages are a few hundred kilobytes to a megabyte for any size. See docs/protocols/vole.md.

use atoll_primitives::stream::Stream;

use crate::code::Pair;
use crate::{Party, Refusal, Security, silent, wire};

/// What both sides agree on before.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// Correlations, 1 to 2^25.
    pub size: usize,
    /// Every `a` is below 2^bits; 1 to 128.
    pub bits: u32,
    /// What the run withstands.
    pub security: Security,
    /// Threads of own work; no effect on any byte.
    pub threads: usize,
    /// Separates this run from all others; equal on both sides.
    pub context: [u8; 16],
}

/// Lengths of the messages of one run of low security: nothing is proved, so that each side's come one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lengths {
    /// The sender's first messages.
    pub choices: Vec<usize>,
    /// The receiver's messages in answer.
    pub extension: Vec<usize>,
    /// The sender's last messages.
    pub trees: Vec<usize>,
}

/// Lengths of the messages of a semi-honest run of so many correlations; `E_STATE` as [`Sender::new`].
pub fn lengths(size: usize, bits: u32) -> Result<Lengths, Refusal> {
    let [choices, extension, trees] = silent::bodies(size, bits)?.map(wire::lengths);
    Ok(Lengths {
        choices,
        extension,
        trees,
    })
}

impl From<Parameters> for silent::Parameters {
    fn from(p: Parameters) -> Self {
        Self {
            size: p.size,
            bits: p.bits,
            security: p.security,
            threads: p.threads,
            context: p.context,
        }
    }
}

/// The side that learns delta.
pub struct Sender(silent::Sender);

/// What the sender has in the end.
#[derive(Clone, PartialEq, Eq)]
pub struct SenderOutput {
    /// Uniform below 2^128.
    pub delta: u128,
    /// `size` elements.
    pub b: Vec<u128>,
}

impl Sender {
    /// A sender that draws delta from `randomness`.
    ///
    /// # Errors
    /// `E_STATE` if size or bits are out of range.
    pub fn new(p: Parameters, randomness: Stream) -> Result<Self, Refusal> {
        silent::Sender::new(p.into(), randomness).map(Self)
    }

    /// The output, once the run is done.
    ///
    /// # Errors
    /// `E_STATE` before that, `E_MEMORY` if threads cannot start.
    pub fn finish(self) -> Result<SenderOutput, Refusal> {
        let (delta, b) = self.0.finish()?;
        Ok(SenderOutput { delta, b })
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

/// The side that learns `a`.
pub struct Receiver(silent::Receiver<Pair>);

/// What the receiver has in the end.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceiverOutput {
    /// `size` elements, pseudo-random below 2^bits.
    pub a: Vec<u128>,
    /// `c[i] = mul(a[i], delta) ^ b[i]`.
    pub c: Vec<u128>,
}

impl Receiver {
    /// A receiver that draws its noise from `randomness`.
    ///
    /// # Errors
    /// `E_STATE` if size or bits are out of range.
    pub fn new(p: Parameters, randomness: Stream) -> Result<Self, Refusal> {
        silent::Receiver::new(p.into(), randomness).map(Self)
    }

    /// The output, once the run is done.
    ///
    /// # Errors
    /// `E_STATE` before that, `E_MEMORY` if threads cannot start.
    pub fn finish(self) -> Result<ReceiverOutput, Refusal> {
        let pairs = self.0.finish(|leaves, noise| {
            noise.for_each(|(at, value)| leaves[at].a = value);
        })?;
        let (a, c) = pairs.iter().map(|pair| (pair.a, pair.c)).unzip();
        Ok(ReceiverOutput { a, c })
    }
}

impl Party for Receiver {
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
