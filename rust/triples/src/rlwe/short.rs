//! Arithmetic modulo primes between 2^46 and 2^47, without branches on values: as processors multiply 52 bits.

/// Bits of what is multiplied at once.
pub(super) const RADIX_BITS: u32 = 52;
/// The low bits of a product.
pub(super) const MASK: u64 = (1 << RADIX_BITS) - 1;
/// Bits that words are cut at to become residues.
const CUT: u32 = 40;

/// A prime, and what reduces modulo it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Short {
    pub(super) q: u64,
    /// floor(2^52 / q).
    pub(super) one: u64,
    /// -1/q modulo 2^52.
    pub(super) negative_inverse: u64,
    /// 2^40 and -2^63 as residues: what makes residues of signed words.
    pub(super) cut: ShortFactor,
    pub(super) lift: u64,
}

/// A factor, and floor(2^52 factor / q): what makes products with it cheap.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ShortFactor {
    pub(super) value: u64,
    pub(super) quotient: u64,
}

impl Short {
    pub(super) const fn new(q: u64) -> Self {
        assert!(q >> 46 == 1 && q % 2 == 1);
        // Each step of Newton's doubles the bits that are right; q is its own inverse modulo 8.
        let mut inverse = q;
        let mut step = 0;
        while step < 5 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(q.wrapping_mul(inverse)));
            step += 1;
        }
        let cut = 1 << CUT;
        Self {
            q,
            one: (1 << RADIX_BITS) / q,
            negative_inverse: inverse.wrapping_neg() & MASK,
            cut: ShortFactor {
                value: cut,
                quotient: (((cut as u128) << RADIX_BITS) / q as u128) as u64,
            },
            lift: q - (1 << 63) % q,
        }
    }

    /// `x` below 2q as a residue.
    #[inline(always)]
    pub(super) fn once(self, x: u64) -> u64 {
        // A difference below zero wraps, and is the larger.
        x.min(x.wrapping_sub(self.q))
    }

    #[inline(always)]
    pub(super) fn add(self, a: u64, b: u64) -> u64 {
        self.once(a + b)
    }

    #[inline(always)]
    pub(super) fn sub(self, a: u64, b: u64) -> u64 {
        self.once(a + self.q - b)
    }

    /// `x` below 2^52 as a residue.
    #[inline(always)]
    pub(super) fn reduce(self, x: u64) -> u64 {
        let quotient = ((u128::from(x) * u128::from(self.one)) >> RADIX_BITS) as u64;
        self.once(x - quotient * self.q)
    }

    /// `x` below 2^94 as a residue.
    #[inline(always)]
    pub(super) fn reduce_long(self, x: u128, half: ShortFactor) -> u64 {
        let low = x as u64 & ((1 << 47) - 1);
        self.reduce(low + self.scale_lazy((x >> 47) as u64, half))
    }

    /// 2^47 as a factor, for [`Self::reduce_long`].
    pub(super) fn half(self) -> ShortFactor {
        self.factor((1 << 47) - self.q)
    }

    /// `x` times a factor, below 2q, for `x` below 2^52.
    #[inline(always)]
    pub(super) fn scale_lazy(self, x: u64, by: ShortFactor) -> u64 {
        let quotient = ((u128::from(x) * u128::from(by.quotient)) >> RADIX_BITS) as u64;
        (x.wrapping_mul(by.value)).wrapping_sub(quotient.wrapping_mul(self.q)) & MASK
    }

    /// `x` times a factor, for `x` below 2^52.
    #[inline(always)]
    pub(super) fn scale(self, x: u64, by: ShortFactor) -> u64 {
        self.once(self.scale_lazy(x, by))
    }

    /// `(low + 2^52 high) / 2^52` (Montgomery 1985), for `high` below 2^51 and any `low`.
    #[inline(always)]
    pub(super) fn fold(self, low: u64, high: u64) -> u64 {
        let high = high + (low >> RADIX_BITS);
        let low = low & MASK;
        let factor = low.wrapping_mul(self.negative_inverse) & MASK;
        let product = ((u128::from(factor) * u128::from(self.q)) >> RADIX_BITS) as u64;
        // The low halves add up to zero, with a carry unless both are.
        self.reduce(high + product + u64::from(low != 0))
    }

    /// The product of residues, divided by 2^52.
    #[inline(always)]
    pub(super) fn fold_product(self, a: u64, b: u64) -> u64 {
        let product = u128::from(a) * u128::from(b);
        self.fold(product as u64 & MASK, (product >> RADIX_BITS) as u64)
    }

    /// A product, of what is public: division takes longer for some values.
    pub(super) fn public_product(self, a: u64, b: u64) -> u64 {
        (u128::from(a) * u128::from(b) % u128::from(self.q)) as u64
    }

    pub(super) fn power(self, base: u64, exponent: u64) -> u64 {
        let (mut result, mut base, mut exponent) = (1, base, exponent);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = self.public_product(result, base);
            }
            base = self.public_product(base, base);
            exponent >>= 1;
        }
        result
    }

    pub(super) fn inverse(self, x: u64) -> u64 {
        self.power(x % self.q, self.q - 2)
    }

    /// 2^52 as a residue.
    pub(super) fn radix(self) -> u64 {
        (1 << RADIX_BITS) % self.q
    }

    /// A public factor.
    pub(super) fn factor(self, value: u64) -> ShortFactor {
        ShortFactor {
            value,
            quotient: ((u128::from(value) << RADIX_BITS) / u128::from(self.q)) as u64,
        }
    }

    /// A small signed number as a residue.
    #[inline(always)]
    pub(super) fn signed(self, x: i64) -> u64 {
        (x as u64).wrapping_add(self.q & (x >> 63) as u64)
    }

    /// Any signed number of 64 bits, below 4q.
    #[inline(always)]
    pub(super) fn word_lazy(self, x: u64) -> u64 {
        // From 2^63 below zero, which is 0, to below 2^64.
        let x = x ^ 1 << 63;
        (x & ((1 << CUT) - 1)) + self.scale_lazy(x >> CUT, self.cut) + self.lift
    }

    /// Any number below 2^122 as a residue: of 40, 40 and 42 bits.
    #[inline(always)]
    pub(super) fn reduce_wide(self, x: u128) -> u64 {
        let part = |at: u32| (x >> (at * CUT)) as u64;
        let high = self.scale_lazy(part(2), self.cut) + (part(1) & ((1 << CUT) - 1));
        self.reduce(self.scale_lazy(high, self.cut) + (part(0) & ((1 << CUT) - 1)))
    }

    /// A residue of `from`, taken between -q/2 and q/2, as a residue of this one.
    #[inline(always)]
    pub(super) fn lift(self, x: u64, from: Self) -> u64 {
        let negative = (from.q / 2).wrapping_sub(x) >> 63;
        x.wrapping_add((self.q.wrapping_sub(from.q)) & negative.wrapping_neg())
    }
}

