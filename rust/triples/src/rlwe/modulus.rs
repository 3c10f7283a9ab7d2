//! Arithmetic modulo primes between 2^61 and 2^62, without branches on values.

/// A prime, and what reduces modulo it.
#[derive(Debug, Clone, Copy)]
pub struct Modulus {
    pub(crate) q: u64,
    /// floor(2^124 / q).
    barrett: u64,
    /// -1/q modulo 2^64.
    pub(super) negative_inverse: u64,
}

/// A factor, and floor(2^64 factor / q): what makes products with it cheap.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Factor {
    pub(super) value: u64,
    pub(super) quotient: u64,
}

impl Modulus {
    pub(crate) const fn new(q: u64) -> Self {
        assert!(q >> 61 == 1 && q % 2 == 1);
        // Each step of Newton's doubles the bits that are right; q is its own inverse modulo 8.
        let mut inverse = q;
        let mut step = 0;
        while step < 5 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(q.wrapping_mul(inverse)));
            step += 1;
        }
        Self {
            q,
            barrett: ((1u128 << 124) / q as u128) as u64,
            negative_inverse: inverse.wrapping_neg(),
        }
    }

    /// `x` below 2q as a residue.
    #[inline(always)]
    pub(crate) fn once(self, x: u64) -> u64 {
        // A difference below zero wraps, and is the larger.
        x.min(x.wrapping_sub(self.q))
    }

    #[inline(always)]
    pub(crate) fn add(self, a: u64, b: u64) -> u64 {
        self.once(a + b)
    }

    #[inline(always)]
    pub(crate) fn sub(self, a: u64, b: u64) -> u64 {
        self.once(a + self.q - b)
    }

    /// `x` below 2^124 as a residue.
    #[inline(always)]
    pub(crate) fn reduce(self, x: u128) -> u64 {
        let top = (x >> 61) as u64;
        let quotient = ((u128::from(top) * u128::from(self.barrett)) >> 63) as u64;
        let rest = (x as u64).wrapping_sub(quotient.wrapping_mul(self.q));
        // The quotient is at most 2 too small.
        self.once(self.once2(rest))
    }

    #[inline(always)]
    fn once2(self, x: u64) -> u64 {
        x.min(x.wrapping_sub(2 * self.q))
    }

    #[inline(always)]
    pub(crate) fn mul(self, a: u64, b: u64) -> u64 {
        self.reduce(u128::from(a) * u128::from(b))
    }

    /// `x / 2^64` (Montgomery 1985), for `x` below `2^64 q`.
    #[inline(always)]
    pub(crate) fn fold(self, x: u128) -> u64 {
        let low = (x as u64).wrapping_mul(self.negative_inverse);
        let sum = (x >> 64) as u64;
        // The low halves add up to zero, with a carry unless both are.
        let carry = u64::from(x as u64 != 0);
        let high = ((u128::from(low) * u128::from(self.q)) >> 64) as u64;
        self.once(sum + high + carry)
    }

    pub(crate) fn power(self, base: u64, exponent: u64) -> u64 {
        let (mut result, mut base, mut exponent) = (1, base, exponent);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = self.mul(result, base);
            }
            base = self.mul(base, base);
            exponent >>= 1;
        }
        result
    }

    pub(crate) fn inverse(self, x: u64) -> u64 {
        self.power(x, self.q - 2)
    }

    /// 2^64 as a residue.
    pub(crate) fn radix(self) -> u64 {
        self.reduce(1 << 64)
    }

    /// A public factor.
    pub(crate) fn factor(self, value: u64) -> Factor {
        Factor {
            value,
            quotient: ((u128::from(value) << 64) / u128::from(self.q)) as u64,
        }
    }

    /// `x` times a factor, below 2q, for any x.
    #[inline(always)]
    pub(crate) fn scale_lazy(self, x: u64, by: Factor) -> u64 {
        let quotient = ((u128::from(x) * u128::from(by.quotient)) >> 64) as u64;
        (x.wrapping_mul(by.value)).wrapping_sub(quotient.wrapping_mul(self.q))
    }

    /// `x` times a factor, for any x.
    #[inline(always)]
    pub(crate) fn scale(self, x: u64, by: Factor) -> u64 {
        self.once(self.scale_lazy(x, by))
    }

    /// A small signed number as a residue.
    #[inline(always)]
    pub(crate) fn signed(self, x: i64) -> u64 {
        (x as u64).wrapping_add(self.q & (x >> 63) as u64)
    }

    /// Any signed number of 64 bits as a residue.
    #[inline(always)]
    pub(crate) fn word(self, x: u64) -> u64 {
        // From 2^63 below zero, which is 0, to below 2^64.
        self.sub(self.reduce(u128::from(x ^ 1 << 63)), self.reduce(1 << 63))
    }

    /// Any signed number of 128 bits as a residue.
    #[inline(always)]
    pub(crate) fn wide_word(self, x: u128) -> u64 {
        let shifted = x ^ 1 << 127;
        let radix = self.radix();
        let [low, high, less] =
            [shifted & u128::from(u64::MAX), shifted >> 64, 1 << 63].map(|part| self.reduce(part));
        self.add(self.mul(self.sub(high, less), radix), low)
    }

    /// A residue of `from`, taken between -q/2 and q/2, as a residue of this one.
    #[inline(always)]
    pub(crate) fn lift(self, x: u64, from: Self) -> u64 {
        let negative = (from.q / 2).wrapping_sub(x) >> 63;
        x.wrapping_add((self.q.wrapping_sub(from.q)) & negative.wrapping_neg())
    }
}

