//! Splits a set into buckets by a keyed hash, so that two parties can join bucket by bucket.

use rayon::prelude::*;

use crate::vole_psi::hash::Oracle;
use crate::{Refusal, pool};

const LABEL: &[u8] = b"atoll psi buckets v1";
/// Items that one thread places at a time.
const BLOCK: usize = 1 << 14;
/// Most buckets.
pub const MAX_BUCKETS: usize = 1 << 16;

/// Places the digests (32 bytes each): indices by bucket, rising within a bucket, and the number of each bucket.
///
/// The bucket of a digest is ⌊b·u / 2^64⌋ for u the first 64 bits of SHA-256 under the 32-byte `key`.
/// `E_FORMAT` for digests of another length, no bucket or more than `MAX_BUCKETS`; `E_TOO_LARGE` beyond 2^32 - 1 items.
pub fn partition(
    digests: &[u8],
    key: &[u8; 32],
    buckets: usize,
    threads: usize,
) -> Result<(Vec<u32>, Vec<u32>), Refusal> {
    let (digests, []) = digests.as_chunks::<32>() else {
        return Err(Refusal::new("E_FORMAT", "digests have 32 bytes each"));
    };
    if !(1..=MAX_BUCKETS).contains(&buckets) {
        return Err(Refusal::new(
            "E_FORMAT",
            format!("buckets is 1 to {MAX_BUCKETS}, got {buckets}"),
        ));
    }
    if digests.len() > u32::MAX as usize {
        return Err(Refusal::new(
            "E_TOO_LARGE",
            "a side has at most 2^32 - 1 keys",
        ));
    }
    let oracle = Oracle::new(LABEL, key);
    let mut places = vec![0u16; digests.len()];
    let counts = pool(threads)?.install(|| {
        places
            .par_chunks_mut(BLOCK)
            .zip(digests.par_chunks(BLOCK))
            .for_each(|(places, digests)| {
                for (place, digest) in places.iter_mut().zip(digests) {
                    *place = oracle.bucket(digest, buckets);
                }
            });
        let mut counts = vec![0u32; buckets];
        places
            .iter()
            .for_each(|place| counts[usize::from(*place)] += 1);
        counts
    });
    let mut next = Vec::with_capacity(buckets);
    let mut start = 0;
    for count in &counts {
        next.push(start);
        start += count;
    }
    let mut order = vec![0u32; digests.len()];
    for (index, place) in places.iter().enumerate() {
        let at = &mut next[usize::from(*place)];
        order[*at as usize] = index as u32;
        *at += 1;
    }
    Ok((order, counts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digests(n: u32) -> Vec<u8> {
        (0..n)
            .flat_map(|i| {
                let mut d = [0u8; 32];
                d[..4].copy_from_slice(&i.to_le_bytes());
                d
            })
            .collect()
    }

    proptest! {
        #[test]
        fn every_item_has_one_bucket_whoever_holds_it(n in 0u32..400, buckets in 1usize..20, threads in 1usize..3) {
            let all = digests(n);
            let (order, counts) = partition(&all, &[1; 32], buckets, threads).unwrap();
            prop_assert_eq!(counts.len(), buckets);
            let mut rest = &order[..];
            let mut seen = Vec::new();
            for count in counts {
                let (bucket, later) = rest.split_at(count as usize);
                prop_assert!(bucket.windows(2).all(|w| w[0] < w[1]));
                for item in bucket {
                    let alone = &all[32 * *item as usize..][..32];
                    let (_, of_one) = partition(alone, &[1; 32], buckets, 1).unwrap();
                    prop_assert_eq!(of_one.iter().position(|c| *c == 1), Some(seen.len()));
                }
                seen.push(bucket.len());
                rest = later;
            }
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn buckets_are_even_and_depend_on_the_key() {
        let all = digests(64_000);
        let (first, counts) = partition(&all, &[1; 32], 16, 2).unwrap();
        // Chi-square with 15 degrees of freedom: 44.3 is passed by chance once in 10,000 keys.
        let chi: f64 = counts
            .iter()
            .map(|c| (f64::from(*c) - 4000.0).powi(2) / 4000.0)
            .sum();
        assert!(chi < 44.3, "{chi}");
        assert_ne!(first, partition(&all, &[2; 32], 16, 2).unwrap().0);
    }

    #[test]
    fn bad_arguments_are_refused() {
        for (bytes, buckets, threads) in
            [(31, 1, 1), (32, 0, 1), (32, MAX_BUCKETS + 1, 1), (32, 1, 0)]
        {
            let refusal = partition(&vec![0; bytes], &[0; 32], buckets, threads).unwrap_err();
            assert_eq!(refusal.code, "E_FORMAT");
        }
        let (order, counts) = partition(&[0; 32], &[0; 32], MAX_BUCKETS, 1).unwrap();
        assert_eq!((order, counts.iter().sum::<u32>()), (vec![0], 1));
    }
}