#[cfg(test)]
mod tests {
    use super::super::matrix::LIMBS;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_operations_are_those_of_integers(
            which in 0usize..4, x: u128, a: u64, b: u64, c: u64, small in -1000i64..1000,
        ) {
            let m = LIMBS[which];
            let q = u128::from(m.q);
            let (s, t) = (u128::from(a) % q, u128::from(b) % q);
            let (y, z, long) = (s as u64, t as u64, c & MASK);
            prop_assert_eq!(u128::from(m.add(y, z)), (s + t) % q);
            prop_assert_eq!(u128::from(m.sub(y, z)), (s + q - t) % q);
            prop_assert_eq!(m.reduce(long), long % m.q);
            prop_assert_eq!(u128::from(m.reduce_long(x >> 34, m.half())), (x >> 34) % q);
            prop_assert_eq!(u128::from(m.reduce_wide(x >> 6)), (x >> 6) % q);
            prop_assert_eq!(u128::from(m.scale(long, m.factor(y))), u128::from(long) * s % q);
            prop_assert!(m.scale_lazy(long, m.factor(y)) < 2 * m.q);
            prop_assert_eq!(m.public_product(m.fold_product(y, z), m.radix()), m.public_product(y, z));
            let high = b >> 13;
            let sum = u128::from(c) + (u128::from(high) << RADIX_BITS);
            prop_assert_eq!(m.public_product(m.fold(c, high), m.radix()), (sum % q) as u64);
            prop_assert_eq!(i128::from(m.signed(small)), i128::from(small).rem_euclid(q as i128));
            prop_assert_eq!(i128::from(m.reduce(m.word_lazy(a))), i128::from(a as i64).rem_euclid(q as i128));
            prop_assert!(m.word_lazy(a) < 4 * m.q);
            for from in LIMBS {
                let x = a % from.q;
                let centred = if x > from.q / 2 { i128::from(x) - i128::from(from.q) } else { i128::from(x) };
                prop_assert_eq!(i128::from(m.lift(x, from)), centred.rem_euclid(q as i128));
            }
            if y > 0 {
                prop_assert_eq!(m.public_product(y, m.inverse(y)), 1);
            }
        }
    }

    #[test]
    fn the_edges() {
        for m in LIMBS {
            let q = u128::from(m.q);
            assert_eq!(m.reduce(MASK), MASK % m.q);
            for long in [0, (1 << 94) - 1, q * q] {
                assert_eq!(u128::from(m.reduce_long(long, m.half())), long % q);
            }
            let most = (1u128 << 122) - 1;
            assert_eq!(u128::from(m.reduce_wide(most)), most % q);
            let sum = u128::from(u64::MAX) + (((1u128 << 51) - 1) << RADIX_BITS);
            let folded = m.fold(u64::MAX, (1 << 51) - 1);
            assert_eq!(m.public_product(folded, m.radix()), (sum % q) as u64);
            assert_eq!(m.fold(0, 0), 0);
            for x in [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1] {
                let expected = i128::from(x as i64).rem_euclid(i128::from(m.q));
                assert_eq!(i128::from(m.reduce(m.word_lazy(x))), expected);
            }
        }
    }
}
