//! Random transfers of words from end to end: what is chosen, several batches, and broken peers.

use atoll_primitives::stream::Secret;
use atoll_triples::bits::Source;
use atoll_triples::transfers::{MAX_COUNT, Transfers, WordTransfers, role};
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

fn pair(source: Source, count: u64, threads: usize) -> [WordTransfers; 2] {
    [Role::First, Role::Second]
        .map(|role| WordTransfers::new(session(role, threads), source, count).unwrap())
}

type Message = (usize, Vec<u8>);

/// Runs both to the end of their batch; all messages, with each given to `change` before it arrives.
fn run(
    machines: &mut [WordTransfers; 2],
    mut change: impl FnMut(&mut Vec<u8>),
) -> Result<Vec<Message>, Refusal> {
    let mut messages = Vec::new();
    while !machines.iter().all(WordTransfers::done) {
        let before = messages.len();
        for from in 0..2 {
            if let Some(message) = machines[from].next_message()? {
                let mut bytes = message.bytes;
                change(&mut bytes);
                machines[1 - from].receive(&bytes)?;
                messages.push((from, bytes));
            }
        }
        assert!(messages.len() > before, "both sides wait");
    }
    Ok(messages)
}

struct Batch {
    pairs: [Vec<u64>; 2],
    choices: Vec<u64>,
    words: Vec<u64>,
}

impl Batch {
    fn of(machines: &mut [WordTransfers; 2]) -> Self {
        let [first, second] = machines.each_mut().map(|machine| machine.finish().unwrap());
        match (first, second) {
            (Transfers::Sent { zeros, ones }, Transfers::Chosen { choices, words }) => Self {
                pairs: [zeros, ones],
                choices,
                words,
            },
            other => panic!("{other:?}"),
        }
    }

    fn choice(&self, i: usize) -> usize {
        (self.choices[i / 64] >> (i % 64) & 1) as usize
    }

    fn wrong(&self) -> usize {
        (0..self.words.len())
            .filter(|i| self.pairs[self.choice(*i)][*i] != self.words[*i])
            .count()
    }

    fn check(&self, count: usize) {
        assert_eq!(self.wrong(), 0);
        let even = |ones: u32, of: usize| {
            let off = (f64::from(ones) - of as f64 / 2.0).abs();
            assert!(off <= 2.5 * (of as f64).sqrt() + 1.0, "{ones} of {of}");
        };
        let ones = |words: &[u64]| words.iter().map(|word| word.count_ones()).sum();
        for words in [&self.words, &self.pairs[0], &self.pairs[1]] {
            assert_eq!(words.len(), count);
            even(ones(words), 64 * count);
        }
        assert_eq!(self.choices.len(), count.div_ceil(64));
        even(ones(&self.choices), count);
        if !count.is_multiple_of(64) {
            assert_eq!(self.choices.last().unwrap() >> (count % 64), 0);
        }
        // What was not chosen looks like nothing that was.
        let other: Vec<u64> = (0..count)
            .map(|i| self.pairs[1 - self.choice(i)][i] ^ self.words[i])
            .collect();
        even(ones(&other), 64 * count);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn the_receiver_gets_what_it_chose(which in 0usize..4, count in 0usize..9000) {
        let mut machines = pair(SOURCES[which], count as u64, 1);
        run(&mut machines, |_| {}).unwrap();
        Batch::of(&mut machines).check(count);
    }
}

#[test]
fn batches_of_a_session_share_nothing() {
    for source in SOURCES {
        let mut machines = pair(source, 1000, 1);
        let mut seen: Vec<u64> = Vec::new();
        for (count, next) in [(1000, 70_000), (70_000, 0), (0, 64), (64, 1)] {
            let messages = run(&mut machines, |_| {}).unwrap();
            assert_eq!(messages.is_empty(), count == 0);
            for machine in &mut machines {
                assert_eq!(machine.again(5).unwrap_err().code, "E_STATE");
            }
            let batch = Batch::of(&mut machines);
            batch.check(count);
            for machine in &mut machines {
                assert_eq!(machine.finish().unwrap_err().code, "E_STATE");
                machine.again(next).unwrap();
            }
            seen.extend(batch.pairs.iter().flatten());
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
                WordTransfers::new(session, source, 70_000).unwrap()
            });
            let messages = run(&mut machines, |_| {}).unwrap();
            let batch = Batch::of(&mut machines);
            (messages, batch.pairs, batch.choices)
        };
        let plain = made(&|_| {}, 1);
        assert!(plain == made(&|_| {}, 3));
        for other in [
            made(&|session| session.attempt = 1, 1),
            made(&|session| session.channel = "d".into(), 1),
            made(&|session| session.context = b"other".to_vec(), 1),
        ] {
            assert!(plain.0.iter().zip(&other.0).all(|(a, b)| a != b));
            assert_ne!(plain.1, other.1);
        }
    }
}

