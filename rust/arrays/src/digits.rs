//! Comparisons of two numbers each of which one party knows, by digits of four bits (Rathee et al., eprint
//! 2020/1002): from random transfers to shared bits that say for each digit which is less and whether both are equal.
//!
//! For each digit s the sender makes a table of an entry for each digit r that the receiver may have: r < s, r = s,
//! masked by random bits that become its shares. Entry r is masked by one bit of each of the transfers' words that
//! bits of r choose, and no bit of a word serves two entries. So the receiver opens the entry of its digit, and of
//! each other entry it lacks a bit of its own.
//!
//! Blocks are of 64 numbers. In planes a word holds one bit of each; transfers, tables and what is folded stand block
//! by block. All is done with words as masks: no branch and no address depends on a number.

use crate::{Refusal, same};

/// Bits of a digit; the lowest may have fewer.
pub const DIGIT: usize = 4;
/// Most bits of a number.
pub const MOST_BITS: usize = 64;
/// Numbers of a block.
const BLOCK: usize = 64;
/// Numbers that are worked at together: half a block.
const LANES: usize = 32;
/// Bit i of each entry's place; twice, as two kinds of entries may stand side by side.
const PLACES: [u32; DIGIT] = [0xaaaa_aaaa, 0xcccc_cccc, 0xf0f0_f0f0, 0xff00_ff00];
/// Entries of one kind.
const FIRST: u32 = 0x0000_ffff;
const SECOND: u32 = 0xffff_0000;

type Lanes = [u32; LANES];

/// What is told of each digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Which is less, and from the second digit on whether both are equal.
    Less,
    /// Whether both are equal.
    Equal,
}

/// How numbers of so many bits are cut.
#[derive(Debug, Clone, Copy)]
pub struct Digits {
    bits: usize,
    kind: Kind,
}

/// One digit: where its bits begin, how many there are, and whether two kinds of entries stand in its table.
#[derive(Debug, Clone, Copy)]
struct Digit {
    first: usize,
    width: usize,
    kinds: usize,
}

impl Digit {
    /// Bits of the table of one number, which are the words of the tables of a block.
    fn table(&self) -> usize {
        self.kinds << self.width
    }
}

impl Digits {
    /// Numbers of 1 to 64 bits.
    ///
    /// # Errors
    /// `E_FORMAT` for another number of bits.
    pub fn new(bits: usize, kind: Kind) -> Result<Self, Refusal> {
        if !(1..=MOST_BITS).contains(&bits) {
            let text = "a number that is compared has 1 to 64 bits";
            return Err(Refusal::new("E_FORMAT", text));
        }
        Ok(Self { bits, kind })
    }

    /// Number of digits.
    pub fn count(&self) -> usize {
        self.bits.div_ceil(DIGIT)
    }

    /// Planes of the result: of each digit which is less, then of each but the lowest whether both are equal; or of
    /// each whether both are equal.
    pub fn planes(&self) -> usize {
        match self.kind {
            Kind::Less => 2 * self.count() - 1,
            Kind::Equal => self.count(),
        }
    }

    /// Words of the tables of a block.
    pub fn table_words(&self) -> usize {
        self.all().map(|digit| digit.table()).sum()
    }

    /// Words of a block of what the sender folds: of each digit one of 32 bits a number, and one for each of its bits.
    pub fn sent_words(&self) -> usize {
        (self.count() + self.bits) * BLOCK / 2
    }

    /// Words of a block of what the receiver folds.
    pub fn chosen_words(&self) -> usize {
        self.count() * BLOCK / 2
    }

    fn all(self) -> impl Iterator<Item = Digit> {
        let lowest = self.bits - DIGIT * (self.count() - 1);
        (0..self.count()).map(move |at| Digit {
            first: if at == 0 {
                0
            } else {
                lowest + DIGIT * (at - 1)
            },
            width: if at == 0 { lowest } else { DIGIT },
            kinds: if at > 0 && self.kind == Kind::Less {
                2
            } else {
                1
            },
        })
    }

    /// Blocks of so many transfers.
    fn blocks(&self, transfers: usize) -> Result<usize, Refusal> {
        let block = BLOCK * self.bits;
        if !transfers.is_multiple_of(block) {
            return Err(Refusal::new(
                "E_FORMAT",
                "transfers are not of whole blocks",
            ));
        }
        Ok(transfers / block)
    }
}

fn lanes(words: &[u64]) -> Lanes {
    std::array::from_fn(|lane| words[lane] as u32)
}

