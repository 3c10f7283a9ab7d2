//! The verifiable oblivious pseudorandom function of RFC 9497 (mode VOPRF, ristretto255-SHA512): key pair, evaluation
//! with a batched proof of equal discrete logarithms, and output.
//!
//! The asker blinds by addition, H(x) + r·G, and takes r·pk away again: the proof shows that the evaluation is under
//! pk, so the result is that of the RFC's multiplicative blinding, for two multiplications of a fixed base
//! (Jarecki, Krawczyk and Xu, PKC 2021, say why it needs the proof). Blinded elements are uniform either way.

use std::fmt;

use atoll_primitives::stream::Stream;
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_TABLE;
use curve25519_dalek::ristretto::{RistrettoBasepointTable, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::VartimeMultiscalarMul;
use sha2::{Digest, Sha512};
use zeroize::Zeroize;

use crate::Refusal;
use crate::group::{Dst, Point, expand_message_xmd, hash_to_group, parse};

const CONTEXT: &[u8] = b"OPRFV1-\x01-ristretto255-SHA512";
/// Most elements under one proof: their index has two bytes.
pub const MAX_BATCH: usize = u16::MAX as usize;

fn dst(name: &[u8]) -> Dst {
    Dst::new(&[name, CONTEXT].concat())
}

/// HashToScalar: 64 bytes, little-endian, reduced.
fn hash_to_scalar(message: &[u8], dst: &Dst) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&expand_message_xmd(message, dst))
}

/// Appends a length in two bytes and the bytes.
fn framed(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A uniform scalar: 64 bytes of the stream, reduced.
fn draw(stream: &mut Stream) -> Scalar {
    let mut wide: [u8; 64] = stream.bytes();
    let scalar = Scalar::from_bytes_mod_order_wide(&wide);
    wide.zeroize();
    scalar
}

/// Hashes inputs to the group, under the tag of the RFC.
pub struct Hasher(Dst);

impl Default for Hasher {
    fn default() -> Self {
        Self(dst(b"HashToGroup-"))
    }
}

impl Hasher {
    /// H(input).
    pub fn point(&self, input: &[u8]) -> RistrettoPoint {
        hash_to_group(input, &self.0)
    }
}

/// The function's value at `input`, whose evaluated and unblinded element is `element` (Finalize).
pub fn finalize(input: &[u8], element: &Point) -> [u8; 64] {
    let mut hash = Sha512::new();
    hash.update((input.len() as u16).to_be_bytes());
    hash.update(input);
    hash.update(32u16.to_be_bytes());
    hash.update(element);
    hash.update(b"Finalize");
    hash.finalize().into()
}

/// A proof that evaluations are under the key of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    challenge: Scalar,
    response: Scalar,
}

impl Proof {
    /// 64 bytes: challenge and response.
    pub fn to_bytes(self) -> [u8; 64] {
        let mut out = [0; 64];
        out[..32].copy_from_slice(self.challenge.as_bytes());
        out[32..].copy_from_slice(self.response.as_bytes());
        out
    }

    /// Parses a peer's proof: two canonical scalars.
    pub fn parse(bytes: &[u8; 64]) -> Option<Self> {
        let scalar = |half: &[u8]| -> Option<Scalar> {
            Option::from(Scalar::from_canonical_bytes(half.try_into().ok()?))
        };
        Some(Self {
            challenge: scalar(&bytes[..32])?,
            response: scalar(&bytes[32..])?,
        })
    }
}

/// Weights of the composite elements of a batch.
fn weights(public: &Point, blinded: &[Point], evaluated: &[Point]) -> Vec<Scalar> {
    let mut transcript = Vec::with_capacity(128);
    framed(&mut transcript, public);
    framed(&mut transcript, &[b"Seed-", CONTEXT].concat());
    let seed = Sha512::digest(&transcript);
    let tag = dst(b"HashToScalar-");
    let mut message = Vec::with_capacity(160);
    let weight = |(i, (c, d)): (usize, (&Point, &Point))| {
        message.clear();
        framed(&mut message, &seed);
        message.extend_from_slice(&(i as u16).to_be_bytes());
        framed(&mut message, c);
        framed(&mut message, d);
        message.extend_from_slice(b"Composite");
        hash_to_scalar(&message, &tag)
    };
    blinded
        .iter()
        .zip(evaluated)
        .enumerate()
        .map(weight)
        .collect()
}

