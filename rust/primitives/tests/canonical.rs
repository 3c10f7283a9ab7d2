//! Reading of canonical JSON against an independent implementation of RFC 8785, serde_json_canonicalizer.

use std::convert::Infallible;

use atoll_primitives::canonical::{Build, MAX_DEPTH, MAX_INTEGER, key_order, read};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};
use serde_json_canonicalizer::to_vec;

struct Tree;

impl Build for Tree {
    type Value = Value;
    type Error = Infallible;

    fn null(&self) -> Value {
        Value::Null
    }
    fn boolean(&self, value: bool) -> Value {
        value.into()
    }
    fn integer(&self, value: i64) -> Value {
        value.into()
    }
    fn text(&self, value: &str) -> Value {
        value.into()
    }
    fn list(&self, items: Vec<Value>) -> Result<Value, Infallible> {
        Ok(items.into())
    }
    fn object(&self, items: Vec<(Value, Value)>) -> Result<Value, Infallible> {
        let text = |key: Value| key.as_str().unwrap().to_owned();
        Ok(items.into_iter().map(|(k, v)| (text(k), v)).collect())
    }
}

fn exact(value: &Value) -> bool {
    match value {
        Value::Number(n) => n
            .as_i64()
            .is_some_and(|n| n.unsigned_abs() <= MAX_INTEGER as u64),
        Value::Array(items) => items.iter().all(exact),
        Value::Object(items) => items.values().all(exact),
        _ => true,
    }
}

/// What `read` must give, by the other implementation. Depth is left to the parser: it stops a little deeper.
fn expected(data: &[u8]) -> Option<Value> {
    let value: Value = serde_json::from_slice(data).ok()?;
    (exact(&value) && to_vec(&value).unwrap() == data).then_some(value)
}

fn text() -> impl Strategy<Value = String> {
    let edges = "[\u{0}-\u{7f}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}é中😀]{0,4}";
    prop_oneof![edges, any::<String>()]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-MAX_INTEGER..=MAX_INTEGER).prop_map(Value::from),
        (-20i64..20).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(text(), inner, 0..6).prop_map(|items| items.into_iter().collect()),
        ]
    })
}

