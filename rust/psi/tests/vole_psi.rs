//! The machine from VOLE against the ideal functionality, and against a peer that breaks the rules.

use std::collections::BTreeMap;

use atoll_ot::Security;
use atoll_primitives::stream::Secret;
use atoll_psi::Refusal;
use atoll_psi::vole_psi::{CHUNK, Machine, Parameters, Role, Variant};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

type Party = Machine<Vec<u8>>;

#[derive(Debug, Clone, Copy)]
struct Mode {
    both: bool,
    security: Security,
    variant: Variant,
}

const MALICIOUS: Mode = Mode {
    both: true,
    security: Security::Malicious,
    variant: Variant::Fast,
};
const SEMI_HONEST: Mode = Mode {
    both: true,
    security: Security::SemiHonest,
    variant: Variant::Fast,
};
const SHORT: Mode = Mode {
    both: true,
    security: Security::SemiHonest,
    variant: Variant::LowCommunication,
};

fn digests(keys: impl IntoIterator<Item = u32>) -> Vec<u8> {
    keys.into_iter()
        .flat_map(|key| <[u8; 32]>::from(Sha256::digest(key.to_le_bytes())))
        .collect()
}

fn parameters(role: Role, peer_items: usize, mode: Mode, threads: usize) -> Parameters {
    Parameters {
        attempt: 0,
        channel: "c".into(),
        context: b"job and coin".to_vec(),
        peer_items: peer_items as u64,
        role,
        both: mode.both,
        security: mode.security,
        variant: mode.variant,
        threads,
    }
}

/// Receiver and sender; each key stands on as many rows as the map says.
fn pair(sets: [&BTreeMap<u32, u32>; 2], mode: Mode, rows: bool, threads: usize) -> [Party; 2] {
    [(Role::Receiver, 0), (Role::Sender, 1)].map(|(role, side)| {
        Machine::new(
            &Secret::new([side as u8; 32]),
            parameters(role, sets[1 - side].len(), mode, threads),
            digests(sets[side].keys().copied()),
            rows.then(|| sets[side].values().copied().collect()),
        )
        .unwrap()
    })
}

fn plain(keys: std::ops::Range<u32>) -> BTreeMap<u32, u32> {
    keys.map(|key| (key, 1)).collect()
}

/// What each side sent.
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

fn keys(set: &BTreeMap<u32, u32>, party: &Party) -> Vec<u32> {
    let all: Vec<u32> = set.keys().copied().collect();
    let matched = party.matched().unwrap().iter();
    matched.map(|i| all[*i as usize]).collect()
}

fn modes() -> impl Strategy<Value = Mode> {
    let base = prop_oneof![Just(MALICIOUS), Just(SEMI_HONEST), Just(SHORT)];
    (base, any::<bool>()).prop_map(|(mode, both)| Mode { both, ..mode })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn equals_the_ideal_functionality(
        left in proptest::collection::btree_map(0u32..60, 1u32..9, 0..40),
        right in proptest::collection::btree_map(0u32..60, 1u32..9, 0..40),
        mode in modes(),
        rows in any::<bool>(),
    ) {
        let mut sides = pair([&left, &right], mode, rows, 1);
        let sent = run(&mut sides);
        let common: Vec<u32> = left.keys().filter(|k| right.contains_key(k)).copied().collect();
        let matched = keys(&left, &sides[0]);
        let mut sorted = matched.clone();
        sorted.sort_unstable();
        prop_assert_eq!(&sorted, &common);
        prop_assert_eq!(sides[0].size().unwrap(), Some(common.len() as u64));
        if mode.both {
            prop_assert_eq!(keys(&right, &sides[1]), matched.clone());
            for (side, other) in [(0, &right), (1, &left)] {
                let want: Vec<u32> = matched.iter().map(|k| other[k]).collect();
                let got = sides[side].peer_multiplicity().unwrap();
                prop_assert_eq!(got, rows.then_some(&want[..]));
            }
        } else {
            prop_assert_eq!(sides[1].matched().unwrap_err().code, "E_STATE");
            prop_assert_eq!(sides[1].size().unwrap(), None);
            prop_assert_eq!(sides[0].peer_multiplicity().unwrap(), None);
        }
        if left.is_empty() || right.is_empty() {
            prop_assert!(sent.iter().all(Vec::is_empty));
        }
        for side in &mut sides {
            prop_assert!(side.next_message().unwrap().is_none());
            let (done, all) = side.progress();
            prop_assert_eq!(done, all);
        }
    }
}