fn challenge(public: &Point, elements: [RistrettoPoint; 4]) -> Scalar {
    let mut transcript = Vec::with_capacity(192);
    framed(&mut transcript, public);
    for element in elements {
        framed(&mut transcript, element.compress().as_bytes());
    }
    transcript.extend_from_slice(b"Challenge");
    hash_to_scalar(&transcript, &dst(b"HashToScalar-"))
}

/// The holder's key.
pub struct Key {
    scalar: Scalar,
    public: Point,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("voprf::Key")
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.scalar.zeroize();
    }
}

impl Key {
    /// DeriveKeyPair: the key of 32 secret bytes and at most 65,535 bytes of info.
    pub fn derive(seed: &[u8; 32], info: &[u8]) -> Result<Self, Refusal> {
        if info.len() > usize::from(u16::MAX) {
            return Err(Refusal::new(
                "E_FORMAT",
                "a key's info has at most 65,535 bytes",
            ));
        }
        let mut input = seed.to_vec();
        framed(&mut input, info);
        let tag = dst(b"DeriveKeyPair");
        for counter in 0..=u8::MAX {
            input.push(counter);
            let scalar = hash_to_scalar(&input, &tag);
            input.pop();
            if scalar != Scalar::ZERO {
                input.zeroize();
                let public = (&scalar * RISTRETTO_BASEPOINT_TABLE).compress().0;
                return Ok(Self { scalar, public });
            }
        }
        input.zeroize();
        Err(Refusal::new("E_STATE", "this seed gives no key"))
    }

    /// The public key.
    pub fn public(&self) -> &Point {
        &self.public
    }

    /// k·P for every P; constant time in the key.
    pub fn evaluate(&self, points: &[RistrettoPoint]) -> Vec<Point> {
        // Compression in a batch doubles each point.
        let half = self.scalar * Scalar::from(2u8).invert();
        let halves: Vec<RistrettoPoint> = points.iter().map(|point| point * half).collect();
        RistrettoPoint::double_and_compress_batch(&halves)
            .iter()
            .map(|point| point.0)
            .collect()
    }

    /// A proof for a batch of at most `MAX_BATCH` elements: `evaluated[i]` is k·`points[i]`, and `blinded[i]` is
    /// `points[i]` compressed.
    pub fn prove(
        &self,
        points: &[RistrettoPoint],
        blinded: &[Point],
        evaluated: &[Point],
        stream: &mut Stream,
    ) -> Proof {
        let weights = weights(&self.public, blinded, evaluated);
        let m = RistrettoPoint::vartime_multiscalar_mul(&weights, points);
        self.prove_with(m, draw(stream))
    }

    fn prove_with(&self, m: RistrettoPoint, mut r: Scalar) -> Proof {
        let z = m * self.scalar;
        let challenge = challenge(&self.public, [m, z, &r * RISTRETTO_BASEPOINT_TABLE, m * r]);
        let response = r - challenge * self.scalar;
        r.zeroize();
        Proof {
            challenge,
            response,
        }
    }
}

/// A holder's public key, as an asker uses it.
pub struct PublicKey {
    bytes: Point,
    point: RistrettoPoint,
    table: RistrettoBasepointTable,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("voprf::PublicKey")
    }
}

impl PublicKey {
    /// Parses a public key: canonical and not the identity.
    pub fn parse(bytes: &Point) -> Option<Self> {
        let point = parse(bytes)?;
        Some(Self {
            bytes: *bytes,
            point,
            table: RistrettoBasepointTable::create(&point),
        })
    }

