//! Index PIR from table to column: round trips, changes, refusals, how queries look, and the vectors.

use atoll_pir::kernel::Split;
use atoll_pir::parameters::N;
use atoll_pir::{Client, Delta, Hint, Layout, Matrix, Path, Table};
use atoll_primitives::stream::Stream;
use proptest::prelude::*;

const SEED: [u8; 32] = [7; 32];
const VERSION: [u8; 16] = [1; 16];
const NEXT: [u8; 16] = [2; 16];

fn stream(label: &str) -> Stream {
    Stream::derive(&[3; 32], &[label.as_bytes()])
}

fn table(rows: usize, record_bytes: usize, label: &str) -> (Table, Vec<u8>) {
    let mut records = vec![0; rows * record_bytes];
    stream(label).fill_bytes(&mut records);
    let layout = Layout::new(rows, record_bytes).unwrap();
    (Table::new(layout, VERSION, &records).unwrap(), records)
}

struct World {
    table: Table,
    records: Vec<u8>,
    matrix: Matrix,
    hint: Hint,
}

fn world(rows: usize, record_bytes: usize) -> World {
    let (table, records) = table(rows, record_bytes, "records");
    let matrix = Matrix::expand(&SEED, table.layout().columns());
    let hint = Hint::compute(&table, &matrix).unwrap();
    World {
        table,
        records,
        matrix,
        hint,
    }
}

impl World {
    fn read(&self, row: usize, draws: &mut Stream) -> Vec<u8> {
        let layout = self.table.layout();
        let (column, offset) = layout.place(row).unwrap();
        let client = Client::new(&self.hint, &self.matrix).unwrap();
        let (state, query) = client.query(column, draws).unwrap();
        let answer = self.table.answer(&[&query]).unwrap().remove(0);
        let bytes = client.recover(state, &answer).unwrap();
        bytes[offset..offset + layout.record_bytes()].to_vec()
    }
}

#[test]
fn every_record_is_read() {
    let world = world(700, 13);
    let mut draws = stream("query");
    for row in (0..700).step_by(23).chain([699]) {
        assert_eq!(world.read(row, &mut draws), world.records[row * 13..][..13]);
    }
}

#[test]
fn several_queries_in_one_pass_are_answered_like_one() {
    let world = world(60_000, 32);
    let client = Client::new(&world.hint, &world.matrix).unwrap();
    let mut draws = stream("query");
    let columns = [0, 1023, 1024, world.table.layout().columns() - 1];
    let queries: Vec<Vec<u8>> = columns
        .iter()
        .map(|&c| client.query(c, &mut draws).unwrap().1)
        .collect();
    let views: Vec<&[u8]> = queries.iter().map(Vec::as_slice).collect();
    let together = world.table.answer(&views).unwrap();
    for (view, answer) in views.iter().zip(together) {
        assert_eq!(world.table.answer(&[view]).unwrap(), [answer]);
    }
    assert!(world.table.answer(&[]).unwrap().is_empty());
}

#[test]
fn a_changed_table_is_read_after_the_delta_and_not_before() {
    let mut world = world(3000, 20);
    world.table.change(2999, &[0x80; 20]).unwrap();
    world.table.change(5, &[0x7f; 20]).unwrap();
    world.table.change(5, &[0; 20]).unwrap();
    assert_eq!(world.table.answer(&[]).unwrap_err().code, "E_STATE");
    assert_eq!(world.table.publish(VERSION).unwrap_err().code, "E_STATE");
    let delta = world.table.publish(NEXT).unwrap();
    let bytes = delta.encode();
    assert_eq!(bytes.len(), 32 + 3 * 44);
    let delta = Delta::parse(&bytes, world.table.layout()).unwrap();

    let client = Client::new(&world.hint, &world.matrix).unwrap();
    let (old_state, old_query) = client.query(0, &mut stream("old")).unwrap();
    assert_eq!(
        world.table.answer(&[&old_query]).unwrap_err().code,
        "E_STATE"
    );

    let mut hint = world.hint.clone();
    hint.apply(&delta, &world.matrix).unwrap();
    assert_eq!(hint, Hint::compute(&world.table, &world.matrix).unwrap());
    assert_eq!(
        hint.apply(&delta, &world.matrix).unwrap_err().code,
        "E_STATE"
    );
    let client = Client::new(&hint, &world.matrix).unwrap();
    let (_, query) = client.query(0, &mut stream("new")).unwrap();
    let answer = world.table.answer(&[&query]).unwrap().remove(0);
    assert_eq!(
        client.recover(old_state, &answer).unwrap_err().code,
        "E_STATE"
    );
    world.hint = hint;
    let mut draws = stream("read");
    assert_eq!(world.read(5, &mut draws), [0; 20]);
    assert_eq!(world.read(2999, &mut draws), [0x80; 20]);
    assert_eq!(world.read(6, &mut draws), world.records[120..140]);
}

