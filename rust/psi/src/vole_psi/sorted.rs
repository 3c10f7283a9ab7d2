//! Tags in rising order, with the items that they belong to.

use std::cmp::Ordering;

use rayon::prelude::*;

use crate::Refusal;

/// Tags of items and the order that sorts them. Not constant-time: sorting sees random-looking tags only.
pub(crate) struct Sorted {
    tags: Vec<u128>,
    /// The first bits of a tag and, in as many bits as that takes, the index of its item; rising by tag.
    order: Vec<u64>,
    index_bits: u32,
}

impl Sorted {
    /// Sorts `tags`, cut by `mask`; `E_FORMAT` if one occurs twice. Runs in the current pool.
    pub(crate) fn new(mut tags: Vec<u128>, mask: u128) -> Result<Self, Refusal> {
        let index_bits = usize::BITS - tags.len().leading_zeros();
        let index = (1u64 << index_bits) - 1;
        tags.par_iter_mut().for_each(|tag| *tag &= mask);
        let mut order: Vec<u64> = tags
            .par_iter()
            .enumerate()
            .map(|(at, tag)| (tag >> 64) as u64 & !index | at as u64)
            .collect();
        order.par_sort_unstable();
        // Tags that agree in their first bits are next to each other, but not yet in order.
        for run in order.chunk_by_mut(|a, b| a >> index_bits == b >> index_bits) {
            if run.len() > 1 {
                let tag = |entry: &u64| tags[(entry & index) as usize];
                run.sort_unstable_by_key(tag);
                if run.windows(2).any(|pair| tag(&pair[0]) == tag(&pair[1])) {
                    return Err(Refusal::new(
                        "E_FORMAT",
                        "two keys have one tag: a digest stands twice, or once in 2^40 runs a new attempt helps",
                    ));
                }
            }
        }
        Ok(Self {
            tags,
            order,
            index_bits,
        })
    }

    /// Number of tags.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    fn index(&self, entry: u64) -> usize {
        (entry & ((1 << self.index_bits) - 1)) as usize
    }

    /// Item of the tag with that rank.
    pub(crate) fn item(&self, rank: usize) -> u32 {
        self.index(self.order[rank]) as u32
    }

    /// Tags of the ranks `from..to`.
    pub(crate) fn tags(&self, from: usize, to: usize) -> impl ExactSizeIterator<Item = u128> {
        self.order[from..to]
            .iter()
            .map(|entry| self.tags[self.index(*entry)])
    }

    /// The item of `tag`, if there is one. `cursor` is the rank from which it looks, and is moved on:
    /// tags must be asked for in rising order.
    pub(crate) fn find(&self, tag: u128, cursor: &mut usize) -> Option<u32> {
        let first = (tag >> 64) as u64 >> self.index_bits;
        while let Some(entry) = self.order.get(*cursor) {
            let own = entry >> self.index_bits;
            if own > first {
                return None;
            }
            if own == first {
                let index = self.index(*entry);
                match self.tags[index].cmp(&tag) {
                    Ordering::Less => {}
                    Ordering::Equal => {
                        *cursor += 1;
                        return Some(index as u32);
                    }
                    Ordering::Greater => return None,
                }
            }
            *cursor += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tag_that_occurs_twice_is_refused() {
        for tags in [vec![7, 3, 7], vec![1 << 127, 5, 1 << 127]] {
            assert_eq!(Sorted::new(tags, u128::MAX).err().unwrap().code, "E_FORMAT");
        }
        assert_eq!(
            Sorted::new(vec![0x10, 0x1f], !0xf).err().unwrap().code,
            "E_FORMAT"
        );
    }

    /// Cost of an item on one core: `cargo test --release -p atoll-psi cost -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement, not a check"]
    fn cost_per_item() {
        use super::super::hash::{Oracle, digest};
        const N: usize = 1 << 20;
        let time = |name: &str, run: &mut dyn FnMut()| {
            let start = std::time::Instant::now();
            run();
            println!(
                "{name}: {:.1} ns",
                start.elapsed().as_secs_f64() * 1e9 / N as f64
            );
        };
        let digests: Vec<[u8; 32]> = (0..N).map(|i| digest(&[&i.to_le_bytes()])).collect();
        let oracle = Oracle::new(b"x", &[0; 32]);
        crate::pool(1).unwrap().install(|| {
            let (mut keys, mut tags, mut sorted) = (Vec::new(), Vec::new(), None);
            time("item", &mut || keys = oracle.items(&digests, u128::MAX).0);
            time("tag", &mut || {
                tags = oracle.tags(&digests, &keys, 0, false).0
            });
            time("tag and proof", &mut || {
                std::hint::black_box(oracle.tags(&digests, &keys, 0, true));
            });
            time("sort", &mut || {
                sorted = Sorted::new(tags.clone(), u128::MAX).ok()
            });
            let sorted = sorted.take().unwrap();
            let all: Vec<u128> = sorted.tags(0, N).collect();
            time("read in order", &mut || {
                std::hint::black_box(sorted.tags(0, N).collect::<Vec<_>>());
            });
            time("merge", &mut || {
                let mut cursor = 0;
                assert!(
                    all.iter()
                        .all(|tag| sorted.find(*tag, &mut cursor).is_some())
                );
            });
        });
    }

    proptest! {
        #[test]
        fn finds_what_a_set_finds(
            own in proptest::collection::btree_set(0u128..60, 0..40),
            asked in proptest::collection::btree_set(0u128..60, 0..40),
            shift in prop_oneof![Just(0u32), Just(62), Just(68), Just(110)],
        ) {
            // Shifted by 68 or less, tags agree in the bits that are sorted first.
            let tags: Vec<u128> = own.iter().rev().map(|t| t << shift).collect();
            let sorted = Sorted::new(tags.clone(), u128::MAX).unwrap();
            prop_assert_eq!(sorted.len(), own.len());
            let rising: Vec<u128> = own.iter().map(|t| t << shift).collect();
            prop_assert_eq!(sorted.tags(0, own.len()).collect::<Vec<_>>(), rising);
            let mut cursor = 0;
            for tag in asked {
                let found = sorted.find(tag << shift, &mut cursor);
                let want = own.contains(&tag).then(|| tags.iter().position(|t| *t == tag << shift).unwrap() as u32);
                prop_assert_eq!(found, want);
            }
            for rank in 0..own.len() {
                prop_assert_eq!(tags[sorted.item(rank) as usize], sorted.tags(rank, rank + 1).next().unwrap());
            }
        }
    }
}
