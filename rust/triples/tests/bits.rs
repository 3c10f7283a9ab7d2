//! Bit triples from end to end: against the products in plain sight, with broken peers, and over several batches.

use atoll_primitives::stream::Secret;
use atoll_triples::bits::{BitTriples, Bits, Source};
use atoll_triples::{Refusal, Role, Session};
use proptest::prelude::*;

const SOURCES: [Source; 4] = [
    Source::Rich { field: 2 },
    Source::Rich { field: 3 },
    Source::Rich { field: 8 },
    Source::Thin,
];

fn session(role: Role, threads: usize) -> Session {
    Session {
        seed: Secret::new([role as u8 + 1; 32]),
        attempt: 0,
        channel: "c".into(),
        context: b"test".to_vec(),
        role,
        threads,
    }
}

fn machine(role: Role, source: Source, count: u64, threads: usize) -> BitTriples {
    BitTriples::new(session(role, threads), source, count).unwrap()
}

fn pair(source: Source, count: u64, threads: usize) -> [BitTriples; 2] {
    [Role::First, Role::Second].map(|role| machine(role, source, count, threads))
}

type Message = (usize, Vec<u8>);

/// Runs both to the end of their batch; all messages, with each given to `change` before it arrives.
fn run(
    machines: &mut [BitTriples; 2],
    mut change: impl FnMut(&mut Vec<u8>),
) -> Result<Vec<Message>, Refusal> {
    let mut messages = Vec::new();
    while !machines.iter().all(BitTriples::done) {
        for from in 0..2 {
            if let Some(message) = machines[from].next_message()? {
                let mut bytes = message.bytes;
                change(&mut bytes);
                machines[1 - from].receive(&bytes)?;
                messages.push((from, bytes));
            }
        }
    }
    Ok(messages)
}

fn wrong(bits: &[Bits; 2]) -> u32 {
    let [x, y] = bits;
    (0..x.a.len())
        .map(|i| ((x.a[i] ^ y.a[i]) & (x.b[i] ^ y.b[i]) ^ x.c[i] ^ y.c[i]).count_ones())
        .sum()
}

fn finish(machines: &mut [BitTriples; 2]) -> [Bits; 2] {
    machines.each_mut().map(|machine| machine.finish().unwrap())
}

