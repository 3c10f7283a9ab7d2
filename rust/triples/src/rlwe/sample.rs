//! What is drawn: uniform residues, errors, ternary polynomials, words, and the flood. Without branches on what stays secret.

use atoll_ot::prg::Counter;

use super::FLOOD_BITS;

/// Blocks of the generator that one purpose may use.
const ROOM: u128 = 1 << 20;

/// A generator with a place for each purpose.
#[derive(Clone)]
pub(crate) struct Source([u8; 16]);

impl Source {
    pub(crate) fn new(key: [u8; 16]) -> Self {
        Self(key)
    }

    /// The draws of one purpose. No purpose may serve twice.
    pub(crate) fn draws(&self, purpose: u64) -> Draws {
        let mut counter = Counter::new(&self.0);
        counter.seek(u128::from(purpose) * ROOM);
        Draws {
            counter,
            buffer: [0; 128],
            used: 128,
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// Draws of one purpose.
pub(crate) struct Draws {
    counter: Counter,
    buffer: [u128; 128],
    used: usize,
}

impl Drop for Draws {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.buffer);
    }
}

impl Draws {
    #[inline(always)]
    fn block(&mut self) -> u128 {
        if self.used == self.buffer.len() {
            self.counter.blocks(&mut self.buffer);
            self.used = 0;
        }
        let block = self.buffer[self.used];
        self.used += 1;
        block
    }

    /// Uniform words, two of a block.
    pub(crate) fn words(&mut self, out: &mut [u64]) {
        for pair in out.chunks_mut(2) {
            let block = self.block();
            pair[0] = block as u64;
            if let Some(second) = pair.get_mut(1) {
                *second = (block >> 64) as u64;
            }
        }
    }

    /// Uniform residues, two of a block; what is none is drawn again, which no residue tells.
    pub(crate) fn residues(&mut self, q: u64, out: &mut [u64]) {
        self.words(out);
        let rest = q.leading_zeros();
        for value in out {
            *value >>= rest;
            while *value >= q {
                *value = self.block() as u64 >> rest;
            }
        }
    }

    /// Errors of a centred binomial distribution, the sum of 21 coins less that of 21 others: variance 10.5.
    pub(crate) fn errors(&mut self, out: &mut [i64]) {
        const COINS: u64 = (1 << 21) - 1;
        for pair in out.chunks_mut(2) {
            let block = self.block();
            for (error, coins) in pair.iter_mut().zip([block as u64, (block >> 64) as u64]) {
                let [plus, minus] = [coins & COINS, coins >> 21 & COINS].map(u64::count_ones);
                *error = i64::from(plus) - i64::from(minus);
            }
        }
    }

    /// Uniform among -1, 0 and 1: each from 32 uniform bits, with a bias below 2^-30.
    pub(crate) fn ternary(&mut self, out: &mut [i64]) {
        for four in out.chunks_mut(4) {
            let block = self.block();
            for (at, value) in four.iter_mut().enumerate() {
                let bits = block >> (32 * at) & 0xffff_ffff;
                *value = ((3 * bits) >> 32) as i64 - 1;
            }
        }
    }

    /// The sum of three uniform numbers below 2^FLOOD_BITS.
    #[inline(always)]
    pub(crate) fn flood(&mut self) -> u128 {
        (0..3).map(|_| self.block() >> (128 - FLOOD_BITS)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::PRIMES;
    use super::*;

    const COUNT: usize = 1 << 16;

    fn moments(values: &[i64]) -> (f64, f64) {
        let mean = values.iter().sum::<i64>() as f64 / COUNT as f64;
        let square = values.iter().map(|v| v * v).sum::<i64>() as f64 / COUNT as f64;
        (mean, square)
    }

    #[test]
    fn distributions_have_their_moments() {
        let source = Source::new([7; 16]);
        let mut values = vec![0i64; COUNT];
        source.draws(0).errors(&mut values);
        let (mean, square) = moments(&values);
        // Five standard deviations of the sums.
        assert!(
            mean.abs() < 0.07 && (square - 10.5).abs() < 0.3,
            "{mean} {square}"
        );
        assert!(values.iter().all(|v| v.abs() <= 21));
        source.draws(1).ternary(&mut values);
        let (mean, square) = moments(&values);
        assert!(mean.abs() < 0.02 && (square - 2.0 / 3.0).abs() < 0.01);
        assert!(values.iter().all(|v| v.abs() <= 1));
        let mut draws = source.draws(2);
        let scale = 2f64.powi(FLOOD_BITS as i32);
        let flood: Vec<f64> = (0..COUNT).map(|_| draws.flood() as f64 / scale).collect();
        let mean = flood.iter().sum::<f64>() / COUNT as f64;
        let square = flood.iter().map(|f| (f - 1.5).powi(2)).sum::<f64>() / COUNT as f64;
        assert!((mean - 1.5).abs() < 0.01 && (square - 0.25).abs() < 0.01);
        let mut residues = vec![0; COUNT];
        source.draws(3).residues(PRIMES[0].q, &mut residues);
        assert!(residues.iter().all(|r| *r < PRIMES[0].q));
        let ones: u32 = residues.iter().map(|r| r.count_ones()).sum();
        assert!((f64::from(ones) - 31.0 * COUNT as f64).abs() < 2.5 * (62.0 * COUNT as f64).sqrt());
    }

    #[test]
    fn purposes_and_keys_share_nothing() {
        let words = |key: u8, purpose| {
            let mut out = vec![0u64; 300];
            Source::new([key; 16]).draws(purpose).words(&mut out);
            out
        };
        assert_eq!(words(1, 5), words(1, 5));
        let mut all = [words(1, 0), words(1, 1), words(1, u64::MAX), words(2, 0)].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 1200);
    }
}
