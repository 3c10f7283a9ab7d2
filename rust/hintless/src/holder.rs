//! The holder: rows of its hint as polynomials, their products with an encrypted secret, and packing.

use atoll_pir::parameters::N as SECRET_WORDS;
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::OnceLock;

use crate::Refusal;
use crate::asker::{KEYS, QUESTION, power};
use crate::message::{encode_answer, expand, parse};
use crate::parameters::{
    BLOCK_ROWS, CHUNKS, DEGREE, Digits, HINT_DROPPED, KEY_PARTS, LEVELS, MASK_BITS, Q, ROW_BITS,
    WIDTH, digits,
};
use crate::ring::{Factor, Factors, Poly, below, inverse, residue, ring, zero};

/// Below this level halves of a tree are packed by one thread.
const FORK_LEVEL: usize = 6;

/// What packs under the key of one asker.
#[derive(Debug)]
pub struct Keys {
    /// For each level its digits' two polynomials.
    levels: Vec<Vec<(Factors, Factors)>>,
}

impl Keys {
    /// What an asker sent; `E_FORMAT` for a wrong length or form.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let (seed, parts) = parse(bytes, KEY_PARTS, "keys")?;
        let uniform = expand(&seed, KEYS, KEY_PARTS);
        let factors = |(part, uniform): (&Poly, &Poly)| (Factors::new(part), Factors::new(uniform));
        let mut all = parts.iter().zip(&uniform).map(factors);
        let level = |level: usize| all.by_ref().take(digits(level).count).collect();
        Ok(Self {
            levels: (1..=LEVELS).map(level).collect(),
        })
    }
}

/// An encrypted secret.
#[derive(Debug)]
pub struct Question {
    parts: Vec<(Factors, Factors)>,
}

impl Question {
    /// What an asker sent; `E_FORMAT` for a wrong length or form.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let (seed, parts) = parse(bytes, CHUNKS, "questions")?;
        // Packing doubles what it packs at every level, and the products are taken off.
        let scale = Factor::new(Q - inverse(WIDTH as u64));
        let scaled = |poly: Poly| Factors::new(&poly.map(|word| below(scale.times(word), Q)));
        let uniform = expand(&seed, QUESTION, CHUNKS);
        let both = parts.into_iter().zip(uniform);
        Ok(Self {
            parts: both
                .map(|(part, uniform)| (scaled(part), scaled(uniform)))
                .collect(),
        })
    }
}

/// The rows of a hint, as polynomials that were made before, or are made each time.
///
/// Of 2048 rows those that are equal modulo 512 stand in one polynomial for each 512 words of a row.
#[derive(Debug)]
pub struct Rows {
    rows: usize,
    /// The polynomials' transforms, where they are kept.
    kept: Option<Vec<Poly>>,
}

impl Rows {
    /// Bytes that the polynomials of so many rows take.
    pub fn kept_bytes(rows: usize) -> usize {
        Self::leaves(rows) * CHUNKS * size_of::<[u64; DEGREE]>()
    }

    fn leaves(rows: usize) -> usize {
        let rest = rows % BLOCK_ROWS;
        rows / BLOCK_ROWS * WIDTH + rest.min(WIDTH)
    }

    /// For a hint of 1408 words for each row. Kept polynomials take `kept_bytes`, and save a third of an answer's time.
    ///
    /// # Panics
    /// If there are no rows, or not whole ones.
    pub fn new(hint: &[u32], keep: bool) -> Self {
        let rows = hint.len() / SECRET_WORDS;
        assert!(rows > 0 && rows * SECRET_WORDS == hint.len());
        let found = Self { rows, kept: None };
        let make = || {
            let places = (0..Self::leaves(rows) * CHUNKS).into_par_iter();
            let polys = places.map(|at| {
                let leaf = at / CHUNKS;
                found.make(hint, leaf / WIDTH, leaf % WIDTH, at % CHUNKS)
            });
            polys.collect()
        };
        Self {
            rows,
            kept: keep.then(make),
        }
    }

