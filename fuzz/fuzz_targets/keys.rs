//! Arrow buffers of key columns with lengths and offsets that do not fit, and text of any kind.
#![no_main]

use arbitrary::Arbitrary;
use atoll_psi::distinct::distinct;
use atoll_psi::keys::{Bitmap, Column, OnInvalid, Values, digest_batch};
use atoll_psi::normalise::Step;
use libfuzzer_sys::fuzz_target;

const STEPS: [&str; 7] = ["trim", "lower", "upper", "width", "digits", "phone_cn", "id_cn"];

#[derive(Arbitrary, Debug)]
enum Cells {
    Text(Vec<String>),
    Raw { kind: u8, first: Vec<u8>, second: Vec<u8>, number: i32 },
}

#[derive(Arbitrary, Debug)]
struct Input {
    columns: Vec<(Cells, Vec<u8>, Option<(Vec<u8>, u16)>)>,
    rows: u16,
    no_key: bool,
}

/// Offsets and bytes of texts in Arrow's layout, with 32-bit and with 64-bit offsets.
fn layout(texts: &[String]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let (mut narrow, mut wide, mut at) = (vec![0; 4], vec![0; 8], 0u64);
    for text in texts {
        at += text.len() as u64;
        narrow.extend_from_slice(&(at as u32).to_le_bytes());
        wide.extend_from_slice(&at.to_le_bytes());
    }
    (narrow, wide, texts.concat().into_bytes())
}

fuzz_target!(|input: Input| {
    let rows = match input.columns.first() {
        Some((Cells::Text(texts), ..)) => texts.len(),
        _ => usize::from(input.rows),
    };
    let steps: Vec<Vec<Step>> = input
        .columns
        .iter()
        .map(|(_, steps, _)| {
            steps.iter().take(4).map(|s| Step::parse(STEPS[usize::from(*s) % STEPS.len()]).unwrap()).collect()
        })
        .collect();
    let layouts: Vec<_> = input
        .columns
        .iter()
        .map(|(cells, ..)| match cells {
            Cells::Text(texts) => layout(texts),
            Cells::Raw { .. } => Default::default(),
        })
        .collect();
    let on_invalid = if input.no_key { OnInvalid::NoKey } else { OnInvalid::Refuse };
    let digests = |wide_offsets: bool| {
        let mut columns = Vec::new();
        for (i, (cells, _, validity)) in input.columns.iter().take(4).enumerate() {
            let bitmap = |bytes, offset: usize| Bitmap::new(bytes, offset, rows);
            let values = match cells {
                Cells::Text(_) if wide_offsets => Values::LargeUtf8(&layouts[i].1, &layouts[i].2),
                Cells::Text(_) => Values::Utf8(&layouts[i].0, &layouts[i].2),
                Cells::Raw { kind, first, second, number } => match kind % 9 {
                    0 => Values::Utf8(first, second),
                    1 => Values::LargeUtf8(first, second),
                    2 => Values::Int64(first),
                    3 => Values::Int32(first),
                    4 => Values::Date32(first),
                    5 => Values::Bool(bitmap(first, *number as usize)?),
                    6 => Values::Decimal128(first, *number),
                    7 => Values::TimestampUs(first),
                    _ => Values::TimestampUtcUs(first),
                },
            };
            let validity = match validity {
                Some((bytes, offset)) => Some(bitmap(bytes, usize::from(*offset))?),
                None => None,
            };
            columns.push(Column::new("k", values, validity, &steps[i], rows)?);
        }
        digest_batch(&columns, rows, 0, on_invalid)
    };
    let found = digests(false);
    assert_eq!(found, digests(true), "the width of the offsets matters");
    if let Ok(found) = found {
        assert_eq!(found.len(), rows);
        let keys = distinct(&found).unwrap();
        assert_eq!(keys.rows.len(), rows);
        assert_eq!(keys.multiplicity.iter().map(|m| u64::from(*m)).sum::<u64>() + keys.nulls, rows as u64);
    }
});
