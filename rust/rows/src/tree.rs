//! The tree over sorted records, built from left to right with one hash for each complete subtree on its edge.

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::Refusal;
use crate::records::{HASH_BYTES, Record, whole};

type Hash = [u8; HASH_BYTES];

const LEAF: &[u8] = b"\0atoll row leaf v1\0";
const BLOCK: usize = 2048;

/// The leaf of a record.
pub fn leaf(record: &Record) -> Hash {
    let mut hash = Sha256::new();
    hash.update(LEAF);
    hash.update(record);
    hash.finalize().into()
}

/// An inner node.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1u8; 1 + 2 * HASH_BYTES];
    bytes[1..=HASH_BYTES].copy_from_slice(left);
    bytes[1 + HASH_BYTES..].copy_from_slice(right);
    Sha256::digest(bytes).into()
}

/// A tree, or a subtree that begins where RFC 6962 lets one begin.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    edge: Vec<Hash>,
    size: u64,
}

impl Tree {
    /// Number of leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds records in the order in which they stand; hashing runs on the current rayon pool.
    pub fn push(&mut self, records: &[u8]) -> Result<(), Refusal> {
        let leaves: Vec<Hash> = whole(records)?
            .par_iter()
            .with_min_len(BLOCK)
            .map(leaf)
            .collect();
        leaves.iter().for_each(|leaf| self.push_leaf(leaf));
        Ok(())
    }

    fn push_leaf(&mut self, leaf: &Hash) {
        let mut hash = *leaf;
        let mut size = self.size;
        while size & 1 == 1 {
            let left = self.edge.pop().expect("one hash for each bit of the size");
            hash = node(&left, &hash);
            size >>= 1;
        }
        self.edge.push(hash);
        self.size += 1;
    }

    /// The root of what was added (RFC 6962, 2.1); that of no leaves is the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut edge = self.edge.iter().rev();
        match edge.next() {
            None => Sha256::digest(b"").into(),
            Some(last) => edge.fold(*last, |right, left| node(left, &right)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::RECORD_BYTES;
    use proptest::prelude::*;

    /// RFC 6962, 2.1, word for word.
    fn by_the_book(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest(b"").into(),
            [one] => *one,
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                node(&by_the_book(&leaves[..k]), &by_the_book(&leaves[k..]))
            }
        }
    }

    proptest! {
        #[test]
        fn the_root_is_that_of_the_book_in_pieces_of_any_size(
            n in 0usize..200, cuts in proptest::collection::vec(1usize..50, 1..20)
        ) {
            let records: Vec<Record> = (0..n).map(|i| [i as u8; RECORD_BYTES]).collect();
            let mut tree = Tree::default();
            let mut rest = &records[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                tree.push(now.as_flattened()).unwrap();
                rest = later;
            }
            let leaves: Vec<Hash> = records.iter().map(leaf).collect();
            prop_assert_eq!(tree.root(), by_the_book(&leaves));
            prop_assert_eq!(tree.size() as usize, n);
        }
    }

    #[test]
    fn a_piece_of_a_record_is_refused() {
        assert_eq!(Tree::default().push(&[0; 63]).unwrap_err().code, "E_FORMAT");
    }
}
