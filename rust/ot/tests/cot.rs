//! Silent correlated oblivious transfer from end to end.

use atoll_ot::cot::{self, Parameters, Receiver, ReceiverOutput, Sender, SenderOutput};
use atoll_ot::{Party, Security};
use atoll_primitives::stream::Stream;

fn run(size: usize, security: Security, threads: usize) -> (SenderOutput, ReceiverOutput) {
    let p = Parameters {
        size,
        security,
        threads,
        context: [4; 16],
    };
    let mut sender = Sender::new(p.clone(), Stream::derive(b"cot", &[b"sender"])).unwrap();
    let mut receiver = Receiver::new(p, Stream::derive(b"cot", &[b"receiver"])).unwrap();
    while !(sender.done() && receiver.done()) {
        while let Some(m) = sender.next_message().unwrap() {
            receiver.receive(&m).unwrap();
        }
        while let Some(m) = receiver.next_message().unwrap() {
            sender.receive(&m).unwrap();
        }
    }
    (sender.finish().unwrap(), receiver.finish().unwrap())
}

#[test]
fn every_transfer_is_correlated_by_its_bit() {
    for (size, security) in [
        (1, Security::Malicious),
        (1001, Security::SemiHonest),
        (50_000, Security::Malicious),
    ] {
        let (s, r) = run(size, security, 2);
        assert_eq!(
            (s.q.len(), r.t.len(), r.choices.len()),
            (size, size, size.div_ceil(64))
        );
        let mut ones = 0;
        for i in 0..size {
            let bit = r.choices[i / 64] >> (i % 64) & 1;
            ones += bit;
            assert_eq!(
                r.t[i],
                s.q[i] ^ (s.delta & 0u128.wrapping_sub(u128::from(bit)))
            );
        }
        // Six standard deviations about one half.
        assert!((ones as f64 - size as f64 / 2.0).abs() <= 3.0 * (size as f64).sqrt());
        if size % 64 > 0 {
            assert_eq!(r.choices.last().unwrap() >> (size % 64), 0);
        }
    }
}

#[test]
fn the_hash_makes_transfers() {
    let (s, r) = run(300, Security::SemiHonest, 1);
    let other: Vec<u128> = s.q.iter().map(|q| q ^ s.delta).collect();
    let keys = [cot::hash(&[1; 16], 5, &s.q), cot::hash(&[1; 16], 5, &other)];
    let got = cot::hash(&[1; 16], 5, &r.t);
    for (i, got) in got.iter().enumerate() {
        let bit = (r.choices[i / 64] >> (i % 64) & 1) as usize;
        assert_eq!(*got, keys[bit][i]);
        assert_ne!(*got, keys[1 - bit][i]);
    }
    assert_eq!(cot::hash(&[1; 16], 105, &r.t[100..]), got[100..]);
    assert_ne!(cot::hash(&[2; 16], 5, &r.t[..1]), got[..1]);
    assert_ne!(cot::hash(&[1; 16], 6, &r.t[..1]), got[..1]);
}

/// `cargo test --release -p atoll-ot cost -- --ignored --nocapture --test-threads 1`.
#[test]
#[ignore = "a measurement, not a check"]
fn cost_of_cot() {
    let size = 10_000_000;
    let start = std::time::Instant::now();
    run(size, Security::Malicious, 1);
    println!(
        "both sides, one thread: {:.1} M/s",
        size as f64 / start.elapsed().as_secs_f64() / 1e6
    );
}
