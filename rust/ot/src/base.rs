//! Base oblivious transfer: 128 of them in one message each way, malicious security.
//!
//! Endemic OT (Masny & Rindal, eprint 2019/706, section 5.2 with the Diffie-Hellman key agreement) over ristretto255. The receiver
//! with choice c sends `r_(1-c)` at random and `r_c = a G - H(r_(1-c))`; the sender sends `b G` and takes the keys of
//! `b (r_0 + H(r_1))` and `b (r_1 + H(r_0))`. Keys bind the context, the index, the side, and both whole messages.

use atoll_primitives::stream::Stream;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use sha2::{Digest, Sha512};
use subtle::ConditionallySelectable;
use zeroize::Zeroize;

use crate::Refusal;

/// How many transfers; one for each bit of the correlation.
pub const COUNT: usize = 128;
/// Bytes of the receiver's message.
pub const CHOICES_LEN: usize = COUNT * 64;
/// Bytes of the sender's message.
pub const REPLY_LEN: usize = COUNT * 32;

/// One key: a seed of AES-128.
pub type Key = [u8; 16];

/// The receiver between its message and the sender's.
pub struct Receiver {
    choices: u128,
    context: [u8; 16],
    secrets: Vec<Scalar>,
    message: Vec<u8>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.secrets.zeroize();
        self.choices.zeroize();
    }
}

impl Receiver {
    /// Takes bit i of `choices` in transfer i.
    pub fn new(choices: u128, context: [u8; 16], randomness: &mut Stream) -> Self {
        let mut secrets = Vec::with_capacity(COUNT);
        let mut message = Vec::with_capacity(CHOICES_LEN);
        for index in 0..COUNT {
            let choice = subtle::Choice::from((choices >> index & 1) as u8);
            let secret = scalar(randomness);
            let other = RistrettoPoint::from_uniform_bytes(&randomness.bytes());
            let other_bytes = other.compress();
            // The oracle is named by the side whose point it hides.
            let masks = [0, 1].map(|side| mask(&context, index, side, other_bytes.as_bytes()));
            let mask = RistrettoPoint::conditional_select(&masks[0], &masks[1], choice);
            let own = RistrettoPoint::mul_base(&secret) - mask;
            let points = [
                RistrettoPoint::conditional_select(&own, &other, choice),
                RistrettoPoint::conditional_select(&other, &own, choice),
            ];
            message.extend(points.iter().flat_map(|p| p.compress().to_bytes()));
            secrets.push(secret);
        }
        Self {
            choices,
            context,
            secrets,
            message,
        }
    }

    /// The message to the sender: two points for each transfer.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The chosen keys, from the sender's message of [`REPLY_LEN`] bytes.
    ///
    /// # Errors
    /// `E_PROTOCOL` if the reply is not so many points.
    pub fn finish(self, reply: &[u8]) -> Result<Vec<Key>, Refusal> {
        let points = parse(reply, COUNT)?;
        let transcript = transcript(&self.context, &self.message, reply);
        Ok((points.iter().zip(&self.secrets).enumerate())
            .map(|(index, (point, secret))| {
                let side = (self.choices >> index & 1) as u8;
                derive(&transcript, index, side, &(point * secret))
            })
            .collect())
    }
}

/// The sender's half: both keys of every transfer, and its message.
///
/// # Errors
/// `E_PROTOCOL` if the receiver's message is not [`CHOICES_LEN`] bytes of points.
pub fn send(
    message: &[u8],
    context: &[u8; 16],
    randomness: &mut Stream,
) -> Result<(Vec<[Key; 2]>, Vec<u8>), Refusal> {
    let points = parse(message, 2 * COUNT)?;
    let mut secrets: Vec<Scalar> = (0..COUNT).map(|_| scalar(randomness)).collect();
    let reply: Vec<u8> = secrets
        .iter()
        .flat_map(|s| RistrettoPoint::mul_base(s).compress().to_bytes())
        .collect();
    let transcript = transcript(context, message, &reply);
    let bytes = message.as_chunks::<64>().0;
    let keys = (secrets.iter().enumerate())
        .map(|(index, secret)| {
            let (first, second) = bytes[index].split_at(32);
            let shared = [
                points[2 * index] + mask(context, index, 0, second),
                points[2 * index + 1] + mask(context, index, 1, first),
            ];
            [0, 1].map(|side| derive(&transcript, index, side as u8, &(shared[side] * secret)))
        })
        .collect();
    secrets.zeroize();
    Ok((keys, reply))
}