#[derive(Debug, Clone)]
enum Edit {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Cut(prop::sample::Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(b" \t\n\"\\/,:[]{}0-.eEuabtn".to_vec())
    ];
    let at = || any::<prop::sample::Index>();
    prop_oneof![
        (at(), byte.clone()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (at(), byte).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        at().prop_map(Edit::Remove),
        at().prop_map(Edit::Cut),
    ]
}

fn edited(mut data: Vec<u8>, edit: &Edit) -> Vec<u8> {
    let length = data.len();
    match edit {
        Edit::Replace(at, byte) => data[at.index(length)] = *byte,
        Edit::Insert(at, byte) => data.insert(at.index(length + 1), *byte),
        Edit::Remove(at) => drop(data.remove(at.index(length))),
        Edit::Cut(at) => data.truncate(at.index(length)),
    }
    data
}

proptest! {
    #[test]
    fn canonical_bytes_are_read_as_their_value(value in value()) {
        let data = to_vec(&value).unwrap();
        prop_assert_eq!(read(&data, &Tree), Ok(value));
        prop_assert_eq!(read(&data, &()), Ok(()));
    }

    #[test]
    fn one_edit_is_refused_or_is_another_canonical_document(value in value(), edit in edit()) {
        let good = to_vec(&value).unwrap();
        let data = edited(good.clone(), &edit);
        let found = read(&data, &Tree).ok();
        prop_assert_eq!(&found, &expected(&data));
        prop_assert_eq!(read(&data, &()).is_ok(), found.is_some());
        prop_assert!(data == good || found != Some(value));
    }

    #[test]
    fn other_forms_of_the_same_value_are_refused(value in value()) {
        let data = to_vec(&value).unwrap();
        for other in [serde_json::to_vec(&value).unwrap(), serde_json::to_vec_pretty(&value).unwrap()] {
            prop_assert_eq!(read(&other, &()).is_ok(), other == data);
        }
    }

    #[test]
    fn any_bytes_are_read_as_the_other_implementation_would(data in vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(read(&data, &Tree).ok(), expected(&data));
    }

    #[test]
    fn keys_are_ordered_as_utf_16(a in text(), b in text()) {
        let units = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>();
        prop_assert_eq!(key_order(&a, &b), units(&a).cmp(&units(&b)));
    }
}

/// RFC 8785, section 3.2.3: the keys of its example, and the order in which it lists them.
#[test]
fn the_order_of_the_rfc() {
    let ordered = [
        "\r",
        "1",
        "\u{80}",
        "\u{f6}",
        "\u{20ac}",
        "\u{1f600}",
        "\u{fb33}",
    ];
    assert!(ordered.is_sorted_by(|a, b| key_order(a, b).is_lt()));
    let data = "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"Latin Small Letter O With \
        Diaeresis\",\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With \
        Dagesh\"}";
    assert_eq!(read(data.as_bytes(), &()), Ok(()));
}

/// RFC 8785, section 3.2.2: the string and the literals of its example.
#[test]
fn the_text_of_the_rfc() {
    let data = r#"{"literals":[null,true,false],"string":"€$\u000f\nA'B\"\\\\\"/"}"#;
    let value = json!({"string": "€$\u{f}\nA'B\"\\\\\"/", "literals": [null, true, false]});
    assert_eq!(read(data.as_bytes(), &Tree), Ok(value));
}

#[test]
fn refusals_say_where_and_why() {
    for (data, why) in [
        (
            r#"{"a":[0,{"b":1.5}]}"#,
            "$.a[1].b: floats are not allowed in signed documents",
        ),
        ("1e3", "$: floats are not allowed in signed documents"),
        ("-0", "$: floats are not allowed in signed documents"),
        (
            "[9007199254740992]",
            "$[0]: integers beyond 2^53 are written as strings",
        ),
        (
            "-9007199254740992",
            "$: integers beyond 2^53 are written as strings",
        ),
        (
            "18446744073709551615",
            "$: integers beyond 2^53 are written as strings",
        ),
        (
            "-99999999999999999999999999",
            "$: integers beyond 2^53 are written as strings",
        ),
        (r#"{"a":1,"a":1}"#, "$: the key \"a\" stands twice"),
        (
            r#"[{"b":1,"a":1}]"#,
            "$[0]: the key \"a\" is not in canonical order (RFC 8785)",
        ),
        (
            r#"{"a": 1}"#,
            "the document is not in canonical form (RFC 8785) at byte 5",
        ),
        (
            " 1",
            "the document is not in canonical form (RFC 8785) at byte 0",
        ),
        (
            "1\n",
            "the document is not in canonical form (RFC 8785) at byte 1",
        ),
        (
            "[1 ]",
            "the document is not in canonical form (RFC 8785) at byte 2",
        ),
        (
            r#""\/""#,
            "the document is not in canonical form (RFC 8785) at byte 1",
        ),
        (
            r#""\u000A""#,
            "the document is not in canonical form (RFC 8785) at byte 2",
        ),
        (
            r#""\u001F""#,
            "the document is not in canonical form (RFC 8785) at byte 6",
        ),
    ] {
        assert_eq!(read(data.as_bytes(), &()), Err(why.to_owned()), "{data}");
    }
    for data in [
        "",
        "[",
        "{",
        "\"",
        "{\"a\"",
        "{\"a\":",
        "[1",
        "[1,",
        "nul",
        "tru",
        "1 2",
        "[1]]",
        "NaN",
        "Infinity",
        "{1:2}",
        "'a'",
        "01",
        "+1",
        "1.",
        "[1,]",
        "\u{feff}1",
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        "\"\n\"",
        "1e999",
    ] {
        let why = read(data.as_bytes(), &()).unwrap_err();
        assert!(why.starts_with("not a JSON document: "), "{data}: {why}");
    }
    let why = read(b"\"\xff\"", &()).unwrap_err();
    assert!(why.starts_with("not a JSON document: "), "{why}");
}

#[test]
fn nesting_ends_at_the_limit() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    assert_eq!(read(nested(MAX_DEPTH).as_bytes(), &()), Ok(()));
    let objects = [
        r#"{"a":"#.repeat(MAX_DEPTH),
        "0".to_owned(),
        "}".repeat(MAX_DEPTH),
    ]
    .concat();
    assert_eq!(read(objects.as_bytes(), &()), Ok(()));
    for data in [
        nested(MAX_DEPTH + 1),
        objects.replace('0', "[]"),
        "[".repeat(100_000),
        r#"{"a":"#.repeat(100_000),
    ] {
        let why = read(data.as_bytes(), &()).unwrap_err();
        assert!(
            why.ends_with(": more than 100 lists and objects inside each other"),
            "{why}"
        );
    }
}

#[test]
fn a_refusal_shows_no_control_character() {
    for (data, why) in [
        (
            "{\"\\u001b[2J\\n\u{202e}中\":0.5}",
            r"$.\u{1b}[2J\n\u{202e}中: floats are not allowed in signed documents",
        ),
        (
            r#"{"\u001b\"":1,"\u001b\"":1}"#,
            r#"$: the key "\u{1b}\"" stands twice"#,
        ),
        (
            r#"{"b":1,"\u001b":1}"#,
            r#"$: the key "\u{1b}" is not in canonical order (RFC 8785)"#,
        ),
    ] {
        assert_eq!(read(data.as_bytes(), &()), Err(why.to_owned()));
    }
}

#[test]
fn a_refusal_shows_the_beginning_of_a_long_key() {
    let data = format!(r#"{{"{}":0.5}}"#, "é".repeat(1000));
    let why = read(data.as_bytes(), &()).unwrap_err();
    assert_eq!(
        why,
        format!(
            "$.{}…: floats are not allowed in signed documents",
            "é".repeat(80)
        )
    );
}
