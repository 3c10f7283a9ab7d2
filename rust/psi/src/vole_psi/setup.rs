//! What both sides of a run agree on, and what follows from it.

use atoll_okvs::{Kind as StoreKind, Store};
use atoll_ot::{Security, vole};
use atoll_primitives::stream::{Secret, Stream};

use super::hash::{Oracle, digest};
use crate::{Refusal, pool};

/// Most keys of a side in one run.
pub const MAX_KEYS: u64 = 1 << 22;

/// A party's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Learns first which of its keys match.
    Receiver,
    /// Holds the key of the oblivious pseudo-random function.
    Sender,
}

/// What is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Time.
    Fast,
    /// Bytes: a denser store of shorter values. Semi-honest only.
    LowCommunication,
}

impl Role {
    /// Reads `receiver` or `sender`.
    pub fn parse(name: &str) -> Result<Self, Refusal> {
        match name {
            "receiver" => Ok(Self::Receiver),
            "sender" => Ok(Self::Sender),
            _ => Err(Refusal::new(
                "E_FORMAT",
                format!("a role is receiver or sender, not {name:?}"),
            )),
        }
    }
}

impl Variant {
    /// Reads `fast` or `low-communication`.
    pub fn parse(name: &str) -> Result<Self, Refusal> {
        match name {
            "fast" => Ok(Self::Fast),
            "low-communication" => Ok(Self::LowCommunication),
            _ => Err(Refusal::new(
                "E_FORMAT",
                format!("a variant is fast or low-communication, not {name:?}"),
            )),
        }
    }
}

/// Reads `malicious` or `semi-honest`.
pub fn parse_security(name: &str) -> Result<Security, Refusal> {
    match name {
        "malicious" => Ok(Security::Malicious),
        "semi-honest" => Ok(Security::SemiHonest),
        _ => Err(Refusal::new(
            "E_FORMAT",
            format!("security is malicious or semi-honest, not {name:?}"),
        )),
    }
}

/// Parameters of one run. Attempt, channel and threads are each side's own; both agree on the rest, with roles swapped.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// Number of the attempt: a new one draws fresh randomness.
    pub attempt: u32,
    /// Name of the channel, a label of the randomness.
    pub channel: String,
    /// Bytes that name the run, with a coin that nobody could choose after the keys were fixed.
    pub context: Vec<u8>,
    /// Number of distinct keys that the peer declared.
    pub peer_items: u64,
    /// This party's part.
    pub role: Role,
    /// True if the sender learns the matches too.
    pub both: bool,
    /// What the run withstands.
    pub security: Security,
    /// What is saved.
    pub variant: Variant,
    /// Worker threads.
    pub threads: usize,
}

/// Everything that both sides compute alike.
pub(crate) struct Setup {
    pub(crate) parameters: Parameters,
    seed: Secret<32>,
    pub(crate) malicious: bool,
    pub(crate) receiver_items: usize,
    pub(crate) sender_items: usize,
    /// Bits of a value of the store.
    pub(crate) bits: u32,
    /// Bytes of a tag.
    pub(crate) tag_len: usize,
    pub(crate) store: Store,
    correlation: [u8; 16],
    pub(crate) item: Oracle,
    pub(crate) tag: Oracle,
    pub(crate) commit: Oracle,
    pub(crate) workers: rayon::ThreadPool,
}

/// Bits of a value of the store in the low-communication variant: one of the sender's keys that the receiver does
/// not hold agrees with the store by chance with probability below 2^-40 over all pairs. Whole bytes, at most 128.
pub fn value_bits(receiver_items: u64, sender_items: u64) -> u32 {
    let log = |n: u64| u64::BITS - n.max(1).saturating_sub(1).leading_zeros();
    (40 + log(receiver_items) + log(sender_items))
        .next_multiple_of(8)
        .min(128)
}

