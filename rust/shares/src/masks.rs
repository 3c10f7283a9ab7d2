//! Pairwise masks for sums (Bonawitz et al., CCS 2017, section 4), without recovery from dropout: the set of
//! holders is fixed, and without all of them the sum stays hidden.
//!
//! Every pair of holders agrees on a key (X25519, RFC 7748) and expands it to a vector over Z(2^128); the holder
//! with the smaller identifier adds it, the other subtracts it. The masks cancel in the sum over all holders.

use std::fmt;

use atoll_primitives::stream::{Secret, Stream};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::Refusal;

const PROTOCOL: &[u8] = b"pairwise-masks/v1";

/// A holder's ephemeral key of one job attempt.
pub struct EphemeralKey(StaticSecret);

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EphemeralKey")
    }
}

impl EphemeralKey {
    /// The key of one attempt on one channel of a job.
    pub fn draw(seed: &Secret<32>, attempt: u32, channel: &str) -> Self {
        Self(StaticSecret::from(
            Stream::new(seed, attempt, channel, "pairwise-masks/x25519").bytes::<32>(),
        ))
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.0).to_bytes()
    }

    /// A key that both of a pair have and nobody else; `label` names its use.
    ///
    /// # Errors
    /// `E_PROTOCOL` for a peer's key of small order, `E_FORMAT` if the peer has this party's identifier.
    pub fn pair_key(
        &self,
        me: &[u8],
        peer: &Peer,
        context: &[u8],
        label: &str,
    ) -> Result<Secret<32>, Refusal> {
        if me == peer.id {
            return Err(Refusal::new("E_FORMAT", "a pair has two parties"));
        }
        let mut stream = self.stream(me, peer, context, label)?;
        Ok(Secret::new(stream.bytes()))
    }

    /// The stream of masks shared with one peer; the same on both sides.
    fn stream(
        &self,
        me: &[u8],
        peer: &Peer,
        context: &[u8],
        label: &str,
    ) -> Result<Stream, Refusal> {
        let shared = self.0.diffie_hellman(&PublicKey::from(peer.public));
        if !shared.was_contributory() {
            return Err(Refusal::new(
                "E_PROTOCOL",
                "a holder's ephemeral key has small order",
            ));
        }
        let own = self.public();
        let mut pair = [(me, &own), (peer.id.as_slice(), &peer.public)];
        pair.sort();
        let [(low, low_key), (high, high_key)] = pair;
        Ok(Stream::derive(
            shared.as_bytes(),
            &[
                PROTOCOL,
                context,
                low,
                low_key,
                high,
                high_key,
                label.as_bytes(),
            ],
        ))
    }
}

/// Another holder: its identifier and its ephemeral public key.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Identifier; order of identifiers decides who adds.
    pub id: Vec<u8>,
    /// X25519 public key.
    pub public: [u8; 32],
}

/// `values` plus the masks shared with every peer, modulo 2^128, each as 16 little-endian bytes.
///
/// A label serves one vector only: two vectors under one label would show their difference.
pub fn masked(
    values: &[u8],
    key: &EphemeralKey,
    me: &[u8],
    peers: &[Peer],
    context: &[u8],
    label: &str,
) -> Result<Vec<u8>, Refusal> {
    let mut sums = words(values)?;
    if peers.is_empty() {
        return Err(Refusal::new("E_FORMAT", "a sum has at least two holders"));
    }
    let mut ids: Vec<&[u8]> = peers.iter().map(|p| p.id.as_slice()).chain([me]).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Refusal::new("E_FORMAT", "a holder stands twice in the set"));
    }
    for peer in peers {
        let mut stream = key.stream(me, peer, context, label)?;
        let adds = me < peer.id.as_slice();
        for sum in &mut sums {
            let mask = u128::from_le_bytes(stream.bytes());
            *sum = if adds {
                sum.wrapping_add(mask)
            } else {
                sum.wrapping_sub(mask)
            };
        }
    }
    Ok(bytes(&sums))
}

/// The sum of all holders' masked vectors, read as signed 128-bit integers, each as 16 little-endian bytes.
pub fn sum(vectors: &[&[u8]]) -> Result<Vec<u8>, Refusal> {
    let [first, rest @ ..] = vectors else {
        return Err(Refusal::new("E_FORMAT", "a sum has at least two holders"));
    };
    let mut sums = words(first)?;
    for vector in rest {
        if vector.len() != first.len() {
            return Err(Refusal::new(
                "E_PROTOCOL",
                "the masked vectors have different lengths",
            ));
        }
        for (sum, word) in sums.iter_mut().zip(words(vector)?) {
            *sum = sum.wrapping_add(word);
        }
    }
    Ok(bytes(&sums))
}

