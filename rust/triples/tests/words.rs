//! Word triples from end to end: against the products in plain sight, with broken peers, and over several batches.

use atoll_primitives::stream::Secret;
use atoll_triples::words::{MAX_COUNT, MAX_WIDE_COUNT, WideTriples, WordTriples, Words};
use atoll_triples::{Refusal, Role, Session};
use proptest::prelude::*;

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

fn pair(count: u64, threads: usize) -> [WordTriples; 2] {
    [Role::First, Role::Second].map(|role| WordTriples::new(session(role, threads), count).unwrap())
}

type Message = (usize, Vec<u8>);

/// Runs both to the end of their batch; all messages, with each given to `change` before it arrives.
fn run(
    machines: &mut [WordTriples; 2],
    mut change: impl FnMut(&mut Vec<u8>),
) -> Result<Vec<Message>, Refusal> {
    let mut messages = Vec::new();
    while !machines.iter().all(WordTriples::done) {
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

fn wrong(words: &[Words; 2]) -> usize {
    let [x, y] = words;
    (0..x.a.len())
        .filter(|i| {
            let [a, b, c] =
                [(&x.a, &y.a), (&x.b, &y.b), (&x.c, &y.c)].map(|(x, y)| x[*i].wrapping_add(y[*i]));
            a.wrapping_mul(b) != c
        })
        .count()
}

fn finish(machines: &mut [WordTriples; 2]) -> [Words; 2] {
    machines.each_mut().map(|machine| machine.finish().unwrap())
}

fn check(words: &[Words; 2], count: u64) {
    assert_eq!(wrong(words), 0);
    for out in words
        .iter()
        .flat_map(|words| [&words.a, &words.b, &words.c])
    {
        assert_eq!(out.len() as u64, count);
        for place in 0..64 {
            let ones = out.iter().filter(|word| *word >> place & 1 == 1).count() as f64;
            // c's lowest bit is one for a quarter of products of words, were it not masked.
            assert!((ones - count as f64 / 2.0).abs() <= 3.0 * (count as f64).sqrt() + 1.0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn triples_are_products(count in prop_oneof![0u64..9, 8000u64..40_000]) {
        let mut machines = pair(count, 1);
        run(&mut machines, |_| {}).unwrap();
        check(&finish(&mut machines), count);
    }
}

/// Runs both machines of wide words to the end of their batch, with each message given to `change` before it arrives.
fn run_wide(
    machines: &mut [WideTriples; 2],
    mut change: impl FnMut(&mut Vec<u8>),
) -> Result<Vec<Message>, Refusal> {
    let mut messages = Vec::new();
    while !machines.iter().all(WideTriples::done) {
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

fn wide_pair(count: u64) -> [WideTriples; 2] {
    [Role::First, Role::Second].map(|role| WideTriples::new(session(role, 1), count).unwrap())
}

fn wrong_wide(machines: &mut [WideTriples; 2], count: u64) -> usize {
    let [x, y] = machines.each_mut().map(|machine| machine.finish().unwrap());
    assert_eq!(x.a.len() as u64, count);
    (0..x.a.len())
        .filter(|i| {
            let [a, b, c] =
                [(&x.a, &y.a), (&x.b, &y.b), (&x.c, &y.c)].map(|(x, y)| x[*i].wrapping_add(y[*i]));
            a.wrapping_mul(b) != c
        })
        .count()
}

#[test]
fn wide_triples_are_products_over_batches() {
    let mut machines = wide_pair(20_000);
    for (count, next) in [(20_000, 5), (5, 0), (0, 9000), (9000, 1)] {
        run_wide(&mut machines, |_| {}).unwrap();
        assert_eq!(wrong_wide(&mut machines, count), 0);
        machines.iter_mut().for_each(|m| m.again(next).unwrap());
    }
    let refused = WideTriples::new(session(Role::First, 1), MAX_WIDE_COUNT + 1);
    assert_eq!(refused.unwrap_err().code, "E_FORMAT");
}

#[test]
fn wide_messages_that_are_broken_are_refused_and_flipped_bits_are_not_noticed() {
    let messages = run_wide(&mut wide_pair(20), |_| {}).unwrap();
    // Two greetings, keys, and a question and an answer of each of five primes.
    assert_eq!(messages.len(), 13);
    for at in 0..messages.len() {
        let mut number = 0;
        let broken = run_wide(&mut wide_pair(20), |bytes| {
            if number == at {
                bytes.pop();
            }
            number += 1;
        });
        assert_eq!(broken.unwrap_err().code, "E_PROTOCOL");
    }
    let mut machines = wide_pair(1000);
    run_wide(&mut machines, |bytes| {
        if bytes[0] == 3 {
            bytes[1 + 8 * 8192 + 9 * 100 + 8] ^= 1;
        }
    })
    .unwrap();
    assert!(wrong_wide(&mut machines, 1000) >= 990);
}

#[test]
fn batches_of_a_session_share_nothing() {
    let mut machines = pair(100, 1);
    let mut seen: Vec<u64> = Vec::new();
    let mut sent: Vec<Vec<u8>> = Vec::new();
    for (count, next) in [(100, 9000), (9000, 0), (0, 100), (100, 0)] {
        let messages = run(&mut machines, |_| {}).unwrap();
        // Parts of messages: no ciphertext is met twice.
        sent.extend(
            messages
                .iter()
                .map(|(_, bytes)| bytes[bytes.len().saturating_sub(64)..].to_vec()),
        );
        assert_eq!(messages.is_empty(), count == 0);
        assert!(
            machines
                .iter_mut()
                .all(|m| m.again(5).unwrap_err().code == "E_STATE")
        );
        let words = finish(&mut machines);
        check(&words, count);
        assert!(
            machines
                .iter_mut()
                .all(|m| m.finish().unwrap_err().code == "E_STATE")
        );
        seen.extend(words.iter().flat_map(|w| [&w.a, &w.b, &w.c]).flatten());
        machines.iter_mut().for_each(|m| m.again(next).unwrap());
    }
    let (values, messages) = (seen.len(), sent.len());
    seen.sort_unstable();
    seen.dedup();
    sent.sort_unstable();
    sent.dedup();
    // The greeting of both sides is the same.
    assert_eq!((seen.len(), sent.len()), (values, messages - 1));
}

#[test]
fn threads_attempts_and_names_decide_bytes_as_they_should() {
    let made = |change: &dyn Fn(&mut Session), threads| {
        let mut machines = [Role::First, Role::Second].map(|role| {
            let mut session = session(role, threads);
            change(&mut session);
            WordTriples::new(session, 9000).unwrap()
        });
        let messages = run(&mut machines, |_| {}).unwrap();
        (messages, finish(&mut machines))
    };
    let plain = made(&|_| {}, 1);
    assert!(plain == made(&|_| {}, 3));
    for other in [
        made(&|session| session.attempt = 1, 1),
        made(&|session| session.channel = "d".into(), 1),
    ] {
        assert!(plain.0.iter().zip(&other.0).all(|(a, b)| a != b));
        assert_ne!(plain.1[0].a, other.1[0].a);
    }
    let other = made(&|session| session.context = b"other".to_vec(), 1);
    assert_ne!(plain.0[0], other.0[0]);
}

#[test]
fn the_first_side_waits_for_answers() {
    let mut machines = pair(100_000, 1);
    let mut sent = 0;
    while let Some(message) = machines[0].next_message().unwrap() {
        machines[1].receive(&message.bytes).unwrap();
        sent += 1;
    }
    // The greeting, the keys, and a window of questions; the peer takes no more.
    assert_eq!(sent, 2 + 12);
    let [mut other, _] = pair(100_000, 1);
    let mut last = Vec::new();
    while let Some(message) = other.next_message().unwrap() {
        last = message.bytes;
    }
    assert_eq!(machines[1].receive(&last).unwrap_err().code, "E_PROTOCOL");
}

#[test]
fn arguments_out_of_range_are_refused() {
    let refused = WordTriples::new(session(Role::First, 1), MAX_COUNT + 1);
    assert_eq!(refused.unwrap_err().code, "E_FORMAT");
    let refused = WordTriples::new(session(Role::Second, 0), 5);
    assert_eq!(refused.unwrap_err().code, "E_FORMAT");
    let mut first = WordTriples::new(session(Role::First, 1), 5).unwrap();
    let mut other = session(Role::Second, 1);
    other.context = b"other".to_vec();
    let mut second = WordTriples::new(other, 5).unwrap();
    let hello = first.next_message().unwrap().unwrap();
    assert_eq!(second.receive(&hello.bytes).unwrap_err().code, "E_PROTOCOL");
    assert_eq!(second.again(5).unwrap_err().code, "E_STATE");
}

#[test]
fn broken_messages_are_refused_and_end_the_run() {
    let messages = run(&mut pair(20, 1), |_| {}).unwrap();
    for at in 0..messages.len() {
        let good = &messages[at].1;
        let bad = [
            vec![],
            good[..1].to_vec(),
            good[..good.len() - 1].to_vec(),
            [good, &[0][..]].concat(),
            [&[9], &good[1..]].concat(),
            [&good[..1], &vec![255; good.len() - 1][..]].concat(),
        ];
        for bad in bad {
            let mut machines = pair(20, 1);
            for (from, bytes) in &messages[..at] {
                let message = machines[*from].next_message().unwrap().unwrap();
                assert_eq!(&message.bytes, bytes);
                machines[1 - from].receive(bytes).unwrap();
            }
            let machine = &mut machines[1 - messages[at].0];
            assert_eq!(machine.receive(&bad).unwrap_err().code, "E_PROTOCOL");
            assert_eq!(machine.receive(good).unwrap_err().code, "E_STATE");
            assert_eq!(machine.next_message().unwrap_err().code, "E_STATE");
            assert!(!machine.done());
        }
    }
    let mut machines = pair(20, 1);
    let messages = run(&mut machines, |_| {}).unwrap();
    for (from, bytes) in &messages[messages.len() - 2..] {
        assert_eq!(
            machines[1 - from].receive(bytes).unwrap_err().code,
            "E_PROTOCOL"
        );
    }
}

#[test]
fn a_flipped_bit_gives_wrong_triples_and_nobody_notices() {
    // Modulo the plaintext's prime a residue of a key or a question belongs to one slot; any other spoils all.
    let other = 1 + 63_488 + 3000;
    for (kind, at, least) in [
        (1, 3017, 1),
        (2, 3001, 1),
        (1, other, 990),
        (2, other, 990),
        (3, 1 + 8 * 8192 + 9 * 100 + 8, 990),
    ] {
        let mut machines = pair(1000, 1);
        run(&mut machines, |bytes| {
            if bytes[0] == kind {
                bytes[at] ^= 1;
            }
        })
        .unwrap();
        assert!(wrong(&finish(&mut machines)) >= least, "{kind} {at}");
    }
}

/// `cargo test --release -p atoll-triples --test words cost -- --ignored --nocapture`
#[test]
#[ignore = "takes seconds"]
fn cost() {
    let begun = std::time::Instant::now();
    let count = 1 << 18;
    let mut machines = pair(count, 1);
    let mut bytes = [0; 2];
    for (from, message) in run(&mut machines, |_| {}).unwrap() {
        bytes[from] += message.len();
    }
    let words = finish(&mut machines);
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(wrong(&words), 0);
    println!(
        "{:.2} us and {:.0} + {:.0} bytes a product for both sides",
        seconds / count as f64 * 1e6,
        bytes[0] as f64 / count as f64,
        bytes[1] as f64 / count as f64
    );
}
