//! Messages of a peer of a silent VOLE, on either side and at any moment: honest ones, changed ones, made-up ones.
#![no_main]

use arbitrary::Arbitrary;
use atoll_ot::vole::{Parameters, Receiver, Sender};
use atoll_ot::{Party, Security};
use atoll_primitives::stream::Stream;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    /// The peer's own next message.
    Honest,
    /// The same with one byte changed.
    Changed { at: u32, with: u8 },
    /// The same, cut or with bytes behind.
    Cut { to: u32 },
    Longer { by: u8 },
    /// A message that the peer sent before.
    Again { which: u8 },
    /// Anything.
    Raw(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    sender: bool,
    malicious: bool,
    bits: u8,
    /// True where it is our turn to send to the honest peer.
    steps: Vec<(bool, Step)>,
}

fn machine(input: &Input, sender: bool) -> Box<dyn Party> {
    let p = Parameters {
        size: 3,
        bits: u32::from(input.bits % 128) + 1,
        security: if input.malicious { Security::Malicious } else { Security::SemiHonest },
        threads: 1,
        context: [1; 16],
    };
    let randomness = Stream::derive(b"fuzz", &[&[u8::from(sender)]]);
    if sender {
        Box::new(Sender::new(p, randomness).unwrap())
    } else {
        Box::new(Receiver::new(p, randomness).unwrap())
    }
}

fuzz_target!(|input: Input| {
    let (mut own, mut peer) = (machine(&input, input.sender), machine(&input, !input.sender));
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let mut failed = false;
    for (ours, step) in input.steps.iter().take(24) {
        if *ours {
            match own.next_message() {
                Ok(Some(message)) => _ = peer.receive(&message),
                Ok(None) => {}
                Err(_) => assert!(failed, "an honest machine refuses to send"),
            }
            continue;
        }
        let mut next = || match peer.next_message() {
            Ok(Some(message)) => {
                sent.push(message.clone());
                Some(message)
            }
            _ => None,
        };
        let bytes = match step {
            Step::Honest => next(),
            Step::Changed { at, with } => next().map(|mut bytes| {
                let at = *at as usize % bytes.len();
                bytes[at] ^= with;
                bytes
            }),
            Step::Cut { to } => next().map(|mut bytes| {
                bytes.truncate(*to as usize % bytes.len());
                bytes
            }),
            Step::Longer { by } => next().map(|mut bytes| {
                bytes.resize(bytes.len() + usize::from(*by), 0);
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
    assert!(!(failed && own.done()), "a failed machine is done");
});