    /// True if the proof shows that `evaluated` are `blinded` under this key. Both sides of the proof are public.
    pub fn verify(
        &self,
        points: (&[RistrettoPoint], &[RistrettoPoint]),
        blinded: &[Point],
        evaluated: &[Point],
        proof: &Proof,
    ) -> bool {
        let weights = weights(&self.bytes, blinded, evaluated);
        let m = RistrettoPoint::vartime_multiscalar_mul(&weights, points.0);
        let z = RistrettoPoint::vartime_multiscalar_mul(&weights, points.1);
        let (c, s) = (proof.challenge, proof.response);
        let t2 = &s * RISTRETTO_BASEPOINT_TABLE + self.point * c;
        let t3 = RistrettoPoint::vartime_multiscalar_mul([s, c], [m, z]);
        challenge(&self.bytes, [m, z, t2, t3]) == c
    }
}

/// The blinds of a batch.
pub struct Blinds(Vec<Scalar>);

impl fmt::Debug for Blinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("voprf::Blinds")
    }
}

impl Drop for Blinds {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Blinds {
    /// Fresh blinds for `count` inputs.
    pub fn draw(count: usize, stream: &mut Stream) -> Self {
        Self((0..count).map(|_| draw(stream)).collect())
    }

    /// The blinds at these places; none for a place that is not there.
    pub fn select(&self, places: &[usize]) -> Option<Self> {
        places
            .iter()
            .map(|at| self.0.get(*at).copied())
            .collect::<Option<_>>()
            .map(Self)
    }

    /// H(x) + r·G of every input.
    pub fn blind(&self, hasher: &Hasher, inputs: &[Point]) -> Vec<RistrettoPoint> {
        let blind =
            |(input, r): (&Point, &Scalar)| hasher.point(input) + r * RISTRETTO_BASEPOINT_TABLE;
        inputs.iter().zip(&self.0).map(blind).collect()
    }