fn scalar(randomness: &mut Stream) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&randomness.bytes())
}

fn parse(bytes: &[u8], count: usize) -> Result<Vec<RistrettoPoint>, Refusal> {
    let (encoded, rest) = bytes.as_chunks::<32>();
    if encoded.len() != count || !rest.is_empty() {
        return Err(Refusal::protocol("a base transfer has another length"));
    }
    (encoded.iter())
        .map(|e| {
            (CompressedRistretto(*e).decompress())
                .filter(|p| !p.is_identity())
                .ok_or_else(|| Refusal::protocol("a base transfer holds no point"))
        })
        .collect()
}

fn mask(context: &[u8; 16], index: usize, side: u8, other: &[u8]) -> RistrettoPoint {
    let digest = Sha512::new()
        .chain_update(b"atoll ot base mask v1")
        .chain_update(context)
        .chain_update([index as u8, side])
        .chain_update(other)
        .finalize();
    RistrettoPoint::from_uniform_bytes(&digest.into())
}

fn transcript(context: &[u8; 16], message: &[u8], reply: &[u8]) -> [u8; 64] {
    Sha512::new()
        .chain_update(b"atoll ot base transcript v1")
        .chain_update(context)
        .chain_update(message)
        .chain_update(reply)
        .finalize()
        .into()
}

fn derive(transcript: &[u8; 64], index: usize, side: u8, shared: &RistrettoPoint) -> Key {
    let digest = Sha512::new()
        .chain_update(b"atoll ot base key v1")
        .chain_update(transcript)
        .chain_update([index as u8, side])
        .chain_update(shared.compress().as_bytes())
        .finalize();
    std::array::from_fn(|i| digest[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> Stream {
        Stream::derive(b"base", &[name.as_bytes()])
    }

    /// Both keys, the chosen ones, the choices, and both messages.
    type Run = (Vec<[Key; 2]>, Vec<Key>, u128, Vec<u8>, Vec<u8>);

    fn run() -> Run {
        let choices = u128::from_le_bytes(stream("choices").bytes());
        let receiver = Receiver::new(choices, [1; 16], &mut stream("r"));
        let message = receiver.message().to_vec();
        let (both, reply) = send(&message, &[1; 16], &mut stream("s")).unwrap();
        (
            both,
            receiver.finish(&reply).unwrap(),
            choices,
            message,
            reply,
        )
    }

    #[test]
    fn the_receiver_gets_the_chosen_keys_only() {
        let (both, chosen, choices, ..) = run();
        for (i, (pair, key)) in both.iter().zip(&chosen).enumerate() {
            let side = (choices >> i & 1) as usize;
            assert_eq!(pair[side], *key);
            assert_ne!(pair[1 - side], *key);
        }
        let mut all: Vec<Key> = both.into_iter().flatten().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2 * COUNT);
    }

    #[test]
    fn a_changed_message_changes_every_key() {
        let (both, _, _, mut message, _) = run();
        // The points of two transfers change places: still points, yet no key stays.
        let first: Vec<u8> = message[..64].to_vec();
        message.copy_within(64..128, 0);
        message[64..128].copy_from_slice(&first);
        let (other, _) = send(&message, &[1; 16], &mut stream("s")).unwrap();
        assert!(
            both.iter()
                .flatten()
                .all(|k| !other.iter().flatten().any(|o| o == k))
        );
    }

    #[test]
    fn what_is_no_point_is_refused() {
        let (.., message, reply) = run();
        let identity = [0u8; 32];
        for bad in [[255u8; 32], identity] {
            let mut changed = message.clone();
            changed[96..128].copy_from_slice(&bad);
            let refused = send(&changed, &[1; 16], &mut stream("s"));
            assert_eq!(refused.unwrap_err().code, "E_PROTOCOL");
            let mut changed = reply.clone();
            changed[32..64].copy_from_slice(&bad);
            let receiver = Receiver::new(0, [1; 16], &mut stream("r"));
            assert_eq!(receiver.finish(&changed).unwrap_err().code, "E_PROTOCOL");
        }
        for cut in [0, 1, reply.len() - 1] {
            let receiver = Receiver::new(0, [1; 16], &mut stream("r"));
            assert!(receiver.finish(&reply[..cut]).is_err());
        }
        assert!(send(&message[1..], &[1; 16], &mut stream("s")).is_err());
    }
}