fn store(items: usize, variant: Variant, seed: [u8; 16], threads: usize) -> Result<Store, Refusal> {
    let kind = match variant {
        Variant::Fast => StoreKind::Fast,
        Variant::LowCommunication => StoreKind::Dense,
    };
    Store::new(items, kind, seed, threads)
}

/// Slots of the receiver's store for so many keys, whatever the seed.
pub fn slots(items: usize, variant: Variant) -> Result<usize, Refusal> {
    Ok(store(items.max(1), variant, [0; 16], 1)?.slots())
}

/// Bytes of a semi-honest tag: with n keys on the larger side, fewer than n² pairs lie across the sides, and within them;
/// of either kind one collides with at most 2^-40. At least 10.
pub fn tag_bytes(receiver_items: u64, sender_items: u64) -> usize {
    let larger = u128::from(receiver_items.max(sender_items).max(1));
    let bits = 40 + u128::BITS - (larger * larger - 1).leading_zeros();
    (bits.div_ceil(8) as usize).clamp(10, 16)
}

impl Setup {
    pub(crate) fn new(
        seed: &Secret<32>,
        parameters: Parameters,
        mine: u64,
    ) -> Result<Self, Refusal> {
        let p = &parameters;
        if mine > MAX_KEYS || p.peer_items > MAX_KEYS {
            return Err(Refusal::new(
                "E_TOO_LARGE",
                format!("a side has at most {MAX_KEYS} keys in one run"),
            ));
        }
        let malicious = p.security == Security::Malicious;
        if malicious && p.variant == Variant::LowCommunication {
            // Short values can be searched for: a cheating receiver could make a store that agrees with far
            // more keys than it has slots.
            return Err(Refusal::new(
                "E_FORMAT",
                "the low-communication variant is semi-honest only",
            ));
        }
        let (receiver, sender) = match p.role {
            Role::Receiver => (mine, p.peer_items),
            Role::Sender => (p.peer_items, mine),
        };
        let bits = match p.variant {
            Variant::Fast => 128,
            Variant::LowCommunication => value_bits(receiver, sender),
        };
        let run = digest(&[
            b"atoll vole-psi run v1",
            &p.context,
            &receiver.to_le_bytes(),
            &sender.to_le_bytes(),
            &[u8::from(malicious), p.variant as u8, u8::from(p.both)],
        ]);
        let inner = digest(&[b"atoll vole-psi parts v1", &run]);
        let [correlation, placement] = *inner.as_chunks().0 else {
            unreachable!("32 bytes are two halves");
        };
        Ok(Self {
            malicious,
            receiver_items: receiver as usize,
            sender_items: sender as usize,
            bits,
            tag_len: if malicious {
                16
            } else {
                tag_bytes(receiver, sender)
            },
            // An empty side ends the run at once, but the store wants a size.
            store: store(receiver.max(1) as usize, p.variant, placement, p.threads)?,
            correlation,
            item: Oracle::new(b"atoll vole-psi item v1", &run),
            tag: Oracle::new(b"atoll vole-psi tag v1", &run),
            commit: Oracle::new(b"atoll vole-psi commitment v1", &run),
            workers: pool(p.threads)?,
            seed: seed.clone(),
            parameters,
        })
    }

    /// True if a side is empty: nothing is sent.
    pub(crate) fn empty(&self) -> bool {
        self.receiver_items == 0 || self.sender_items == 0
    }

    /// The stream of one step.
    pub(crate) fn stream(&self, step: &str) -> Stream {
        Stream::new(
            &self.seed,
            self.parameters.attempt,
            &self.parameters.channel,
            step,
        )
    }

    /// Parameters of the correlation: one element a slot.
    pub(crate) fn vole(&self) -> vole::Parameters {
        vole::Parameters {
            size: self.store.slots(),
            bits: self.bits,
            security: self.parameters.security,
            threads: self.parameters.threads,
            context: self.correlation,
        }
    }

    /// Bytes of a masked slot.
    pub(crate) fn width(&self) -> usize {
        self.bits as usize / 8
    }

