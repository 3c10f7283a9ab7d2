//! Messages of a peer that makes triples of bits, words or wide words, or multiplies matrices, on either side, at any moment.
#![no_main]

use arbitrary::Arbitrary;
use atoll_primitives::stream::Secret;
use atoll_triples::bits::{BitTriples, Source};
use atoll_triples::matrices::{MatrixProduct, Plan};
use atoll_triples::words::{WideTriples, WordTriples};
use atoll_triples::{Outgoing, Refusal, Role, Session};
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

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Kind {
    Rich(u8),
    Thin,
    Words,
    Wide,
    Matrices,
}

#[derive(Arbitrary, Debug)]
struct Input {
    first: bool,
    kind: Kind,
    count: u16,
    /// True where it is our turn to send to the honest peer.
    steps: Vec<(bool, Step)>,
}

enum Machine {
    Bits(BitTriples),
    Words(WordTriples),
    Wide(WideTriples),
    Matrices(MatrixProduct),
}

impl Machine {
    fn new(input: &Input, first: bool) -> Self {
        let session = Session {
            seed: Secret::new([u8::from(first); 32]),
            attempt: 0,
            channel: "c".into(),
            context: Vec::new(),
            role: if first { Role::First } else { Role::Second },
            threads: 1,
        };
        let count = u64::from(input.count % 500);
        let bits = |session, source| Self::Bits(BitTriples::new(session, source, count).unwrap());
        match input.kind {
            Kind::Rich(field) => bits(session, Source::Rich { field: u32::from(field % 7) + 2 }),
            Kind::Thin => bits(session, Source::Thin),
            Kind::Words => Self::Words(WordTriples::new(session, count).unwrap()),
            Kind::Wide => Self::Wide(WideTriples::new(session, count).unwrap()),
            Kind::Matrices => {
                let plan = Plan::new(usize::from(input.count % 9) + 1, 3, 2).unwrap();
                let entries = if first { 6 } else { 3 * plan.rows };
                Self::Matrices(MatrixProduct::new(session, plan, vec![7; entries]).unwrap())
            }
        }
    }

    fn next_message(&mut self) -> Result<Option<Outgoing>, Refusal> {
        match self {
            Self::Bits(machine) => machine.next_message(),
            Self::Words(machine) => machine.next_message(),
            Self::Wide(machine) => machine.next_message(),
            Self::Matrices(machine) => machine.next_message(),
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        match self {
            Self::Bits(machine) => machine.receive(bytes),
            Self::Words(machine) => machine.receive(bytes),
            Self::Wide(machine) => machine.receive(bytes),
            Self::Matrices(machine) => machine.receive(bytes),
        }
    }

    fn done(&self) -> bool {
        match self {
            Self::Bits(machine) => machine.done(),
            Self::Words(machine) => machine.done(),
            Self::Wide(machine) => machine.done(),
            Self::Matrices(machine) => machine.done(),
        }
    }

    /// Whether the triples of this batch can be had, and are as many as were asked for.
    fn finish(&mut self, input: &Input) -> bool {
        let count = usize::from(input.count % 500);
        match self {
            Self::Bits(machine) => machine.finish().is_ok_and(|out| {
                assert_eq!(out.a.len(), count.div_ceil(64));
                assert_eq!(out.c.len(), count.div_ceil(64));
                true
            }),
            Self::Words(machine) => machine.finish().is_ok_and(|out| {
                assert_eq!((out.a.len(), out.c.len()), (count, count));
                true
            }),
            Self::Wide(machine) => machine.finish().is_ok_and(|out| {
                assert_eq!((out.a.len(), out.c.len()), (count, count));
                true
            }),
            Self::Matrices(machine) => machine.finish().is_ok_and(|out| {
                assert_eq!(out.len(), 2 * (usize::from(input.count % 9) + 1));
                true
            }),
        }
    }
}

fuzz_target!(|input: Input| {
    let (mut own, mut peer) = (Machine::new(&input, input.first), Machine::new(&input, !input.first));
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let mut failed = false;
    for (ours, step) in input.steps.iter().take(24) {
        if *ours {
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
    let done = own.done();
    assert!(!(failed && done), "a failed machine is done");
    assert_eq!(own.finish(&input), done);
});
