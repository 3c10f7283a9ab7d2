//! SoftSpoken transfers from end to end.

use atoll_ot::soft::{Chooser, Chosen, OPENING_LEN, Opening, Pairs, Parameters, SETUP_LEN, Sender};
use atoll_primitives::stream::Stream;

fn session(field: u32) -> (Sender, Chooser) {
    let p = Parameters {
        field,
        context: [4; 16],
    };
    let opening = Opening::new(p, &mut Stream::derive(b"soft", &[b"sender"])).unwrap();
    assert_eq!(opening.message().len(), OPENING_LEN);
    let mut randomness = Stream::derive(b"soft", &[b"chooser"]);
    let (chooser, answer) = Chooser::new(p, opening.message(), &mut randomness).unwrap();
    assert_eq!(answer.len(), SETUP_LEN);
    (opening.finish(&answer).unwrap(), chooser)
}

/// Transfers where the chooser's bit is not the chosen one.
fn wrong(pairs: &Pairs, chosen: &Chosen) -> u32 {
    assert_eq!(pairs.zeros.len(), chosen.choices.len());
    (pairs.zeros.iter().zip(&pairs.ones))
        .zip(chosen.choices.iter().zip(&chosen.bits))
        .map(|((zero, one), (choice, bit))| (zero ^ (zero ^ one) & choice ^ bit).count_ones())
        .sum()
}

fn ones(values: &[u128]) -> f64 {
    values.iter().map(|v| f64::from(v.count_ones())).sum()
}

/// Within five standard deviations of one half.
fn even(values: &[u128]) -> bool {
    let bits = values.len() as f64 * 128.0;
    (ones(values) - bits / 2.0).abs() < 2.5 * bits.sqrt()
}