#[test]
fn a_peer_of_other_parameters_or_of_the_same_side_is_refused() {
    let machine = |role, source| WordTransfers::new(session(role, 1), source, 5).unwrap();
    let rich = Source::Rich { field: 2 };
    for (first, second) in [
        ((Role::First, rich), (Role::Second, Source::Thin)),
        (
            (Role::First, rich),
            (Role::Second, Source::Rich { field: 3 }),
        ),
        ((Role::First, rich), (Role::First, rich)),
        ((Role::Second, Source::Thin), (Role::Second, Source::Thin)),
    ] {
        let mut one = machine(first.0, first.1);
        let mut other = machine(second.0, second.1);
        let hello = one.next_message().unwrap().unwrap();
        assert_eq!(other.receive(&hello.bytes).unwrap_err().code, "E_PROTOCOL");
        assert_eq!(other.receive(&hello.bytes).unwrap_err().code, "E_STATE");
        assert_eq!(other.next_message().unwrap_err().code, "E_STATE");
        assert_eq!(other.again(5).unwrap_err().code, "E_STATE");
    }
    let refused = |role, source, count, threads| {
        let refused = WordTransfers::new(session(role, threads), source, count);
        assert_eq!(refused.unwrap_err().code, "E_FORMAT");
    };
    for side in [Role::First, Role::Second] {
        for field in [0, 1, 9] {
            refused(side, Source::Rich { field }, 5, 1);
        }
        refused(side, Source::Thin, MAX_COUNT + 1, 1);
        refused(side, Source::Thin, 5, 0);
    }
    assert_eq!(role("first").unwrap_err().code, "E_FORMAT");
    assert_eq!(role("sender").unwrap(), Role::First);
    assert_eq!(role("receiver").unwrap(), Role::Second);
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
        // Nothing is due after the end, for either side.
        for side in 0..2 {
            let mut machines = pair(source, 200, 1);
            let messages = run(&mut machines, |_| {}).unwrap();
            let last = &messages.last().unwrap().1;
            assert_eq!(machines[side].receive(last).unwrap_err().code, "E_PROTOCOL");
        }
    }
}

#[test]
fn a_flipped_bit_gives_other_words_and_nobody_notices() {
    // Corrections of the rich link; sums of trees of the thin one (kind 3 both).
    for source in [Source::Rich { field: 2 }, Source::Thin] {
        let mut machines = pair(source, 9000, 1);
        run(&mut machines, |bytes| {
            if bytes[0] == 3 {
                bytes[1..].iter_mut().for_each(|byte| *byte ^= 1);
            }
        })
        .unwrap();
        assert!(Batch::of(&mut machines).wrong() > 0);
    }
}

/// Nanoseconds of processor of this process, as Linux counts them: threads that have ended included.
fn processor() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = text.rsplit(')').next().unwrap();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap() * 1e7).sum()
}

/// `cargo test --release -p atoll-triples --test transfers cost -- --ignored --nocapture`
#[test]
#[ignore = "takes seconds"]
fn cost() {
    for (source, count) in [
        (Source::Rich { field: 2 }, 10_000_000),
        (Source::Rich { field: 4 }, 10_000_000),
        (Source::Thin, 1 << 23),
    ] {
        let mut machines = pair(source, count, 1);
        let (mut bytes, mut spent) = ([0; 2], [0.0; 2]);
        let mut now = processor();
        let mut since = || {
            let before = std::mem::replace(&mut now, processor());
            now - before
        };
        while !machines.iter().all(WordTransfers::done) {
            for from in 0..2 {
                let message = machines[from].next_message().unwrap();
                spent[from] += since();
                if let Some(message) = message {
                    bytes[from] += message.bytes.len();
                    machines[1 - from].receive(&message.bytes).unwrap();
                    spent[1 - from] += since();
                }
            }
        }
        assert_eq!(Batch::of(&mut machines).wrong(), 0);
        let each = |all: f64| all / count as f64;
        println!(
            "{source:?}: sender {:.1} ns, receiver {:.1} ns; sender {:.3} bytes, receiver {:.3} bytes a transfer",
            each(spent[0]),
            each(spent[1]),
            each(bytes[0] as f64),
            each(bytes[1] as f64),
        );
    }
}
