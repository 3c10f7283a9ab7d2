//! A damaged checkpoint of an ECDH-PSI run: refused, or a machine that goes on without a panic.
#![no_main]

use arbitrary::Arbitrary;
use atoll_primitives::stream::Secret;
use atoll_psi::ecdh::{Learns, Machine, Parameters};
use libfuzzer_sys::fuzz_target;

const ITEMS: [u64; 2] = [4, 5];

#[derive(Arbitrary, Debug)]
struct Input {
    messages: u8,
    /// Offsets behind the part that names the run, and what is added there.
    changes: Vec<(u16, u8)>,
    cut: Option<u16>,
}

fn machine(side: usize) -> Machine<Vec<u8>> {
    let parameters = Parameters {
        attempt: 0,
        channel: "c".into(),
        context: b"job".to_vec(),
        peer_items: ITEMS[1 - side],
        i_learn: Learns::Rows,
        peer_learns: Learns::Rows,
        threads: 1,
        chunk_items: 2,
    };
    let count = ITEMS[side];
    let digests = (0..count).flat_map(|i| [i as u8; 32]).collect();
    let multiplicity = Some((0..count).map(|i| i as u32 + 1).collect());
    Machine::new(&Secret::new([side as u8; 32]), parameters, digests, multiplicity).unwrap()
}

/// Messages that each side has sent after `n` turns.
fn play(sides: &mut [Machine<Vec<u8>>; 2], turns: u8) {
    for turn in 0..usize::from(turns) {
        if let Some(message) = sides[turn % 2].next_message().unwrap() {
            sides[1 - turn % 2].receive(&message.bytes).unwrap();
        }
    }
}

fuzz_target!(|input: Input| {
    let mut sides = [machine(0), machine(1)];
    play(&mut sides, input.messages % 24);
    let mut saved = sides[0].checkpoint().unwrap();
    assert!(machine(0).restore(&saved).is_ok(), "a sound checkpoint is refused");
    // Domain and run stand in front; a change there is refused at once and teaches the fuzzer nothing.
    let head = b"atoll ecdh-psi checkpoint v1".len() + 32;
    for (at, with) in &input.changes {
        let at = head + usize::from(*at) % (saved.len() - head);
        saved[at] = saved[at].wrapping_add(*with);
    }
    if let Some(cut) = input.cut {
        saved.truncate(usize::from(cut) % (saved.len() + 1));
    }
    let Ok(mut restored) = machine(0).restore(&saved) else {
        return;
    };
    for _ in 0..64 {
        let Ok(Some(message)) = restored.next_message() else { break };
        let _ = sides[1].receive(&message.bytes);
    }
    while let Ok(Some(message)) = sides[1].next_message() {
        if restored.receive(&message.bytes).is_err() {
            break;
        }
    }
});
