//! Messages of a circuit-PSI peer, in either role and at any moment of the run: honest ones, changed ones, made-up ones.
#![no_main]

use arbitrary::Arbitrary;
use atoll_primitives::stream::Secret;
use atoll_psi::circuit::{Machine, Parameters, Role};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    /// The peer's own next message.
    Honest,
    /// The same with one byte changed.
    Changed { at: u16, with: u8 },
    /// A message that the peer sent before.
    Again { which: u8 },
    /// Anything.
    Raw(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    placer: bool,
    items: [u8; 2],
    words: [u8; 2],
    copies: u8,
    /// Honest rounds before the first step.
    skip: u8,
    steps: Vec<Step>,
}

fn machine(input: &Input, role: Role) -> Option<Machine<Vec<u8>>> {
    let items = input.items.map(|n| u64::from(n % 6));
    let words = input.words.map(|n| usize::from(n % 3));
    let own = role as usize;
    let parameters = Parameters {
        attempt: 0,
        channel: "c".into(),
        context: b"job".to_vec(),
        role,
        placer_items: items[0],
        mapper_items: items[1],
        multiplicity: u32::from(input.copies % 3) + 1,
        placer_words: words[0],
        mapper_words: words[1],
        threads: 1,
    };
    let digests = (0..items[own]).flat_map(|i| [i as u8 + own as u8; 32]).collect();
    let payload = vec![7; items[own] as usize * words[own]];
    Machine::new(&Secret::new([own as u8; 32]), parameters, digests, payload).ok()
}

fuzz_target!(|input: Input| {
    let roles = if input.placer { [Role::Placer, Role::Mapper] } else { [Role::Mapper, Role::Placer] };
    let (Some(mut own), Some(mut peer)) = (machine(&input, roles[0]), machine(&input, roles[1])) else {
        return;
    };
    let mut sent: Vec<Vec<u8>> = Vec::new();
    for _ in 0..input.skip % 40 {
        while let Some(message) = own.next_message().unwrap() {
            peer.receive(&message.bytes).unwrap();
        }
        if let Some(message) = peer.next_message().unwrap() {
            own.receive(&message.bytes).unwrap();
            sent.push(message.bytes);
        }
    }
    let mut failed = false;
    for step in input.steps.iter().take(24) {
        // The peer may refuse what follows from what was changed before.
        while !failed && let Ok(Some(message)) = own.next_message() {
            _ = peer.receive(&message.bytes);
        }
        let mut next = || match peer.next_message() {
            Ok(Some(message)) => {
                sent.push(message.bytes.clone());
                Some(message.bytes)
            }
            _ => None,
        };
        let bytes = match step {
            Step::Honest => next(),
            Step::Changed { at, with } => next().map(|mut bytes| {
                let at = usize::from(*at) % bytes.len();
                bytes[at] ^= with;
                bytes
            }),
            Step::Again { which } if !sent.is_empty() => Some(sent[usize::from(*which) % sent.len()].clone()),
            Step::Again { .. } => None,
            Step::Raw(bytes) => Some(bytes.clone()),
        };
        let Some(bytes) = bytes else { continue };
        let taken = own.receive(&bytes);
        if failed {
            assert_eq!(taken.unwrap_err().code, "E_STATE", "a failed machine goes on");
        } else if let Err(refusal) = taken {
            assert_eq!(refusal.code, "E_PROTOCOL");
            failed = true;
        }
    }
    if own.done() {
        assert!(!failed, "a failed machine is done");
        let output = own.output().unwrap();
        assert_eq!(output.matched.len(), output.bins.div_ceil(64));
        assert!(own.next_message().unwrap().is_none());
    }
});