#[cfg(test)]
mod tests {
    use super::super::PRIMES;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_operations_are_those_of_integers(
            which in 0usize..7, x: u128, a: u64, b: u64, c: u64, small in -1000i64..1000,
        ) {
            let m = PRIMES[which];
            let q = u128::from(m.q);
            let (s, t, u) = (u128::from(a) % q, u128::from(b) % q, u128::from(c) % q);
            let (y, z) = (s as u64, t as u64);
            prop_assert_eq!(u128::from(m.add(y, z)), (s + t) % q);
            prop_assert_eq!(u128::from(m.sub(y, z)), (s + q - t) % q);
            prop_assert_eq!(u128::from(m.mul(y, z)), s * t % q);
            prop_assert_eq!(u128::from(m.reduce(x >> 4)), (x >> 4) % q);
            prop_assert_eq!(u128::from(m.scale(c, m.factor(y))), u128::from(c) * s % q);
            prop_assert!(u128::from(m.scale_lazy(c, m.factor(y))) < 2 * q);
            let three = s * t + t * u + u * s;
            prop_assert_eq!(m.mul(m.fold(three), m.radix()), (three % q) as u64);
            prop_assert_eq!(m.fold(0), 0);
            prop_assert_eq!(i128::from(m.signed(small)), i128::from(small).rem_euclid(q as i128));
            prop_assert_eq!(i128::from(m.word(a)), i128::from(a as i64).rem_euclid(q as i128));
            prop_assert_eq!(m.wide_word(x), (x as i128).rem_euclid(q as i128) as u64);
            for from in PRIMES {
                let x = a % from.q;
                let centered = if x > from.q / 2 { i128::from(x) - i128::from(from.q) } else { i128::from(x) };
                prop_assert_eq!(i128::from(m.lift(x, from)), centered.rem_euclid(q as i128));
            }
            if y > 0 {
                prop_assert_eq!(m.mul(y, m.inverse(y)), 1);
            }
        }
    }

    #[test]
    fn the_edges() {
        for m in PRIMES {
            let top = (1u128 << 124) - 1;
            assert_eq!(u128::from(m.reduce(top)), top % u128::from(m.q));
            let most = (u128::from(m.q) << 64) - 1;
            assert_eq!(
                m.mul(m.fold(most), m.radix()),
                (most % u128::from(m.q)) as u64
            );
            assert_eq!(m.mul(m.q - 1, m.q - 1), 1);
            for x in [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1] {
                let expected = i128::from(x as i64).rem_euclid(i128::from(m.q));
                assert_eq!(i128::from(m.word(x)), expected);
            }
            for x in [
                0,
                1,
                u128::MAX,
                1 << 127,
                (1 << 127) - 1,
                1 << 64,
                1 << 63,
                u128::MAX << 64,
            ] {
                let expected = (x as i128).rem_euclid(i128::from(m.q));
                assert_eq!(i128::from(m.wide_word(x)), expected);
            }
        }
    }
}
