//! An oblivious function that its sender programs, semi-honest: the receiver gets outputs at its own keys, which at the
//! sender's keys are the targets that the sender chose, and random elsewhere; neither learns more. From the function
//! of `vole_psi` and one more store, with the value F(x) ^ target(x) at each of the sender's x (Kolesnikov, Matania,
//! Pinkas, Rosulek and Trieu, eprint 2017/799, section 4; stores as in Rindal and Schoppmann, eprint 2021/266).
//!
//! | sender | receiver |
//! |---|---|
//! | VOLE | VOLE |
//! | | A, its masked store |
//! | its store | |

mod receiver;
mod sender;

use std::fmt;

use atoll_okvs::{Kind as StoreKind, Store};
use atoll_ot::Security;
use atoll_primitives::stream::Secret;

use crate::Refusal;
use crate::ecdh::Outgoing;
use crate::vole_psi::hash::digest;
use crate::vole_psi::messages::{self, Kind};
use crate::vole_psi::setup::{Setup, digests};
use crate::vole_psi::{self, Next, Role, Variant};

/// Parameters of one run. Attempt, channel and threads are each side's own; both agree on the rest.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// Number of the attempt: a new one draws fresh randomness.
    pub attempt: u32,
    /// Name of the channel, a label of the randomness.
    pub channel: String,
    /// Bytes that name the run, with a coin that nobody could choose after the keys were fixed.
    pub context: Vec<u8>,
    /// Number of distinct keys that the peer declared, at least one.
    pub peer_items: u64,
    /// Bits of an output: whole bytes, 8 to 128.
    pub bits: u32,
    /// Worker threads.
    pub threads: usize,
}

/// What both sides compute alike.
struct Shape {
    /// Of the function of `vole_psi`, with the receiver's store.
    setup: Setup,
    /// The sender's store.
    programmed: Store,
    bits: u32,
}

impl Shape {
    fn new(seed: &Secret<32>, p: Parameters, role: Role, mine: usize) -> Result<Self, Refusal> {
        if mine == 0 || p.peer_items == 0 {
            return Err(Refusal::new("E_FORMAT", "both sides have at least one key"));
        }
        if !(8..=128).contains(&p.bits) || !p.bits.is_multiple_of(8) {
            return Err(Refusal::new(
                "E_FORMAT",
                format!(
                    "outputs have whole bytes, 8 to 128 bits, and not {}",
                    p.bits
                ),
            ));
        }
        let bits = p.bits.to_le_bytes();
        let context = digest(&[b"atoll opprf run v1", &p.context, &bits]);
        let inner = digest(&[b"atoll opprf store v1", &context]);
        let placement = *inner.first_chunk().expect("32 bytes");
        let setup = Setup::new(
            seed,
            vole_psi::Parameters {
                attempt: p.attempt,
                channel: p.channel,
                context: context.to_vec(),
                peer_items: p.peer_items,
                role,
                both: false,
                security: Security::SemiHonest,
                variant: Variant::Fast,
                threads: p.threads,
            },
            mine as u64,
        )?;
        let programmed = Store::new(
            setup.sender_items,
            StoreKind::Fast,
            placement,
            setup.parameters.threads,
        )?;
        Ok(Self {
            setup,
            programmed,
            bits: p.bits,
        })
    }

    /// The bits of a u128 that an output holds.
    fn mask(&self) -> u128 {
        u128::MAX >> (128 - self.bits)
    }

    /// Bytes of a slot of the sender's store.
    fn width(&self) -> usize {
        self.bits as usize / 8
    }

    /// Slots of both stores.
    fn slots(&self) -> usize {
        self.setup.store.slots() + self.programmed.slots()
    }
}

fn out_of_place() -> Refusal {
    Refusal::protocol("a message is out of its place")
}

enum Side<D> {
    Receiver(receiver::Receiver<D>),
    Sender(sender::Sender<D>),
}

/// One party's side. `D` holds the digests of its distinct keys, 32 bytes each.
pub struct Machine<D> {
    side: Side<D>,
    failed: bool,
}

impl<D> fmt::Debug for Machine<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("opprf::Machine")
    }
}

