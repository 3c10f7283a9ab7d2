//! Cheating and broken peers, replay, and how the outputs are distributed.

use atoll_ot::vole::{Parameters, Receiver, ReceiverOutput, Sender, SenderOutput};
use atoll_ot::{Party, Refusal, Security, field::mul};
use atoll_primitives::stream::Stream;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const TREES: u8 = 3;

fn parameters(size: usize, bits: u32, security: Security) -> Parameters {
    Parameters {
        size,
        bits,
        security,
        threads: 1,
        context: [6; 16],
    }
}

fn sides(p: &Parameters) -> (Sender, Receiver) {
    (
        Sender::new(p.clone(), Stream::derive(b"attacks", &[b"sender"])).unwrap(),
        Receiver::new(p.clone(), Stream::derive(b"attacks", &[b"receiver"])).unwrap(),
    )
}

type Outputs = (SenderOutput, ReceiverOutput);

/// Runs both sides, with every message given to `change` first.
fn run(p: &Parameters, mut change: impl FnMut(&mut Vec<u8>)) -> Result<Outputs, Refusal> {
    let (mut sender, mut receiver) = sides(p);
    while !(sender.done() && receiver.done()) {
        while let Some(mut m) = sender.next_message()? {
            change(&mut m);
            receiver.receive(&m)?;
        }
        while let Some(mut m) = receiver.next_message()? {
            change(&mut m);
            sender.receive(&m)?;
        }
    }
    Ok((sender.finish()?, receiver.finish()?))
}

fn wrong(outputs: &Outputs) -> usize {
    let (s, r) = outputs;
    (0..s.b.len())
        .filter(|i| r.c[*i] != mul(r.a[*i], s.delta) ^ s.b[*i])
        .count()
}

#[test]
fn trees_that_are_not_what_was_sent_are_caught() {
    let p = parameters(500, 128, Security::Malicious);
    // Both sums of a level, so that either path meets it; then the sum of all leaves.
    for places in [vec![1, 17], vec![1 + 4 * 16, 1 + 5 * 16]] {
        let refused = run(&p, |m| {
            if m[0] == TREES {
                places.iter().for_each(|at| m[*at] ^= 1);
            }
        });
        assert_eq!(refused.err().unwrap().code, "E_PROTOCOL");
    }
}

#[test]
fn without_the_check_a_wrong_tree_spoils_the_result() {
    let p = parameters(500, 128, Security::SemiHonest);
    let outputs = run(&p, |m| {
        if m[0] == TREES {
            m[1] ^= 1;
            m[17] ^= 1;
        }
    });
    // Half of the leaves of the first block, which are in the systematic part.
    assert!((5..100).contains(&wrong(&outputs.ok().unwrap())));
}

#[test]
fn any_changed_byte_is_caught() {
    // The first, some inner, and the last byte of each message, all flips of which matter under malicious security; only
    // one sum of a level is used, so in message 3 the sum of the leaves is the one that always counts.
    let p = parameters(500, 80, Security::Malicious);
    for kind in 1..=5u8 {
        for part in [0, 1, 3, 7] {
            let refused = run(&p, |m| {
                if m[0] == kind {
                    let at = if kind == TREES {
                        m.len() - 1
                    } else {
                        1 + (m.len() - 2) * part / 7
                    };
                    m[at] ^= 64;
                }
            });
            assert_eq!(
                refused.err().map(|r| r.code),
                Some("E_PROTOCOL"),
                "{kind} {part}"
            );
        }
    }
}

