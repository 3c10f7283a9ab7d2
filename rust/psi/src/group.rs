//! The group of the protocol: ristretto255 (RFC 9496) from curve25519-dalek, and hashing into it
//! (RFC 9380, `hash_to_ristretto255` with expand_message_xmd and SHA-512).

use std::fmt;

use atoll_primitives::stream::Stream;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroize;

/// A compressed point.
pub type Point = [u8; 32];

/// Points that share one field inversion when compressed.
const BATCH: usize = 256;

/// Domain separation tag of RFC 9380; one of more than 255 bytes is hashed as section 5.3.3 says.
#[derive(Clone)]
pub struct Dst(Vec<u8>);

impl Dst {
    /// A tag of any length.
    pub fn new(tag: &[u8]) -> Self {
        let mut dst = if tag.len() > 255 {
            let mut hash = Sha512::new();
            hash.update(b"H2C-OVERSIZE-DST-");
            hash.update(tag);
            hash.finalize().to_vec()
        } else {
            tag.to_vec()
        };
        dst.push(dst.len() as u8);
        Self(dst)
    }
}

/// `expand_message_xmd` with SHA-512 for an output of 64 bytes, one block of the hash (RFC 9380, section 5.3.1).
pub fn expand_message_xmd(message: &[u8], dst: &Dst) -> [u8; 64] {
    let mut hash = Sha512::new();
    hash.update([0u8; 128]);
    hash.update(message);
    hash.update([0, 64, 0]);
    hash.update(&dst.0);
    let b0 = hash.finalize();
    let mut hash = Sha512::new();
    hash.update(b0);
    hash.update([1]);
    hash.update(&dst.0);
    hash.finalize().into()
}

/// Hashes a message to a point with unknown discrete logarithm.
pub fn hash_to_group(message: &[u8], dst: &Dst) -> RistrettoPoint {
    RistrettoPoint::from_uniform_bytes(&expand_message_xmd(message, dst))
}

/// Parses a peer's point: canonical and not the identity.
pub fn parse(bytes: &Point) -> Option<RistrettoPoint> {
    if *bytes == [0; 32] {
        return None;
    }
    CompressedRistretto(*bytes).decompress()
}

/// A party's secret exponent.
pub struct Exponent {
    // Half of the exponent: batch compression doubles each point, which gives the whole one back.
    half: Scalar,
}

impl fmt::Debug for Exponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exponent")
    }
}

impl Drop for Exponent {
    fn drop(&mut self) {
        self.half.zeroize();
    }
}

impl Exponent {
    /// A uniform non-zero exponent: 64 bytes of the stream, reduced.
    pub fn draw(stream: &mut Stream) -> Self {
        loop {
            let mut wide: [u8; 64] = stream.bytes();
            let mut scalar = Scalar::from_bytes_mod_order_wide(&wide);
            wide.zeroize();
            if scalar != Scalar::ZERO {
                let half = scalar * Scalar::from(2u8).invert();
                scalar.zeroize();
                return Self { half };
            }
        }
    }

    /// Raises every point to the exponent; constant time in the exponent.
    pub fn raise(&self, points: impl IntoIterator<Item = RistrettoPoint>, out: &mut Vec<Point>) {
        let mut points = points.into_iter();
        loop {
            let batch: Vec<_> = points.by_ref().take(BATCH).map(|p| p * self.half).collect();
            if batch.is_empty() {
                return;
            }
            out.extend(
                RistrettoPoint::double_and_compress_batch(&batch)
                    .iter()
                    .map(|c| c.0),
            );
        }
    }
}

/// Tags of doubly blinded points: the first 128 bits of SHA-256 under the job's context, big-endian.
#[derive(Clone)]
pub struct Tagger(Sha256);

impl Tagger {
    /// A tagger for one context.
    pub fn new(context: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"atoll ecdh-psi tag v1");
        hash.update((context.len() as u64).to_le_bytes());
        hash.update(context);
        Self(hash)
    }

    /// The tag of one point.
    pub fn tag(&self, point: &Point) -> u128 {
        let digest: [u8; 32] = self.0.clone().chain_update(point).finalize().into();
        u128::from_be_bytes(digest[..16].try_into().expect("sixteen bytes"))
    }
}

