//! Inner products with the dense columns, eight of them a look-up ("method of the four Russians").

/// Exclusive ors of every subset of each eight of 64 slots: 32 KiB, so that it stays in the first cache.
pub(crate) struct Table(Vec<[u128; 256]>);

impl Table {
    /// The table of 64 dense slots.
    pub fn new(dense: &[u128]) -> Self {
        let blocks = dense.chunks_exact(8).map(|eight| {
            let mut block = [0u128; 256];
            for subset in 1..256usize {
                block[subset] =
                    block[subset & (subset - 1)] ^ eight[subset.trailing_zeros() as usize];
            }
            block
        });
        Self(blocks.collect())
    }

    /// The exclusive or of the dense slots that `mask` names, bit i for slot i.
    #[inline(always)]
    pub fn product(&self, mask: u64) -> u128 {
        let blocks: &[[u128; 256]; 8] = self.0.as_slice().try_into().expect("eight blocks");
        let bytes = mask.to_le_bytes();
        let mut sum = 0;
        for i in 0..8 {
            sum ^= blocks[i][bytes[i] as usize];
        }
        sum
    }
}
