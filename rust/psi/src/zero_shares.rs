//! Shares of zero without a message: among parties of which each pair has a key, a party's share of an item is the
//! exclusive or of a pseudo-random function of it under the keys that this party has (Kolesnikov, Matania, Pinkas,
//! Rosulek and Trieu, ACM CCS 2017, eprint 2017/799). Every key enters twice, so that the shares of all parties cancel;
//! while two parties keep their key from the rest, the share of either alone is random.

use atoll_primitives::stream::Secret;
use zeroize::Zeroize;

use crate::vole_psi::hash::Oracle;
use crate::vole_psi::setup::digests as parse;
use crate::{Refusal, pool};

/// What a keyed function of items is for; each use has outputs of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Shares of zero.
    Share,
    /// Names by which one party tells another which items are common.
    Common,
    /// What hides from the leader which items are common.
    Blind,
}

impl Use {
    /// Reads `share`, `common` or `blind`.
    ///
    /// # Errors
    /// `E_FORMAT` for another name.
    pub fn parse(name: &str) -> Result<Self, Refusal> {
        match name {
            "share" => Ok(Self::Share),
            "common" => Ok(Self::Common),
            "blind" => Ok(Self::Blind),
            _ => Err(Refusal::new(
                "E_FORMAT",
                format!("a function is for share, common or blind, not {name:?}"),
            )),
        }
    }

    fn label(self) -> &'static [u8] {
        match self {
            Self::Share => b"atoll zero share v1",
            Self::Common => b"atoll common item v1",
            Self::Blind => b"atoll blinded sum v1",
        }
    }
}

/// For every item, 32 bytes of digest each, the exclusive or of the function under all `keys`: SHA-256 whose first block
/// holds use and key, cut to 16 bytes.
///
/// # Errors
/// `E_FORMAT` for no key, digests of another length, or a wrong number of threads.
pub fn keyed(
    of: Use,
    keys: &[Secret<32>],
    digests: &[u8],
    threads: usize,
) -> Result<Vec<u128>, Refusal> {
    let digests = parse(digests)?;
    if keys.is_empty() {
        return Err(Refusal::new("E_FORMAT", "at least one key is needed"));
    }
    let mut out = vec![0; digests.len()];
    pool(threads)?.install(|| {
        for key in keys {
            let mut oracle = Oracle::new(of.label(), key.expose());
            oracle.add_words(digests, &mut out);
            oracle.zeroize();
        }
    });
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(a: usize, b: usize) -> Secret<32> {
        let mut bytes = [0; 32];
        (bytes[0], bytes[1]) = (a.min(b) as u8, a.max(b) as u8);
        Secret::new(bytes)
    }

    proptest! {
        #[test]
        fn shares_of_all_cancel_and_those_of_fewer_do_not(
            n in 2usize..7,
            items in proptest::collection::btree_set(any::<[u8; 32]>(), 1..6),
            threads in 1usize..3,
        ) {
            let digests: Vec<u8> = items.iter().flatten().copied().collect();
            let mut sums = vec![0u128; items.len()];
            for me in 0..n {
                prop_assert!(me == 0 || sums.iter().all(|sum| *sum != 0));
                let keys: Vec<_> = (0..n).filter(|i| *i != me).map(|i| key(me, i)).collect();
                let shares = keyed(Use::Share, &keys, &digests, threads).unwrap();
                sums.iter_mut().zip(shares).for_each(|(sum, share)| *sum ^= share);
            }
            prop_assert!(sums.iter().all(|sum| *sum == 0));
        }
    }

    #[test]
    fn functions_differ_by_use_key_and_item() {
        let one = |of, key, item| keyed(of, &[key], &[item; 32], 1).unwrap()[0];
        let base = one(Use::Share, key(0, 1), 7);
        for other in [
            one(Use::Common, key(0, 1), 7),
            one(Use::Blind, key(0, 1), 7),
            one(Use::Share, key(0, 2), 7),
            one(Use::Share, key(0, 1), 8),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn bad_arguments_are_refused() {
        let code = |keys: &[_], digests: &[u8], threads| {
            keyed(Use::Share, keys, digests, threads).unwrap_err().code
        };
        assert_eq!(code(&[], &[0; 32], 1), "E_FORMAT");
        assert_eq!(code(&[key(0, 1)], &[0; 33], 1), "E_FORMAT");
        assert_eq!(code(&[key(0, 1)], &[0; 32], 0), "E_FORMAT");
        assert!(Use::parse("tags").is_err());
        for (name, of) in [
            ("share", Use::Share),
            ("common", Use::Common),
            ("blind", Use::Blind),
        ] {
            assert_eq!(Use::parse(name).unwrap(), of);
        }
    }

    #[test]
    fn functions_are_those_of_the_reference() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/star_psi.json");
        let vectors: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let hex = |value: &serde_json::Value| -> [u8; 32] {
            let text = value.as_str().unwrap();
            std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
        };
        let cases = vectors["functions"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let of = Use::parse(case["use"].as_str().unwrap()).unwrap();
            let keys = case["keys"].as_array().unwrap().iter();
            let keys: Vec<_> = keys.map(|key| Secret::new(hex(key))).collect();
            let out = keyed(of, &keys, &hex(&case["digest"]), 1).unwrap()[0];
            let want = case["output"].as_str().unwrap();
            assert_eq!(out, u128::from_str_radix(want, 16).unwrap());
        }
    }
}
