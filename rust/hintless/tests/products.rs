//! Answers against products made word by word, and bytes that no asker or holder sends.

use atoll_hintless::{Asker, KEYS_BYTES, Keys, QUESTION_BYTES, Question, Rows, answer_bytes};
use atoll_pir::parameters::N;
use atoll_primitives::stream::Stream;
use proptest::prelude::*;

fn stream(seed: u64, label: &[u8]) -> Stream {
    Stream::derive(&seed.to_le_bytes(), &[label])
}

fn words(stream: &mut Stream, count: usize) -> Vec<u32> {
    (0..count)
        .map(|_| u32::from_le_bytes(stream.bytes()))
        .collect()
}

/// A secret as short as those of queries.
fn short(stream: &mut Stream) -> Vec<u32> {
    let mut secret = vec![0; N];
    atoll_pir::noise::fill(stream, &mut secret);
    secret
}

/// For each row its product with the secret, a cell in the upper byte, and some noise.
fn masked(hint: &[u32], secret: &[u32], cells: &[u8], stream: &mut Stream) -> Vec<u32> {
    let row = |(row, &cell): (&[u32], &u8)| {
        let products = row.iter().zip(secret).map(|(a, b)| a.wrapping_mul(*b));
        let noise = (stream.below(1 << 21) as u32).wrapping_sub(1 << 20);
        products
            .fold(u32::from(cell) << 24, u32::wrapping_add)
            .wrapping_add(noise)
    };
    hint.chunks_exact(N).zip(cells).map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn cells_come_out_of_answers(seed: u64, rows in prop_oneof![1usize..40, 500usize..530, 2040usize..2600]) {
        let mut drawn = stream(seed, b"table");
        let hint = words(&mut drawn, rows * N);
        let cells: Vec<u8> = (0..rows).map(|_| drawn.below(256) as u8).collect();
        let mut own = stream(seed, b"asker");
        let (asker, keys) = Asker::new(&mut own);
        prop_assert_eq!(keys.len(), KEYS_BYTES);
        let keys = Keys::parse(&keys).unwrap();
        let [kept, fresh] = [true, false].map(|keep| Rows::new(&hint, keep));
        for _ in 0..2 {
            let secret = short(&mut own);
            let question = asker.question(&secret, &mut own);
            prop_assert_eq!(question.len(), QUESTION_BYTES);
            let question = Question::parse(&question).unwrap();
            let words = masked(&hint, &secret, &cells, &mut drawn);
            let answer = kept.answer(&hint, &keys, &question, &words);
            prop_assert_eq!(answer.len(), answer_bytes(rows));
            prop_assert_eq!(&asker.open(&answer, rows).unwrap(), &cells);
            prop_assert_eq!(fresh.answer(&hint, &keys, &question, &words), answer);
        }
    }

    #[test]
    fn bytes_of_another_length_or_form_are_refused(seed: u64, cut in 0usize..KEYS_BYTES, at in 0usize..QUESTION_BYTES) {
        let mut own = stream(seed, b"asker");
        let (asker, keys) = Asker::new(&mut own);
        let question = asker.question(&short(&mut own), &mut own);
        prop_assert_eq!(Keys::parse(&keys[..cut]).unwrap_err().code, "E_FORMAT");
        prop_assert_eq!(Question::parse(&question[..at]).unwrap_err().code, "E_FORMAT");
        prop_assert!(Question::parse(&[&question[..], &[0]].concat()).is_err());
        prop_assert!(asker.open(&question[..at], 1).is_err() || at == answer_bytes(1));
        // Two words of 44 bits that are not below the modulus.
        let from = 32 + (at % (QUESTION_BYTES - 64)) / 11 * 11;
        for (bytes, is_refused) in [
            (&keys, (|bytes| Keys::parse(bytes).is_err()) as fn(&[u8]) -> bool),
            (&question, |bytes| Question::parse(bytes).is_err()),
        ] {
            let mut large = bytes.clone();
            prop_assert!(!is_refused(&large));
            large[from..from + 11].fill(0xff);
            prop_assert!(is_refused(&large));
        }
    }
}

#[test]
fn what_is_sent_for_a_secret_differs_each_time_and_by_key() {
    let secret = vec![7; N];
    let mut own = stream(1, b"asker");
    let (asker, _) = Asker::new(&mut own);
    let [first, second] = [(); 2].map(|()| asker.question(&secret, &mut own));
    let alike = first.iter().zip(&second).filter(|(a, b)| a == b).count();
    assert!(alike < first.len() / 128, "{alike}");
    let (other, _) = Asker::new(&mut own);
    let hint = words(&mut own, N);
    let foreign = Keys::parse(&Asker::new(&mut own).1).unwrap();
    let cells: Vec<Vec<u8>> = (0..8)
        .map(|_| {
            let question = Question::parse(&asker.question(&secret, &mut own)).unwrap();
            let answer = Rows::new(&hint, true).answer(&hint, &foreign, &question, &[0]);
            other.open(&answer, 1).unwrap()
        })
        .collect();
    assert!(cells.iter().any(|found| *found != cells[0]));
}

/// How far answers are off, in units of a word's lowest bit: the page's bound is 2^23, its standard deviation below 2^19.5.
#[test]
fn noise_is_as_computed() {
    let rows = 512;
    let mut drawn = stream(5, b"noise");
    let hint = words(&mut drawn, rows * N);
    let (asker, keys) = Asker::new(&mut drawn);
    let keys = Keys::parse(&keys).unwrap();
    let secret = short(&mut drawn);
    let question = Question::parse(&asker.question(&secret, &mut drawn)).unwrap();
    let table = Rows::new(&hint, false);
    let plain: Vec<u32> = hint
        .chunks_exact(N)
        .map(|row| {
            let products = row.iter().zip(&secret).map(|(a, b)| a.wrapping_mul(*b));
            products.fold(0, u32::wrapping_add)
        })
        .collect();
    // Where a cell tips over says how far its word is off, by halves.
    let mut off = vec![0i64; rows];
    let (mut low, mut high) = (vec![-(1i64 << 23); rows], vec![1i64 << 23; rows]);
    for _ in 0..16 {
        for ((off, low), high) in off.iter_mut().zip(&low).zip(&high) {
            *off = low.midpoint(*high);
        }
        let words: Vec<u32> = plain
            .iter()
            .zip(&off)
            .map(|(word, off)| word.wrapping_add((*off - (1 << 23)) as u32))
            .collect();
        let cells = asker
            .open(&table.answer(&hint, &keys, &question, &words), rows)
            .unwrap();
        for ((cell, off), (low, high)) in cells
            .iter()
            .zip(&off)
            .zip(low.iter_mut().zip(high.iter_mut()))
        {
            if *cell == 0 {
                *high = *off;
            } else {
                *low = *off;
            }
        }
    }
    let square: f64 = off.iter().map(|off| (*off as f64).powi(2)).sum();
    let deviation = (square / rows as f64).sqrt().log2();
    println!("standard deviation 2^{deviation:.2}");
    assert!((17.0..19.5).contains(&deviation), "{deviation}");
}
