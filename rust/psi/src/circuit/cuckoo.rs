//! Cuckoo hashing with three positions and no stash (eprint 2018/120): each entry of the placer gets a bin
//! of its own among the three that its key names.
//!
//! Bins that only one entry names are given away first, again and again. What is left, if anything, is
//! placed by augmenting paths, so that a placement is found whenever there is one.

use crate::Refusal;

/// Positions of an entry.
pub(crate) const POSITIONS: usize = 3;
/// A bin without entry.
pub(crate) const EMPTY: u32 = u32::MAX;

/// Three different bins from the low 126 bits of a uniform `word`; `bins` is at least three.
pub(crate) fn positions(word: u128, bins: usize) -> [u32; POSITIONS] {
    const BITS: u32 = 42;
    let part = |k: u32, below: usize| {
        let part = (word >> (BITS * k)) as u64 & ((1 << BITS) - 1);
        ((u128::from(part) * below as u128) >> BITS) as u32
    };
    let first = part(0, bins);
    let mut second = part(1, bins - 1);
    second += u32::from(second >= first);
    let mut third = part(2, bins - 2);
    let (low, high) = (first.min(second), first.max(second));
    third += u32::from(third >= low);
    third += u32::from(third >= high);
    [first, second, third]
}

/// The entry of each bin, `EMPTY` for none. `E_STATE` if there is no placement, which says nothing else.
pub(crate) fn place(words: &[u128], bins: usize) -> Result<Vec<u32>, Refusal> {
    let mut table = vec![EMPTY; bins];
    // For each bin how many entries not yet placed name it, and the xor of their indices.
    let mut named = vec![(0u32, 0u32); bins];
    for (entry, word) in words.iter().enumerate() {
        for bin in positions(*word, bins) {
            let (count, sum) = &mut named[bin as usize];
            *count += 1;
            *sum ^= entry as u32;
        }
    }
    let mut placed = vec![false; words.len()];
    let mut single: Vec<u32> = Vec::new();
    for start in 0..bins {
        if named[start].0 == 1 {
            single.push(start as u32);
        }
        while let Some(bin) = single.pop() {
            let (1, entry) = named[bin as usize] else {
                continue;
            };
            table[bin as usize] = entry;
            placed[entry as usize] = true;
            for other in positions(words[entry as usize], bins) {
                let (count, sum) = &mut named[other as usize];
                *count -= 1;
                *sum ^= entry;
                if *count == 1 {
                    single.push(other);
                }
            }
        }
    }
    let mut from = Vec::new();
    for entry in (0..words.len()).filter(|entry| !placed[*entry]) {
        augment(words, &mut table, &mut from, entry as u32)?;
    }
    Ok(table)
}

/// Places `entry` by a shortest augmenting path, breadth first.
fn augment(
    words: &[u128],
    table: &mut [u32],
    from: &mut Vec<u32>,
    entry: u32,
) -> Result<(), Refusal> {
    const UNSEEN: u32 = u32::MAX;
    const ROOT: u32 = u32::MAX - 1;
    from.clear();
    from.resize(table.len(), UNSEEN);
    let mut queue = std::collections::VecDeque::from([(entry, ROOT)]);
    while let Some((holder, home)) = queue.pop_front() {
        for bin in positions(words[holder as usize], table.len()) {
            if from[bin as usize] != UNSEEN {
                continue;
            }
            from[bin as usize] = home;
            if table[bin as usize] != EMPTY {
                queue.push_back((table[bin as usize], bin));
                continue;
            }
            // Every entry on the path moves one bin on.
            let mut to = bin;
            loop {
                let source = from[to as usize];
                if source == ROOT {
                    table[to as usize] = entry;
                    return Ok(());
                }
                table[to as usize] = table[source as usize];
                to = source;
            }
        }
    }
    Err(Refusal::new("E_STATE", "the keys could not be placed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_primitives::stream::Stream;
    use proptest::prelude::*;

    fn words(n: usize, seed: u64) -> Vec<u128> {
        let mut stream = Stream::derive(&seed.to_le_bytes(), &[b"words"]);
        (0..n)
            .map(|_| u128::from_le_bytes(stream.bytes()))
            .collect()
    }

    fn check(words: &[u128], table: &[u32]) {
        let mut seen = vec![false; words.len()];
        for (bin, entry) in table.iter().enumerate().filter(|(_, e)| **e != EMPTY) {
            assert!(positions(words[*entry as usize], table.len()).contains(&(bin as u32)));
            assert!(!std::mem::replace(&mut seen[*entry as usize], true));
        }
        assert!(seen.into_iter().all(|s| s));
    }

    #[test]
    fn positions_are_different_and_uniform() {
        let mut counts = [0f64; 60];
        for word in words(60_000, 1) {
            let [a, b, c] = positions(word, 5);
            assert!(a < 5 && b < 5 && c < 5 && a != b && b != c && a != c);
            counts[(a * 12 + (b - u32::from(b > a)) * 3) as usize
                + (c - u32::from(c > a) - u32::from(c > b)) as usize] += 1.0;
        }
        // Chi-square with 59 degrees of freedom: above 109 once in 10,000.
        assert!(
            counts
                .iter()
                .map(|c| (c - 1e3) * (c - 1e3) / 1e3)
                .sum::<f64>()
                < 109.0
        );
    }

    #[test]
    fn dense_tables_are_filled_by_augmenting_paths() {
        // Nine bins of ten: far above what peeling alone can place (0.818), below the threshold (0.917).
        let words = words(9_000, 3);
        check(&words, &place(&words, 10_000).unwrap());
    }

    #[test]
    fn four_entries_in_three_bins_are_refused() {
        let same = [7u128; 4];
        assert_eq!(place(&same, 1000).unwrap_err().code, "E_STATE");
        check(&same[..3], &place(&same[..3], 1000).unwrap());
    }

    proptest! {
        #[test]
        fn every_entry_gets_one_of_its_bins(n in 0usize..300, seed in any::<u64>()) {
            let words = words(n, seed);
            let bins = crate::circuit::parameters::bins(n);
            let table = place(&words, bins).unwrap();
            prop_assert_eq!(table.len(), bins);
            check(&words, &table);
        }
    }
}
