//! Messages of a peer in the join from VOLE, in either role and at any moment of the run.
#![no_main]

use arbitrary::Arbitrary;
use atoll_ot::Security;
use atoll_primitives::stream::Secret;
use atoll_psi::vole_psi::{Machine, Parameters, Role, Variant};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    /// The peer's own next message.
    Honest,
    /// The same with one byte changed.
    Changed { at: u16, with: u8 },
    /// The same with bytes cut off or added.
    Resized { cut: u8, more: Vec<u8> },
    /// A message that the peer sent before.
    Again { which: u8 },
    /// Anything.
    Raw(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    receiver: bool,
    both: bool,
    duplicates: bool,
    malicious: bool,
    short: bool,
    items: [u8; 2],
    /// True where it is our turn to send to the honest peer.
    steps: Vec<(bool, Step)>,
}

/// Our keys begin at 0, the peer's at 2.
fn machine(input: &Input, side: usize) -> Option<Machine<Vec<u8>>> {
    let count = |of: usize| u64::from(input.items[of] % 6);
    let receiver = input.receiver == (side == 0);
    let parameters = Parameters {
        attempt: 0,
        channel: "c".into(),
        context: b"job".to_vec(),
        peer_items: count(1 - side),
        role: if receiver { Role::Receiver } else { Role::Sender },
        both: input.both,
        security: if input.malicious { Security::Malicious } else { Security::SemiHonest },
        variant: if input.short { Variant::LowCommunication } else { Variant::Fast },
        threads: 1,
    };
    let digests = (0..count(side)).flat_map(|i| [i as u8 + 2 * side as u8; 32]).collect();
    let multiplicity = input.duplicates.then(|| (0..count(side)).map(|i| i as u32 + 1).collect());
    Machine::new(&Secret::new([side as u8; 32]), parameters, digests, multiplicity).ok()
}

fuzz_target!(|input: Input| {
    let (Some(mut own), Some(mut peer)) = (machine(&input, 0), machine(&input, 1)) else {
        return;
    };
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let mut failed = false;
    for (ours, step) in input.steps.iter().take(96) {
        if *ours {
            // The peer is honest towards us; it may refuse what follows from what was changed before.
            match own.next_message() {
                Ok(Some(message)) => _ = peer.receive(&message.bytes),
                Ok(None) => {}
                Err(refusal) => {
                    // What was taken in may turn out to be wrong only when it is used.
                    assert_eq!(refusal.code, if failed { "E_STATE" } else { "E_PROTOCOL" });
                    failed = true;
                }
            }
            continue;
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
            Step::Resized { cut, more } => next().map(|mut bytes| {
                bytes.truncate(bytes.len() - usize::from(*cut).min(bytes.len()));
                bytes.extend_from_slice(more);
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
        let items = [0, 1].map(|of| u32::from(input.items[of] % 6));
        if let Ok(matched) = own.matched() {
            let mut seen = matched.to_vec();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), matched.len());
            assert!(seen.iter().all(|i| *i < items[0]));
            if input.malicious {
                assert!(seen.iter().all(|i| (2..2 + items[1]).contains(i)), "a match that is none");
            }
            assert_eq!(own.size().unwrap(), Some(matched.len() as u64));
            if let Some(rows) = own.peer_multiplicity().unwrap() {
                assert!(rows.len() == matched.len() && !rows.contains(&0));
            }
        }
        assert!(own.next_message().unwrap().is_none());
    }
});
