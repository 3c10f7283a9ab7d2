//! The programmed function against the ideal one, and against a peer that breaks the rules.

use std::collections::BTreeSet;

use atoll_primitives::stream::Secret;
use atoll_psi::Refusal;
use atoll_psi::opprf::{Machine, Parameters};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

type Party = Machine<Vec<u8>>;

fn digests(keys: impl IntoIterator<Item = u32>) -> Vec<u8> {
    keys.into_iter()
        .flat_map(|key| <[u8; 32]>::from(Sha256::digest(key.to_le_bytes())))
        .collect()
}

fn target(key: u32) -> u128 {
    u128::from(key) << 90 | u128::from(key) << 7 | 1
}

fn parameters(peer_items: usize, bits: u32, threads: usize) -> Parameters {
    Parameters {
        attempt: 0,
        channel: "c".into(),
        context: b"job and coin".to_vec(),
        peer_items: peer_items as u64,
        bits,
        threads,
    }
}

/// Receiver and sender.
fn pair(sets: [&BTreeSet<u32>; 2], bits: u32, threads: usize) -> [Party; 2] {
    let parameters = |peer: usize| parameters(sets[peer].len(), bits, threads);
    let keys = |side: usize| digests(sets[side].iter().copied());
    let targets = sets[1].iter().map(|key| target(*key)).collect();
    [
        Machine::receiver(&Secret::new([1; 32]), parameters(1), keys(0)).unwrap(),
        Machine::sender(&Secret::new([2; 32]), parameters(0), keys(1), targets).unwrap(),
    ]
}

type Sent = [Vec<Vec<u8>>; 2];

/// Runs to the end; every message goes through `change` (side, number, bytes), which may say what arrives instead.
fn run_with(
    sides: &mut [Party; 2],
    change: &mut dyn FnMut(usize, usize, Vec<u8>) -> Vec<Vec<u8>>,
) -> Result<Sent, Refusal> {
    let mut sent: Sent = Default::default();
    loop {
        let mut moved = false;
        for from in [0, 1] {
            while let Some(message) = sides[from].next_message()? {
                moved = true;
                assert_eq!(message.opens, message.bytes[0] == 10);
                let number = sent[from].len();
                sent[from].push(message.bytes.clone());
                for bytes in change(from, number, message.bytes) {
                    sides[1 - from].receive(&bytes)?;
                }
            }
        }
        if !moved {
            return Ok(sent);
        }
    }
}

fn run(sides: &mut [Party; 2]) -> Sent {
    let sent = run_with(sides, &mut |_, _, bytes| vec![bytes]).unwrap();
    assert!(sides.iter().all(Party::done));
    sent
}

fn range(keys: std::ops::Range<u32>) -> BTreeSet<u32> {
    keys.collect()
}

/// Bits of an output.
fn cut(value: u128, bits: u32) -> u128 {
    value & (u128::MAX >> (128 - bits))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn outputs_are_the_targets_at_common_keys_and_no_others(
        left in proptest::collection::btree_set(0u32..60, 1..40),
        right in proptest::collection::btree_set(0u32..60, 1..40),
        bits in prop_oneof![Just(64u32), Just(80), Just(128)],
    ) {
        let mut sides = pair([&left, &right], bits, 1);
        run(&mut sides);
        let outputs = sides[0].outputs().unwrap();
        prop_assert_eq!(outputs.len(), left.len());
        for (key, output) in left.iter().zip(outputs) {
            prop_assert_eq!(*output, cut(*output, bits));
            prop_assert_eq!(*output == cut(target(*key), bits), right.contains(key));
        }
        prop_assert_eq!(sides[1].outputs().unwrap_err().code, "E_STATE");
    }
}

#[test]
fn bytes_do_not_depend_on_threads_and_long_runs_come_in_several_messages() {
    let sets = [range(0..50_000), range(25_000..90_000)];
    let mut first = None;
    for threads in [1, 2] {
        let mut sides = pair([&sets[0], &sets[1]], 80, threads);
        let sent = run(&mut sides);
        let outputs = sides[0].outputs().unwrap().to_vec();
        let hits = sets[0].iter().zip(&outputs);
        let hits = hits.filter(|(key, output)| **output == cut(target(**key), 80));
        assert_eq!(hits.count(), 25_000);
        assert!(sent[1].iter().filter(|bytes| bytes[0] == 10).count() > 2);
        let progress = sides.each_ref().map(Party::progress);
        assert_eq!(progress[0].0, progress[0].1);
        assert_eq!(progress[0], progress[1]);
        let found = (sent, outputs);
        assert_eq!(*first.get_or_insert(found.clone()), found);
    }
}