    /// The transform of one polynomial: times the secret's, its coefficients at multiples of 512 are the rows' products.
    fn make(&self, hint: &[u32], block: usize, leaf: usize, chunk: usize) -> Poly {
        let mut poly = zero();
        for (at, row) in (block * BLOCK_ROWS + leaf..self.rows.min((block + 1) * BLOCK_ROWS))
            .step_by(WIDTH)
            .enumerate()
        {
            let words = &hint[row * SECRET_WORDS..][..SECRET_WORDS];
            let words = words.chunks(WIDTH).nth(chunk).unwrap_or_default();
            for (i, &word) in words.iter().enumerate() {
                let word = (i64::from(word as i32) + (1 << (HINT_DROPPED - 1))) >> HINT_DROPPED;
                // X^(512 at - i), which is -X^(2048 - i) before X^0.
                let (place, word) = if at * WIDTH >= i {
                    (at * WIDTH - i, word)
                } else {
                    (at * WIDTH + DEGREE - i, -word)
                };
                poly[place] = residue(word);
            }
        }
        ring().forward(&mut poly);
        poly
    }

    fn poly(&self, hint: &[u32], block: usize, leaf: usize, chunk: usize) -> Cow<'_, Poly> {
        match &self.kept {
            Some(polys) => Cow::Borrowed(&polys[(block * WIDTH + leaf) * CHUNKS + chunk]),
            None => Cow::Owned(self.make(hint, block, leaf, chunk)),
        }
    }

    /// The answer to a question: `words`, one a row, less the row's product with the secret, under the asker's key.
    ///
    /// `hint` is the one that this was made of. All threads of the pool that this runs in take part.
    ///
    /// # Panics
    /// If hint or words are of other rows.
    pub fn answer(&self, hint: &[u32], keys: &Keys, question: &Question, words: &[u32]) -> Vec<u8> {
        assert!(hint.len() == self.rows * SECRET_WORDS && words.len() == self.rows);
        let blocks: Vec<(Poly, Vec<u16>)> = words
            .par_chunks(BLOCK_ROWS)
            .enumerate()
            .map(|(block, words)| {
                let tree = Tree {
                    rows: self,
                    hint,
                    block,
                    width: words.len(),
                    keys,
                    question,
                };
                let packed = tree.node(LEVELS, 0).expect("a block has a row");
                switched(packed, words)
            })
            .collect();
        let (masks, rows): (Vec<Poly>, Vec<Vec<u16>>) = blocks.into_iter().unzip();
        encode_answer(&masks, &rows.concat())
    }
}

/// Rounds a word below Q to so many bits.
fn rounded(word: u64, bits: u32) -> u64 {
    let (scaled, half) = (u128::from(word) << bits, u128::from(Q / 2));
    ((scaled + half) / u128::from(Q)) as u64 & ((1 << bits) - 1)
}

/// Words less their products, to the bits of an answer.
fn switched(mut packed: Sealed, words: &[u32]) -> (Poly, Vec<u16>) {
    ring().backward(&mut packed.body);
    ring().backward(&mut packed.mask);
    let rows = words.iter().zip(packed.body.iter()).map(|(&word, &body)| {
        let word = (u128::from(word) * u128::from(Q) + (1 << 31)) >> 32;
        rounded(below(word as u64 + body, Q), ROW_BITS) as u16
    });
    let rows = rows.collect();
    for word in packed.mask.iter_mut() {
        *word = rounded(*word, MASK_BITS);
    }
    (packed.mask, rows)
}

/// A ciphertext: two transforms, in words below 2Q.
struct Sealed {
    body: Poly,
    mask: Poly,
}

/// What a level of packing multiplies and moves by.
struct Step {
    shift: Factors,
    from: Vec<u16>,
}

fn step(level: usize) -> &'static Step {
    static STEPS: OnceLock<Vec<Step>> = OnceLock::new();
    let make = |level: usize| Step {
        shift: ring().monomial(WIDTH >> level),
        from: ring().automorphism(power(level)),
    };
    &STEPS.get_or_init(|| (1..=LEVELS).map(make).collect())[level - 1]
}

/// The packing of one block of rows: a leaf for each remainder modulo 512, two into one at every level.
struct Tree<'a> {
    rows: &'a Rows,
    hint: &'a [u32],
    block: usize,
    /// Rows of the block.
    width: usize,
    keys: &'a Keys,
    question: &'a Question,
}

