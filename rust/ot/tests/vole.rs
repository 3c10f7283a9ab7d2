//! Silent VOLE from end to end.

use atoll_ot::vole::{Parameters, Receiver, ReceiverOutput, Sender, SenderOutput};
use atoll_ot::{Party, Security, field::mul};
use atoll_primitives::stream::Stream;

fn parameters(size: usize, bits: u32, security: Security, threads: usize) -> Parameters {
    Parameters {
        size,
        bits,
        security,
        threads,
        context: [8; 16],
    }
}

fn stream(seed: u64, side: &str) -> Stream {
    Stream::derive(&seed.to_le_bytes(), &[side.as_bytes()])
}

/// Runs both sides; returns all messages too.
fn run(p: &Parameters, seed: u64) -> (SenderOutput, ReceiverOutput, Vec<Vec<u8>>) {
    let mut sender = Sender::new(p.clone(), stream(seed, "sender")).unwrap();
    let mut receiver = Receiver::new(p.clone(), stream(seed, "receiver")).unwrap();
    let mut messages = Vec::new();
    while !(sender.done() && receiver.done()) {
        let before = messages.len();
        while let Some(m) = sender.next_message().unwrap() {
            receiver.receive(&m).unwrap();
            messages.push(m);
        }
        while let Some(m) = receiver.next_message().unwrap() {
            sender.receive(&m).unwrap();
            messages.push(m);
        }
        assert!(messages.len() > before, "both sides wait");
    }
    (
        sender.finish().unwrap(),
        receiver.finish().unwrap(),
        messages,
    )
}

fn holds(p: &Parameters, seed: u64) {
    let (s, r, messages) = run(p, seed);
    assert_eq!((s.b.len(), r.a.len(), r.c.len()), (p.size, p.size, p.size));
    for i in 0..p.size {
        assert_eq!(r.c[i], mul(r.a[i], s.delta) ^ s.b[i]);
        assert_eq!(r.a[i] & !(u128::MAX >> (128 - p.bits)), 0);
    }
    assert!(messages.iter().all(|m| m.len() <= 1 << 20));
}

#[test]
fn sizes_and_widths() {
    for security in [Security::SemiHonest, Security::Malicious] {
        for (size, bits) in [
            (1, 128),
            (2, 1),
            (1000, 80),
            (1 << 14, 128),
            ((1 << 14) + 1, 3),
            ((1 << 13) - 1, 1),
            (100_000, 128),
        ] {
            holds(&parameters(size, bits, security, 2), size as u64);
        }
    }
}

/// CPU milliseconds of this process, all threads; the clock ticks every 10 ms.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11..13]
        .iter()
        .map(|f| f.parse::<f64>().unwrap() * 10.0)
        .sum()
}

/// Cost of each step on one core: `cargo test --release -p atoll-ot cost -- --ignored --nocapture --test-threads 1`.
#[test]
#[ignore = "a measurement, not a check"]
fn cost_of_vole() {
    let p = parameters(1_350_000, 128, Security::Malicious, 1);
    let mut stages: Vec<(usize, String, f64)> = Vec::new();
    const REPEATS: usize = 10;
    for _ in 0..REPEATS {
        let mut at = cpu();
        let mut step = |side: usize, name: String| {
            let now = cpu();
            match stages.iter_mut().find(|s| s.0 == side && s.1 == name) {
                Some(stage) => stage.2 += now - at,
                None => stages.push((side, name, now - at)),
            }
            at = now;
        };
        let mut sender = Sender::new(p.clone(), stream(1, "sender")).unwrap();
        step(0, "base transfers".into());
        let mut receiver = Receiver::new(p.clone(), stream(1, "receiver")).unwrap();
        step(1, "noise".into());
        while !(sender.done() && receiver.done()) {
            while let Some(m) = sender.next_message().unwrap() {
                receiver.receive(&m).unwrap();
                step(1, format!("message {}", m[0]));
            }
            while let Some(m) = receiver.next_message().unwrap() {
                sender.receive(&m).unwrap();
                step(0, format!("message {}", m[0]));
            }
        }
        let b = sender.finish().unwrap();
        step(0, "code".into());
        let c = receiver.finish().unwrap();
        step(1, "code".into());
        assert_eq!(b.b.len(), c.c.len());
    }
    for side in 0..2 {
        let own = stages.iter().filter(|s| s.0 == side);
        let total: f64 = own.clone().map(|s| s.2).sum();
        println!(
            "{}: {:.0} ms CPU",
            ["sender", "receiver"][side],
            total / REPEATS as f64
        );
        own.for_each(|s| println!("  {}: {:.0} ms", s.1, s.2 / REPEATS as f64));
    }
}
