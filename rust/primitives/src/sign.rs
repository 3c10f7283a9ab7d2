//! Ed25519 by one verification rule everywhere: ZIP-215, so that single and batch verification agree.

use ed25519_zebra::{Signature, SigningKey, VerificationKey, VerificationKeyBytes, batch};
use rayon::prelude::*;

/// Signs `message` with a 32-byte Ed25519 seed.
pub fn sign(seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
    SigningKey::from(*seed).sign(message).into()
}

/// The public key of a 32-byte Ed25519 seed.
pub fn public(seed: &[u8; 32]) -> [u8; 32] {
    VerificationKeyBytes::from(&SigningKey::from(*seed)).into()
}

/// True when `signature` over `message` verifies under `key` by ZIP-215.
pub fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    VerificationKey::try_from(*key)
        .and_then(|k| k.verify(&Signature::from(*signature), message))
        .is_ok()
}

/// A signature to be verified. Wrong lengths are allowed; such a signature does not verify.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The public key, 32 bytes.
    pub key: &'a [u8],
    /// What was signed.
    pub message: &'a [u8],
    /// The signature, 64 bytes.
    pub signature: &'a [u8],
}

/// Most signatures in one batch. Larger batches are no faster.
pub const BATCH: usize = 256;
/// So few signatures are verified one by one.
const FEW: usize = 4;

/// Positions of the claims that do not verify, rising: exactly those of which [`verify`] says so (up to a chance
/// of 2^-128 for each batch).
pub fn failures(claims: &[Claim<'_>]) -> Vec<usize> {
    let parts = claims.chunks(BATCH).enumerate();
    parts
        .flat_map(|(number, part)| batch_failures(part, number * BATCH))
        .collect()
}

/// As [`failures`], by the threads of the current rayon pool in batches of at most `batch`.
pub fn parallel_failures(claims: &[Claim<'_>], batch: usize) -> Vec<usize> {
    let batch = batch.clamp(1, BATCH);
    let parts = claims.par_chunks(batch).enumerate();
    parts
        .flat_map_iter(|(number, part)| batch_failures(part, number * batch))
        .collect()
}

fn batch_failures(claims: &[Claim<'_>], first: usize) -> Vec<usize> {
    let mut failed = Vec::new();
    let mut queue = Vec::with_capacity(claims.len());
    for (at, claim) in (first..).zip(claims) {
        match (claim.key.try_into(), claim.signature.try_into()) {
            (Ok(key), Ok(signature)) => {
                let key: [u8; 32] = key;
                let signature: [u8; 64] = signature;
                queue.push((
                    at,
                    batch::Item::from((key.into(), signature.into(), claim.message)),
                ));
            }
            _ => failed.push(at),
        }
    }
    if queue.len() <= FEW || !all_verify(&queue) {
        failed.extend(single_out(&queue));
        failed.sort_unstable();
    }
    failed
}

type Queued = (usize, batch::Item);

fn all_verify(queue: &[Queued]) -> bool {
    let mut verifier = batch::Verifier::new();
    queue
        .iter()
        .for_each(|(_, item)| verifier.queue(item.clone()));
    verifier
        .verify(rand_core::UnwrapErr(getrandom::SysRng))
        .is_ok()
}

/// Halves a failing batch while only one half fails. Where both do, one by one is cheaper than more batches, and
/// whoever sends many bad signatures costs us at most three times the work of one by one.
fn single_out(mut queue: &[Queued]) -> impl Iterator<Item = usize> {
    while queue.len() > FEW {
        let (left, right) = queue.split_at(queue.len() / 2);
        queue = match all_verify(left) {
            true => right,
            false if all_verify(right) => left,
            false => break,
        };
    }
    queue
        .iter()
        .filter(|(_, item)| item.clone().verify_single().is_err())
        .map(|(at, _)| *at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn a_signature_verifies_and_a_flipped_bit_does_not() {
        let seed = [7u8; 32];
        let key = public(&seed);
        let mut signature = sign(&seed, b"lagoon");
        assert!(verify(&key, b"lagoon", &signature));
        assert!(!verify(&key, b"lagoom", &signature));
        signature[3] ^= 1;
        assert!(!verify(&key, b"lagoon", &signature));
    }

    /// Key, message and signature; what is wrong with it, if anything.
    type Owned = (Vec<u8>, Vec<u8>, Vec<u8>);

    fn owned(signer: u8, message: Vec<u8>, wrong: u8) -> Owned {
        let seed = [signer; 32];
        let mut key = public(&seed).to_vec();
        let mut signature = sign(&seed, &message).to_vec();
        match wrong {
            0 => signature[5] ^= 4,
            1 => signature[40] ^= 4,
            2 => signature[63] |= 0x80,
            3 => key = public(&[signer + 1; 32]).to_vec(),
            4 => key = vec![0xee; 32],
            5 => drop(key.pop()),
            6 => drop(signature.pop()),
            7 => signature.clear(),
            8 => signature.push(0),
            _ => {}
        }
        (key, message, signature)
    }

    fn one_by_one(claims: &[Claim<'_>]) -> Vec<usize> {
        let good = |claim: &Claim<'_>| match (claim.key.try_into(), claim.signature.try_into()) {
            (Ok(key), Ok(signature)) => verify(key, claim.message, signature),
            _ => false,
        };
        (0..claims.len()).filter(|at| !good(&claims[*at])).collect()
    }

    fn claims(owned: &[Owned]) -> Vec<Claim<'_>> {
        let claim = |owned| {
            let (key, message, signature): &Owned = owned;
            Claim {
                key,
                message,
                signature,
            }
        };
        owned.iter().map(claim).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn many_are_judged_as_one_by_one(
            items in vec((0u8..5, vec(any::<u8>(), 0..9), 0u8..60), 0..80),
            dense in vec((0u8..5, vec(any::<u8>(), 0..9), 0u8..14), 0..20),
            batch in 1usize..100,
            threads in 1usize..4,
        ) {
            let items: Vec<_> = [items, dense].concat().into_iter().map(|(s, m, w)| owned(s, m, w)).collect();
            let claims = claims(&items);
            let want = one_by_one(&claims);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            prop_assert_eq!(pool.install(|| parallel_failures(&claims, batch)), want.clone());
            prop_assert_eq!(failures(&claims), want);
        }
    }

    #[test]
    fn failures_are_found_in_every_batch() {
        let items = [
            owned(1, b"good".to_vec(), u8::MAX),
            owned(1, b"bad".to_vec(), 0),
        ];
        let (good, bad) = (claims(&items)[0], claims(&items)[1]);
        let mut many = vec![good; 2 * BATCH + 9];
        let wrong = [0, BATCH - 1, BATCH, BATCH + 70, 2 * BATCH + 8];
        wrong.iter().for_each(|at| many[*at] = bad);
        assert_eq!(failures(&many), wrong);
        assert_eq!(parallel_failures(&many, BATCH), wrong);
    }

    #[test]
    fn a_single_failure_is_found_wherever_it_stands() {
        let mut items: Vec<_> = (0..40u8).map(|n| owned(n % 3, vec![n], u8::MAX)).collect();
        assert!(failures(&claims(&items)).is_empty());
        for at in 0..items.len() {
            items[at].2[7] ^= 1;
            assert_eq!(failures(&claims(&items)), [at]);
            assert_eq!(parallel_failures(&claims(&items), 7), [at]);
            items[at].2[7] ^= 1;
        }
    }
}
