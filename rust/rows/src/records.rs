//! A version's two keys, and the records of its rows: tag and inner commitment of each, 64 bytes.

use atoll_psi::keys::{Column, KeyDigest, OnInvalid, digest_batch};
use hmac::{Hmac, KeyInit, Mac};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::cells::{Cells, row_bytes};
use crate::{Refusal, refusal};

/// Tag, then inner commitment.
pub type Record = [u8; RECORD_BYTES];

/// Bytes of a record.
pub const RECORD_BYTES: usize = 64;
/// Bytes of a tag, and of every hash here.
pub const HASH_BYTES: usize = 32;
/// Bytes of a salt.
pub const SALT_BYTES: usize = 16;

const ROW: &[u8] = b"atoll row v1\0";
const BLOCK: usize = 2048;

/// The keys of one version. The salt key never leaves; the tag key is what an auditor is given.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RowKeys {
    tag: [u8; HASH_BYTES],
    salt: [u8; HASH_BYTES],
}

impl std::fmt::Debug for RowKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RowKeys(..)")
    }
}

fn prf(key: &[u8; HASH_BYTES]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn run(keyed: &Hmac<Sha256>, parts: &[&[u8]]) -> [u8; HASH_BYTES] {
    let mut mac = keyed.clone();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

impl RowKeys {
    /// The keys of a version's secret.
    pub fn derive(secret: &[u8; HASH_BYTES]) -> Self {
        let keyed = prf(secret);
        Self {
            tag: run(&keyed, &[b"atoll row tag key v1", &[1]]),
            salt: run(&keyed, &[b"atoll row salt key v1", &[1]]),
        }
    }

    /// The key of the tags alone.
    pub fn tag_key(&self) -> [u8; HASH_BYTES] {
        self.tag
    }

    /// The salt of a row.
    pub fn salt(&self, row: u64) -> [u8; SALT_BYTES] {
        salt(&prf(&self.salt), row)
    }
}

fn salt(keyed: &Hmac<Sha256>, row: u64) -> [u8; SALT_BYTES] {
    run(keyed, &[&row.to_le_bytes()])[..SALT_BYTES]
        .try_into()
        .expect("a hash is longer than a salt")
}

fn tag(keyed: &Hmac<Sha256>, id: Option<&KeyDigest>, row: u64) -> [u8; HASH_BYTES] {
    match id {
        Some(digest) => run(keyed, &[&[1], digest]),
        None => run(keyed, &[&[2], &row.to_le_bytes()]),
    }
}

/// The records of a batch in the order of its rows, and how many of them have no id.
///
/// Runs on the current rayon pool; the result does not depend on its size.
///
/// * `ids`: the columns that make up the id.
/// * `cells`: all columns in the schema's order.
/// * `first_row`: number of the batch's first row in the table.
pub fn records(
    keys: &RowKeys,
    ids: &[Column<'_>],
    cells: &[Cells<'_>],
    rows: usize,
    first_row: u64,
) -> Result<(Vec<Record>, u64), Refusal> {
    let digests = digest_batch(ids, rows, first_row, OnInvalid::Refuse)?;
    let (tags, salts) = (prf(&keys.tag), prf(&keys.salt));
    let mut out = vec![[0u8; RECORD_BYTES]; rows];
    out.par_chunks_mut(BLOCK)
        .zip(digests.par_chunks(BLOCK))
        .enumerate()
        .for_each(|(block, (slots, ids))| {
            let mut buffer = Vec::with_capacity(256);
            for (i, (slot, id)) in slots.iter_mut().zip(ids).enumerate() {
                let at = block * BLOCK + i;
                let number = first_row + at as u64;
                buffer.clear();
                buffer.extend_from_slice(ROW);
                buffer.extend_from_slice(&salt(&salts, number));
                row_bytes(cells, at, &mut buffer);
                slot[..HASH_BYTES].copy_from_slice(&tag(&tags, id.as_ref(), number));
                slot[HASH_BYTES..].copy_from_slice(&Sha256::digest(&buffer));
            }
        });
    let without = digests.iter().filter(|d| d.is_none()).count() as u64;
    Ok((out, without))
}

pub(crate) fn whole(records: &[u8]) -> Result<&[Record], Refusal> {
    match records.as_chunks::<RECORD_BYTES>() {
        (whole, []) => Ok(whole),
        _ => Err(refusal("E_FORMAT", "records have 64 bytes each")),
    }
}

/// The records in 256 groups by one byte of their tags, each group in the order given, and the groups' sizes.
pub fn partition(records: &[u8], byte: usize) -> Result<(Vec<Record>, [u32; 256]), Refusal> {
    let records = whole(records)?;
    if byte >= HASH_BYTES || u32::try_from(records.len()).is_err() {
        return Err(refusal(
            "E_FORMAT",
            "a tag has bytes 0 to 31, and a part at most 2^32 - 1 records",
        ));
    }
    let mut counts = [0u32; 256];
    records
        .iter()
        .for_each(|r| counts[usize::from(r[byte])] += 1);
    let mut next = [0usize; 256];
    for group in 1..256 {
        next[group] = next[group - 1] + counts[group - 1] as usize;
    }
    let mut out = vec![[0u8; RECORD_BYTES]; records.len()];
    for record in records {
        let at = &mut next[usize::from(record[byte])];
        out[*at] = *record;
        *at += 1;
    }
    Ok((out, counts))
}

/// The records in order of their tags, those of one tag in the order given.
pub fn sort(records: &[u8]) -> Result<Vec<Record>, Refusal> {
    let mut out = whole(records)?.to_vec();
    out.sort_by(|a, b| a[..HASH_BYTES].cmp(&b[..HASH_BYTES]));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some(tags: &[u8]) -> Vec<Record> {
        let mut out = vec![[0u8; RECORD_BYTES]; tags.len()];
        for (i, (slot, tag)) in out.iter_mut().zip(tags).enumerate() {
            slot[3] = *tag;
            slot[40..48].copy_from_slice(&(i as u64).to_le_bytes());
        }
        out
    }

    proptest! {
        #[test]
        fn sorting_and_partitioning_keep_all_and_the_order_of_equal_tags(
            tags in proptest::collection::vec(0u8..5, 0..80)
        ) {
            let records = some(&tags);
            let mut want = records.clone();
            want.sort_by_key(|r| (r[3], u64::from_le_bytes(r[40..48].try_into().unwrap())));
            prop_assert_eq!(&sort(records.as_flattened()).unwrap(), &want);
            let (parts, counts) = partition(records.as_flattened(), 3).unwrap();
            prop_assert_eq!(&parts, &want);
            for (value, count) in counts.iter().enumerate() {
                prop_assert_eq!(*count as usize, tags.iter().filter(|t| usize::from(**t) == value).count());
            }
        }
    }

    #[test]
    fn pieces_of_records_are_refused() {
        assert_eq!(sort(&[0; 65]).unwrap_err().code, "E_FORMAT");
        assert_eq!(partition(&[0; 63], 0).unwrap_err().code, "E_FORMAT");
        assert_eq!(partition(&[0; 64], 32).unwrap_err().code, "E_FORMAT");
    }

    #[test]
    fn the_two_keys_and_all_rows_differ() {
        let keys = RowKeys::derive(&[7; 32]);
        assert_ne!(keys.tag_key(), keys.salt);
        assert_ne!(keys.salt(0), keys.salt(1));
        let tags = prf(&keys.tag);
        let digest = [9u8; 32];
        assert_eq!(tag(&tags, Some(&digest), 0), tag(&tags, Some(&digest), 5));
        assert_ne!(tag(&tags, None, 0), tag(&tags, None, 5));
    }
}