#[test]
fn broken_messages_are_refused_and_end_the_run() {
    let p = parameters(10, 128, Security::Malicious);
    let mut messages: Vec<(bool, Vec<u8>)> = Vec::new();
    let (mut sender, mut receiver) = sides(&p);
    while !(sender.done() && receiver.done()) {
        while let Some(m) = sender.next_message().unwrap() {
            receiver.receive(&m).unwrap();
            messages.push((true, m));
        }
        while let Some(m) = receiver.next_message().unwrap() {
            sender.receive(&m).unwrap();
            messages.push((false, m));
        }
    }
    for at in 0..messages.len() {
        let good = &messages[at].1;
        let other = messages[(at + 1) % messages.len()].1.clone();
        let bad: Vec<Vec<u8>> = vec![
            vec![],
            good[..1].to_vec(),
            good[..good.len() - 1].to_vec(),
            [good, &[0][..]].concat(),
            [&[9], &good[1..]].concat(),
            other,
        ];
        for bad in bad {
            // The machines are brought to the moment before message `at`.
            let (mut sender, mut receiver) = sides(&p);
            for (from_sender, m) in &messages[..at] {
                if *from_sender {
                    assert_eq!(sender.next_message().unwrap().as_ref(), Some(m));
                    receiver.receive(m).unwrap();
                } else {
                    assert_eq!(receiver.next_message().unwrap().as_ref(), Some(m));
                    sender.receive(m).unwrap();
                }
            }
            let party: &mut dyn Party = if messages[at].0 {
                &mut receiver
            } else {
                &mut sender
            };
            // A sender takes nothing before its first message left.
            assert_eq!(party.receive(&bad).unwrap_err().code, "E_PROTOCOL");
            assert_eq!(party.receive(good).unwrap_err().code, "E_STATE");
            assert_eq!(party.next_message().unwrap_err().code, "E_STATE");
            assert!(!party.done());
        }
    }
    // A message that comes again, after the end.
    for (from_sender, m) in &messages {
        let (mut sender, mut receiver) = sides(&p);
        if *from_sender {
            sender.next_message().unwrap();
            assert!(sender.receive(m).is_err());
        } else {
            assert!(receiver.receive(m).is_err());
        }
    }
    assert_eq!(
        sender.receive(&messages[1].1).unwrap_err().code,
        "E_PROTOCOL"
    );
    assert_eq!(
        receiver.receive(&messages[0].1).unwrap_err().code,
        "E_PROTOCOL"
    );
}

#[test]
fn nothing_comes_out_early_and_sizes_have_bounds() {
    let (sender, receiver) = sides(&parameters(10, 128, Security::Malicious));
    assert_eq!(sender.finish().err().unwrap().code, "E_STATE");
    assert_eq!(receiver.finish().err().unwrap().code, "E_STATE");
    for (size, bits) in [(0, 128), ((1 << 25) + 1, 128), (1, 0), (1, 129)] {
        let p = parameters(size, bits, Security::Malicious);
        assert_eq!(
            Sender::new(p, Stream::derive(b"", &[])).err().unwrap().code,
            "E_STATE"
        );
    }
}

/// The hash of all messages and outputs.
fn fingerprint(p: &Parameters) -> String {
    let mut hash = Sha256::new();
    let (s, r) = run(p, |m| hash.update(m)).ok().unwrap();
    hash.update(s.delta.to_le_bytes());
    for values in [&s.b, &r.a, &r.c] {
        values.iter().for_each(|v| hash.update(v.to_le_bytes()));
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn vectors() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors.json");
    let text = std::fs::read_to_string(path).unwrap();
    let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    for vector in vectors.as_array().unwrap() {
        let number = |name: &str| vector[name].as_u64().unwrap();
        let security = match vector["security"].as_str().unwrap() {
            "malicious" => Security::Malicious,
            _ => Security::SemiHonest,
        };
        for threads in [1, 3] {
            let p = Parameters {
                threads,
                ..parameters(number("size") as usize, number("bits") as u32, security)
            };
            let found = fingerprint(&p);
            if found != vector["sha256"].as_str().unwrap() {
                wrong.push(format!("{threads} threads: {vector} is {found}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn outputs_look_uniform() {
    // Chi-square of bytes with 255 degrees of freedom: mean 255, deviation 22.6; 400 is passed by chance once in 10^8 seeds.
    let (s, r) = run(&parameters(20_000, 128, Security::SemiHonest), |_| ())
        .ok()
        .unwrap();
    for values in [&s.b, &r.a, &r.c] {
        let mut counts = [0f64; 256];
        values
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .for_each(|b| counts[b as usize] += 1.0);
        let mean = values.len() as f64 / 16.0;
        let chi: f64 = counts.iter().map(|c| (c - mean).powi(2) / mean).sum();
        assert!((150.0..400.0).contains(&chi), "{chi}");
        let mut distinct = values.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), values.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn always_correlated(size in 1usize..20_000, bits in 1u32..=128, malicious: bool, context: [u8; 16]) {
        let security = if malicious { Security::Malicious } else { Security::SemiHonest };
        let p = Parameters { context, ..parameters(size, bits, security) };
        let outputs = run(&p, |_| ()).ok().unwrap();
        prop_assert_eq!(wrong(&outputs), 0);
        prop_assert!(outputs.1.a.iter().all(|a| *a <= u128::MAX >> (128 - bits)));
    }
}
