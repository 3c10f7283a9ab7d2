//! GF(2^128) in polynomial basis: bit i of a `u128` is the coefficient of x^i, modulo x^128 + x^7 + x^2 + x + 1.
//!
//! Every path gives the same values and takes a time that does not depend on them.

use crate::simd;

/// The low part of the modulus: x^7 + x^2 + x + 1.
pub(crate) const LOW: u128 = 0x87;

/// The product of two elements.
pub fn mul(a: u128, b: u128) -> u128 {
    simd::mul(a, b).unwrap_or_else(|| portable(a, b))
}

/// `values[i] = mul(values[i], by)`.
pub fn scale(values: &mut [u128], by: u128) {
    if !simd::scale(values, by) {
        values.iter_mut().for_each(|v| *v = portable(*v, by));
    }
}

/// The sum of `mul(a[i], b[i])` over the shorter of the two.
pub fn inner(a: &[u128], b: &[u128]) -> u128 {
    simd::inner(a, b).unwrap_or_else(|| {
        a.iter()
            .zip(b)
            .fold(0, |sum, (x, y)| sum ^ portable(*x, *y))
    })
}

/// `x` times the indeterminate.
pub(crate) fn double(x: u128) -> u128 {
    (x << 1) ^ (LOW & 0u128.wrapping_sub(x >> 127))
}

/// `point` to the power of `exponent`, which is public.
pub(crate) fn power(point: u128, exponent: usize) -> u128 {
    let (mut result, mut square, mut left) = (1, point, exponent);
    while left > 0 {
        if left & 1 == 1 {
            result = mul(result, square);
        }
        square = mul(square, square);
        left >>= 1;
    }
    result
}

/// The powers 1, point, point^2, ... of a point.
pub(crate) fn powers(point: u128, count: usize) -> Vec<u128> {
    let mut next = 1;
    (0..count)
        .map(|_| {
            let now = next;
            next = mul(next, point);
            now
        })
        .collect()
}

/// The sum of `values[i]` times `point^i`: a universal hash with collision probability `values.len() / 2^128`.
///
/// `table` holds the first powers of the point; a longer one makes longer runs without a carry.
pub(crate) fn evaluate(values: &[u128], table: &[u128], step: u128) -> u128 {
    let mut sum = 0;
    for piece in values.chunks(table.len()).rev() {
        sum = mul(sum, step) ^ inner(piece, table);
    }
    sum
}

fn portable(a: u128, b: u128) -> u128 {
    let mut sum = 0;
    for i in (0..128).rev() {
        sum = double(sum) ^ (a & 0u128.wrapping_sub((b >> i) & 1));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_products() {
        // x^127 * x = x^128 = x^7 + x^2 + x + 1; x^127 * x^127 = x^254.
        assert_eq!(mul(1 << 127, 2), 0x87);
        assert_eq!(mul(3, 5), 15);
        assert_eq!(power(2, 254), mul(1 << 127, 1 << 127));
        // The multiplicative group has 2^128 - 1 elements.
        let mut x = 0x1234_5678_9abc_def0_0fed_cba9_8765_4321;
        let start = x;
        (0..128).for_each(|_| x = mul(x, x));
        assert_eq!(x, start);
    }

    proptest! {
        #[test]
        fn a_field(a: u128, b: u128, c: u128) {
            prop_assert_eq!(mul(a, b), portable(a, b));
            prop_assert_eq!(mul(a, b), mul(b, a));
            prop_assert_eq!(mul(a, mul(b, c)), mul(mul(a, b), c));
            prop_assert_eq!(mul(a, b ^ c), mul(a, b) ^ mul(a, c));
            prop_assert_eq!(mul(a, 1), a);
            prop_assert_eq!(mul(a, 2), double(a));
        }

        #[test]
        fn kernels_are_the_product(values: Vec<u128>, others: Vec<u128>, by: u128) {
            let mut scaled = values.clone();
            scale(&mut scaled, by);
            prop_assert_eq!(&scaled, &values.iter().map(|v| portable(*v, by)).collect::<Vec<_>>());
            let sum = values.iter().zip(&others).fold(0, |s, (a, b)| s ^ portable(*a, *b));
            prop_assert_eq!(inner(&values, &others), sum);
            let table = powers(by, 7);
            let whole = powers(by, values.len());
            prop_assert_eq!(evaluate(&values, &table, power(by, 7)), inner(&values, &whole));
        }
    }
}
