//! Records, order and roots against `vectors/row_tree.json`, which the reference made.

use atoll_psi::keys::{Bitmap, Column, Values as Key};
use atoll_rows::cells::{Cells, Values};
use atoll_rows::records::{RowKeys, partition, records, sort};
use atoll_rows::tree::Tree;
use serde_json::Value;

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

/// Buffers of one column in the Arrow layout, with a null slot's bytes that must not show.
struct Buffers {
    kind: String,
    scale: i32,
    values: Vec<u8>,
    data: Vec<u8>,
    validity: Vec<u8>,
}

fn bit(bits: &mut [u8], row: usize, on: bool) {
    bits[row / 8] |= u8::from(on) << (row % 8);
}

fn buffers(case: &Value, place: usize) -> Buffers {
    let column = &case["columns"][place];
    let kind = column["type"].as_str().unwrap().to_string();
    let rows = case["cells"].as_array().unwrap();
    let mut made = Buffers {
        scale: column["scale"].as_i64().unwrap_or(0) as i32,
        values: Vec::new(),
        data: Vec::new(),
        validity: vec![0; rows.len().div_ceil(8)],
        kind,
    };
    let width = match made.kind.as_str() {
        "int64" | "float64" | "timestamp" => 8,
        "decimal" => 16,
        "date" => 4,
        _ => 0,
    };
    if made.kind == "bool" {
        made.values = vec![0; rows.len().div_ceil(8)];
    }
    if made.kind == "string" {
        made.values.extend_from_slice(&0i32.to_le_bytes());
    }
    for (number, row) in rows.iter().enumerate() {
        let cell = &row[place];
        bit(&mut made.validity, number, !cell.is_null());
        let value = if cell.is_null() {
            vec![0xa5; width]
        } else {
            hex(cell)
        };
        match made.kind.as_str() {
            "bool" => bit(&mut made.values, number, value.first() == Some(&1)),
            "string" => {
                made.data.extend_from_slice(&value);
                made.values
                    .extend_from_slice(&(made.data.len() as i32).to_le_bytes());
            }
            _ => made.values.extend_from_slice(&value),
        }
    }
    made
}

fn cells(made: &Buffers, rows: usize) -> Cells<'_> {
    let values = match made.kind.as_str() {
        "int64" => Values::Int64(&made.values),
        "decimal" => Values::Decimal128(&made.values),
        "float64" => Values::Float64(&made.values),
        "bool" => Values::Bool(Bitmap::new(&made.values, 0, rows).unwrap()),
        "date" => Values::Date32(&made.values),
        "timestamp" => Values::TimestampUs(&made.values),
        _ => Values::Utf8(&made.values, &made.data),
    };
    let validity = Bitmap::new(&made.validity, 0, rows).unwrap();
    Cells::new("c", values, Some(validity), rows).unwrap()
}

fn key(made: &Buffers, rows: usize) -> Column<'_> {
    let values = match made.kind.as_str() {
        "int64" => Key::Int64(&made.values),
        "decimal" => Key::Decimal128(&made.values, made.scale),
        "bool" => Key::Bool(Bitmap::new(&made.values, 0, rows).unwrap()),
        "date" => Key::Date32(&made.values),
        "timestamp" => Key::TimestampUs(&made.values),
        _ => Key::Utf8(&made.values, &made.data),
    };
    let validity = Bitmap::new(&made.validity, 0, rows).unwrap();
    Column::new("c", values, Some(validity), &[], rows).unwrap()
}

#[test]
fn records_order_and_roots_agree_with_the_reference() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/row_tree.json");
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let rows = case["rows"].as_array().unwrap().len();
        let names: Vec<&str> = case["columns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap())
            .collect();
        let made: Vec<Buffers> = (0..names.len()).map(|i| buffers(case, i)).collect();
        let all: Vec<Cells<'_>> = made.iter().map(|b| cells(b, rows)).collect();
        let ids: Vec<Column<'_>> = case["key"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| {
                names
                    .iter()
                    .position(|n| Some(*n) == name.as_str())
                    .unwrap()
            })
            .map(|place| key(&made[place], rows))
            .collect();
        let keys = RowKeys::derive(&hex(&case["secret"]).try_into().unwrap());
        assert_eq!(keys.tag_key().to_vec(), hex(&case["tag_key"]));
        let (found, without) = records(&keys, &ids, &all, rows, 0).unwrap();
        let want: Vec<Vec<u8>> = case["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(hex)
            .collect();
        assert_eq!(found.iter().map(|r| r.to_vec()).collect::<Vec<_>>(), want);
        assert_eq!(
            Some(without),
            case["version"]["row_key"]["without_id"].as_u64()
        );
        for (number, salt) in case["salts"].as_array().unwrap().iter().enumerate() {
            assert_eq!(keys.salt(number as u64).to_vec(), hex(salt));
        }
        let sorted = sort(found.as_flattened()).unwrap();
        let order = case["order"].as_array().unwrap();
        for (record, number) in sorted.iter().zip(order) {
            assert_eq!(record.to_vec(), want[number.as_u64().unwrap() as usize]);
        }
        let (parts, counts) = partition(found.as_flattened(), 0).unwrap();
        let mut tree = Tree::default();
        let mut start = 0;
        for count in counts {
            let end = start + count as usize;
            let group = sort(parts[start..end].as_flattened()).unwrap();
            tree.push(group.as_flattened()).unwrap();
            start = end;
        }
        assert_eq!(
            tree.root().to_vec(),
            hex(&case["row_root"]),
            "{}",
            case["name"]
        );
    }
}