fn check(bits: &[Bits; 2], count: u64) {
    assert_eq!(wrong(bits), 0);
    for out in bits.iter().flat_map(|bits| [&bits.a, &bits.b, &bits.c]) {
        assert_eq!(out.len() as u64, count.div_ceil(64));
        let ones: u32 = out.iter().map(|word| word.count_ones()).sum();
        // Five standard deviations about one half, c of each side included.
        let off = (f64::from(ones) - count as f64 / 2.0).abs();
        assert!(
            off <= 2.5 * (count as f64).sqrt() + 1.0,
            "{ones} of {count}"
        );
        if !count.is_multiple_of(64) {
            assert_eq!(out.last().unwrap() >> (count % 64), 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn triples_are_products(which in 0usize..4, count in 0u64..9000) {
        let mut machines = pair(SOURCES[which], count, 1);
        run(&mut machines, |_| {}).unwrap();
        check(&finish(&mut machines), count);
    }
}

#[test]
fn batches_of_a_session_share_nothing() {
    for source in SOURCES {
        let mut machines = pair(source, 1000, 1);
        let mut seen: Vec<u64> = Vec::new();
        for count in [1000, 70_000, 0, 64] {
            let messages = run(&mut machines, |_| {}).unwrap();
            assert_eq!(messages.is_empty(), count == 0);
            assert!(
                machines
                    .iter_mut()
                    .all(|m| m.again(5).unwrap_err().code == "E_STATE")
            );
            let bits = finish(&mut machines);
            check(&bits, count);
            assert!(
                machines
                    .iter_mut()
                    .all(|m| m.finish().unwrap_err().code == "E_STATE")
            );
            let words = bits.iter().flat_map(|b| [&b.a, &b.b, &b.c]).flatten();
            // A last word that is not full may be met twice by chance.
            seen.extend(words.filter(|word| **word >> 40 != 0));
            let next = match count {
                1000 => 70_000,
                70_000 => 0,
                _ => 64,
            };
            machines.iter_mut().for_each(|m| m.again(next).unwrap());
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}

#[test]
fn threads_attempts_and_names_decide_bytes_as_they_should() {
    for source in SOURCES {
        let made = |change: &dyn Fn(&mut Session), threads| {
            let mut machines = [Role::First, Role::Second].map(|role| {
                let mut session = session(role, threads);
                change(&mut session);
                BitTriples::new(session, source, 70_000).unwrap()
            });
            let mut messages = run(&mut machines, |_| {}).unwrap();
            messages.retain(|message| message.0 == 0);
            (messages, finish(&mut machines))
        };
        let plain = made(&|_| {}, 1);
        assert!(plain == made(&|_| {}, 3));
        for other in [
            made(&|session| session.attempt = 1, 1),
            made(&|session| session.channel = "d".into(), 1),
            made(&|session| session.context = b"other".to_vec(), 1),
        ] {
            assert!(plain.0.iter().zip(&other.0).all(|(a, b)| a != b));
            assert_ne!(plain.1[0].b, other.1[0].b);
        }
    }
}

#[test]
fn a_peer_of_other_parameters_is_refused() {
    let mut first = machine(Role::First, Source::Thin, 5, 1);
    let mut second = machine(Role::Second, Source::Rich { field: 2 }, 5, 1);
    let hello = first.next_message().unwrap().unwrap();
    assert_eq!(second.receive(&hello.bytes).unwrap_err().code, "E_PROTOCOL");
    assert_eq!(second.receive(&hello.bytes).unwrap_err().code, "E_STATE");
    assert_eq!(second.next_message().unwrap_err().code, "E_STATE");
    assert_eq!(second.again(5).unwrap_err().code, "E_STATE");
    for field in [0, 1, 9] {
        let refused = BitTriples::new(session(Role::First, 1), Source::Rich { field }, 5);
        assert_eq!(refused.unwrap_err().code, "E_FORMAT");
    }
    let refused = BitTriples::new(session(Role::First, 1), Source::Thin, (1 << 32) + 1);
    assert_eq!(refused.unwrap_err().code, "E_FORMAT");
    let refused = BitTriples::new(session(Role::First, 0), Source::Thin, 5);
    assert_eq!(refused.unwrap_err().code, "E_FORMAT");
    assert_eq!(Role::parse("third").unwrap_err().code, "E_FORMAT");
    assert_eq!(Role::parse("second").unwrap(), Role::Second);
}

#[test]
fn broken_messages_are_refused_and_end_the_run() {
    for source in SOURCES {
        let messages = run(&mut pair(source, 200, 1), |_| {}).unwrap();
        for at in 0..messages.len() {
            let good = &messages[at].1;
            let bad = [
                vec![],
                good[..1].to_vec(),
                good[..good.len() - 1].to_vec(),
                [good, &[0][..]].concat(),
                [&[9], &good[1..]].concat(),
                [&good[..1], &vec![255; good.len()][..]].concat(),
            ];
            for bad in bad {
                let mut machines = pair(source, 200, 1);
                for (from, bytes) in &messages[..at] {
                    let message = machines[*from].next_message().unwrap().unwrap();
                    assert_eq!(&message.bytes, bytes);
                    machines[1 - from].receive(bytes).unwrap();
                }
                let machine = &mut machines[1 - messages[at].0];
                assert_eq!(machine.receive(&bad).unwrap_err().code, "E_PROTOCOL");
                assert_eq!(machine.receive(good).unwrap_err().code, "E_STATE");
                assert!(!machine.done());
            }
        }
        // Nothing is due after the end.
        let mut machines = pair(source, 200, 1);
        let messages = run(&mut machines, |_| {}).unwrap();
        let last = &messages.last().unwrap().1;
        assert_eq!(machines[0].receive(last).unwrap_err().code, "E_PROTOCOL");
    }
}

#[test]
fn a_flipped_bit_gives_wrong_triples_and_nobody_notices() {
    // Corrections of the rich link; sums of trees of the thin one (kind 3 both).
    for source in [Source::Rich { field: 2 }, Source::Thin] {
        let mut machines = pair(source, 9000, 1);
        run(&mut machines, |bytes| {
            if bytes[0] == 3 {
                bytes[1..].iter_mut().for_each(|byte| *byte ^= 1);
            }
        })
        .unwrap();
        assert!(wrong(&finish(&mut machines)) > 0);
    }
}

/// `cargo test --release -p atoll-triples --test bits cost -- --ignored --nocapture`
#[test]
#[ignore = "takes seconds"]
fn cost() {
    for (source, count) in [
        (Source::Rich { field: 2 }, 20_000_000),
        (Source::Rich { field: 4 }, 20_000_000),
        (Source::Thin, 1 << 23),
    ] {
        let begun = std::time::Instant::now();
        let mut machines = pair(source, count, 1);
        let mut bytes = 0;
        run(&mut machines, |message| bytes += message.len()).unwrap();
        let bits = finish(&mut machines);
        let seconds = begun.elapsed().as_secs_f64();
        assert_eq!(wrong(&bits), 0);
        println!(
            "{source:?}: {:.1} ns and {:.2} bits a triple for both sides",
            seconds / count as f64 * 1e9,
            8.0 * bytes as f64 / count as f64
        );
    }
}
