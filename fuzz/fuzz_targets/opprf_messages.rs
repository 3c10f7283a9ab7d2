//! Messages of a peer in the programmed function, on either side and at any moment of the run.
#![no_main]

use arbitrary::Arbitrary;
use atoll_primitives::stream::Secret;
use atoll_psi::opprf::{Machine, Parameters};
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
    bits: u8,
    items: [u8; 2],
    /// True where it is our turn to send to the honest peer.
    steps: Vec<(bool, Step)>,
}

fn count(input: &Input, side: usize) -> u8 {
    1 + input.items[side] % 6
}

/// Our keys begin at 0, the peer's at 2. Targets are what the keys begin with.
fn machine(input: &Input, side: usize) -> Machine<Vec<u8>> {
    let parameters = Parameters {
        attempt: 0,
        channel: "c".into(),
        context: b"job".to_vec(),
        peer_items: count(input, 1 - side).into(),
        bits: 8 * (1 + u32::from(input.bits) % 16),
        threads: 1,
    };
    let keys = || (0..count(input, side)).map(|i| i + 2 * side as u8);
    let digests = keys().flat_map(|i| [i; 32]).collect();
    let seed = Secret::new([side as u8; 32]);
    let machine = if input.receiver == (side == 0) {
        Machine::receiver(&seed, parameters, digests)
    } else {
        Machine::sender(&seed, parameters, digests, keys().map(u128::from).collect())
    };
    machine.expect("good arguments")
}

fuzz_target!(|input: Input| {
    let (mut own, mut peer) = (machine(&input, 0), machine(&input, 1));
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let (mut failed, mut changed) = (false, false);
    for (ours, step) in input.steps.iter().take(96) {
        if *ours {
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
        changed |= !matches!(step, Step::Honest);
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
        if let Ok(outputs) = own.outputs() {
            assert_eq!(outputs.len(), usize::from(count(&input, 0)));
            let peers = 2..2 + count(&input, 1);
            for (key, output) in outputs.iter().enumerate() {
                let common = peers.contains(&(key as u8));
                assert!(changed || !common || *output == key as u128, "a target is lost");
            }
        }
        assert!(own.next_message().unwrap().is_none());
    }
});
