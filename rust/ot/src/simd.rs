//! The carry-less products and wide moves of the processor, chosen at run time. Nothing else in this crate is unsafe.
#![allow(unsafe_code)]

use aes::Block;

/// Bit matrices of 64 by 64 that are transposed side by side.
pub(crate) const LANES: usize = 16;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    const LOW: i64 = 0x87;

    pub(super) fn has() -> bool {
        is_x86_feature_detected!("pclmulqdq") && is_x86_feature_detected!("sse2")
    }

    pub(super) fn has_wide() -> bool {
        is_x86_feature_detected!("vpclmulqdq") && is_x86_feature_detected!("avx512f")
    }

    #[inline(always)]
    fn load(x: u128) -> __m128i {
        // SAFETY: both types are 16 plain bytes.
        unsafe { std::mem::transmute(x) }
    }

    #[inline(always)]
    fn store(x: __m128i) -> u128 {
        // SAFETY: both types are 16 plain bytes.
        unsafe { std::mem::transmute(x) }
    }

    /// The 256 bits of the product: low and high half.
    #[target_feature(enable = "pclmulqdq,sse2")]
    #[inline]
    fn product(a: __m128i, b: __m128i) -> (__m128i, __m128i) {
        let low = _mm_clmulepi64_si128::<0x00>(a, b);
        let high = _mm_clmulepi64_si128::<0x11>(a, b);
        let middle = _mm_xor_si128(
            _mm_clmulepi64_si128::<0x10>(a, b),
            _mm_clmulepi64_si128::<0x01>(a, b),
        );
        (
            _mm_xor_si128(low, _mm_slli_si128::<8>(middle)),
            _mm_xor_si128(high, _mm_srli_si128::<8>(middle)),
        )
    }

    /// Folds the high half down, 64 bits at a time: x^128 is x^7 + x^2 + x + 1.
    #[target_feature(enable = "pclmulqdq,sse2")]
    #[inline]
    fn reduce(low: __m128i, high: __m128i) -> __m128i {
        let modulus = _mm_set_epi64x(0, LOW);
        let top = _mm_clmulepi64_si128::<0x01>(high, modulus);
        let low = _mm_xor_si128(low, _mm_slli_si128::<8>(top));
        let high = _mm_xor_si128(high, _mm_srli_si128::<8>(top));
        _mm_xor_si128(low, _mm_clmulepi64_si128::<0x00>(high, modulus))
    }

    #[target_feature(enable = "pclmulqdq,sse2")]
    pub(super) fn mul(a: u128, b: u128) -> u128 {
        let (low, high) = product(load(a), load(b));
        store(reduce(low, high))
    }

    #[target_feature(enable = "pclmulqdq,sse2")]
    pub(super) fn scale(values: &mut [u128], by: u128) {
        let by = load(by);
        for v in values {
            let (low, high) = product(load(*v), by);
            *v = store(reduce(low, high));
        }
    }

    #[target_feature(enable = "pclmulqdq,sse2")]
    pub(super) fn inner(a: &[u128], b: &[u128]) -> u128 {
        let (mut low, mut high) = (_mm_setzero_si128(), _mm_setzero_si128());
        for (x, y) in a.iter().zip(b) {
            let (l, h) = product(load(*x), load(*y));
            low = _mm_xor_si128(low, l);
            high = _mm_xor_si128(high, h);
        }
        store(reduce(low, high))
    }

    #[target_feature(enable = "avx512f,vpclmulqdq")]
    #[inline]
    fn load_four(x: &[u128; 4]) -> __m512i {
        // SAFETY: four u128 are 64 readable bytes, and the load needs no alignment.
        unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx512f,vpclmulqdq")]
    #[inline]
    fn unpack(x: __m512i) -> [u128; 4] {
        // SAFETY: both types are 64 plain bytes.
        unsafe { std::mem::transmute(x) }
    }

    #[target_feature(enable = "pclmulqdq,sse2,avx512f,vpclmulqdq")]
    pub(super) fn inner_wide(a: &[u128], b: &[u128]) -> u128 {
        let count = a.len().min(b.len());
        let ((a, rest_a), (b, rest_b)) = (a[..count].as_chunks::<4>(), b[..count].as_chunks::<4>());
        let zero = _mm512_setzero_si512();
        let (mut low, mut middle, mut high) = (zero, zero, zero);
        for (x, y) in a.iter().zip(b) {
            let (x, y) = (load_four(x), load_four(y));
            low = _mm512_xor_si512(low, _mm512_clmulepi64_epi128::<0x00>(x, y));
            high = _mm512_xor_si512(high, _mm512_clmulepi64_epi128::<0x11>(x, y));
            middle = _mm512_ternarylogic_epi64::<0x96>(
                middle,
                _mm512_clmulepi64_epi128::<0x10>(x, y),
                _mm512_clmulepi64_epi128::<0x01>(x, y),
            );
        }
        let sum = |x: __m512i| unpack(x).iter().fold(0, |s, v| s ^ v);
        let (low, middle, high) = (sum(low), sum(middle), sum(high));
        let folded = reduce(load(low ^ (middle << 64)), load(high ^ (middle >> 64)));
        store(folded) ^ inner(rest_a, rest_b)
    }
}

