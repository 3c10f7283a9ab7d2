//! Products of matrices from end to end: against products in plain sight, with broken peers, again and again.

use atoll_primitives::stream::{Secret, Stream};
use atoll_triples::matrices::{MatrixProduct, Plan};
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

fn matrix(name: &str, entries: usize) -> Vec<u64> {
    let mut stream = Stream::derive(b"matrix", &[name.as_bytes()]);
    let edges = [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1];
    (0..entries)
        .map(|at| match at % 11 {
            3 => edges[at / 11 % 5],
            _ => u64::from_le_bytes(stream.bytes()),
        })
        .collect()
}

fn pair(plan: Plan, threads: usize) -> [MatrixProduct; 2] {
    let right = matrix("right", plan.inner * plan.columns);
    let left = matrix("left", plan.rows * plan.inner);
    [
        MatrixProduct::new(session(Role::First, threads), plan, right).unwrap(),
        MatrixProduct::new(session(Role::Second, threads), plan, left).unwrap(),
    ]
}

type Message = (usize, Vec<u8>);

fn run(
    machines: &mut [MatrixProduct; 2],
    mut change: impl FnMut(&mut Vec<u8>),
) -> Result<Vec<Message>, Refusal> {
    let mut messages = Vec::new();
    while !machines.iter().all(MatrixProduct::done) {
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

fn product(plan: Plan, left: &[u64], right: &[u64]) -> Vec<u64> {
    let mut out = vec![0u64; plan.rows * plan.columns];
    for row in 0..plan.rows {
        for column in 0..plan.columns {
            out[row * plan.columns + column] = (0..plan.inner).fold(0, |sum: u64, at| {
                let (x, y) = (
                    left[row * plan.inner + at],
                    right[at * plan.columns + column],
                );
                sum.wrapping_add(x.wrapping_mul(y))
            });
        }
    }
    out
}

fn opened(machines: &mut [MatrixProduct; 2]) -> Vec<u64> {
    let [one, other] = machines.each_mut().map(|machine| machine.finish().unwrap());
    one.iter()
        .zip(&other)
        .map(|(x, y)| x.wrapping_add(*y))
        .collect()
}

fn check(rows: usize, inner: usize, columns: usize) {
    let plan = Plan::new(rows, inner, columns).unwrap();
    let mut machines = pair(plan, 1);
    let messages = run(&mut machines, |_| {}).unwrap();
    let bytes: usize = messages.iter().skip(3).map(|(_, m)| m.len() - 1).sum();
    assert_eq!(bytes as u64, plan.bytes());
    let left = matrix("left", rows * inner);
    let right = matrix("right", inner * columns);
    assert_eq!(opened(&mut machines), product(plan, &left, &right));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]
    #[test]
    fn shares_add_up_to_the_product(rows in 1usize..60, inner in 1usize..90, columns in 1usize..40) {
        check(rows, inner, columns);
    }
}

#[test]
fn long_and_flat_matrices_too() {
    check(9000, 3, 1);
    check(1, 9000, 1);
    check(3, 1, 9000);
    check(300, 100, 2);
    check(1, 1, 1);
    // More blocks of the inner size than are added up together.
    check(2, 30, 5000);
}

#[test]
fn another_right_matrix_needs_no_set_up() {
    let plan = Plan::new(100, 20, 2).unwrap();
    let mut machines = pair(plan, 1);
    let mut sent: Vec<Vec<u8>> = run(&mut machines, |_| {})
        .unwrap()
        .into_iter()
        .skip(2)
        .map(|m| m.1)
        .collect();
    let left = matrix("left", 2000);
    assert!(
        machines
            .iter_mut()
            .all(|m| m.again(None).unwrap_err().code == "E_STATE")
    );
    assert_eq!(
        opened(&mut machines),
        product(plan, &left, &matrix("right", 40))
    );
    assert!(
        machines
            .iter_mut()
            .all(|m| m.finish().unwrap_err().code == "E_STATE")
    );
    assert_eq!(machines[0].again(None).unwrap_err().code, "E_FORMAT");
    assert_eq!(
        machines[1].again(Some(left.clone())).unwrap_err().code,
        "E_FORMAT"
    );
    assert_eq!(
        machines[0].again(Some(left.clone())).unwrap_err().code,
        "E_FORMAT"
    );
    // The same matrix again: no byte of a ciphertext or an answer is met again.
    for name in ["right", "other"] {
        machines[0].again(Some(matrix(name, 40))).unwrap();
        machines[1].again(None).unwrap();
        sent.extend(run(&mut machines, |_| {}).unwrap().into_iter().map(|m| m.1));
        assert_eq!(
            opened(&mut machines),
            product(plan, &left, &matrix(name, 40))
        );
    }
    let count = sent.len();
    let mut parts: Vec<&[u8]> = sent
        .iter()
        .map(|bytes| &bytes[bytes.len() - 64..])
        .collect();
    parts.sort_unstable();
    parts.dedup();
    assert_eq!(parts.len(), count);
}

#[test]
fn threads_change_no_byte() {
    let plan = Plan::new(300, 40, 20).unwrap();
    let made = |threads| {
        let mut machines = pair(plan, threads);
        let messages = run(&mut machines, |_| {}).unwrap();
        (messages, machines.each_mut().map(|m| m.finish().unwrap()))
    };
    assert!(made(1) == made(3));
}

#[test]
fn each_share_alone_is_uniform() {
    let plan = Plan::new(4000, 2, 1).unwrap();
    let mut machines = [
        MatrixProduct::new(session(Role::First, 1), plan, vec![0; 2]).unwrap(),
        MatrixProduct::new(session(Role::Second, 1), plan, vec![0; 8000]).unwrap(),
    ];
    run(&mut machines, |_| {}).unwrap();
    for share in machines.each_mut().map(|machine| machine.finish().unwrap()) {
        for place in 0..64 {
            let ones = share.iter().filter(|word| *word >> place & 1 == 1).count() as f64;
            assert!((ones - 2000.0).abs() < 5.0 * 1000f64.sqrt());
        }
    }
}

#[test]
fn broken_messages_are_refused_and_end_the_run() {
    let plan = Plan::new(50, 30, 3).unwrap();
    let messages = run(&mut pair(plan, 1), |_| {}).unwrap();
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
            let mut machines = pair(plan, 1);
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
    let mut machines = pair(plan, 1);
    let messages = run(&mut machines, |_| {}).unwrap();
    let (from, bytes) = messages.last().unwrap();
    assert_eq!(
        machines[1 - from].receive(bytes).unwrap_err().code,
        "E_PROTOCOL"
    );
}

#[test]
fn other_sizes_are_refused() {
    let plan = Plan::new(5, 3, 1).unwrap();
    for (role, entries) in [(Role::First, 15), (Role::Second, 3)] {
        let refused = MatrixProduct::new(session(role, 1), plan, vec![0; entries]);
        assert_eq!(refused.unwrap_err().code, "E_FORMAT");
    }
    assert_eq!(Plan::new(0, 3, 1).unwrap_err().code, "E_FORMAT");
    assert_eq!(
        Plan::new(1 << 20, 1 << 10, 1).unwrap_err().code,
        "E_TOO_LARGE"
    );
    let first = MatrixProduct::new(session(Role::First, 1), plan, vec![0; 3]);
    let hello = first.unwrap().next_message().unwrap().unwrap();
    let plan = Plan::new(3, 5, 1).unwrap();
    let mut other = MatrixProduct::new(session(Role::Second, 1), plan, vec![0; 15]).unwrap();
    assert_eq!(other.receive(&hello.bytes).unwrap_err().code, "E_PROTOCOL");
}

#[test]
fn a_flipped_bit_gives_a_wrong_product_and_nobody_notices() {
    let plan = Plan::new(50, 30, 3).unwrap();
    let right = product(plan, &matrix("left", 1500), &matrix("right", 90));
    for kind in [1, 2, 3] {
        let mut machines = pair(plan, 1);
        run(&mut machines, |bytes| {
            if bytes[0] == kind {
                let at = bytes.len() - 1;
                bytes[at] ^= 4;
            }
        })
        .unwrap();
        assert_ne!(opened(&mut machines), right);
    }
}

/// `cargo test --release -p atoll-triples --test matrices cost -- --ignored --nocapture`
#[test]
#[ignore = "takes seconds"]
fn cost() {
    for (rows, inner, columns) in [(100_000, 100, 1), (1000, 1000, 1000)] {
        let plan = Plan::new(rows, inner, columns).unwrap();
        let mut machines = pair(plan, 1);
        let begun = std::time::Instant::now();
        run(&mut machines, |_| {}).unwrap();
        opened(&mut machines);
        let cold = begun.elapsed().as_secs_f64();
        machines[0]
            .again(Some(matrix("other", inner * columns)))
            .unwrap();
        machines[1].again(None).unwrap();
        let begun = std::time::Instant::now();
        run(&mut machines, |_| {}).unwrap();
        let warm = begun.elapsed().as_secs_f64();
        println!(
            "{plan:?}: cold {cold:.2} s, warm {warm:.2} s for both sides, {:.1} MB",
            plan.bytes() as f64 / 1e6
        );
    }
}
