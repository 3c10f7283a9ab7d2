//! What all machines have in common: who they are, where their randomness comes from, what both sides agreed on.

use atoll_primitives::stream::{Secret, Stream};
use sha2::{Digest, Sha256};

use crate::Refusal;

/// Most threads of a machine.
const MAX_THREADS: usize = 1024;

/// The two sides differ in their name alone, or in who encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one.
    First,
    /// The other.
    Second,
}

impl Role {
    /// `first` or `second`.
    ///
    /// # Errors
    /// `E_FORMAT` for any other name.
    pub fn parse(name: &str) -> Result<Self, Refusal> {
        match name {
            "first" => Ok(Self::First),
            "second" => Ok(Self::Second),
            _ => Err(Refusal::new(
                "E_FORMAT",
                format!("a role is first or second, got {name}"),
            )),
        }
    }

    /// The other role.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }
}

/// One message to the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What is sent.
    pub bytes: Vec<u8>,
    /// Its label.
    pub step: String,
}

/// One party's side of a session.
#[derive(Debug, Clone)]
pub struct Session {
    /// This party's secret.
    pub seed: Secret<32>,
    /// Number of the attempt; a new one draws fresh randomness.
    pub attempt: u32,
    /// Name of the channel.
    pub channel: String,
    /// Names what the session is for; the same on both sides.
    pub context: Vec<u8>,
    /// Which side this is.
    pub role: Role,
    /// Threads of own work; no effect on any byte.
    pub threads: usize,
}

impl Session {
    pub(crate) fn stream(&self, kind: &str, step: &str) -> Stream {
        let step = format!("triples/{kind}/{}/{step}", self.role.name());
        Stream::new(&self.seed, self.attempt, &self.channel, &step)
    }

    /// A digest of all that both sides must agree on.
    pub(crate) fn binding(&self, kind: &str, numbers: &[u64]) -> [u8; 32] {
        let mut hash = Sha256::new().chain_update(b"atoll triples parameters v1");
        for field in [kind.as_bytes(), self.channel.as_bytes(), &self.context] {
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field);
        }
        hash.update(self.attempt.to_le_bytes());
        numbers.iter().for_each(|n| hash.update(n.to_le_bytes()));
        hash.finalize().into()
    }

    pub(crate) fn pool(&self) -> Result<rayon::ThreadPool, Refusal> {
        if !(1..=MAX_THREADS).contains(&self.threads) {
            return Err(Refusal::new(
                "E_FORMAT",
                format!("threads are 1 to {MAX_THREADS}, got {}", self.threads),
            ));
        }
        (rayon::ThreadPoolBuilder::new().num_threads(self.threads))
            .build()
            .map_err(|error| {
                let text = format!("cannot start {} threads: {error}", self.threads);
                Refusal::new("E_MEMORY", text)
            })
    }
}

/// 16 bytes that name a part of a session.
pub(crate) fn part(binding: &[u8; 32], name: &str, number: u64) -> [u8; 16] {
    let digest = Sha256::new()
        .chain_update(b"atoll triples part v1")
        .chain_update(binding)
        .chain_update(number.to_le_bytes())
        .chain_update(name)
        .finalize();
    std::array::from_fn(|i| digest[i])
}

/// The body of a message of a kind, which must have a length.
pub(crate) fn body(bytes: &[u8], kind: u8, length: usize) -> Result<&[u8], Refusal> {
    let body = bytes.strip_prefix(&[kind]).ok_or_else(|| {
        Refusal::protocol("a message is of another kind than the one that comes next")
    })?;
    if body.len() != length {
        return Err(Refusal::protocol(
            "a message has another length than is due",
        ));
    }
    Ok(body)
}

pub(crate) fn unasked() -> Refusal {
    Refusal::protocol("a message came that must not come now")
}

pub(crate) fn failed() -> Refusal {
    Refusal::new("E_STATE", "the protocol ended with an error before")
}

pub(crate) fn unfinished() -> Refusal {
    Refusal::new("E_STATE", "the protocol has not ended")
}