#[test]
fn edges_of_size() {
    for mode in [MALICIOUS, SEMI_HONEST, SHORT] {
        for (mine, peers) in [(0, 0), (0, 3), (3, 0), (1, 1), (2, 1), (1, 1000), (1000, 2)] {
            // All that the smaller side has is common; then nothing.
            for (first, common) in [(0, mine.min(peers)), (1000, 0)] {
                let sets = [plain(0..mine), plain(first..first + peers)];
                let mut sides = pair([&sets[0], &sets[1]], mode, false, 1);
                run(&mut sides);
                for side in sides {
                    assert_eq!(side.size().unwrap(), Some(u64::from(common)));
                }
            }
        }
    }
}

#[test]
fn bytes_follow_from_seed_and_inputs_alone() {
    let sets = [plain(0..3000), plain(1500..5000)];
    for mode in [MALICIOUS, SEMI_HONEST, SHORT] {
        let sent = [1, 2].map(|threads| run(&mut pair([&sets[0], &sets[1]], mode, true, threads)));
        assert!(sent[0] == sent[1]);
    }
    let role = |attempt, context: &[u8]| {
        let mut p = parameters(Role::Sender, 4, MALICIOUS, 1);
        (p.attempt, p.context) = (attempt, context.to_vec());
        p
    };
    let first = |p| {
        Machine::new(&Secret::new([0; 32]), p, digests(0..4), None)
            .unwrap()
            .next_message()
    };
    assert_ne!(first(role(0, b"a")).unwrap(), first(role(1, b"a")).unwrap());
}

#[test]
fn large_sets_come_in_several_messages() {
    let n = 100_000;
    let sets = [plain(0..n + 5), plain(n / 2..n + n / 2)];
    for mode in [MALICIOUS, SHORT] {
        let mut sides = pair([&sets[0], &sets[1]], mode, true, 2);
        let sent = run(&mut sides);
        assert_eq!(sides[0].size().unwrap(), Some(u64::from(n / 2 + 5)));
        assert_eq!(keys(&sets[0], &sides[0]), keys(&sets[1], &sides[1]));
        assert!(
            sent.iter()
                .flatten()
                .all(|bytes| bytes.len() <= (1 << 20) + 1)
        );
        assert!(sent[0].iter().filter(|bytes| bytes[0] == 4).count() > n as usize / CHUNK);
    }
}

#[test]
fn steps_are_unique_and_nothing_opens_before_the_store_is_in() {
    let sets = [plain(0..50), plain(25..75)];
    let mut sides = pair([&sets[0], &sets[1]], MALICIOUS, true, 1);
    let mut steps = std::collections::HashSet::new();
    let mut opened = [false; 2];
    loop {
        let mut moved = false;
        for from in [0, 1] {
            while let Some(message) = sides[from].next_message().unwrap() {
                moved = true;
                assert!(
                    steps.insert((from, message.step.clone())),
                    "{}",
                    message.step
                );
                assert_eq!(message.opens, (6..=9).contains(&message.bytes[0]));
                opened[from] |= message.opens;
                assert!(!opened[0] || opened[1], "the sender opens first");
                sides[1 - from].receive(&message.bytes).unwrap();
            }
        }
        if !moved {
            break;
        }
    }
    assert_eq!(opened, [true; 2]);
}