#[test]
fn a_refused_delta_leaves_the_hint_as_it_was() {
    let mut world = world(100, 8);
    world.table.change(1, &[9; 8]).unwrap();
    world.table.change(2, &[9; 8]).unwrap();
    let mut delta = world.table.publish(NEXT).unwrap();
    delta.changes[1].row = 100;
    let before = world.hint.clone();
    assert_eq!(
        world.hint.apply(&delta, &world.matrix).unwrap_err().code,
        "E_RANGE"
    );
    delta.changes[1].row = 2;
    delta.changes[1].new.pop();
    assert_eq!(
        world.hint.apply(&delta, &world.matrix).unwrap_err().code,
        "E_FORMAT"
    );
    assert_eq!(world.hint, before);
}

#[test]
fn wrong_lengths_versions_and_columns_are_refused() {
    let mut world = world(100, 8);
    let layout = *world.table.layout();
    let client = Client::new(&world.hint, &world.matrix).unwrap();
    let mut draws = stream("query");
    assert_eq!(
        client.query(layout.columns(), &mut draws).unwrap_err().code,
        "E_RANGE"
    );
    let (state, query) = client.query(3, &mut draws).unwrap();
    let long = [query.as_slice(), &[0]].concat();
    for wrong in [
        &[][..],
        &query[..15],
        &query[..16],
        &query[..query.len() - 1],
        &long,
    ] {
        assert_eq!(
            world.table.answer(&[&query, wrong]).unwrap_err().code,
            "E_FORMAT"
        );
    }
    let answer = world.table.answer(&[&query]).unwrap().remove(0);
    assert_eq!(
        client
            .recover(state, &answer[..answer.len() - 4])
            .unwrap_err()
            .code,
        "E_FORMAT"
    );
    let (state, _) = client.query(3, &mut draws).unwrap();
    let other = [&NEXT[..], &answer[16..]].concat();
    assert_eq!(client.recover(state, &other).unwrap_err().code, "E_STATE");

    let narrow = Matrix::expand(&SEED, 32);
    assert_eq!(
        Client::new(&world.hint, &narrow).unwrap_err().code,
        "E_STATE"
    );
    assert_eq!(
        Hint::compute(&world.table, &narrow).unwrap_err().code,
        "E_STATE"
    );
    let hint = world.hint.encode();
    assert_eq!(Hint::parse(&hint, layout, VERSION).unwrap(), world.hint);
    assert_eq!(
        Hint::parse(&hint, layout, NEXT).unwrap_err().code,
        "E_STATE"
    );
    assert_eq!(
        Hint::parse(&hint[1..], layout, VERSION).unwrap_err().code,
        "E_FORMAT"
    );
    assert_eq!(
        Table::new(layout, VERSION, &[0; 799]).unwrap_err().code,
        "E_FORMAT"
    );
    assert_eq!(
        world.table.change(100, &[0; 8]).unwrap_err().code,
        "E_RANGE"
    );
    assert_eq!(world.table.change(0, &[0; 7]).unwrap_err().code, "E_FORMAT");
    assert_eq!(
        Delta::parse(&[0; 31], &layout).unwrap_err().code,
        "E_FORMAT"
    );
    assert_eq!(
        Delta::parse(&[0; 33], &layout).unwrap_err().code,
        "E_FORMAT"
    );
    assert_eq!(
        Delta::parse(&[255; 52], &layout).unwrap_err().code,
        "E_RANGE"
    );
}

#[test]
fn a_flipped_answer_changes_the_column_and_is_not_noticed() {
    let world = world(100, 8);
    let client = Client::new(&world.hint, &world.matrix).unwrap();
    let (state, query) = client.query(0, &mut stream("query")).unwrap();
    let mut answer = world.table.answer(&[&query]).unwrap().remove(0);
    answer[19] ^= 0x80;
    let column = client.recover(state, &answer).unwrap();
    assert_eq!(column[0], world.records[0] ^ 0x80);
    assert_eq!(column[1..8], world.records[1..8]);
}