/// Pairs of lanes as words.
fn put(lanes: &Lanes, out: &mut [u64]) {
    for (word, pair) in out.iter_mut().zip(lanes.as_chunks::<2>().0) {
        *word = u64::from(pair[0]) | u64::from(pair[1]) << 32;
    }
}

/// The inverse of [`put`].
fn get(words: &[u64]) -> Lanes {
    std::array::from_fn(|lane| (words[lane / 2] >> (32 * (lane % 2))) as u32)
}

/// All ones in each lane whose bit is set.
#[inline(always)]
fn spread(bits: u32) -> Lanes {
    std::array::from_fn(|lane| if bits & 1 << lane != 0 { u32::MAX } else { 0 })
}

/// The half of a word of a plane.
fn half(word: u64, half: usize) -> u32 {
    (word >> (32 * half)) as u32
}

/// What the sender keeps of both words of each transfer until the receiver has turned its bits: of each digit the
/// mask of its table if nothing was turned, and what each turned bit changes. `out` has [`Digits::sent_words`] a
/// block.
///
/// # Errors
/// `E_FORMAT` if lengths do not go together.
pub fn fold_sent(
    digits: Digits,
    zeros: &[u64],
    ones: &[u64],
    out: &mut [u64],
) -> Result<(), Refusal> {
    let blocks = digits.blocks(same(&[zeros.len(), ones.len()])?)?;
    same(&[out.len(), blocks * digits.sent_words()])?;
    let block = BLOCK * digits.bits;
    let given = zeros.chunks(block).zip(ones.chunks(block));
    for ((zeros, ones), out) in given.zip(out.chunks_mut(digits.sent_words())) {
        let mut rows = out.chunks_mut(LANES / 2);
        for digit in digits.all() {
            for half in 0..2 {
                let mut mask = [0; LANES];
                for (bit, places) in PLACES[..digit.width].iter().enumerate() {
                    let from = BLOCK * (digit.first + bit) + LANES * half;
                    let (zero, one) = (lanes(&zeros[from..]), lanes(&ones[from..]));
                    let turn: Lanes = std::array::from_fn(|l| zero[l] ^ one[l]);
                    for lane in 0..LANES {
                        mask[lane] ^= zero[lane] ^ (turn[lane] & places);
                    }
                    rows.next().iter_mut().for_each(|row| put(&turn, row));
                }
                rows.next().iter_mut().for_each(|row| put(&mask, row));
            }
        }
    }
    Ok(())
}

/// What the receiver keeps of its words: their sum for each digit. `out` has [`Digits::chosen_words`] a block.
///
/// # Errors
/// `E_FORMAT` if lengths do not go together.
pub fn fold_chosen(digits: Digits, words: &[u64], out: &mut [u64]) -> Result<(), Refusal> {
    let blocks = digits.blocks(words.len())?;
    same(&[out.len(), blocks * digits.chosen_words()])?;
    let given = words.chunks(BLOCK * digits.bits);
    for (words, out) in given.zip(out.chunks_mut(digits.chosen_words())) {
        let mut rows = out.chunks_mut(LANES / 2);
        for digit in digits.all() {
            for half in 0..2 {
                let mut sum = [0; LANES];
                for bit in 0..digit.width {
                    let from = BLOCK * (digit.first + bit) + LANES * half;
                    for (sum, word) in sum.iter_mut().zip(lanes(&words[from..])) {
                        *sum ^= word;
                    }
                }
                rows.next().iter_mut().for_each(|row| put(&sum, row));
            }
        }
    }
    Ok(())
}

/// Puts tables of `bits` (2 to 32) bits of half a block side by side; what a lane has above them is cut off.
fn pack(tables: &Lanes, bits: usize, half: usize, out: &mut [u64]) {
    if bits == 32 {
        return put(tables, &mut out[LANES / 2 * half..]);
    }
    let each = 64 / bits;
    let kept = (1u32 << bits) - 1;
    for (word, tables) in out[LANES / each * half..]
        .iter_mut()
        .zip(tables.chunks(each))
    {
        let tables = tables.iter().rev();
        *word = tables.fold(0, |word, table| word << bits | u64::from(table & kept));
    }
}

/// The inverse of [`pack`].
fn unpack(words: &[u64], bits: usize, half: usize) -> Lanes {
    let each = 64 / bits;
    let words = &words[LANES / each * half..];
    std::array::from_fn(|lane| (words[lane / each] >> (bits * (lane % each))) as u32)
}

