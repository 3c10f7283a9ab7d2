//! Messages of one run, of PSI and of the programmed function: a type byte and a body. How many items a message holds
//! follows from its place in the run: `CHUNK`, and what is left in the last one of a kind.

use crate::Refusal;

/// Items in every message but the last one of a kind.
pub const CHUNK: usize = 1 << 15;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A message of the VOLE.
    Correlation = 1,
    /// Sender: its commitment to a share of the offset.
    Commitment = 2,
    /// Receiver: its share of the offset.
    Share = 3,
    /// Receiver: slots of the store, masked.
    Masked = 4,
    /// Sender: what the commitment holds.
    Opening = 5,
    /// Sender: tags of its items, rising.
    Tags = 6,
    /// Receiver: how many tags match, u32.
    Matches = 7,
    /// Receiver: ranks of matching tags, and proofs.
    Returned = 8,
    /// Rows that each matched key stands on, u32 each.
    Multiplicities = 9,
    /// Sender of a programmed function (`opprf`): slots of its store.
    Programmed = 10,
}

impl Kind {
    /// Name within a step's label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Correlation => "correlation",
            Self::Commitment => "commitment",
            Self::Share => "share",
            Self::Masked => "masked",
            Self::Opening => "opening",
            Self::Tags => "tags",
            Self::Matches => "matches",
            Self::Returned => "returned",
            Self::Multiplicities => "multiplicities",
            Self::Programmed => "programmed",
        }
    }
}

/// Splits a message into its kind and body.
pub(crate) fn split(bytes: &[u8]) -> Result<(Kind, &[u8]), Refusal> {
    let Some((kind, body)) = bytes.split_first() else {
        return Err(Refusal::protocol("a message is empty"));
    };
    let kind = match kind {
        1 => Kind::Correlation,
        2 => Kind::Commitment,
        3 => Kind::Share,
        4 => Kind::Masked,
        5 => Kind::Opening,
        6 => Kind::Tags,
        7 => Kind::Matches,
        8 => Kind::Returned,
        9 => Kind::Multiplicities,
        10 => Kind::Programmed,
        other => return Err(Refusal::protocol(format!("unknown message type {other}"))),
    };
    Ok((kind, body))
}

/// The items of a chunk, of which `left` are still to come, `width` bytes each.
pub(crate) fn chunk(
    body: &[u8],
    width: usize,
    left: usize,
) -> Result<std::slice::ChunksExact<'_, u8>, Refusal> {
    let count = left.min(CHUNK);
    if count == 0 || body.len() != count * width {
        return Err(Refusal::protocol(
            "a message does not hold the items that its place asks for",
        ));
    }
    Ok(body.chunks_exact(width))
}

/// A body of exactly `N` bytes.
pub(crate) fn fixed<const N: usize>(body: &[u8]) -> Result<[u8; N], Refusal> {
    body.try_into()
        .map_err(|_| Refusal::protocol("a message has a wrong length"))
}

/// A message of `items`, `N` bytes of which `width` are sent.
pub(crate) fn write<const N: usize>(
    kind: Kind,
    width: usize,
    items: impl ExactSizeIterator<Item = [u8; N]>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + items.len() * width);
    out.push(kind as u8);
    for item in items {
        out.extend_from_slice(&item[..width]);
    }
    out
}

/// A tag of `width` bytes in the high bytes of a u128.
pub(crate) fn tag(bytes: &[u8]) -> u128 {
    let mut wide = [0u8; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    u128::from_be_bytes(wide)
}

/// A value of at most 16 bytes, little-endian.
pub(crate) fn value(bytes: &[u8]) -> u128 {
    let mut wide = [0u8; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    u128::from_le_bytes(wide)
}

/// Rows of matched keys, all at least one.
pub(crate) fn multiplicities(
    items: std::slice::ChunksExact<'_, u8>,
    out: &mut Vec<u32>,
) -> Result<(), Refusal> {
    for item in items {
        let rows = u32::from_le_bytes(fixed(item)?);
        if rows == 0 {
            return Err(Refusal::protocol("a matched key stands on no row"));
        }
        out.push(rows);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_byte_of_its_own_and_the_rest_is_refused() {
        for byte in 0..=255u8 {
            match split(&[byte, 5]) {
                Ok((kind, body)) => {
                    assert_eq!((kind as u8, body), (byte, &[5u8][..]));
                    assert!((1..=10).contains(&byte));
                }
                Err(refusal) => {
                    assert_eq!(refusal.code, "E_PROTOCOL");
                    assert!(!(1..=10).contains(&byte));
                }
            }
        }
        assert!(split(&[]).is_err());
    }

    #[test]
    fn a_chunk_holds_what_its_place_asks_for() {
        assert_eq!(chunk(&[0; 30], 10, 3).unwrap().len(), 3);
        for (length, left) in [(0, 0), (30, 2), (20, 3), (31, 3), (10, 0), (30, CHUNK + 3)] {
            assert_eq!(
                chunk(&vec![0; length], 10, left).unwrap_err().code,
                "E_PROTOCOL"
            );
        }
        assert!(chunk(&vec![0; 2 * CHUNK], 2, CHUNK + 3).is_ok());
    }
}