impl Tree<'_> {
    /// Packed: rows that are `at` modulo 512 / 2^level, each at its own place less `at`; None if there is none.
    fn node(&self, level: usize, at: usize) -> Option<Sealed> {
        if at >= self.width {
            return None;
        }
        if level == 0 {
            return Some(self.leaf(at));
        }
        let other = at + (WIDTH >> level);
        let (first, second) = if level > FORK_LEVEL {
            rayon::join(|| self.node(level - 1, at), || self.node(level - 1, other))
        } else {
            (self.node(level - 1, at), self.node(level - 1, other))
        };
        Some(self.merge(level, first?, second))
    }

    fn leaf(&self, at: usize) -> Sealed {
        let (mut body, mut mask) = (zero(), zero());
        for (chunk, part) in self.question.parts.iter().enumerate() {
            let poly = self.rows.poly(self.hint, self.block, at, chunk);
            part.0.add_products(&poly, &mut body);
            part.1.add_products(&poly, &mut mask);
        }
        // Three products below 2Q each.
        for word in body.iter_mut().chain(mask.iter_mut()) {
            *word = below(below(*word, 4 * Q), 2 * Q);
        }
        Sealed { body, mask }
    }

    /// first + X^k second + t(first - X^k second), where the automorphism t turns the signs of what would be in the
    /// other's places, so that it falls out.
    fn merge(&self, level: usize, mut first: Sealed, second: Option<Sealed>) -> Sealed {
        let step = step(level);
        let moved = |words: &Poly| {
            let mut out = zero();
            for (to, &from) in out.iter_mut().zip(&step.from) {
                *to = words[usize::from(from)];
            }
            out
        };
        let turned = match second {
            None => Sealed {
                body: moved(&first.body),
                mask: moved(&first.mask),
            },
            Some(second) => {
                let halves = |first: &mut Poly, second: &Poly| {
                    let (mut shifted, mut minus) = (zero(), zero());
                    step.shift.add_products(second, &mut shifted);
                    for ((minus, first), shifted) in
                        minus.iter_mut().zip(first.iter_mut()).zip(shifted.iter())
                    {
                        *minus = below(*first + (2 * Q - shifted), 2 * Q);
                        *first = below(*first + shifted, 2 * Q);
                    }
                    moved(&minus)
                };
                Sealed {
                    body: halves(&mut first.body, &second.body),
                    mask: halves(&mut first.mask, &second.mask),
                }
            }
        };
        let Sealed {
            body,
            mask: mut turned_mask,
        } = turned;
        ring().backward(&mut turned_mask);
        for (word, body) in first.body.iter_mut().zip(body.iter()) {
            *word += body;
        }
        let cut = digits(level);
        for (number, (part, uniform)) in self.keys.levels[level - 1].iter().enumerate() {
            let mut digit = zero();
            for (to, &word) in digit.iter_mut().zip(turned_mask.iter()) {
                *to = residue(digit_of(word, &cut, number));
            }
            ring().forward_lazy(&mut digit);
            part.add_products(&digit, &mut first.body);
            uniform.add_products(&digit, &mut first.mask);
        }
        // 2Q twice, and a product below 2Q for each of at most two digits.
        for word in first.body.iter_mut().chain(first.mask.iter_mut()) {
            *word = below(below(*word, 4 * Q), 2 * Q);
        }
        first
    }
}

/// A digit of a word below Q, taken as a number around zero and rounded.
fn digit_of(word: u64, cut: &Digits, number: usize) -> i64 {
    let centred = if word > Q / 2 {
        word as i64 - Q as i64
    } else {
        word as i64
    };
    let mut rest = (centred + (1 << (cut.dropped - 1))) >> cut.dropped;
    for _ in 0..number {
        rest = (rest - low(rest, cut.bits)) >> cut.bits;
    }
    if number + 1 == cut.count {
        rest
    } else {
        low(rest, cut.bits)
    }
}

/// The lowest bits of a number, as a number around zero.
fn low(number: i64, bits: u32) -> i64 {
    number << (64 - bits) >> (64 - bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::times;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn digits_make_up_a_word(word in 0..Q, level in 1..=LEVELS) {
            let cut = digits(level);
            let mut sum = 0u64;
            for number in 0..cut.count {
                let digit = digit_of(word, &cut, number);
                prop_assert!(digit.abs() <= 1 << (cut.bits - 1));
                let worth = 1u64 << (cut.dropped + cut.bits * number as u32);
                sum = (sum + times(residue(digit), worth)) % Q;
            }
            let off = (word + Q - sum) % Q;
            prop_assert!(off.min(Q - off) <= 1 << (cut.dropped - 1));
        }
    }
}