/// The tables of the sender.
///
/// `turned` has a word for each bit of each block, block by block; `numbers` its planes, one after the other; `masks`
/// random planes, [`Digits::planes`] of them, which are its shares of the result. `out` has [`Digits::table_words`] a
/// block.
///
/// # Errors
/// `E_FORMAT` if lengths do not go together.
pub fn tables(
    digits: Digits,
    folded: &[u64],
    turned: &[u64],
    numbers: &[u64],
    masks: &[u64],
    out: &mut [u64],
) -> Result<(), Refusal> {
    let blocks = turned.len() / digits.bits;
    same(&[turned.len(), blocks * digits.bits, numbers.len()])?;
    same(&[folded.len(), blocks * digits.sent_words()])?;
    same(&[masks.len(), blocks * digits.planes()])?;
    same(&[out.len(), blocks * digits.table_words()])?;
    for (block, out) in out.chunks_mut(digits.table_words()).enumerate() {
        let turned = &turned[block * digits.bits..][..digits.bits];
        let mut rows = folded[block * digits.sent_words()..].chunks(LANES / 2);
        let mut rest = out;
        for (at, digit) in digits.all().enumerate() {
            let (out, others) = rest.split_at_mut(digit.table());
            rest = others;
            for part in 0..2 {
                let mask = |plane: usize| spread(half(masks[plane * blocks + block], part));
                let (mut less, mut equal) = ([0; LANES], [u32::MAX; LANES]);
                let mut moved = [0; LANES];
                for (bit, places) in PLACES[..digit.width].iter().enumerate() {
                    let plane = digit.first + bit;
                    let own = spread(half(numbers[plane * blocks + block], part));
                    let turns = spread(half(turned[plane], part));
                    let turn = rows.next().map_or([0; LANES], get);
                    for lane in 0..LANES {
                        let alike = !(own[lane] ^ places);
                        less[lane] = own[lane] & !places | alike & less[lane];
                        equal[lane] &= alike;
                        moved[lane] ^= turn[lane] & turns[lane];
                    }
                }
                let unturned = rows.next().map_or([0; LANES], get);
                let first = mask(at);
                let table: Lanes = match (digits.kind, digit.kinds) {
                    (Kind::Equal, _) => std::array::from_fn(|l| equal[l] ^ first[l]),
                    (Kind::Less, 1) => std::array::from_fn(|l| less[l] ^ first[l]),
                    (Kind::Less, _) => {
                        let second = mask(digits.count() + at - 1);
                        std::array::from_fn(|l| {
                            (less[l] ^ first[l]) & FIRST | (equal[l] ^ second[l]) & SECOND
                        })
                    }
                };
                let sealed: Lanes = std::array::from_fn(|l| table[l] ^ unturned[l] ^ moved[l]);
                pack(&sealed, digit.table(), part, out);
            }
        }
    }
    Ok(())
}

