//! What a lookup without a hint reads of its peer: at the holder keys of an encryption and encrypted secrets, at the
//! asker answers; honest ones, changed ones, anything.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use atoll_hintless::{Asker, Keys, Question, Rows, answer_bytes};
use atoll_pir::parameters::N;
use atoll_primitives::stream::Stream;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Message {
    Changed { at: u32, with: u8 },
    Filled { at: u32 },
    Cut(u32),
    Longer(Vec<u8>),
    Raw(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    keys: Message,
    question: Message,
    answer: Message,
    rows: u16,
}

const ROWS: usize = 3;

struct World {
    asker: Asker,
    hint: Vec<u32>,
    rows: Rows,
    keys: Vec<u8>,
    question: Vec<u8>,
    answer: Vec<u8>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let mut stream = Stream::derive(&[2; 32], &[b"hintless"]);
    let (asker, keys) = Asker::new(&mut stream);
    let hint: Vec<u32> = (0..ROWS * N)
        .map(|_| u32::from_le_bytes(stream.bytes()))
        .collect();
    let question = asker.question(&[0; N], &mut stream);
    let rows = Rows::new(&hint, true);
    let answer = rows.answer(
        &hint,
        &Keys::parse(&keys).unwrap(),
        &Question::parse(&question).unwrap(),
        &[7 << 24; ROWS],
    );
    assert_eq!(asker.open(&answer, ROWS).unwrap(), [7; ROWS]);
    World {
        asker,
        hint,
        rows,
        keys,
        question,
        answer,
    }
});

impl Message {
    fn of(&self, honest: &[u8]) -> Vec<u8> {
        let mut bytes = honest.to_vec();
        match self {
            Self::Changed { at, with } => {
                let at = *at as usize % bytes.len();
                bytes[at] ^= with;
            }
            Self::Filled { at } => {
                let at = *at as usize % bytes.len();
                let end = (at + 11).min(bytes.len());
                bytes[at..end].fill(0xff);
            }
            Self::Cut(at) => bytes.truncate(*at as usize % (honest.len() + 1)),
            Self::Longer(more) => bytes.extend(more),
            Self::Raw(raw) => bytes.clone_from(raw),
        }
        bytes
    }
}

fuzz_target!(|input: Input| {
    let world = &*WORLD;
    let (keys, question) = (
        input.keys.of(&world.keys),
        input.question.of(&world.question),
    );
    let parsed = (Keys::parse(&keys), Question::parse(&question));
    for (refused, bytes, honest) in [
        (parsed.0.as_ref().err(), &keys, &world.keys),
        (parsed.1.as_ref().err(), &question, &world.question),
    ] {
        match refused {
            Some(refusal) => {
                assert_eq!(refusal.code, "E_FORMAT");
                assert_ne!(bytes, honest);
            }
            None => assert_eq!(bytes.len(), honest.len()),
        }
    }
    if let (Ok(keys), Ok(question)) = parsed {
        let answer = world
            .rows
            .answer(&world.hint, &keys, &question, &[7 << 24; ROWS]);
        assert_eq!(answer.len(), answer_bytes(ROWS));
        assert_eq!(world.asker.open(&answer, ROWS).unwrap().len(), ROWS);
    }
    let answer = input.answer.of(&world.answer);
    let rows = usize::from(input.rows) + 1;
    for rows in [ROWS, rows] {
        match world.asker.open(&answer, rows) {
            Ok(cells) => {
                assert_eq!(answer.len(), answer_bytes(rows));
                assert_eq!(cells.len(), rows);
            }
            Err(refusal) => {
                assert_eq!(refusal.code, "E_FORMAT");
                assert_ne!(answer.len(), answer_bytes(rows));
            }
        }
    }
});
