//! PSI from VOLE and an oblivious key-value store: Rindal and Schoppmann, eprint 2021/266; Raghuraman and Rindal,
//! eprint 2022/320 (there figures of the OPRF, with the changes for a cheating party).
//!
//! The receiver encodes its keys in a store P with the value h(y) at each y, and sends A = a ^ P, where
//! c = a * delta ^ b is a VOLE. The sender has k = b ^ delta * A = c ^ delta * P, so that for a linear store
//! F(x) = H(k(x) ^ delta * h(x) ^ w, x) is H(c(x) ^ w, x) for the receiver's own x and random for all others.
//! Messages, each direction's in this order whatever the timing, so that bytes depend on seed and inputs alone:
//!
//! | sender | receiver |
//! |---|---|
//! | commitment to w_s (malicious) | |
//! | VOLE | VOLE |
//! | | w_r (malicious), A |
//! | w_s (malicious), its outputs, sorted | |
//! | | matches (if both learn), multiplicities |
//! | multiplicities | |

pub(crate) mod hash;
pub(crate) mod messages;
pub(crate) mod multiply;
mod receiver;
mod sender;
pub(crate) mod setup;
mod sorted;

use std::fmt;

use atoll_primitives::stream::Secret;

use crate::Refusal;
use crate::ecdh::Outgoing;
pub use messages::CHUNK;
use messages::Kind;
pub use setup::{
    MAX_KEYS, Parameters, Role, Variant, parse_security, slots, tag_bytes, value_bits,
};

/// A message to send: bytes, kind, and number among its kind.
pub(crate) type Next = Option<(Vec<u8>, Kind, usize)>;

/// A message of one body.
pub(crate) fn out(kind: Kind, number: usize, body: &[u8]) -> Next {
    Some(([&[kind as u8], body].concat(), kind, number))
}

enum Side<D> {
    Receiver(receiver::Receiver<D>),
    Sender(sender::Sender<D>),
}

/// One party's side of the protocol. `D` holds the digests of its distinct keys, 32 bytes each.
pub struct Machine<D> {
    side: Side<D>,
    failed: bool,
}

impl<D> fmt::Debug for Machine<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("vole_psi::Machine")
    }
}

macro_rules! either {
    ($machine:expr, $side:ident => $do:expr) => {
        match $machine {
            Side::Receiver($side) => $do,
            Side::Sender($side) => $do,
        }
    };
}

impl<D: AsRef<[u8]> + Send + Sync> Machine<D> {
    /// A machine at its beginning. `multiplicity` (rows per key, at least one) is exchanged only if both learn the
    /// matches; then both sides must give it.
    pub fn new(
        seed: &Secret<32>,
        parameters: Parameters,
        digests: D,
        multiplicity: Option<Vec<u32>>,
    ) -> Result<Self, Refusal> {
        let mine = setup::digests(digests.as_ref())?.len();
        if multiplicity
            .as_ref()
            .is_some_and(|m| m.len() != mine || m.contains(&0))
        {
            return Err(Refusal::new(
                "E_FORMAT",
                "multiplicities are one per key and at least one",
            ));
        }
        let (role, multiplicity) = (parameters.role, multiplicity.filter(|_| parameters.both));
        let setup = setup::Setup::new(seed, parameters, mine as u64)?;
        let side = match role {
            Role::Receiver => {
                Side::Receiver(receiver::Receiver::new(setup, digests, multiplicity)?)
            }
            Role::Sender => Side::Sender(sender::Sender::new(setup, digests, multiplicity)?),
        };
        Ok(Self {
            side,
            failed: false,
        })
    }

    /// The next message, or `None` while the peer's must come first and at the end. After a refusal the machine is
    /// of no more use.
    pub fn next_message(&mut self) -> Result<Option<Outgoing>, Refusal> {
        self.usable()?;
        let next = either!(&mut self.side, side => side.next_message());
        self.failed = next.is_err();
        Ok(next?.map(|(bytes, kind, number)| Outgoing {
            bytes,
            step: format!("vole-psi/{}/{number}", kind.name()),
            opens: matches!(
                kind,
                Kind::Tags | Kind::Matches | Kind::Returned | Kind::Multiplicities
            ),
        }))
    }

    /// Takes a message of the peer; may come at any time. After a refusal the machine is of no more use.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.usable()?;
        let taken = messages::split(bytes)
            .and_then(|(kind, body)| either!(&mut self.side, side => side.receive(kind, body)));
        self.failed = taken.is_err();
        taken
    }

    fn usable(&self) -> Result<(), Refusal> {
        if self.failed {
            return Err(Refusal::new(
                "E_STATE",
                "the protocol ended with an error before",
            ));
        }
        Ok(())
    }

    /// True when nothing is left to send or to receive.
    pub fn done(&self) -> bool {
        !self.failed && either!(&self.side, side => side.done())
    }

    fn finished(&self) -> Result<(), Refusal> {
        if self.done() {
            Ok(())
        } else {
            Err(Refusal::new("E_STATE", "the protocol has not ended"))
        }
    }

    /// Indices of the matched keys among this party's, in the order that both sides share.
    pub fn matched(&self) -> Result<&[u32], Refusal> {
        self.finished()?;
        either!(&self.side, side => side.matched())
            .ok_or_else(|| Refusal::new("E_STATE", "this side does not learn the matches"))
    }

    /// For every matched key the number of the peer's rows that have it, if multiplicities were exchanged.
    pub fn peer_multiplicity(&self) -> Result<Option<&[u32]>, Refusal> {
        self.finished()?;
        Ok(either!(&self.side, side => side
            .multiplicities_exchanged()
            .then_some(side.peer_multiplicity.as_slice())))
    }

    /// Number of keys that both sides have; `None` if this party does not learn it.
    pub fn size(&self) -> Result<Option<u64>, Refusal> {
        self.finished()?;
        Ok(either!(&self.side, side => side.matched()).map(|m| m.len() as u64))
    }

    /// Slots and tags done and to do.
    pub fn progress(&self) -> (u64, u64) {
        either!(&self.side, side => {
            let setup = &side.setup;
            let all = if setup.empty() { 0 } else { setup.store.slots() + setup.sender_items };
            (side.worked() as u64, all as u64)
        })
    }

    /// Most keys that the receiver can have entered: the number that it declared; the slots of its store, if it is
    /// not trusted to follow the protocol.
    pub fn presented_at_most(&self) -> u64 {
        either!(&self.side, side => side.setup.presented_at_most())
    }
}
