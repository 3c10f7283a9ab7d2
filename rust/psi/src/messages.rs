//! Messages of the ECDH protocol: a type byte, a count (u32, little-endian), and that many items.

use curve25519_dalek::ristretto::RistrettoPoint;

use crate::Refusal;
use crate::group::{self, Point};

/// Most items in one message.
pub const MAX_ITEMS: usize = 1 << 16;
const BLINDED: u8 = 1;
const TAGS: u8 = 2;
const MULTIPLICITIES: u8 = 3;
const HEADER: usize = 5;

/// A peer's message, split but with its items not yet parsed.
pub(crate) enum Message<'a> {
    Blinded(Items<'a>),
    Tags(Items<'a>),
    Multiplicities(Items<'a>),
}

/// The items of a message: `count` of them in exactly `count` times their width.
pub(crate) struct Items<'a> {
    pub(crate) count: usize,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Splits a message; tags are `tag_len` bytes wide.
    pub(crate) fn split(bytes: &'a [u8], tag_len: usize) -> Result<Self, Refusal> {
        let Some((header, body)) = bytes.split_at_checked(HEADER) else {
            return Err(Refusal::protocol("a message is shorter than its header"));
        };
        let count = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if !(1..=MAX_ITEMS).contains(&count) {
            return Err(Refusal::protocol(format!(
                "a message holds {count} items, not 1 to {MAX_ITEMS}"
            )));
        }
        let (width, make): (usize, fn(Items<'a>) -> Self) = match header[0] {
            BLINDED => (32, Self::Blinded),
            TAGS => (tag_len, Self::Tags),
            MULTIPLICITIES => (4, Self::Multiplicities),
            kind => return Err(Refusal::protocol(format!("unknown message type {kind}"))),
        };
        if body.len() != count * width {
            return Err(Refusal::protocol(
                "the length of a message does not fit its count",
            ));
        }
        Ok(make(Items { count, body }))
    }
}

impl Items<'_> {
    /// The raw points.
    pub(crate) fn points(&self) -> &[Point] {
        self.body.as_chunks().0
    }

    /// The tags, each in the high bytes of a u128.
    pub(crate) fn tags(&self) -> impl Iterator<Item = u128> + '_ {
        self.body
            .chunks_exact(self.body.len() / self.count)
            .map(|tag| {
                let mut wide = [0u8; 16];
                wide[..tag.len()].copy_from_slice(tag);
                u128::from_be_bytes(wide)
            })
    }

    /// The multiplicities, all at least one.
    pub(crate) fn multiplicities(&self) -> Result<Vec<u32>, Refusal> {
        let values: Vec<u32> = self
            .body
            .as_chunks()
            .0
            .iter()
            .map(|v| u32::from_le_bytes(*v))
            .collect();
        if values.contains(&0) {
            return Err(Refusal::protocol("a matched key stands on no row"));
        }
        Ok(values)
    }
}

/// Parses one block of points.
pub(crate) fn parse_points(raw: &[Point]) -> Result<Vec<RistrettoPoint>, Refusal> {
    raw.iter()
        .map(|point| {
            group::parse(point)
                .ok_or_else(|| Refusal::protocol("a point is not canonical or the identity"))
        })
        .collect()
}

fn message(kind: u8, count: usize, width: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + count * width);
    out.push(kind);
    out.extend_from_slice(&(count as u32).to_le_bytes());
    out
}

pub(crate) fn blinded(points: &[Point]) -> Vec<u8> {
    let mut out = message(BLINDED, points.len(), 32);
    out.extend_from_slice(points.as_flattened());
    out
}

pub(crate) fn tags(tags: &[u128], tag_len: usize) -> Vec<u8> {
    let mut out = message(TAGS, tags.len(), tag_len);
    for tag in tags {
        out.extend_from_slice(&tag.to_be_bytes()[..tag_len]);
    }
    out
}

pub(crate) fn multiplicities(values: impl ExactSizeIterator<Item = u32>) -> Vec<u8> {
    let mut out = message(MULTIPLICITIES, values.len(), 4);
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
    out
}