#[test]
fn a_mask_on_the_upper_byte_of_an_answer_hides_no_column() {
    // Why nothing is built on masked answers: 1 in place of 2^24, without noise, reads a column beneath any mask.
    let world = world(700, 13);
    let layout = *world.table.layout();
    let column = 3;
    let mut words = vec![0u32; layout.columns()];
    words[column] = 1;
    let query = [
        &VERSION[..],
        &words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect::<Vec<_>>(),
    ]
    .concat();
    let mut answer = world.table.answer(&[&query]).unwrap().remove(0);
    let mut masks = stream("masks");
    for word in answer[16..].chunks_exact_mut(4) {
        let [mask] = masks.bytes();
        word[3] = word[3].wrapping_add(mask);
    }
    let seen: Vec<u8> = answer[16..].chunks_exact(4).map(|word| word[0]).collect();
    let whole = layout.column_bytes() / 13 * 13;
    assert_eq!(seen[..whole], world.records[column * whole..][..whole]);
}

/// Bytes of queries for one column and for changing ones: chi-square over 256 values, 255 degrees of freedom.
#[test]
fn queries_look_uniform_and_are_never_the_same() {
    let world = world(5000, 8);
    let client = Client::new(&world.hint, &world.matrix).unwrap();
    let mut draws = stream("query");
    let columns = world.table.layout().columns();
    let mut seen = std::collections::HashSet::new();
    for same in [true, false] {
        let mut counts = [0f64; 256];
        for i in 0..200 {
            let column = if same { 4 } else { i % columns };
            let (_, query) = client.query(column, &mut draws).unwrap();
            query[16..]
                .iter()
                .for_each(|&byte| counts[usize::from(byte)] += 1.0);
            // Also against the first word alone, which a secret used twice would repeat up to noise.
            assert!(seen.insert(query[16..24].to_vec()));
        }
        let mean = counts.iter().sum::<f64>() / 256.0;
        let chi: f64 = counts
            .iter()
            .map(|count| (count - mean).powi(2) / mean)
            .sum();
        assert!((140.0..400.0).contains(&chi), "{chi}");
    }
}

#[test]
fn the_reference_gives_the_same_bytes() {
    let file = include_str!("../../../vectors/index_pir.json");
    let cases: serde_json::Value = serde_json::from_str(file).unwrap();
    for case in cases["cases"].as_array().unwrap() {
        let bytes = |name: &str| -> Vec<u8> {
            let hex = case[name].as_str().unwrap().as_bytes().as_chunks::<2>().0;
            hex.iter()
                .map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap())
                .collect()
        };
        let number = |name: &str| case[name].as_u64().unwrap() as usize;
        let layout = Layout::new(number("rows"), number("record_bytes")).unwrap();
        let version = bytes("version").try_into().unwrap();
        let table = Table::new(layout, version, &bytes("records")).unwrap();
        let matrix = Matrix::expand(&bytes("matrix_seed").try_into().unwrap(), layout.columns());
        let hint = Hint::compute(&table, &matrix).unwrap();
        assert_eq!(hint.encode()[..16 + 4 * N], bytes("hint_start"));
        let client = Client::new(&hint, &matrix).unwrap();
        let mut draws = Stream::derive(&bytes("stream_seed"), &[b"index-pir/v1/query"]);
        let (state, query) = client.query(number("column"), &mut draws).unwrap();
        assert_eq!(query, bytes("query"));
        let answer = table.answer(&[&query]).unwrap().remove(0);
        assert_eq!(answer, bytes("answer"));
        assert_eq!(client.recover(state, &answer).unwrap(), bytes("result"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn paths_give_the_same_products(rows in 1usize..9000, record_bytes in 1usize..40, seed: [u8; 8]) {
        let (table, _) = table(rows, record_bytes, "paths");
        let mut draws = Stream::derive(&seed, &[b"vector"]);
        let words: Vec<u32> =
            (0..table.layout().columns()).map(|_| u32::from_le_bytes(draws.bytes())).collect();
        let vectors = [Split::new(words.clone()), Split::new(words)];
        let products = table.products(Path::Portable, &vectors);
        for path in Path::ALL.into_iter().filter(|path| path.available()) {
            prop_assert_eq!(&products, &table.products(path, &vectors));
        }
        prop_assert_eq!(&products[0], &products[1]);
    }

    #[test]
    fn any_record_of_any_table_is_read(rows in 1usize..300, record_bytes in 1usize..60, at: u32) {
        let world = world(rows, record_bytes);
        let row = at as usize % rows;
        let record = &world.records[row * record_bytes..][..record_bytes];
        prop_assert_eq!(world.read(row, &mut stream("query")), record);
    }
}