/// Chi-square of the bytes of the bodies of one kind: 255 degrees of freedom, 377 is passed by chance once in a million.
fn chi(sent: &[Vec<u8>], kind: u8) -> f64 {
    let mut counts = [0f64; 256];
    for message in sent.iter().filter(|m| m[0] == kind) {
        for byte in &message[1..] {
            counts[usize::from(*byte)] += 1.0;
        }
    }
    let all: f64 = counts.iter().sum();
    assert!(all > 10_000.0);
    counts
        .iter()
        .map(|c| (c - all / 256.0).powi(2) / (all / 256.0))
        .sum()
}

#[test]
fn what_is_sent_looks_uniform_whatever_sets_and_targets() {
    for sets in [
        [range(0..3000), range(0..3000)],
        [range(0..3000), range(3000..6000)],
        [range(0..2000), range(9..11_000)],
    ] {
        let sent = run(&mut pair([&sets[0], &sets[1]], 80, 1));
        for (side, kind) in [(0, 4), (1, 10)] {
            let value = chi(&sent[side], kind);
            assert!(value < 377.0, "kind {kind}: {value}");
        }
    }
}

/// Runs with one kind of message replaced by what `with` makes of it, and expects that the other side refuses.
fn refused(kind: u8, with: impl Fn(&[u8]) -> Vec<Vec<u8>>) -> String {
    let sets = [range(0..6), range(3..9)];
    let mut sides = pair([&sets[0], &sets[1]], 80, 1);
    let mut change = |_, _, bytes: Vec<u8>| {
        if bytes[0] == kind {
            with(&bytes)
        } else {
            vec![bytes]
        }
    };
    let refusal = run_with(&mut sides, &mut change).expect_err("the change is noticed");
    assert_eq!(refusal.code, "E_PROTOCOL", "{}", refusal.text);
    assert!(!sides.iter().all(Party::done));
    refusal.text
}

#[test]
fn every_message_is_refused_cut_lengthened_twice_and_under_another_type() {
    for kind in [1, 4, 10] {
        refused(kind, |m| vec![m[..m.len() - 1].to_vec()]);
        refused(kind, |m| vec![[m, &[0]].concat()]);
        refused(kind, |m| vec![m.to_vec(), m.to_vec()]);
        refused(kind, |m| vec![vec![], m.to_vec()]);
        for other in [2, 6, 11] {
            refused(kind, |m| vec![[&[other][..], &m[1..]].concat()]);
        }
    }
}

#[test]
fn messages_of_a_later_step_are_refused_early_and_the_machine_ends() {
    let sets = [range(0..6), range(3..9)];
    for (kind, length) in [(4, 16 * 55), (10, 10 * 55), (6, 60), (2, 32)] {
        for to in [0, 1] {
            let mut sides = pair([&sets[0], &sets[1]], 80, 1);
            let message = [&[kind][..], &vec![0; length]].concat();
            assert_eq!(sides[to].receive(&message).unwrap_err().code, "E_PROTOCOL");
            assert_eq!(sides[to].receive(&message).unwrap_err().code, "E_STATE");
            assert_eq!(sides[to].next_message().unwrap_err().code, "E_STATE");
            assert!(!sides[to].done() && sides[to].outputs().is_err());
        }
    }
}

#[test]
fn a_flipped_bit_changes_outputs_and_is_not_noticed() {
    // Stated, not prevented: the protocol is semi-honest.
    let set = range(0..40);
    for (side, kind) in [(0, 4), (1, 10)] {
        let mut sides = pair([&set, &set], 80, 1);
        let mut flip = |from, _, mut bytes: Vec<u8>| {
            if (from, bytes[0]) == (side, kind) {
                // Every slot: some key reads each.
                bytes[1..].iter_mut().step_by(5).for_each(|b| *b ^= 1);
            }
            vec![bytes]
        };
        run_with(&mut sides, &mut flip).unwrap();
        let outputs = sides[0].outputs().unwrap();
        let wrong = set.iter().zip(outputs);
        let wrong = wrong.filter(|(key, output)| **output != cut(target(**key), 80));
        assert!(wrong.count() > 0);
    }
}

