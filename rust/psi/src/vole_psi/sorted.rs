//! Tags in rising order, with the items that they belong to.

use rayon::prelude::*;

use crate::Refusal;

const INDEX: u128 = u32::MAX as u128;

/// Tags of items and the order that sorts them. Not constant-time: sorting sees random-looking tags only.
pub(crate) struct Sorted {
    tags: Vec<u128>,
    /// The first 96 bits of a tag and the index of its item, rising by tag.
    order: Vec<u128>,
}

impl Sorted {
    /// Sorts `tags`, cut by `mask`; `E_STATE` if one occurs twice. Runs in the current pool.
    pub(crate) fn new(mut tags: Vec<u128>, mask: u128) -> Result<Self, Refusal> {
        tags.par_iter_mut().for_each(|tag| *tag &= mask);
        let mut order: Vec<u128> = tags
            .par_iter()
            .enumerate()
            .map(|(index, tag)| tag & !INDEX | index as u128)
            .collect();
        order.par_sort_unstable();
        // Tags that agree in 96 bits are next to each other, but not yet in order.
        for run in order.chunk_by_mut(|a, b| a >> 32 == b >> 32) {
            if run.len() > 1 {
                run.sort_unstable_by_key(|entry| tags[(entry & INDEX) as usize]);
                let repeated = |pair: &[u128]| {
                    tags[(pair[0] & INDEX) as usize] == tags[(pair[1] & INDEX) as usize]
                };
                if run.windows(2).any(repeated) {
                    return Err(Refusal::new(
                        "E_STATE",
                        "two items have one tag; a new attempt draws others",
                    ));
                }
            }
        }
        Ok(Self { tags, order })
    }

    /// Number of tags.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Item of the tag with that rank.
    pub(crate) fn item(&self, rank: usize) -> u32 {
        (self.order[rank] & INDEX) as u32
    }

    /// Tags of the ranks `from..to`.
    pub(crate) fn tags(&self, from: usize, to: usize) -> impl ExactSizeIterator<Item = u128> {
        self.order[from..to]
            .iter()
            .map(|entry| self.tags[(entry & INDEX) as usize])
    }

    /// The item of `tag`, if there is one. `cursor` is the rank from which it looks, and is moved on:
    /// tags must be asked for in rising order.
    pub(crate) fn find(&self, tag: u128, cursor: &mut usize) -> Option<u32> {
        while let Some(entry) = self.order.get(*cursor) {
            if entry >> 32 > tag >> 32 {
                return None;
            }
            let index = (entry & INDEX) as usize;
            if entry >> 32 == tag >> 32 {
                let own = self.tags[index];
                if own > tag {
                    return None;
                }
                if own == tag {
                    *cursor += 1;
                    return Some(index as u32);
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
            assert_eq!(Sorted::new(tags, u128::MAX).err().unwrap().code, "E_STATE");
        }
        assert_eq!(
            Sorted::new(vec![0x10, 0x1f], !0xf).err().unwrap().code,
            "E_STATE"
        );
    }

    proptest! {
        #[test]
        fn finds_what_a_set_finds(
            own in proptest::collection::btree_set(0u128..60, 0..40),
            asked in proptest::collection::btree_set(0u128..60, 0..40),
            shift in prop_oneof![Just(0u32), Just(30), Just(31), Just(100)],
        ) {
            // Shifted by 30, tags agree in their first 96 bits in fours; by 0, all of them do.
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