/// The receiver's shares of the result, from its planes of numbers and the tables: [`Digits::planes`] planes.
///
/// # Errors
/// `E_FORMAT` if lengths do not go together.
pub fn opened(
    digits: Digits,
    folded: &[u64],
    tables: &[u64],
    numbers: &[u64],
    out: &mut [u64],
) -> Result<(), Refusal> {
    let blocks = numbers.len() / digits.bits;
    same(&[numbers.len(), blocks * digits.bits])?;
    same(&[folded.len(), blocks * digits.chosen_words()])?;
    same(&[tables.len(), blocks * digits.table_words()])?;
    same(&[out.len(), blocks * digits.planes()])?;
    for (block, tables) in tables.chunks(digits.table_words()).enumerate() {
        let mut rows = folded[block * digits.chosen_words()..].chunks(LANES / 2);
        let mut rest = tables;
        for (at, digit) in digits.all().enumerate() {
            let (tables, others) = rest.split_at(digit.table());
            rest = others;
            let mut found = [0u64; 2];
            for part in 0..2 {
                let sealed = if digit.table() == 32 {
                    get(&tables[LANES / 2 * part..])
                } else {
                    unpack(tables, digit.table(), part)
                };
                let words = rows.next().map_or([0; LANES], get);
                let mut entry = [u32::MAX; LANES];
                for (bit, places) in PLACES[..digit.width].iter().enumerate() {
                    let own = spread(half(numbers[(digit.first + bit) * blocks + block], part));
                    for (entry, own) in entry.iter_mut().zip(own) {
                        *entry &= !(own ^ places);
                    }
                }
                if digit.width < DIGIT {
                    // Fewer entries: what is above them repeats them.
                    let kept = (1 << (1 << digit.width)) - 1;
                    entry.iter_mut().for_each(|entry| *entry &= kept);
                }
                let mut bits = [0u32; 2];
                for lane in 0..LANES {
                    let open = (sealed[lane] ^ words[lane]) & entry[lane];
                    bits[0] |= if open & FIRST != 0 { 1 << lane } else { 0 };
                    bits[1] |= if open & SECOND != 0 { 1 << lane } else { 0 };
                }
                for (found, bits) in found.iter_mut().zip(bits) {
                    *found |= u64::from(bits) << (32 * part);
                }
            }
            out[at * blocks + block] = found[0];
            if digit.kinds == 2 {
                out[(digits.count() + at - 1) * blocks + block] = found[1];
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planes;
    use crate::streams::Stream;
    use proptest::prelude::*;

    fn random(key: u8, words: usize) -> Vec<u64> {
        let mut out = vec![0; words];
        Stream::new(&[key; 16]).fill(&mut out);
        out
    }

    /// Both sides' shares, and the message of tables.
    fn run(digits: Digits, sender: &[u64], receiver: &[u64], key: u8) -> ([Vec<u64>; 2], Vec<u64>) {
        let (bits, blocks) = (digits.bits, planes::plane_words(sender.len()));
        let (zeros, ones) = (
            random(key, 64 * blocks * bits),
            random(key ^ 1, 64 * blocks * bits),
        );
        let choices = random(key ^ 2, blocks * bits);
        let chosen = |i: usize| choices[i / 64] >> (i % 64) & 1 == 1;
        let words: Vec<u64> = (0..zeros.len())
            .map(|i| if chosen(i) { ones[i] } else { zeros[i] })
            .collect();
        let [own, other] = [sender, receiver].map(|n| planes::split(n, bits).unwrap());
        let turned: Vec<u64> = (0..blocks * bits)
            .map(|i| choices[i] ^ other[i % bits * blocks + i / bits])
            .collect();
        let masks = random(key ^ 3, blocks * digits.planes());
        let mut sent = vec![0; blocks * digits.sent_words()];
        fold_sent(digits, &zeros, &ones, &mut sent).unwrap();
        let mut kept = vec![0; blocks * digits.chosen_words()];
        fold_chosen(digits, &words, &mut kept).unwrap();
        let mut message = vec![0; blocks * digits.table_words()];
        tables(digits, &sent, &turned, &own, &masks, &mut message).unwrap();
        let mut found = vec![0; blocks * digits.planes()];
        opened(digits, &kept, &message, &other, &mut found).unwrap();
        ([masks, found], message)
    }

    fn cut(number: u64, digits: Digits) -> Vec<u64> {
        digits
            .all()
            .map(|d| number >> d.first & ((1 << d.width) - 1))
            .collect()
    }

    fn check(bits: usize, pairs: &[(u64, u64)], key: u8) {
        let (sender, receiver): (Vec<u64>, Vec<u64>) = pairs.iter().copied().unzip();
        let blocks = planes::plane_words(pairs.len());
        for kind in [Kind::Less, Kind::Equal] {
            let digits = Digits::new(bits, kind).unwrap();
            let (shares, message) = run(digits, &sender, &receiver, key);
            assert_eq!(message.len(), blocks * digits.table_words());
            let plane = |at: usize, n: usize| {
                (shares[0][at * blocks + n / 64] ^ shares[1][at * blocks + n / 64]) >> (n % 64) & 1
            };
            for (n, (s, r)) in pairs.iter().enumerate() {
                let (s, r) = (cut(*s, digits), cut(*r, digits));
                for at in 0..digits.count() {
                    let (less, equal) = (u64::from(r[at] < s[at]), u64::from(r[at] == s[at]));
                    match kind {
                        Kind::Equal => assert_eq!(plane(at, n), equal),
                        Kind::Less => {
                            assert_eq!(plane(at, n), less);
                            if at > 0 {
                                assert_eq!(plane(digits.count() + at - 1, n), equal);
                            }
                        }
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn digits_are_compared(
            bits in 1usize..=64, pairs in prop::collection::vec(any::<(u64, u64)>(), 0..200), key: u8,
        ) {
            check(bits, &pairs, key);
            let near: Vec<(u64, u64)> = pairs.iter().map(|(s, r)| (*s, s ^ (1 << (r % 64)))).collect();
            check(bits, &near, key);
        }
    }

    #[test]
    fn every_pair_of_one_digit_and_every_width() {
        let pairs: Vec<(u64, u64)> = (0..256).map(|i| (i / 16, i % 16)).collect();
        for bits in 1..=64 {
            check(bits, &pairs, bits as u8);
            check(
                bits,
                &[(0, 0), (u64::MAX, u64::MAX), (0, u64::MAX), (u64::MAX, 0)],
                bits as u8,
            );
        }
    }

    #[test]
    fn a_receiver_learns_nothing_of_other_entries() {
        // Whatever the sender has, an entry that the receiver does not open is masked by a bit that it lacks: over many
        // transfers the sealed bits of all entries, with all that it has taken off, are even.
        let digits = Digits::new(4, Kind::Less).unwrap();
        let n = 64 * 2000;
        let (sender, receiver) = (vec![9; n], vec![6; n]);
        let (bits, blocks) = (4, n / 64);
        let (zeros, ones) = (random(1, n * bits), random(0, n * bits));
        let own = planes::split(&sender, bits).unwrap();
        let turned = planes::split(&receiver, bits).unwrap();
        let turned: Vec<u64> = (0..turned.len())
            .map(|i| turned[i % bits * blocks + i / bits])
            .collect();
        let mut sent = vec![0; blocks * digits.sent_words()];
        fold_sent(digits, &zeros, &ones, &mut sent).unwrap();
        let mut message = vec![0; blocks * digits.table_words()];
        // Choices are all 0, and no masks hide the entry that opens.
        tables(digits, &sent, &turned, &own, &vec![0; blocks], &mut message).unwrap();
        let mut counts = [0i64; 16];
        for at in 0..n {
            let (block, lane) = (at / 64, at % 64);
            let sum = (0..bits).fold(0, |sum, bit| sum ^ zeros[64 * (bits * block + bit) + lane]);
            let table = (message[at / 4] >> (16 * (at % 4))) as u16 ^ sum as u16;
            for (entry, count) in counts.iter_mut().enumerate() {
                *count += i64::from(table >> entry & 1);
            }
        }
        for (entry, count) in counts.into_iter().enumerate() {
            if entry == 6 {
                assert_eq!(count, n as i64);
            } else {
                // Six standard deviations.
                assert!((count - n as i64 / 2).abs() < 1074, "{entry}: {count}");
            }
        }
    }

    #[test]
    fn lengths_that_do_not_belong_are_refused() {
        assert!(Digits::new(0, Kind::Less).is_err() && Digits::new(65, Kind::Equal).is_err());
        let digits = Digits::new(5, Kind::Less).unwrap();
        let (sent, words) = (digits.sent_words(), digits.table_words());
        assert!(fold_sent(digits, &[0; 320], &[0; 319], &mut vec![0; sent]).is_err());
        assert!(fold_sent(digits, &[0; 319], &[0; 319], &mut vec![0; sent]).is_err());
        assert!(fold_chosen(digits, &[0; 320], &mut vec![0; sent]).is_err());
        assert!(
            tables(
                digits,
                &vec![0; sent],
                &[0; 5],
                &[0; 5],
                &[0; 3],
                &mut vec![0; words]
            )
            .is_ok()
        );
        assert!(
            tables(
                digits,
                &vec![0; sent],
                &[0; 5],
                &[0; 5],
                &[0; 2],
                &mut vec![0; words]
            )
            .is_err()
        );
        assert!(
            tables(
                digits,
                &vec![0; sent],
                &[0; 6],
                &[0; 6],
                &[0; 3],
                &mut vec![0; words]
            )
            .is_err()
        );
        assert!(opened(digits, &[0; 64], &vec![0; words], &[0; 5], &mut [0; 3]).is_ok());
        assert!(opened(digits, &[0; 64], &vec![0; words + 1], &[0; 5], &mut [0; 3]).is_err());
    }

    /// `cargo test --release -p atoll-arrays digits::tests::cost -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn cost() {
        let digits = Digits::new(63, Kind::Less).unwrap();
        let (bits, blocks) = (63, 1 << 10);
        let n = 64 * blocks;
        let (zeros, ones) = (random(1, n * bits), random(0, n * bits));
        let numbers = random(3, blocks * bits);
        let masks = random(4, blocks * digits.planes());
        let mut sent = vec![0; blocks * digits.sent_words()];
        let mut kept = vec![0; blocks * digits.chosen_words()];
        let mut message = vec![0; blocks * digits.table_words()];
        let mut found = vec![0; blocks * digits.planes()];
        for _ in 0..3 {
            let mut begun = std::time::Instant::now();
            let mut lap = |what: &str| {
                println!(
                    "{what}: {:.2} ns a number",
                    begun.elapsed().as_secs_f64() * 1e9 / n as f64
                );
                begun = std::time::Instant::now();
            };
            fold_sent(digits, &zeros, &ones, &mut sent).unwrap();
            lap("fold sent");
            fold_chosen(digits, &zeros, &mut kept).unwrap();
            lap("fold chosen");
            tables(digits, &sent, &numbers, &numbers, &masks, &mut message).unwrap();
            lap("tables");
            opened(digits, &kept, &message, &numbers, &mut found).unwrap();
            lap("opened");
        }
    }
}