#[test]
fn another_context_or_length_of_outputs_gives_no_target() {
    let set = range(0..40);
    let targets: Vec<u128> = set.iter().map(|key| target(*key)).collect();
    for change in [0, 1] {
        let mut sides = pair([&set, &set], 80, 1);
        let mut other = parameters(40, 80, 1);
        if change == 0 {
            other.context = b"another".to_vec();
        } else {
            other.bits = 88;
        }
        let keys = digests(set.iter().copied());
        let made = Machine::sender(&Secret::new([2; 32]), other, keys, targets.clone());
        sides[1] = made.unwrap();
        match run_with(&mut sides, &mut |_, _, bytes| vec![bytes]) {
            Ok(_) => {
                let outputs = sides[0].outputs().unwrap();
                let same = set.iter().zip(outputs);
                let same = same.filter(|(key, output)| **output == cut(target(**key), 80));
                assert_eq!(same.count(), 0);
            }
            Err(refusal) => assert_eq!(refusal.code, "E_PROTOCOL"),
        }
    }
}

#[test]
fn a_digest_that_stands_twice_is_refused_before_anything_depends_on_it() {
    let set = range(0..4);
    for at in [0, 1] {
        let mut sides = pair([&set, &set], 80, 1);
        let (twice, p) = (digests([0, 1, 2, 1]), parameters(4, 80, 1));
        let seed = Secret::new([9; 32]);
        sides[at] = if at == 0 {
            Machine::receiver(&seed, p, twice).unwrap()
        } else {
            Machine::sender(&seed, p, twice, vec![1, 2, 3, 4]).unwrap()
        };
        let mut kinds = Vec::new();
        let refusal = run_with(&mut sides, &mut |from, _, bytes| {
            if from == at {
                kinds.push(bytes[0]);
            }
            vec![bytes]
        })
        .unwrap_err();
        assert_eq!(refusal.code, "E_FORMAT");
        assert!(kinds.iter().all(|kind| *kind == 1), "{kinds:?}");
    }
}

#[test]
fn bad_arguments_are_refused() {
    let seed = Secret::new([0; 32]);
    let receiver = |p, d: Vec<u8>| Machine::receiver(&seed, p, d).unwrap_err().code;
    for bits in [0, 7, 12, 136] {
        assert_eq!(receiver(parameters(3, bits, 1), digests(0..3)), "E_FORMAT");
    }
    assert_eq!(receiver(parameters(3, 80, 0), digests(0..3)), "E_FORMAT");
    assert_eq!(receiver(parameters(3, 80, 1), vec![0; 33]), "E_FORMAT");
    assert_eq!(receiver(parameters(3, 80, 1), vec![]), "E_FORMAT");
    assert_eq!(receiver(parameters(0, 80, 1), digests(0..3)), "E_FORMAT");
    let large = parameters(usize::MAX, 80, 1);
    assert_eq!(receiver(large, digests(0..3)), "E_TOO_LARGE");
    let sender = Machine::sender(&seed, parameters(3, 80, 1), digests(0..3), vec![1, 2]);
    assert_eq!(sender.unwrap_err().code, "E_FORMAT");
}

/// Time of each side on one thread: `cargo test --release -p atoll-psi --test opprf cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
fn cost_of_a_million_keys() {
    const N: u32 = 1 << 20;
    let sets = [range(0..N), range(N / 2..N + N / 2)];
    let mut sides = pair([&sets[0], &sets[1]], 80, 1);
    let (mut spent, mut bytes) = ([0f64; 2], [0; 2]);
    loop {
        let mut moved = false;
        for from in [0, 1] {
            loop {
                let start = std::time::Instant::now();
                let message = sides[from].next_message().unwrap();
                spent[from] += start.elapsed().as_secs_f64();
                let Some(message) = message else { break };
                (moved, bytes[from]) = (true, bytes[from] + message.bytes.len());
                let start = std::time::Instant::now();
                sides[1 - from].receive(&message.bytes).unwrap();
                spent[1 - from] += start.elapsed().as_secs_f64();
            }
        }
        if !moved {
            break;
        }
    }
    println!("receiver, sender: {spent:.2?} s, {bytes:?} bytes");
}