#[test]
fn every_field_makes_transfers_and_never_the_same_twice() {
    for field in 1..=8 {
        let (mut sender, mut chooser) = session(field);
        let mut seen: Vec<u128> = Vec::new();
        for blocks in [1, 7, 64, 65, 200] {
            let (chosen, corrections) = chooser.extend(blocks, &[]).unwrap();
            assert_eq!(
                corrections.len(),
                16 * blocks * (128usize.div_ceil(field as usize) - 1)
            );
            let pairs = sender.extend(blocks, &corrections).unwrap();
            assert_eq!(wrong(&pairs, &chosen), 0, "{field} {blocks}");
            let both: Vec<u128> = pairs
                .zeros
                .iter()
                .zip(&pairs.ones)
                .map(|(a, b)| a ^ b)
                .collect();
            let mixed: Vec<u128> = both
                .iter()
                .zip(&chosen.choices)
                .map(|(a, b)| a ^ b)
                .collect();
            for values in [&pairs.zeros, &pairs.ones, &both, &chosen.choices, &mixed] {
                assert!(even(values));
            }
            seen.extend(pairs.zeros.iter().chain(&pairs.ones).chain(&chosen.choices));
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}

#[test]
fn every_field_transfers_words_that_no_other_transfer_has() {
    for field in 1..=8 {
        let (mut sender, mut chooser) = session(field);
        let mut seen: Vec<u64> = Vec::new();
        for blocks in [1, 7, 64, 65, 200] {
            let room = || vec![[0; 128]; blocks];
            let (mut words, mut zeros, mut ones) = (room(), room(), room());
            let (choices, corrections) = chooser.extend_words(&[7], &mut words).unwrap();
            assert_eq!(corrections[0], 7);
            sender
                .extend_words(&corrections[1..], [&mut zeros, &mut ones])
                .unwrap();
            let (zeros, ones) = (zeros.as_flattened(), ones.as_flattened());
            for (i, word) in words.as_flattened().iter().enumerate() {
                let choice = choices[i / 128] >> (i % 128) & 1;
                assert_eq!([zeros[i], ones[i]][choice as usize], *word);
            }
            seen.extend(zeros.iter().chain(ones));
            // Bits in between take numbers of their own.
            let (chosen, corrections) = chooser.extend(3, &[]).unwrap();
            assert_eq!(wrong(&sender.extend(3, &corrections).unwrap(), &chosen), 0);
        }
        let count = seen.len();
        let bits: u32 = seen.iter().map(|word| word.count_ones()).sum();
        let all = 64.0 * count as f64;
        assert!((f64::from(bits) - all / 2.0).abs() < 2.5 * all.sqrt());
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}

#[test]
fn threads_change_no_byte() {
    let made = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let (mut sender, mut chooser) = session(4);
        pool.install(|| {
            let (chosen, corrections) = chooser.extend(333, &[]).unwrap();
            let pairs = sender.extend(333, &corrections).unwrap();
            (chosen, corrections, pairs)
        })
    };
    assert_eq!(made(1), made(3));
}

#[test]
fn a_changed_correction_spoils_about_half_of_its_transfers_and_nobody_notices() {
    let (mut sender, mut chooser) = session(4);
    let (chosen, mut corrections) = chooser.extend(64, &[]).unwrap();
    corrections[..16 * 64]
        .iter_mut()
        .for_each(|byte| *byte ^= 255);
    let wrong = wrong(&sender.extend(64, &corrections).unwrap(), &chosen);
    // All rows are shifted by four bits of delta, unless these are zero.
    assert!(wrong == 0 || (3500..4700).contains(&wrong), "{wrong}");
    assert!(wrong > 0);
}

#[test]
fn other_lengths_are_refused() {
    let p = |field| Parameters {
        field,
        context: [4; 16],
    };
    for field in [0, 9] {
        let opening = Opening::new(p(field), &mut Stream::derive(b"soft", &[b"sender"]));
        assert_eq!(opening.err().unwrap().code, "E_FORMAT");
    }
    let opening = || Opening::new(p(4), &mut Stream::derive(b"soft", &[b"sender"])).unwrap();
    let message = opening().message().to_vec();
    let chooser = |bytes: &[u8]| Chooser::new(p(4), bytes, &mut Stream::derive(b"soft", &[b"c"]));
    for bad in [
        &message[1..],
        &[],
        &[&message[..], &[0]].concat(),
        &vec![255; message.len()],
    ] {
        assert_eq!(chooser(bad).err().unwrap().code, "E_PROTOCOL");
    }
    let (mut chooser, answer) = chooser(&message).unwrap();
    for bad in [
        &answer[1..],
        &[],
        &[&answer[..], &[0]].concat(),
        &vec![255; answer.len()],
    ] {
        assert_eq!(opening().finish(bad).err().unwrap().code, "E_PROTOCOL");
    }
    let mut sender = opening().finish(&answer).unwrap();
    let (_, corrections) = chooser.extend(5, &[]).unwrap();
    for bad in [&corrections[1..], &[], &[&corrections[..], &[0]].concat()] {
        assert_eq!(sender.extend(5, bad).unwrap_err().code, "E_PROTOCOL");
    }
    assert!(sender.extend(5, &corrections).is_ok());
}

/// `cargo test --release -p atoll-ot --test soft cost -- --ignored --nocapture`
#[test]
#[ignore = "takes seconds"]
fn cost() {
    for field in [2, 4, 8] {
        let (mut sender, mut chooser) = session(field);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        pool.install(|| {
            let (mut choosing, mut sending) = (0.0, 0.0);
            let blocks = 512;
            for _ in 0..40 {
                let begun = std::time::Instant::now();
                let (_, corrections) = chooser.extend(blocks, &[]).unwrap();
                choosing += begun.elapsed().as_secs_f64();
                let begun = std::time::Instant::now();
                sender.extend(blocks, &corrections).unwrap();
                sending += begun.elapsed().as_secs_f64();
            }
            let count = (40 * blocks * 128) as f64 / 1e9;
            println!(
                "field 2^{field}: {:.1} ns to choose, {:.1} ns to send",
                choosing / count,
                sending / count
            );
        });
    }
}
