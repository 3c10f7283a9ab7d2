//! Messages of an ECDH-PSI peer, in either role and at any moment of the run: honest ones, changed ones, made-up ones.
#![no_main]

use arbitrary::Arbitrary;
use atoll_primitives::stream::Secret;
use atoll_psi::ecdh::{Learns, Machine, Parameters};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Kind {
    Rows,
    Size,
    Nothing,
}

impl From<Kind> for Learns {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Rows => Self::Rows,
            Kind::Size => Self::Size,
            Kind::Nothing => Self::Nothing,
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// The peer's own next message.
    Honest,
    /// The same with one byte changed.
    Changed { at: u16, with: u8 },
    /// A message that the peer sent before.
    Again { which: u8 },
    /// A header that fits its body.
    Made { kind: u8, width: u8, body: Vec<u8> },
    /// Anything.
    Raw(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    learns: [Kind; 2],
    duplicates: bool,
    items: [u8; 2],
    chunk: u8,
    /// True where it is our turn to send to the honest peer.
    steps: Vec<(bool, Step)>,
}

fn machine(input: &Input, side: usize) -> Option<Machine<Vec<u8>>> {
    let count = |of: usize| u64::from(input.items[of] % 6);
    let parameters = Parameters {
        attempt: 0,
        channel: "c".into(),
        context: b"job".to_vec(),
        peer_items: count(1 - side),
        i_learn: input.learns[side].into(),
        peer_learns: input.learns[1 - side].into(),
        threads: 1,
        chunk_items: usize::from(input.chunk % 4) + 1,
    };
    let digests = (0..count(side)).flat_map(|i| [i as u8 + side as u8; 32]).collect();
    let multiplicity = input.duplicates.then(|| (0..count(side)).map(|i| i as u32 + 1).collect());
    Machine::new(&Secret::new([side as u8; 32]), parameters, digests, multiplicity).ok()
}

fuzz_target!(|input: Input| {
    let (Some(mut own), Some(mut peer)) = (machine(&input, 0), machine(&input, 1)) else {
        return;
    };
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let mut failed = false;
    for (ours, step) in input.steps.iter().take(48) {
        if *ours {
            // The peer is honest towards us; it may refuse what follows from what was changed before.
            match own.next_message() {
                Ok(Some(message)) => _ = peer.receive(&message.bytes),
                Ok(None) => {}
                Err(_) => assert!(failed, "an honest machine refuses to send"),
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
            Step::Again { which } if !sent.is_empty() => Some(sent[usize::from(*which) % sent.len()].clone()),
            Step::Again { .. } => None,
            Step::Made { kind, width, body } => {
                let width = usize::from(*width).max(1);
                let count = body.len() / width;
                let head = [&[*kind][..], &(count as u32).to_le_bytes()].concat();
                Some([&head, &body[..count * width]].concat())
            }
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
        let items = usize::from(input.items[0] % 6);
        if let Ok(matched) = own.matched() {
            let mut seen = matched.to_vec();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), matched.len());
            assert!(seen.iter().all(|i| (*i as usize) < items));
            assert_eq!(own.size().unwrap(), Some(matched.len() as u64));
            if let Some(rows) = own.peer_multiplicity().unwrap() {
                assert!(rows.len() == matched.len() && !rows.contains(&0));
            }
        }
        assert!(own.next_message().unwrap().is_none());
    }
});