/// Whoever is handed a message that differs must refuse it, or end without a match that is none.
fn no_false_match(sets: [&BTreeMap<u32, u32>; 2], sides: &[Party; 2]) {
    for (side, party) in sides.iter().enumerate() {
        if let Ok(matched) = party.matched() {
            let mine: Vec<u32> = sets[side].keys().copied().collect();
            for index in matched {
                assert!(sets[1 - side].contains_key(&mine[*index as usize]));
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_any_message_never_makes_a_match() {
    let sets = [plain(0..40), plain(20..60)];
    let sets = [&sets[0], &sets[1]];
    let sent = run(&mut pair(sets, MALICIOUS, false, 1));
    let mut refused = 0;
    for from in [0, 1] {
        for (number, message) in sent[from].iter().enumerate() {
            let length = message.len();
            for at in [0, 1, 4, length / 2, length - 1] {
                let mut sides = pair(sets, MALICIOUS, false, 1);
                let done = run_with(&mut sides, &mut |side, i, mut bytes| {
                    if (side, i) == (from, number) {
                        let at = at.min(bytes.len() - 1);
                        bytes[at] ^= 1;
                    }
                    vec![bytes]
                });
                if let Err(refusal) = done {
                    assert_eq!(refusal.code, "E_PROTOCOL");
                    refused += 1;
                }
                no_false_match(sets, &sides);
            }
        }
    }
    assert!(refused > 10);
}

/// Runs with one change and expects that the other side refuses.
fn refused(
    mode: Mode,
    rows: bool,
    mut change: impl FnMut(usize, &[u8]) -> Option<Vec<Vec<u8>>>,
) -> String {
    let sets = [plain(0..6), plain(3..9)];
    let mut sides = pair([&sets[0], &sets[1]], mode, rows, 1);
    let refusal = run_with(&mut sides, &mut |side, _, bytes| {
        change(side, &bytes).unwrap_or_else(|| vec![bytes])
    })
    .expect_err("the change is noticed");
    assert_eq!(refusal.code, "E_PROTOCOL", "{}", refusal.text);
    refusal.text
}

/// Replaces messages of one kind by what `with` makes of them.
fn swap(
    kind: u8,
    with: impl Fn(&[u8]) -> Vec<Vec<u8>>,
) -> impl FnMut(usize, &[u8]) -> Option<Vec<Vec<u8>>> {
    move |_, bytes| (bytes[0] == kind).then(|| with(bytes))
}

fn edited(bytes: &[u8], at: usize, new: &[u8]) -> Vec<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    vec![bytes]
}

#[test]
fn the_sender_cannot_change_its_share_after_the_commitment() {
    for at in [1, 16, 17, 32] {
        let text = refused(MALICIOUS, false, swap(5, |m| edited(m, at, &[m[at] ^ 1])));
        assert!(text.contains("committed"), "{text}");
    }
}

#[test]
fn every_message_is_refused_cut_lengthened_and_twice() {
    for (mode, kinds) in [
        (MALICIOUS, &[1u8, 2, 3, 4, 5, 6, 7, 8, 9][..]),
        (SHORT, &[1, 4, 6, 7, 8, 9]),
    ] {
        for kind in kinds {
            refused(mode, true, swap(*kind, |m| vec![m[..m.len() - 1].to_vec()]));
            refused(mode, true, swap(*kind, |m| vec![[m, &[0]].concat()]));
            refused(mode, true, swap(*kind, |m| vec![m.to_vec(), m.to_vec()]));
            refused(mode, true, swap(*kind, |m| vec![vec![], m.to_vec()]));
            refused(mode, true, swap(*kind, |m| edited(m, 0, &[m[0] + 16])));
        }
    }
}

#[test]
fn messages_of_a_later_step_are_refused_early() {
    // Bodies of the right length, sent by each side as its first message.
    let bodies: [(u8, usize); 9] = [
        (1, 8),
        (2, 32),
        (3, 16),
        (4, 16 * 55),
        (5, 32),
        (6, 96),
        (7, 4),
        (8, 48),
        (9, 12),
    ];
    let sets = [plain(0..6), plain(3..9)];
    for (kind, length) in bodies {
        let message = [&[kind][..], &vec![0; length]].concat();
        for to in [0, 1] {
            if (kind, to) == (2, 0) {
                continue;
            }
            let mut sides = pair([&sets[0], &sets[1]], MALICIOUS, true, 1);
            let refusal = sides[to].receive(&message).unwrap_err();
            assert_eq!(refusal.code, "E_PROTOCOL", "{kind} to {to}");
            assert_eq!(sides[to].receive(&message).unwrap_err().code, "E_STATE");
            assert_eq!(sides[to].next_message().unwrap_err().code, "E_STATE");
            assert!(!sides[to].done());
        }
    }
}

#[test]
fn tags_that_repeat_or_fall_are_refused() {
    let second = |m: &[u8]| m[17..33].to_vec();
    let text = refused(MALICIOUS, false, swap(6, |m| edited(m, 1, &second(m))));
    assert!(text.contains("repeated"), "{text}");
    let swapped = |m: &[u8]| edited(m, 1, &[second(m), m[1..17].to_vec()].concat());
    assert!(refused(MALICIOUS, false, swap(6, swapped)).contains("order"));
}

#[test]
fn returned_matches_must_be_held() {
    // Ranks of the honest receiver, and the proofs that go with them.
    for (at, new) in [(5, vec![0; 12]), (1, vec![255; 4]), (16, vec![1, 2])] {
        refused(MALICIOUS, false, swap(8, |m| edited(m, at, &new)));
    }
    // A tag that the receiver saw but does not hold: another rank with a proof of its own.
    let other = |m: &[u8]| {
        let ranks: Vec<u32> = m[1..]
            .chunks(16)
            .map(|e| u32::from_le_bytes(e[..4].try_into().unwrap()))
            .collect();
        let free = (0..6u32).find(|rank| !ranks.contains(rank) && *rank < ranks[1]);
        match free {
            Some(rank) => edited(m, 1, &rank.to_le_bytes()),
            None => edited(m, 33, &5u32.to_le_bytes()),
        }
    };
    refused(MALICIOUS, false, swap(8, other));
    let twice = |m: &[u8]| edited(m, 17, &m[1..17]);
    for mode in [MALICIOUS, SEMI_HONEST] {
        let width = if mode.security == Security::Malicious {
            16
        } else {
            4
        };
        let text = refused(
            mode,
            false,
            swap(8, |m| edited(m, 1 + width, &m[1..1 + width])),
        );
        assert!(text.contains("repeated"), "{text}");
    }
    refused(MALICIOUS, false, swap(8, twice));
    refused(
        MALICIOUS,
        false,
        swap(7, |m| edited(m, 1, &7u32.to_le_bytes())),
    );
    refused(MALICIOUS, true, swap(9, |m| edited(m, 1, &[0; 4])));
}

#[test]
fn a_receiver_may_leave_matches_out() {
    // Stated, not prevented: fewer matches than there are, with their proofs.
    let sets = [plain(0..6), plain(3..9)];
    let mut sides = pair([&sets[0], &sets[1]], MALICIOUS, false, 1);
    run_with(&mut sides, &mut |_, _, bytes| match bytes[0] {
        7 => edited(&bytes, 1, &1u32.to_le_bytes()),
        8 => vec![bytes[..17].to_vec()],
        _ => vec![bytes],
    })
    .unwrap();
    assert_eq!(sides[1].size().unwrap(), Some(1));
    no_false_match([&sets[0], &sets[1]], &sides);
}

#[test]
fn another_run_gives_no_match() {
    // Messages of a run under another coin: the VOLE is refused, or nothing matches.
    let sets = [plain(0..20), plain(10..30)];
    let mut mixed = pair([&sets[0], &sets[1]], SEMI_HONEST, false, 1);
    let mut other = parameters(Role::Sender, 20, SEMI_HONEST, 1);
    other.context = b"another".to_vec();
    mixed[1] = Machine::new(&Secret::new([1; 32]), other, digests(10..30), None).unwrap();
    if run_with(&mut mixed, &mut |_, _, bytes| vec![bytes]).is_ok() {
        assert_eq!(mixed[0].size().unwrap(), Some(0));
    }
}

#[test]
fn bad_arguments_are_refused() {
    let make = |p, d: Vec<u8>, rows: Option<Vec<u32>>| {
        Machine::new(&Secret::new([0; 32]), p, d, rows).map(|_| ())
    };
    let good = || parameters(Role::Receiver, 4, MALICIOUS, 1);
    let code = |result: Result<(), Refusal>| result.unwrap_err().code;
    assert!(make(good(), digests(0..3), Some(vec![1, 2, 3])).is_ok());
    assert_eq!(code(make(good(), vec![0; 31], None)), "E_FORMAT");
    assert_eq!(
        code(make(good(), digests(0..3), Some(vec![1, 2]))),
        "E_FORMAT"
    );
    assert_eq!(
        code(make(good(), digests(0..3), Some(vec![1, 0, 2]))),
        "E_FORMAT"
    );
    let mut p = good();
    p.variant = Variant::LowCommunication;
    assert_eq!(code(make(p, digests(0..3), None)), "E_FORMAT");
    let mut p = good();
    p.threads = 0;
    assert_eq!(code(make(p, digests(0..3), None)), "E_FORMAT");
    let mut p = good();
    p.peer_items = u64::MAX;
    assert_eq!(code(make(p, digests(0..3), None)), "E_TOO_LARGE");
    assert!(Role::parse("x").is_err() && Variant::parse("").is_err());
}

#[test]
fn a_digest_that_stands_twice_is_refused_before_anything_depends_on_it() {
    for (role, at) in [(Role::Receiver, 0), (Role::Sender, 1)] {
        let mut sides = pair([&plain(0..4), &plain(0..4)], MALICIOUS, false, 1);
        let twice = digests([0, 1, 2, 1]);
        sides[at] = Machine::new(
            &Secret::new([9; 32]),
            parameters(role, 4, MALICIOUS, 1),
            twice,
            None,
        )
        .unwrap();
        let mut kinds = Vec::new();
        let refusal = run_with(&mut sides, &mut |from, _, bytes| {
            if from == at {
                kinds.push(bytes[0]);
            }
            vec![bytes]
        })
        .unwrap_err();
        assert_eq!(refusal.code, "E_FORMAT");
        assert!(
            kinds.iter().all(|kind| [1, 2, 5].contains(kind)),
            "{kinds:?}"
        );
    }
}

/// Chi-square of the bytes of the bodies of one kind: 255 degrees of freedom, 377 is passed by chance once in a million.
fn chi(sent: &[Vec<u8>], kind: u8, skip: impl Fn(usize) -> bool) -> f64 {
    let mut counts = [0f64; 256];
    for message in sent.iter().filter(|m| m[0] == kind) {
        for (at, byte) in message[1..].iter().enumerate() {
            if !skip(at) {
                counts[usize::from(*byte)] += 1.0;
            }
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
fn what_is_sent_looks_uniform_whatever_the_sets() {
    for mode in [MALICIOUS, SEMI_HONEST, SHORT] {
        for sets in [
            [plain(0..3000), plain(0..3000)],
            [plain(0..3000), plain(3000..6000)],
            [plain(0..2000), plain(9..11_000)],
        ] {
            let sent = run(&mut pair([&sets[0], &sets[1]], mode, false, 1));
            let value = chi(&sent[0], 4, |_| false);
            assert!(value < 377.0, "A: {value} in {mode:?}");
            // Sorted tags: their first two bytes rise.
            let width = sent[1]
                .iter()
                .find(|m| m[0] == 6)
                .map(|m| (m.len() - 1) / sets[1].len())
                .unwrap();
            let value = chi(&sent[1], 6, |at| at % width < 2);
            assert!(value < 377.0, "tags: {value} in {mode:?}");
        }
    }
}

#[test]
fn the_receiver_presents_at_most_its_slots() {
    let sets = [plain(0..100), plain(0..10)];
    for (mode, bounds) in [(MALICIOUS, 100..400), (SEMI_HONEST, 100..101)] {
        let sides = pair([&sets[0], &sets[1]], mode, false, 1);
        assert_eq!(sides[0].presented_at_most(), sides[1].presented_at_most());
        assert!(bounds.contains(&sides[0].presented_at_most()));
    }
    let empty = pair([&plain(0..0), &plain(0..3)], MALICIOUS, false, 1);
    assert_eq!(empty[1].presented_at_most(), 0);
}

/// Time of each part on one thread: `cargo test --release -p atoll-psi --test vole_psi cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
fn cost_of_a_million_keys() {
    const N: u32 = 1 << 20;
    let sets = [plain(0..N), plain(N / 2..N + N / 2)];
    for mode in [MALICIOUS, SEMI_HONEST, SHORT].map(|mode| Mode {
        both: false,
        ..mode
    }) {
        let mut spent = BTreeMap::<(&str, u8, &str), f64>::new();
        let mut bytes = [0; 2];
        let mut sides = pair([&sets[0], &sets[1]], mode, false, 1);
        let names = ["receiver", "sender"];
        loop {
            let mut moved = false;
            for from in [0, 1] {
                loop {
                    let start = std::time::Instant::now();
                    let message = sides[from].next_message().unwrap();
                    let kind = message.as_ref().map_or(0, |m| m.bytes[0]);
                    *spent.entry((names[from], kind, "makes")).or_default() +=
                        start.elapsed().as_secs_f64();
                    let Some(message) = message else { break };
                    moved = true;
                    bytes[from] += message.bytes.len();
                    let start = std::time::Instant::now();
                    sides[1 - from].receive(&message.bytes).unwrap();
                    *spent.entry((names[1 - from], kind, "takes")).or_default() +=
                        start.elapsed().as_secs_f64();
                }
            }
            if !moved {
                break;
            }
        }
        assert_eq!(sides[0].size().unwrap(), Some(u64::from(N / 2)));
        println!("{mode:?}: {:.1} MB", (bytes[0] + bytes[1]) as f64 / 1e6);
        for ((side, kind, what), seconds) in &spent {
            println!("  {side} {what} {kind}: {:.0} ms", seconds * 1e3);
        }
        println!("  all: {:.0} ms", spent.values().sum::<f64>() * 1e3);
    }
}