/// The product, where the processor has carry-less multiplication.
#[inline]
pub(crate) fn mul(a: u128, b: u128) -> Option<u128> {
    #[cfg(target_arch = "x86_64")]
    if x86::has() {
        // SAFETY: the features were found.
        return Some(unsafe { x86::mul(a, b) });
    }
    let _ = (a, b);
    None
}

/// Multiplies all values; false where the processor has no carry-less multiplication.
pub(crate) fn scale(values: &mut [u128], by: u128) -> bool {
    #[cfg(target_arch = "x86_64")]
    if x86::has() {
        // SAFETY: the features were found.
        unsafe { x86::scale(values, by) };
        return true;
    }
    let _ = (values, by);
    false
}

/// The inner product, where the processor has carry-less multiplication.
pub(crate) fn inner(a: &[u128], b: &[u128]) -> Option<u128> {
    #[cfg(target_arch = "x86_64")]
    {
        if x86::has() && x86::has_wide() {
            // SAFETY: the features were found.
            return Some(unsafe { x86::inner_wide(a, b) });
        }
        if x86::has() {
            // SAFETY: the features were found.
            return Some(unsafe { x86::inner(a, b) });
        }
    }
    let _ = (a, b);
    None
}

/// Transposes one matrix of 64 by 64 bits in each lane: bit j of value i becomes bit i of value j.
#[inline(always)]
fn transpose_lanes(rows: &mut [[u64; LANES]; 64]) {
    let mut mask = u64::MAX;
    let mut shift = 32;
    while shift > 0 {
        mask ^= mask << shift;
        for start in (0..64).step_by(2 * shift) {
            let (above, below) = rows[start..start + 2 * shift].split_at_mut(shift);
            for (above, below) in above.iter_mut().zip(below) {
                for (a, b) in above.iter_mut().zip(below) {
                    let moved = (*a >> shift ^ *b) & mask;
                    *b ^= moved;
                    *a ^= moved << shift;
                }
            }
        }
        shift /= 2;
    }
}

#[inline(always)]
fn add_values(sum: &mut [u128], values: &[u128]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum ^= value;
    }
}

/// Four rows of blocks with the coefficients 0 to 3: adds where bit 0 and where bit 1 is set, and sets their sum.
#[inline(always)]
fn add_four_rows<const N: usize>(
    rows: &[[Block; N]; 4],
    zero: &mut [u128; N],
    one: &mut [u128; N],
    sum: &mut [u128; N],
) {
    for i in 0..N {
        let value = |row: usize| u128::from_le_bytes(rows[row][i].into());
        let (first, second, third) = (value(1), value(2), value(3));
        zero[i] ^= first ^ third;
        one[i] ^= second ^ third;
        sum[i] = value(0) ^ first ^ second ^ third;
    }
}

/// Rows of lanes from their low and high halves, with `shift` added.
#[inline(always)]
fn join_lanes(lows: &[[u64; LANES]], highs: &[[u64; LANES]], shift: u128, rows: &mut [Block]) {
    let rows = rows.as_chunks_mut::<LANES>().0;
    for ((rows, lows), highs) in rows.iter_mut().zip(lows).zip(highs) {
        for ((row, low), high) in rows.iter_mut().zip(lows).zip(highs) {
            *row = ((u128::from(*low) | u128::from(*high) << 64) ^ shift)
                .to_le_bytes()
                .into();
        }
    }
}

#[inline(always)]
fn low(block: &Block) -> u64 {
    u128::from_le_bytes((*block).into()) as u64
}

/// Bit 0 of each `input + hashed`, those of the i-th group of lanes to bit `first + i` of each lane's word.
#[inline(always)]
fn collect_bits(input: &[Block], hashed: &[Block], first: usize, words: &mut [u64; LANES]) {
    let groups = input.as_chunks::<LANES>().0.iter();
    for (at, (input, hashed)) in groups.zip(hashed.as_chunks::<LANES>().0).enumerate() {
        for ((word, input), hashed) in words.iter_mut().zip(input).zip(hashed) {
            *word |= ((low(input) ^ low(hashed)) & 1) << (first + at);
        }
    }
}

