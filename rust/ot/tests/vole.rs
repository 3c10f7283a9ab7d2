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

/// Cost of each step on one core: `cargo test --release -p atoll-ot cost -- --ignored --nocapture --test-threads 1`.
#[test]
#[ignore = "a measurement, not a check"]
fn cost_of_vole() {
    let p = parameters(1_350_000, 128, Security::Malicious, 1);
    for _ in 0..3 {
        let (mut total, mut at) = ([0.0; 2], std::time::Instant::now());
        let mut step = |side: usize, name: &str| {
            let now = at.elapsed().as_secs_f64() * 1e3;
            total[side] += now;
            println!(
                "{} {name}: {now:.1} ms (sum {:.1})",
                ["sender", "receiver"][side],
                total[side]
            );
            at = std::time::Instant::now();
        };
        let mut sender = Sender::new(p.clone(), stream(1, "sender")).unwrap();
        step(0, "base transfers");
        let mut receiver = Receiver::new(p.clone(), stream(1, "receiver")).unwrap();
        step(1, "noise");
        let mut bytes = 0;
        while !(sender.done() && receiver.done()) {
            while let Some(m) = sender.next_message().unwrap() {
                bytes += m.len();
                receiver.receive(&m).unwrap();
                step(1, &format!("message {} of {} bytes", m[0], m.len()));
            }
            while let Some(m) = receiver.next_message().unwrap() {
                bytes += m.len();
                sender.receive(&m).unwrap();
                step(0, &format!("message {} of {} bytes", m[0], m.len()));
            }
        }
        let b = sender.finish().unwrap();
        step(0, "code");
        let c = receiver.finish().unwrap();
        step(1, "code");
        println!("{bytes} bytes; {} correlations", b.b.len().min(c.c.len()));
    }
}