impl<D: AsRef<[u8]> + Send + Sync> Machine<D> {
    /// The side that gets outputs.
    ///
    /// # Errors
    /// `E_FORMAT` for arguments of wrong length or range, `E_TOO_LARGE` beyond 2^22 keys a side.
    pub fn receiver(seed: &Secret<32>, p: Parameters, keys: D) -> Result<Self, Refusal> {
        let mine = digests(keys.as_ref())?.len();
        let shape = Shape::new(seed, p, Role::Receiver, mine)?;
        let side = Side::Receiver(receiver::Receiver::new(shape, keys)?);
        Ok(Self {
            side,
            failed: false,
        })
    }

    /// The side that programs the function: one target a key, of which the lowest bits count.
    ///
    /// # Errors
    /// Those of `receiver`.
    pub fn sender(
        seed: &Secret<32>,
        p: Parameters,
        keys: D,
        targets: Vec<u128>,
    ) -> Result<Self, Refusal> {
        let mine = digests(keys.as_ref())?.len();
        if targets.len() != mine {
            return Err(Refusal::new("E_FORMAT", "there is one target a key"));
        }
        let shape = Shape::new(seed, p, Role::Sender, mine)?;
        let side = Side::Sender(sender::Sender::new(shape, keys, targets)?);
        Ok(Self {
            side,
            failed: false,
        })
    }

    /// The next message, or `None` while the peer's must come first and at the end. After a refusal the machine is
    /// of no more use.
    pub fn next_message(&mut self) -> Result<Option<Outgoing>, Refusal> {
        self.usable()?;
        let next: Result<Next, Refusal> = match &mut self.side {
            Side::Receiver(side) => side.next_message(),
            Side::Sender(side) => side.next_message(),
        };
        self.failed = next.is_err();
        Ok(next?.map(|(bytes, kind, number)| Outgoing {
            bytes,
            step: format!("opprf/{}/{number}", kind.name()),
            opens: kind == Kind::Programmed,
        }))
    }

    /// Takes a message of the peer; may come at any time. After a refusal the machine is of no more use.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.usable()?;
        let taken = messages::split(bytes).and_then(|(kind, body)| match &mut self.side {
            Side::Receiver(side) => side.receive(kind, body),
            Side::Sender(side) => side.receive(kind, body),
        });
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
        !self.failed
            && match &self.side {
                Side::Receiver(side) => side.done(),
                Side::Sender(side) => side.done(),
            }
    }

    /// The receiver's outputs, one a key.
    ///
    /// # Errors
    /// `E_STATE` before the end and at the sender.
    pub fn outputs(&self) -> Result<&[u128], Refusal> {
        match &self.side {
            Side::Receiver(side) if self.done() => Ok(side.outputs()),
            Side::Receiver(_) => Err(Refusal::new("E_STATE", "the protocol has not ended")),
            Side::Sender(_) => Err(Refusal::new("E_STATE", "the sender gets no outputs")),
        }
    }

    /// Slots done and to do.
    pub fn progress(&self) -> (u64, u64) {
        let (worked, shape) = match &self.side {
            Side::Receiver(side) => (side.worked(), side.shape()),
            Side::Sender(side) => (side.worked(), side.shape()),
        };
        (worked as u64, shape.slots() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex<const N: usize>(value: &serde_json::Value) -> [u8; N] {
        let text = value.as_str().unwrap();
        std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }

    #[test]
    fn keys_values_and_function_are_those_of_the_reference() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/star_psi.json");
        let vectors: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let cases = vectors["programmed"].as_array().unwrap();
        assert_eq!(cases.len(), 3);
        for case in cases {
            let parameters = Parameters {
                attempt: 0,
                channel: "c".into(),
                context: hex::<12>(&case["context"]).to_vec(),
                peer_items: case["receiver"].as_u64().unwrap(),
                bits: case["bits"].as_u64().unwrap() as u32,
                threads: 1,
            };
            let mine = case["sender"].as_u64().unwrap() as usize;
            let shape = Shape::new(&Secret::new([0; 32]), parameters, Role::Sender, mine).unwrap();
            let number = |name: &str| u128::from_be_bytes(hex(&case[name]));
            let digest = [hex(&case["digest"])];
            let (keys, values) = shape.setup.item.items(&digest, u128::MAX);
            assert_eq!((keys[0], values[0]), (number("key"), number("value")));
            let element = [number("element")];
            let (function, _) = shape.setup.tag.tags(&digest, &element, 0, false);
            assert_eq!(function[0], number("function"));
            let sent = (function[0] ^ number("target")) & shape.mask();
            assert_eq!(sent, number("programmed"));
        }
    }
}