    /// The bits of a u128 that a tag on the wire holds.
    pub(crate) fn tag_mask(&self) -> u128 {
        u128::MAX << (128 - 8 * self.tag_len)
    }

    /// The bits of a u128 that a value of the store holds.
    pub(crate) fn value_mask(&self) -> u128 {
        u128::MAX >> (128 - self.bits)
    }

    /// Most keys that the receiver can have entered: what it declared, or the slots of its store if it may cheat.
    pub(crate) fn presented_at_most(&self) -> u64 {
        match (self.empty(), self.malicious) {
            (true, _) => 0,
            (false, true) => self.store.slots() as u64,
            (false, false) => self.receiver_items as u64,
        }
    }
}

/// The digests, checked to be 32 bytes each.
pub(crate) fn digests(bytes: &[u8]) -> Result<&[[u8; 32]], Refusal> {
    match bytes.as_chunks() {
        (digests, []) => Ok(digests),
        _ => Err(Refusal::new(
            "E_FORMAT",
            format!("digests have 32 bytes each, got {} bytes", bytes.len()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex<const N: usize>(value: &serde_json::Value) -> [u8; N] {
        let text = value.as_str().unwrap();
        std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }

    fn number(value: &serde_json::Value) -> u128 {
        u128::from_be_bytes(hex(value))
    }

    #[test]
    fn names_and_oracles_agree_with_the_reference() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/vole_psi.json");
        let vectors: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let runs = vectors["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 4);
        for run in runs {
            let yes = |name: &str| run[name].as_bool().unwrap();
            let parameters = Parameters {
                attempt: 0,
                channel: "c".into(),
                context: hex::<3>(&run["context"]).to_vec(),
                peer_items: run["receiver"].as_u64().unwrap(),
                role: Role::Sender,
                both: yes("both"),
                security: if yes("malicious") {
                    Security::Malicious
                } else {
                    Security::SemiHonest
                },
                variant: if yes("low_communication") {
                    Variant::LowCommunication
                } else {
                    Variant::Fast
                },
                threads: 1,
            };
            let mine = run["sender"].as_u64().unwrap();
            let setup = Setup::new(&Secret::new([0; 32]), parameters, mine).unwrap();
            assert_eq!(u64::from(setup.bits), run["bits"].as_u64().unwrap());
            for item in run["items"].as_array().unwrap() {
                let digest = [hex(&item["digest"])];
                let (keys, values) = setup.item.items(&digest, setup.value_mask());
                assert_eq!(
                    (keys[0], values[0]),
                    (number(&item["key"]), number(&item["value"]))
                );
                let offset = number(&run["offset"]);
                let (tags, proofs) = setup.tag.tags(&digest, &values, offset, true);
                assert_eq!(
                    (tags[0], proofs[0]),
                    (number(&item["tag"]), hex(&item["proof"]))
                );
            }
            let opening = Secret::new(hex(&run["opening"]));
            let commitment: [u8; 32] = hex(&run["commitment"]);
            assert_eq!(setup.commit.commitment(&opening), commitment);
        }
        for product in vectors["products"].as_array().unwrap() {
            let [a, b, c] = [0, 1, 2].map(|i| number(&product[i]));
            assert_eq!(atoll_ot::field::mul(a, b), c);
        }
    }

    #[test]
    fn bits_of_values() {
        assert_eq!(tag_bytes(0, 0), 10);
        assert_eq!(tag_bytes(1 << 20, 1 << 20), 10);
        assert_eq!(tag_bytes(5, (1 << 20) + 1), 11);
        assert_eq!(tag_bytes(1 << 22, 5), 11);
        assert_eq!(value_bits(0, 0), 40);
        assert_eq!(value_bits(1 << 20, 1 << 20), 80);
        assert_eq!(value_bits((1 << 20) + 1, 1 << 20), 88);
        assert_eq!(value_bits(1 << 22, 1 << 22), 88);
    }
}