/// Adds `first + i + 64 l` to row i of lane l.
#[inline(always)]
fn tweak_rows(rows: &[Block], first: u64, out: &mut [Block]) {
    let groups = rows.as_chunks::<LANES>().0.iter();
    for (first, (rows, out)) in (first..).zip(groups.zip(out.as_chunks_mut::<LANES>().0)) {
        for (tweak, (row, out)) in (first..).step_by(64).zip(rows.iter().zip(out)) {
            let row = u128::from_le_bytes((*row).into());
            *out = (row ^ u128::from(tweak)).to_le_bytes().into();
        }
    }
}

/// The low halves of `input + hashed`, row after row.
#[inline(always)]
fn low_halves(input: &[Block], hashed: &[Block], out: &mut [[u64; LANES]]) {
    let groups = input.as_chunks::<LANES>().0.iter();
    for (out, (input, hashed)) in out
        .iter_mut()
        .zip(groups.zip(hashed.as_chunks::<LANES>().0))
    {
        for (out, (input, hashed)) in out.iter_mut().zip(input.iter().zip(hashed)) {
            *out = low(input) ^ low(hashed);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::{
        Block, LANES, add_four_rows, add_values, collect_bits, join_lanes, low_halves,
        transpose_lanes, tweak_rows,
    };

    #[target_feature(enable = "avx512f")]
    pub(super) fn tweak_512(rows: &[Block], first: u64, out: &mut [Block]) {
        tweak_rows(rows, first, out);
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn lows_512(input: &[Block], hashed: &[Block], out: &mut [[u64; LANES]]) {
        low_halves(input, hashed, out);
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn join_512(
        lows: &[[u64; LANES]],
        highs: &[[u64; LANES]],
        shift: u128,
        rows: &mut [Block],
    ) {
        join_lanes(lows, highs, shift, rows);
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn collect_512(
        input: &[Block],
        hashed: &[Block],
        first: usize,
        words: &mut [u64; LANES],
    ) {
        collect_bits(input, hashed, first, words);
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn transpose_512(rows: &mut [[u64; LANES]; 64]) {
        transpose_lanes(rows);
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn transpose_256(rows: &mut [[u64; LANES]; 64]) {
        transpose_lanes(rows);
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn add_512(sum: &mut [u128], values: &[u128]) {
        add_values(sum, values);
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn add_four_512<const N: usize>(
        rows: &[[Block; N]; 4],
        zero: &mut [u128; N],
        one: &mut [u128; N],
        sum: &mut [u128; N],
    ) {
        add_four_rows(rows, zero, one, sum);
    }
}

/// Transposes one matrix of 64 by 64 bits in each lane.
pub(crate) fn transpose(rows: &mut [[u64; LANES]; 64]) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was found.
            return unsafe { wide::transpose_512(rows) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was found.
            return unsafe { wide::transpose_256(rows) };
        }
    }
    transpose_lanes(rows);
}

/// Rows of lanes from their low and high halves, with `shift` added.
pub(crate) fn join(lows: &[[u64; LANES]], highs: &[[u64; LANES]], shift: u128, rows: &mut [Block]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was found.
        return unsafe { wide::join_512(lows, highs, shift, rows) };
    }
    join_lanes(lows, highs, shift, rows);
}

/// Bit 0 of each `input + hashed`, those of the i-th group of lanes to bit `first + i` of each lane's word.
pub(crate) fn collect(input: &[Block], hashed: &[Block], first: usize, words: &mut [u64; LANES]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was found.
        return unsafe { wide::collect_512(input, hashed, first, words) };
    }
    collect_bits(input, hashed, first, words);
}

/// Adds `first + i + 64 l` to row i of lane l.
pub(crate) fn tweak(rows: &[Block], first: u64, out: &mut [Block]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was found.
        return unsafe { wide::tweak_512(rows, first, out) };
    }
    tweak_rows(rows, first, out);
}

/// The low halves of `input + hashed`, row after row.
pub(crate) fn lows(input: &[Block], hashed: &[Block], out: &mut [[u64; LANES]]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was found.
        return unsafe { wide::lows_512(input, hashed, out) };
    }
    low_halves(input, hashed, out);
}

/// Adds values to sums.
pub(crate) fn add(sum: &mut [u128], values: &[u128]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was found.
        return unsafe { wide::add_512(sum, values) };
    }
    add_values(sum, values);
}

/// Four rows of blocks with the coefficients 0 to 3: adds where bit 0 and where bit 1 is set, and sets their sum.
pub(crate) fn add_four<const N: usize>(
    rows: &[[Block; N]; 4],
    zero: &mut [u128; N],
    one: &mut [u128; N],
    sum: &mut [u128; N],
) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was found.
        return unsafe { wide::add_four_512(rows, zero, one, sum) };
    }
    add_four_rows(rows, zero, one, sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_transposes_and_adds_alike() {
        let mut state = 1u64;
        let mut draw = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            state ^ state >> 29
        };
        let rows: [[u64; LANES]; 64] = std::array::from_fn(|_| std::array::from_fn(|_| draw()));
        let (mut plain, mut chosen) = (rows, rows);
        transpose_lanes(&mut plain);
        transpose(&mut chosen);
        assert_eq!(plain, chosen);
        for (i, row) in rows.iter().enumerate() {
            for (j, column) in plain.iter().enumerate() {
                for (before, after) in row.iter().zip(column) {
                    assert_eq!(before >> j & 1, after >> i & 1);
                }
            }
        }
        let four: [[Block; 9]; 4] =
            std::array::from_fn(|row| std::array::from_fn(|i| [(16 * row + i) as u8; 16].into()));
        type Row = [u128; 9];
        let run = |add: fn(&[[Block; 9]; 4], &mut Row, &mut Row, &mut Row)| {
            let (mut zero, mut one, mut sum) = ([7; 9], [8; 9], [9; 9]);
            add(&four, &mut zero, &mut one, &mut sum);
            [zero, one, sum]
        };
        assert_eq!(run(add_four_rows), run(add_four));
        let byte = |value: u128| value.to_le_bytes()[5];
        let [zero, one, sum] = run(add_four);
        assert_eq!(
            [zero[3], one[3], sum[3]].map(byte),
            [19 ^ 51, 35 ^ 51, 3 ^ 19 ^ 35 ^ 51]
        );
        assert_eq!(zero[0].to_le_bytes()[0], 7 ^ 16 ^ 48);
        let mut sums = [zero; 2];
        add_values(&mut sums[0], &one);
        add(&mut sums[1], &one);
        assert_eq!(sums[0], sums[1]);
        assert_eq!(sums[0][4], zero[4] ^ one[4]);
        let input: Vec<Block> = (0..4 * LANES as u128)
            .map(|i| (i * 0x1234_5678_9abc_def7).to_le_bytes().into())
            .collect();
        let mut rows_of = [[Block::default(); 4 * LANES]; 2];
        join_lanes(&rows[..4], &rows[4..8], 5 << 90 | 3, &mut rows_of[0]);
        join(&rows[..4], &rows[4..8], 5 << 90 | 3, &mut rows_of[1]);
        assert_eq!(rows_of[0], rows_of[1]);
        assert_eq!(
            u128::from_le_bytes(rows_of[0][LANES + 1].into()) ^ (5 << 90 | 3),
            u128::from(rows[1][1]) | u128::from(rows[5][1]) << 64
        );
        let mut words = [[1 << 60; LANES]; 2];
        collect_bits(&input, &rows_of[0], 8, &mut words[0]);
        collect(&input, &rows_of[0], 8, &mut words[1]);
        assert_eq!(words[0], words[1]);
        for (at, (input, row)) in input.iter().zip(&rows_of[0]).enumerate() {
            let bit = words[0][at % LANES] >> (8 + at / LANES) & 1;
            assert_eq!(bit, u64::from((input[0] ^ row[0]) & 1));
        }
        let mut tweaked = [[Block::default(); 4 * LANES]; 2];
        tweak_rows(&input, (1 << 39) - 1, &mut tweaked[0]);
        tweak(&input, (1 << 39) - 1, &mut tweaked[1]);
        assert_eq!(tweaked[0], tweaked[1]);
        let mut halves = [[[0; LANES]; 4]; 2];
        low_halves(&input, &tweaked[0], &mut halves[0]);
        lows(&input, &tweaked[0], &mut halves[1]);
        assert_eq!(halves[0], halves[1]);
        for (i, row) in halves[0].iter().enumerate() {
            for (lane, tweak) in row.iter().enumerate() {
                assert_eq!(*tweak, (1 << 39) - 1 + (i + 64 * lane) as u64);
            }
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            let mut other = rows;
            // SAFETY: the feature was found.
            unsafe { wide::transpose_256(&mut other) };
            assert_eq!(plain, other);
        }
    }
}