    /// k·H(x) of every evaluated element, compressed.
    pub fn unblind(&self, key: &PublicKey, evaluated: &[RistrettoPoint]) -> Vec<Point> {
        let unblind =
            |(element, r): (&RistrettoPoint, &Scalar)| (element - r * &key.table).compress().0;
        evaluated.iter().zip(&self.0).map(unblind).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_primitives::stream::Secret;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        let bytes: Vec<u8> = (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect();
        bytes.try_into().unwrap()
    }

    // RFC 9497, appendix A.1.2.
    const PUBLIC: &str = "c803e2cc6b05fc15064549b5920659ca4a77b2cca6f04f6b357009335476ad4e";
    const BLIND: &str = "64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706";
    const NONCE: &str = "222a5e897cf59db8145db8d16e597e8facb80ae7d4e26d9881aa6f61d645fc0e";
    const BLINDED: &str = "863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945";
    const EVALUATED: &str = "aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e";
    const PROOF: &str = "ddef93772692e535d1a53903db24367355cc2cc78de93b3be5a8ffcc6985dd06\
                         6d4346421d17bf5117a2a1ff0fcb2a759f58a539dfbe857a40bce4cf49ec600d";
    const OUTPUT: &str = "b58cfbe118e0cb94d79b5fd6a6dafb98764dff49c14e1770b566e42402da1a7d\
                          a4d8527693914139caee5bd03903af43a491351d23b430948dd50cde10d32b3c";

    fn key() -> Key {
        Key::derive(&[0xa3; 32], b"test key").unwrap()
    }

    fn point(text: &str) -> RistrettoPoint {
        parse(&hex(text)).unwrap()
    }

    #[test]
    fn rfc_9497_verifiable_vector() {
        let (key, blind) = (key(), Scalar::from_canonical_bytes(hex(BLIND)).unwrap());
        assert_eq!(*key.public(), hex::<32>(PUBLIC));
        let blinded = Hasher::default().point(&[0]) * blind;
        assert_eq!(blinded.compress().0, hex::<32>(BLINDED));
        let evaluated = key.evaluate(&[blinded])[0];
        assert_eq!(evaluated, hex::<32>(EVALUATED));
        let weights = weights(key.public(), &[hex(BLINDED)], &[evaluated]);
        let nonce = Scalar::from_canonical_bytes(hex(NONCE)).unwrap();
        let proof = key.prove_with(blinded * weights[0], nonce);
        assert_eq!(proof.to_bytes(), hex::<64>(PROOF));
        let element = key.evaluate(&[Hasher::default().point(&[0])])[0];
        assert_eq!(finalize(&[0], &element), hex::<64>(OUTPUT));
    }

    #[test]
    fn rfc_9497_batch_of_two_verifies() {
        // Appendix A.1.2.3.
        let blinded = [
            BLINDED,
            "90a0145ea9da29254c3a56be4fe185465ebb3bf2a1801f7124bbbadac751e654",
        ];
        let evaluated = [
            EVALUATED,
            "cc5ac221950a49ceaa73c8db41b82c20372a4c8d63e5dded2db920b7eee36a2a",
        ];
        let proof: [u8; 64] = hex(
            "cc203910175d786927eeb44ea847328047892ddf8590e723c37205cb74600b0a\
             5ab5337c8eb4ceae0494c2cf89529dcf94572ed267473d567aeed6ab873dee08",
        );
        let public = PublicKey::parse(&hex(PUBLIC)).unwrap();
        let (c, d) = (blinded.map(hex::<32>), evaluated.map(hex::<32>));
        let (cp, dp) = (blinded.map(point), evaluated.map(point));
        let proof = Proof::parse(&proof).unwrap();
        assert!(public.verify((&cp, &dp), &c, &d, &proof));
        let (d, dp) = ([d[1], d[0]], [dp[1], dp[0]]);
        assert!(!public.verify((&cp, &dp), &c, &d, &proof));
    }

    #[test]
    fn additive_blinding_gives_the_output_of_the_function() {
        let (key, hasher) = (key(), Hasher::default());
        let public = PublicKey::parse(key.public()).unwrap();
        let mut stream = Stream::new(&Secret::new([1; 32]), 0, "c", "s");
        let inputs = [[7u8; 32], [8; 32], [7; 32]];
        let blinds = Blinds::draw(3, &mut stream);
        let points = blinds.blind(&hasher, &inputs);
        let blinded: Vec<Point> = points.iter().map(|p| p.compress().0).collect();
        assert!(blinded[0] != blinded[2]);
        let evaluated = key.evaluate(&points);
        let proof = key.prove(&points, &blinded, &evaluated, &mut stream);
        let elements: Vec<RistrettoPoint> = evaluated.iter().map(|p| parse(p).unwrap()).collect();
        assert!(public.verify((&points, &elements), &blinded, &evaluated, &proof));
        let direct: Vec<RistrettoPoint> = inputs.iter().map(|x| hasher.point(x)).collect();
        assert_eq!(blinds.unblind(&public, &elements), key.evaluate(&direct));
    }

    #[test]
    fn another_key_does_not_prove() {
        let (key, other) = (key(), Key::derive(&[1; 32], b"").unwrap());
        let public = PublicKey::parse(key.public()).unwrap();
        let mut stream = Stream::new(&Secret::new([1; 32]), 0, "c", "s");
        let points = [Hasher::default().point(b"x")];
        let blinded = points.map(|p| p.compress().0);
        let evaluated = other.evaluate(&points);
        let elements = [parse(&evaluated[0]).unwrap()];
        for prover in [&key, &other] {
            let proof = prover.prove(&points, &blinded, &evaluated, &mut stream);
            assert!(!public.verify((&points, &elements), &blinded, &evaluated, &proof));
        }
    }

    #[test]
    fn scalars_and_keys_have_one_form() {
        let mut bytes: [u8; 64] = hex(PROOF);
        assert_eq!(Proof::parse(&bytes).unwrap().to_bytes(), bytes);
        bytes[63] = 0xff;
        assert!(Proof::parse(&bytes).is_none());
        assert!(PublicKey::parse(&[0; 32]).is_none() && PublicKey::parse(&[0xff; 32]).is_none());
        assert!(Key::derive(&[0; 32], &[0; 70_000]).is_err());
        assert_eq!(format!("{:?}", key()), "voprf::Key");
    }
}