fn words(bytes: &[u8]) -> Result<Vec<u128>, Refusal> {
    match bytes.as_chunks::<16>() {
        (words, []) => Ok(words.iter().map(|w| u128::from_le_bytes(*w)).collect()),
        _ => Err(Refusal::new(
            "E_FORMAT",
            format!("values have 16 bytes each, got {} bytes", bytes.len()),
        )),
    }
}

fn bytes(words: &[u128]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(n: usize) -> Vec<EphemeralKey> {
        (0..n)
            .map(|i| EphemeralKey::draw(&Secret::new([i as u8; 32]), 0, "sum"))
            .collect()
    }

    fn peers(keys: &[EphemeralKey], me: usize) -> Vec<Peer> {
        let all = keys.iter().enumerate().filter(|(i, _)| *i != me);
        all.map(|(i, k)| Peer {
            id: vec![i as u8],
            public: k.public(),
        })
        .collect()
    }

    fn encode(values: &[i128]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    proptest! {
        #[test]
        fn masks_cancel_in_the_sum_of_all(n in 2usize..6, values in proptest::collection::vec(any::<i64>(), 0..8)) {
            let keys = keys(n);
            let plain: Vec<i128> = values.iter().map(|v| i128::from(*v)).collect();
            let vectors: Vec<_> = (0..n)
                .map(|i| masked(&encode(&plain), &keys[i], &[i as u8], &peers(&keys, i), b"c", "l").unwrap())
                .collect();
            let views: Vec<&[u8]> = vectors.iter().map(Vec::as_slice).collect();
            let want: Vec<i128> = plain.iter().map(|v| v * n as i128).collect();
            prop_assert_eq!(sum(&views).unwrap(), encode(&want));
            if !plain.is_empty() {
                prop_assert_ne!(sum(&views[1..]).unwrap(), encode(&plain.iter().map(|v| v * (n as i128 - 1)).collect::<Vec<_>>()));
            }
        }
    }

    #[test]
    fn every_label_and_context_masks_anew() {
        let keys = keys(2);
        let run = |context: &[u8], label| {
            masked(
                &encode(&[5]),
                &keys[0],
                &[0],
                &peers(&keys, 0),
                context,
                label,
            )
            .unwrap()
        };
        assert_ne!(run(b"c", "l"), run(b"d", "l"));
        assert_ne!(run(b"c", "l"), run(b"c", "m"));
        assert_ne!(
            EphemeralKey::draw(&Secret::new([0; 32]), 1, "sum").public(),
            keys[0].public()
        );
    }

    #[test]
    fn a_pair_has_one_key_for_every_label_and_context() {
        let keys = keys(3);
        let key = |me: usize, other: usize, context: &[u8], label| {
            let peer = Peer {
                id: vec![other as u8],
                public: keys[other].public(),
            };
            let key = keys[me].pair_key(&[me as u8], &peer, context, label);
            key.map(|key| *key.expose())
        };
        let base = key(0, 1, b"c", "l").unwrap();
        assert_eq!(key(1, 0, b"c", "l").unwrap(), base);
        for other in [
            key(0, 2, b"c", "l"),
            key(1, 2, b"c", "l"),
            key(0, 1, b"d", "l"),
            key(0, 1, b"c", "m"),
        ] {
            assert_ne!(other.unwrap(), base);
        }
        assert_eq!(key(1, 1, b"c", "l").unwrap_err().code, "E_FORMAT");
        let small = Peer {
            id: vec![9],
            public: [0; 32],
        };
        let refusal = keys[0].pair_key(&[0], &small, b"c", "l").unwrap_err();
        assert_eq!(refusal.code, "E_PROTOCOL");
    }

    #[test]
    fn bad_input_is_refused() {
        let keys = keys(3);
        let key = &keys[0];
        let code = |values: &[u8], peers: &[Peer]| {
            masked(values, key, &[0], peers, b"c", "l")
                .unwrap_err()
                .code
        };
        assert_eq!(code(&[0; 15], &peers(&keys, 0)), "E_FORMAT");
        assert_eq!(code(&[0; 16], &[]), "E_FORMAT");
        assert_eq!(code(&[0; 16], &peers(&keys, 1)), "E_FORMAT");
        assert_eq!(
            code(
                &[0; 16],
                &[Peer {
                    id: vec![9],
                    public: [0; 32]
                }]
            ),
            "E_PROTOCOL"
        );
        assert_eq!(sum(&[]).unwrap_err().code, "E_FORMAT");
        assert_eq!(sum(&[&[0; 16], &[0; 32]]).unwrap_err().code, "E_PROTOCOL");
        assert_eq!(format!("{key:?}"), "EphemeralKey");
    }
}
