//! Queries, answers, hints and deltas of any bytes, against a small table.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use atoll_pir::{Client, Delta, Hint, Layout, Matrix, Table};
use atoll_primitives::stream::Stream;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    right_version: bool,
    column: u8,
    bytes: Vec<u8>,
}

const VERSION: [u8; 16] = [1; 16];

static WORLD: LazyLock<(Table, Matrix, Hint)> = LazyLock::new(|| {
    let layout = Layout::new(12, 2).unwrap();
    let table = Table::new(layout, VERSION, &[0x81; 24]).unwrap();
    let matrix = Matrix::expand(&[1; 32], layout.columns());
    let hint = Hint::compute(&table, &matrix).unwrap();
    (table, matrix, hint)
});

fuzz_target!(|input: Input| {
    let (table, matrix, hint) = &*WORLD;
    let layout = *table.layout();
    let mut bytes = input.bytes;
    if input.right_version {
        bytes.splice(..0, VERSION);
    }
    if let Err(refusal) = table.answer(&[&bytes]) {
        assert!(["E_FORMAT", "E_STATE"].contains(&refusal.code));
    }
    let client = Client::new(hint, matrix).unwrap();
    match client.query(input.column.into(), &mut Stream::derive(&[2; 32], &[b"fuzz"])) {
        Ok((state, _)) => {
            if let Ok(column) = client.recover(state, &bytes) {
                assert_eq!(column.len(), layout.column_bytes());
            }
        }
        Err(_) => assert!(usize::from(input.column) >= layout.columns()),
    }
    assert!(Hint::parse(&bytes, layout, VERSION).is_err() || bytes.len() == 16 + layout.hint_bytes());
    if let Ok(delta) = Delta::parse(&bytes, &layout) {
        assert_eq!(delta.encode(), bytes);
        let mut changed = hint.clone();
        if changed.apply(&delta, matrix).is_err() {
            assert_eq!(&changed, hint);
        }
    }
});
