//! What a sealed lookup reads of its peer: at the asker sizes of an epoch, evaluations, columns and deltas, at the
//! holder blinded keys and queries; honest ones, changed ones, anything.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use atoll_lookup::{Blinded, Holder, Kept, Key, Shape};
use atoll_pir::{Client, Delta, Hint, Matrix};
use atoll_primitives::stream::Stream;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Message {
    Changed { at: u16, with: u8 },
    Cut(u16),
    Longer(Vec<u8>),
    Raw(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    sizes: (u32, u32, u16),
    granted: u8,
    message: Message,
}

const RECORD: usize = 3;
const VERSION: [u8; 16] = [1; 16];

struct World {
    holder: Holder,
    matrix: Matrix,
    hint: Hint,
    blinded: Vec<u8>,
    evaluation: Vec<u8>,
    query: Vec<u8>,
    key: Key,
    column: Vec<u8>,
    delta: Vec<u8>,
    table: Vec<u8>,
}

fn stream(label: &[u8]) -> Stream {
    Stream::derive(&[2; 32], &[label])
}

/// Two keys: one that the table has, one that it has not.
fn asked() -> Blinded {
    Blinded::new(&[[0; 32], [9; 32]].concat(), &mut stream(b"blind")).unwrap()
}

fn sealed() -> Holder {
    let digests: Vec<u8> = (0..4u8).flat_map(|i| [i; 32]).collect();
    let records = [7; 4 * RECORD];
    Holder::build(
        &[1; 32],
        stream(b"table"),
        VERSION,
        &digests,
        &records,
        RECORD,
        1,
    )
    .unwrap()
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let holder = sealed();
    let layout = holder.shape().layout().unwrap();
    let matrix = Matrix::expand(&[3; 32], layout.columns());
    let hint = Hint::parse(&holder.hint(&[3; 32]).unwrap(), layout, VERSION).unwrap();
    let blinded = asked().message();
    let evaluation = holder.evaluate(&blinded, 2, &mut stream(b"proof")).unwrap();
    let keys = asked().finish(&evaluation, holder.public(), holder.salt(), holder.shape());
    let key = keys.unwrap().swap_remove(0);
    let client = Client::new(&hint, &matrix).unwrap();
    let (state, query) = client.query(key.column(), &mut stream(b"query")).unwrap();
    let answer = holder.answer(&[&query]).unwrap();
    let column = client.recover(state, &answer[0]).unwrap();
    assert_eq!(key.open(&column).unwrap().unwrap(), [7; RECORD]);
    let delta = sealed()
        .update([2; 16], &[3; 32], &[0; 32], &[8; RECORD])
        .unwrap();
    let table = holder.columns(0..layout.columns()).unwrap();
    World {
        holder,
        matrix,
        hint,
        blinded,
        evaluation,
        query,
        key,
        column,
        delta,
        table,
    }
});

impl Message {
    fn of(&self, honest: &[u8]) -> Vec<u8> {
        let mut bytes = honest.to_vec();
        match self {
            Self::Changed { at, with } => {
                let at = usize::from(*at) % bytes.len();
                bytes[at] ^= with;
            }
            Self::Cut(at) => bytes.truncate(usize::from(*at) % (honest.len() + 1)),
            Self::Longer(more) => bytes.extend(more),
            Self::Raw(raw) => bytes.clone_from(raw),
        }
        bytes
    }
}

fn asker(world: &World, input: &Input) {
    let (columns, cells, record) = input.sizes;
    match Shape::parse(columns as usize, cells as usize, record.into()) {
        Ok(shape) => {
            assert_eq!(shape.column_bytes(), shape.cells() * shape.cell_bytes());
            let layout = shape.layout().unwrap();
            let hint = input.message.of(&VERSION);
            assert!(
                Hint::parse(&hint, layout, VERSION).is_err()
                    || hint.len() == 16 + layout.hint_bytes()
            );
        }
        Err(refusal) => assert_eq!(refusal.code, "E_RANGE"),
    }
    let (holder, shape) = (&world.holder, world.holder.shape());
    let evaluation = input.message.of(&world.evaluation);
    match asked().finish(&evaluation, holder.public(), holder.salt(), shape) {
        // A proof has one form, and so has what it proves.
        Ok(keys) => {
            assert_eq!(evaluation, world.evaluation);
            assert_eq!(keys.len(), 2);
        }
        Err(refusal) => assert_eq!(refusal.code, "E_PROTOCOL"),
    }
    let public = input.message.of(holder.public());
    if let Ok(public) = <[u8; 32]>::try_from(public) {
        let found = asked().finish(&world.evaluation, &public, holder.salt(), shape);
        assert!(
            found.is_err() || public == *holder.public(),
            "a proof for another key"
        );
    }
    let column = input.message.of(&world.column);
    match world.key.open(&column) {
        Ok(None) => assert_ne!(column, world.column),
        Ok(Some(record)) => {
            assert_eq!(record, [7; RECORD], "a record that the holder did not seal")
        }
        Err(refusal) => {
            assert_eq!(refusal.code, "E_FORMAT");
            assert_ne!(column.len(), shape.column_bytes());
        }
    }
    let delta = input.message.of(&world.delta);
    if let Ok(parsed) = Delta::parse(&delta, world.hint.layout()) {
        assert_eq!(parsed.encode(), delta);
        let mut hint = world.hint.clone();
        if hint.apply(&parsed, &world.matrix).is_err() {
            assert_eq!(hint, world.hint);
        }
        let mut kept = Kept::new(shape, VERSION, world.table.clone()).unwrap();
        let applied = kept.apply(&parsed);
        let column = kept.column(world.key.column()).unwrap();
        if delta == world.delta {
            assert_eq!(world.key.open(column).unwrap().unwrap(), [8; RECORD]);
        } else if applied.is_err() {
            assert_eq!(column, world.column);
        }
    }
    let table = input.message.of(&world.table);
    let length = table.len();
    match Kept::new(shape, VERSION, table) {
        Ok(kept) => {
            let column = kept.column(world.key.column()).unwrap();
            if let Some(record) = world.key.open(column).unwrap() {
                assert_eq!(record, [7; RECORD], "a record that the holder did not seal");
            }
            assert!(kept.column(shape.columns()).is_err());
        }
        Err(refusal) => {
            assert_eq!(refusal.code, "E_FORMAT");
            assert_ne!(length, world.table.len());
        }
    }
}

fn holder(world: &World, input: &Input) {
    let granted = usize::from(input.granted % 4);
    let blinded = input.message.of(&world.blinded);
    match world
        .holder
        .evaluate(&blinded, granted, &mut stream(b"proof"))
    {
        Ok(evaluation) => {
            assert_eq!(evaluation.len(), 64 + blinded.len());
            assert!(blinded.len() <= 32 * granted, "more than was paid for");
        }
        Err(refusal) => assert!(["E_PROTOCOL", "E_QUOTA"].contains(&refusal.code)),
    }
    let query = input.message.of(&world.query);
    match world.holder.answer(&[&query, &world.query]) {
        Ok(answers) => {
            let length = 16 + 4 * world.holder.shape().column_bytes();
            assert!(answers.iter().all(|answer| answer.len() == length));
        }
        Err(refusal) => assert!(["E_FORMAT", "E_STATE"].contains(&refusal.code)),
    }
}

fuzz_target!(|input: Input| {
    asker(&WORLD, &input);
    holder(&WORLD, &input);
});