/// Bytes of a tag on the wire: distinct items of both sides collide with probability at most 2^-40.
///
/// Among n = `mine + peer` items there are fewer than n^2 / 2 pairs, so 39 + log2(n^2) bits suffice; at least 10
/// bytes, at most 16.
pub fn tag_bytes(mine: u64, peer: u64) -> usize {
    let n = u128::from(mine) + u128::from(peer);
    let bits = 39 + u128::BITS - n.saturating_mul(n).saturating_sub(1).leading_zeros();
    (bits.div_ceil(8) as usize).clamp(10, 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_primitives::stream::Secret;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn rfc_9496_one_way_map() {
        // RFC 9496, appendix A.3, first vector.
        let input = hex(
            "5d1be09e3d0c82fc538112490e35701979d99e06ca3e2b5b54bffe8b4dc772c1\
             4d98b696a1bbfb5ca32c436cc61c16563790306c79eaca7705668b47dffe5bb6",
        );
        let point = RistrettoPoint::from_uniform_bytes(&input.try_into().unwrap());
        let want = hex("3066f82a1a747d45120d1740f14358531a8f04bbffe6a819f86dfe50f44a0a46");
        assert_eq!(point.compress().0[..], want[..]);
    }

    #[test]
    fn rfc_9497_blinded_element() {
        // RFC 9497, appendix A.1.1.1: BlindedElement = Blind * HashToGroup(Input).
        let dst = Dst::new(b"HashToGroup-OPRFV1-\x00-ristretto255-SHA512");
        let blind = hex("64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706");
        let blind = Scalar::from_canonical_bytes(blind.try_into().unwrap()).unwrap();
        let want = hex("609a0ae68c15a3cf6903766461307e5c8bb2f95e7e6550e1ffa2dc99e412803c");
        assert_eq!(
            (hash_to_group(&[0], &dst) * blind).compress().0[..],
            want[..]
        );
    }

    #[test]
    fn batch_compression_gives_the_whole_exponent() {
        let seed = Secret::new([1; 32]);
        let mut stream = Stream::new(&seed, 0, "c", "s");
        let scalar = Scalar::from_bytes_mod_order_wide(&stream.bytes());
        let exponent = Exponent::draw(&mut Stream::new(&seed, 0, "c", "s"));
        let point = hash_to_group(b"x", &Dst::new(b"d"));
        let mut out = Vec::new();
        exponent.raise(std::iter::repeat_n(point, BATCH + 1), &mut out);
        assert_eq!(out, vec![(point * scalar).compress().0; BATCH + 1]);
        assert_eq!(format!("{exponent:?}"), "Exponent");
    }

    #[test]
    fn points_outside_the_group_are_refused() {
        assert!(parse(&[0; 32]).is_none());
        assert!(parse(&[0xff; 32]).is_none());
        let mut negative = [0u8; 32];
        negative[0] = 1;
        assert!(parse(&negative).is_none());
    }

    #[test]
    fn tag_lengths() {
        assert_eq!(tag_bytes(0, 0), 10);
        assert_eq!(tag_bytes(1, 1), 10);
        assert_eq!(tag_bytes(1 << 20, 1 << 20), 11);
        assert_eq!(tag_bytes(1 << 32, 1 << 32), 14);
        assert_eq!(tag_bytes(1, 1 << 30), 13);
        assert_eq!(tag_bytes(u64::MAX, u64::MAX), 16);
    }

    /// Cost of the steps on one core: `cargo test --release -p atoll-psi cost -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement, not a check"]
    fn cost_per_item() {
        const N: usize = 4096;
        let (dst, mut stream) = (
            Dst::new(b"d"),
            Stream::new(&Secret::new([1; 32]), 0, "c", "s"),
        );
        let exponent = Exponent::draw(&mut stream);
        let time = |name: &str, run: &mut dyn FnMut()| {
            let start = std::time::Instant::now();
            run();
            println!(
                "{name}: {:.2} us",
                start.elapsed().as_secs_f64() * 1e6 / N as f64
            );
        };
        let (mut points, mut sent) = (Vec::new(), Vec::new());
        time("hash to group", &mut || {
            points = (0..N as u64)
                .map(|i| hash_to_group(&i.to_le_bytes(), &dst))
                .collect()
        });
        time("multiply, batch compress", &mut || {
            exponent.raise(points.iter().copied(), &mut sent)
        });
        time("multiply", &mut || {
            std::hint::black_box(points.iter().map(|p| p * exponent.half).collect::<Vec<_>>());
        });
        time("compress one by one", &mut || {
            std::hint::black_box(points.iter().map(|p| p.compress()).collect::<Vec<_>>());
        });
        time("decompress", &mut || {
            std::hint::black_box(sent.iter().map(|p| parse(p).unwrap()).collect::<Vec<_>>());
        });
    }
}
