use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const MAX: usize = 4_096;

/// One record: its bytes, length, place, end, and what it is rendered to, with whether that lost something.
type Given = (Vec<u8>, u64, Position, u64, Option<(Vec<u8>, bool)>);

type Split = Result<(Vec<Given>, Position), Malformed>;

fn format(dialect: Dialect, header: Header) -> RowFormat {
    RowFormat {
        dialect,
        header,
        numbers: vec!["n".to_owned()],
    }
}

fn names(names: &[&str]) -> Header {
    Header::Given(names.iter().map(|name| (*name).to_owned()).collect())
}

fn given(record: &Record<'_>) -> Given {
    assert_eq!(record.frame, Frame::Stripped);
    let rendered = match record.form {
        Form::Row(table) => {
            let mut out = Vec::new();
            let is_lossy = table.render(record.bytes, &mut out);
            Some((out, is_lossy))
        }
        other => {
            assert_eq!(other, Form::Line);
            None
        }
    };
    (
        record.bytes.to_vec(),
        record.length,
        record.position,
        record.end,
        rendered,
    )
}

fn split(mut splitter: RowSplitter, plain: &[u8], steps: &[usize]) -> Split {
    let mut records = Vec::new();
    let mut rest = plain;
    let mut steps = steps.iter().cycle();
    while !rest.is_empty() {
        let step = steps.next().map_or(1, |step| *step).clamp(1, rest.len());
        let (mut piece, later) = rest.split_at(step);
        rest = later;
        while let Some(record) = splitter.pop(&mut piece)? {
            records.push(given(&record));
        }
        assert!(piece.is_empty());
    }
    if let Some(record) = splitter.finish()? {
        records.push(given(&record));
    }
    assert_eq!(splitter.finish()?, None);
    Ok((records, splitter.position()))
}

fn values(format: RowFormat, plain: &[u8]) -> Vec<Value> {
    let chunked = split(RowSplitter::new(format.clone(), MAX), plain, &[1, 3]).unwrap();
    let whole = split(RowSplitter::new(format, MAX), plain, &[usize::MAX]).unwrap();
    assert_eq!(chunked, whole);
    whole
        .0
        .into_iter()
        .map(|(.., rendered)| {
            let (json, _) = rendered.unwrap();
            assert!(!json.contains(&b'\n'));
            serde_json::from_slice(&json).unwrap()
        })
        .collect()
}

fn rows_of(format: RowFormat, plain: &[u8]) -> Vec<String> {
    let chunked = split(RowSplitter::new(format.clone(), MAX), plain, &[1, 3]);
    let whole = split(RowSplitter::new(format, MAX), plain, &[usize::MAX]);
    assert_eq!(chunked, whole);
    let (records, end) = whole.unwrap();
    assert_eq!(end.record, records.len() as u64);
    assert_eq!(end.offset, plain.len() as u64);
    records
        .into_iter()
        .map(|(bytes, ..)| String::from_utf8(bytes).unwrap())
        .collect()
}

/// The rows of a text by RFC 4180, read plainly: one byte after the other, all of it in memory.
fn reference(plain: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let plain = plain.strip_prefix(b"\xef\xbb\xbf").unwrap_or(plain);
    let mut rows = Vec::new();
    let mut at = 0;
    while at < plain.len() {
        let from = at;
        let mut row = Vec::new();
        loop {
            let mut value = Vec::new();
            if plain.get(at) == Some(&b'"') {
                at += 1;
                while let Some(byte) = plain.get(at) {
                    if *byte == b'"' {
                        at += 1;
                        if plain.get(at) != Some(&b'"') {
                            break;
                        }
                    }
                    value.push(*byte);
                    at += 1;
                }
            }
            while let Some(byte) = plain.get(at).filter(|byte| !b",\n".contains(byte)) {
                value.push(*byte);
                at += 1;
            }
            row.push(value);
            if plain.get(at) != Some(&b',') {
                break;
            }
            at += 1;
        }
        let mut raw = &plain[from..at];
        at += 1;
        if let Some(text) = raw.strip_suffix(b"\r") {
            raw = text;
            row.last_mut().unwrap().pop();
        }
        if !raw.is_empty() {
            rows.push(row);
        }
    }
    rows
}

fn expected(names: &[&str], row: &[Vec<u8>]) -> Value {
    let mut object = Map::new();
    for (index, value) in row.iter().enumerate() {
        let name = names.get(index).map_or_else(
            || format!("column_{}", index + 1),
            |name| (*name).to_owned(),
        );
        let text = String::from_utf8_lossy(value).into_owned();
        object.insert(name, Value::String(text));
    }
    Value::Object(object)
}

fn csv_strategy() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(b",".to_vec()),
        4 => Just(b"\"".to_vec()),
        2 => Just(b"\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"\r".to_vec()),
        1 => Just(b"#".to_vec()),
        1 => Just(b" \t".to_vec()),
        1 => Just(b"\xef\xbb\xbf".to_vec()),
        2 => "[a-z0-9\\\\]{0,6}".prop_map(String::into_bytes),
        2 => Just("é日\u{2028}\u{85}\x0b\x0c\x1c\x7f".as_bytes().to_vec()),
        2 => "(\"([a-z,\n]|\"\"){0,8}\",){1,3}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

fn dialect_strategy() -> impl Strategy<Value = Dialect> {
    (
        prop_oneof![
            Just(Delimiter::Byte(b',')),
            Just(Delimiter::Byte(b'\t')),
            Just(Delimiter::Byte(b'z')),
            Just(Delimiter::Blanks),
        ],
        prop_oneof![
            Just(Quoting::None),
            Just(Quoting::Doubled),
            Just(Quoting::Backslash),
        ],
        any::<bool>(),
        prop_oneof![Just(None), Just(Some(b'#'))],
    )
        .prop_map(|(delimiter, quoting, brackets, comment)| Dialect {
            delimiter,
            quoting,
            brackets,
            comment,
        })
}

fn header_strategy() -> impl Strategy<Value = Header> {
    prop_oneof![
        Just(Header::FirstLine),
        Just(Header::Directive),
        Just(names(&["a", "n", "a", "", "column_7"])),
    ]
}

proptest! {
    #[test]
    fn r5_csv_is_what_a_plain_reader_of_rfc_4180_makes_of_it(plain in csv_strategy()) {
        let (records, _) = split(
            RowSplitter::new(format(Dialect::CSV, names(&["a", "b"])), MAX),
            &plain,
            &[usize::MAX],
        ).unwrap();
        let rows = reference(&plain);
        prop_assert_eq!(records.len(), rows.len());
        for ((.., rendered), row) in records.into_iter().zip(&rows) {
            let (json, is_lossy) = rendered.unwrap();
            let value: Value = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(value, expected(&["a", "b"], row));
            let is_utf8 = row.iter().all(|value| std::str::from_utf8(value).is_ok());
            prop_assert_eq!(is_lossy, !is_utf8);
        }
    }

    #[test]
    fn any_chunking_gives_the_same_rows(
        plain in csv_strategy(),
        steps in proptest::collection::vec(1_usize..20, 1..8),
        dialect in dialect_strategy(),
        header in header_strategy(),
        max in prop_oneof![Just(MAX), 1_usize..20],
    ) {
        // A directive now and then.
        let plain = String::from_utf8_lossy(&plain).replace('é', "\n#Fields: n \"é\" x\n").into_bytes();
        let splitter = || RowSplitter::new(format(dialect, header.clone()), max);
        let (records, end) = split(splitter(), &plain, &steps).unwrap();
        prop_assert_eq!(&split(splitter(), &plain, &[usize::MAX]).unwrap(), &(records.clone(), end));
        prop_assert_eq!(end.record, records.len() as u64);
        prop_assert_eq!(end.offset, plain.len() as u64);
        let mut after = 0;
        for (index, (bytes, length, position, end, rendered)) in records.iter().enumerate() {
            prop_assert_eq!(position.record, index as u64);
            prop_assert!(position.offset >= after);
            prop_assert!(plain[position.offset as usize..].starts_with(bytes));
            prop_assert!(position.offset + length <= *end);
            prop_assert_eq!(bytes.len() as u64, (*length).min(max as u64));
            after = *end;
            if let Some((json, _)) = rendered {
                prop_assert!(!json.contains(&b'\n'));
                let value: Value = serde_json::from_slice(json).unwrap();
                prop_assert!(value.is_object());
            }
        }
    }

    #[test]
    fn a_number_is_what_json_calls_one(text in "-?[0-9]{0,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?x?") {
        let (records, _) = split(
            RowSplitter::new(format(Dialect::CSV, names(&["n"])), MAX),
            text.as_bytes(),
            &[usize::MAX],
        ).unwrap();
        let Some((.., Some((json, false)))) = records.into_iter().next() else {
            prop_assert_eq!(text, "");
            return Ok(());
        };
        let json = String::from_utf8(json).unwrap();
        let expected = match serde_json::from_str::<Box<serde_json::value::RawValue>>(&text) {
            Ok(number) => format!("{{\"n\":{}}}", number.get()),
            Err(_) if text == "-" => "{}".to_owned(),
            Err(_) => format!("{{\"n\":\"{text}\"}}"),
        };
        prop_assert_eq!(json, expected);
    }
}

#[test]
fn r5_quoted_commas_and_newlines_stay_in_their_values() {
    let plain = b"id,text\r\n1,\"a,b\"\r\n2,\"c\r\nd \"\"e\"\"\"\r\n\r\n3,f\"g\"\n4,\"h\"i";
    assert_eq!(
        values(format(Dialect::CSV, Header::FirstLine), plain),
        [
            json!({"id": "1", "text": "a,b"}),
            json!({"id": "2", "text": "c\r\nd \"e\""}),
            json!({"id": "3", "text": "f\"g\""}),
            json!({"id": "4", "text": "hi"}),
        ]
    );
}

#[test]
fn r5_a_character_on_both_sides_of_a_closing_quote_is_one() {
    let (records, _) = split(
        RowSplitter::new(format(Dialect::CSV, names(&["a"])), MAX),
        b"\"\xc2\"\x80",
        &[usize::MAX],
    )
    .unwrap();
    let (.., rendered) = &records[0];
    let expected = ("{\"a\":\"\u{80}\"}".to_owned().into_bytes(), false);
    assert_eq!(rendered.as_ref(), Some(&expected));
}

#[test]
fn r5_a_header_alone_gives_no_record() {
    for plain in ["a,b", "a,b\n", "a,b\r\n\r\n", "\u{feff}\"a\nb\"\n", ""] {
        let header = format(Dialect::CSV, Header::FirstLine);
        assert_eq!(values(header.clone(), plain.as_bytes()), [] as [Value; 0]);
        let directive = format(Dialect::TSV, Header::Directive);
        let plain = format!("#Version: 1.0\n#Fields: {}", plain.replace('\n', " "));
        assert_eq!(values(directive, plain.as_bytes()), [] as [Value; 0]);
    }
    let header = format(Dialect::LOG, Header::FirstLine);
    assert_eq!(rows_of(header, b"version account-id\n"), [] as [&str; 0]);
}

#[test]
fn r5_a_custom_header_does_not_eat_row_1() {
    let custom = format(Dialect::CSV, names(&["x", "y"]));
    assert_eq!(
        values(custom.clone(), b"\xef\xbb\xbf1,2\n3,4\n"),
        [json!({"x": "1", "y": "2"}), json!({"x": "3", "y": "4"})]
    );
    assert_eq!(rows_of(custom, b"1,2\n3,4\n"), ["1,2", "3,4"]);
}

#[test]
fn r5_strings_stay_strings() {
    let plain = b"00123,2147483648,9223372036854775808,,1e5,true,null,-,0x1f";
    assert_eq!(
        values(format(Dialect::CSV, names(&["a", "b", "c"])), plain),
        [json!({
            "a": "00123", "b": "2147483648", "c": "9223372036854775808", "column_4": "",
            "column_5": "1e5", "column_6": "true", "column_7": "null", "column_8": "-",
            "column_9": "0x1f",
        })]
    );
}

#[test]
fn r5_numbers_keep_every_digit_where_the_column_is_one() {
    let rendered = |plain: &str| {
        let splitter = RowSplitter::new(format(Dialect::CSV, names(&["n", "s"])), MAX);
        let (records, _) = split(splitter, plain.as_bytes(), &[1]).unwrap();
        let (json, _) = records[0].4.clone().unwrap();
        String::from_utf8(json).unwrap()
    };
    for number in [
        "1506702504433000200",
        "99999999999999999999999",
        "-0.10",
        "1E+2",
    ] {
        assert_eq!(
            rendered(&format!("{number},{number}")),
            format!("{{\"n\":{number},\"s\":\"{number}\"}}")
        );
    }
    assert_eq!(rendered("\"12\",s"), r#"{"n":12,"s":"s"}"#);
    assert_eq!(rendered("0012,s"), r#"{"n":"0012","s":"s"}"#);
    assert_eq!(rendered("-,-"), r#"{"s":"-"}"#);
    assert_eq!(rendered(",x"), r#"{"s":"x"}"#);
    assert_eq!(rendered("-"), "{}");
    assert_eq!(rendered("\"\","), r#"{"s":""}"#);
}

#[test]
fn names_are_made_unique_and_values_beyond_them_numbered() {
    assert_eq!(
        values(
            format(Dialect::CSV, Header::FirstLine),
            b"a,,a,\"\"\"q\"\n1,2,3,4,5\n6\n",
        ),
        [
            json!({"a": "1", "column_2": "2", "column_3": "3", "\"q": "4", "column_5": "5"}),
            json!({"a": "6"}),
        ]
    );
    // As many members as values, whatever the names are.
    assert_eq!(
        values(
            format(Dialect::CSV, Header::FirstLine),
            b"column_4,a,a,column__4\n1,2,3,4,5\n",
        ),
        [json!({
            "column_4": "1", "a": "2", "column___3": "3", "column__4": "4", "column___5": "5",
        })]
    );
    let table = Table::from_row(Dialect::CSV, b"n,n\xff", &["n".to_owned()]).unwrap();
    let columns: Vec<_> = table
        .columns()
        .iter()
        .map(|column| (column.name.as_str(), column.is_number))
        .collect();
    assert_eq!(columns, [("n", true), ("n\u{fffd}", false)]);
}

#[test]
fn comments_are_skipped_before_the_header_and_after() {
    let commented = Dialect {
        comment: Some(b'#'),
        ..Dialect::CSV
    };
    assert_eq!(
        values(
            format(commented, Header::FirstLine),
            b"\xef\xbb\xbf# it's a \"comment\na,b\n# 1,\"2\n\"\n# no comment\",3\n#",
        ),
        [json!({"a": "\n# no comment", "b": "3"})]
    );
}

#[test]
fn rows_before_the_first_directive_are_records_with_numbered_columns() {
    assert_eq!(
        values(
            format(Dialect::LOG, Header::Directive),
            b"1 2\n#Fields: a\n3 4\n#fields: b a\n5 6\n",
        ),
        [
            json!({"column_1": "1", "column_2": "2"}),
            json!({"a": "3", "column_2": "4"}),
            json!({"b": "5", "a": "6"}),
        ]
    );
}

#[test]
fn blanks_are_one_delimiter_and_none_at_the_ends() {
    assert_eq!(
        values(
            format(Dialect::LOG, names(&["a", "b", "c"])),
            b"  1 \t\"2 \\\\3\\\"\"   \"\" 4\t\n   \n",
        ),
        [
            json!({"a": "1", "b": "2 \\3\"", "c": "", "column_4": "4"}),
            json!({}),
        ]
    );
}

#[test]
fn a_quote_or_bracket_that_is_not_closed_in_its_line_is_text() {
    let dialect = Dialect {
        brackets: true,
        ..Dialect::LOG
    };
    assert_eq!(
        values(
            format(dialect, names(&["a", "b", "c"])),
            b"[a b] \"c \"d\"\n[a ]b \"c\n\"a [b\" c\"\n\\\"a \"b\\\n",
        ),
        [
            json!({"a": "a b", "b": "c \"d"}),
            json!({"a": "[a", "b": "]b", "c": "\"c"}),
            json!({"a": "a [b", "b": "c\""}),
            json!({"a": "\\\"a", "b": "\"b\\"}),
        ]
    );
}

#[test]
fn bytes_that_are_not_utf_8_are_replaced_and_reported() {
    let mut out = b"x".to_vec();
    let table = Table::from_row(Dialect::CSV, b"a,b", &[]).unwrap();
    assert!(table.render(b"\xff\"z,\"\xe6\x97\"\"\xe6\x97\xa5\0\"", &mut out));
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "x{\"a\":\"\u{fffd}\\\"z\",\"b\":\"\u{fffd}\\\"日\\u0000\"}"
    );
    let mut out = Vec::new();
    assert!(!table.render("é,\u{1f}\u{7f}\\".as_bytes(), &mut out));
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"a":"é","b":"\u001f\u007f\\"}"#
    );
}

#[test]
fn a_quote_that_is_never_closed_takes_no_more_than_a_record() {
    let max = 20;
    let plain = b"1,a\n2,\"open\n3,b\n4,ccccccc\n5,d\n6,\"e\nf\"\n7,\"g\nh";
    for step in [1, 4, 1_000] {
        let splitter = RowSplitter::new(format(Dialect::CSV, names(&["a", "b"])), max);
        let (records, end) = split(splitter, plain, &[step]).unwrap();
        let rows: Vec<_> = records
            .iter()
            .map(|(bytes, length, ..)| (String::from_utf8_lossy(bytes).into_owned(), *length))
            .collect();
        assert_eq!(
            rows,
            [
                ("1,a".to_owned(), 3),
                ("2,\"open\n3,b\n4,cccccc".to_owned(), 21),
                ("5,d".to_owned(), 3),
                ("6,\"e\nf\"".to_owned(), 7),
                ("7,\"g\nh".to_owned(), 6),
            ]
        );
        assert_eq!(end.offset, plain.len() as u64);
    }
}

#[test]
fn a_row_over_the_limit_keeps_its_start_and_its_length_and_the_rest_goes_on() {
    let plain = [b"x,".repeat(40), b"\r\ny\r\n".to_vec()].concat();
    for step in [1, 7, 1_000] {
        let splitter = RowSplitter::new(format(Dialect::CSV, names(&["a"])), 10);
        let (records, _) = split(splitter, &plain, &[step]).unwrap();
        let rows: Vec<_> = records
            .iter()
            .map(|(bytes, length, ..)| (bytes.as_slice(), *length))
            .collect();
        assert_eq!(rows, [(b"x,x,x,x,x,".as_slice(), 80), (b"y", 1)]);
    }
}

#[test]
fn more_columns_than_the_limit_are_an_error_and_more_values_stay_together() {
    let row = |count: usize| {
        let values: Vec<String> = (1..=count).map(|value| value.to_string()).collect();
        values.join("\t")
    };
    let tsv = |header| format(Dialect::TSV, header);
    let too_many = Malformed {
        offset: 2,
        expected: TOO_MANY_COLUMNS,
    };
    for plain in [
        (
            format!("\r\n{}\n1", row(COLUMNS_MAX + 1)),
            Header::FirstLine,
        ),
        (
            format!("1\n#Fields: {}", row(COLUMNS_MAX + 1)),
            Header::Directive,
        ),
    ] {
        for step in [1, 100, 10_000] {
            let splitter = RowSplitter::new(tsv(plain.1.clone()), MAX);
            assert_eq!(
                split(splitter, plain.0.as_bytes(), &[step]),
                Err(too_many.clone())
            );
        }
    }
    let mut splitter = RowSplitter::new(
        tsv(Header::Given(vec![String::new(); COLUMNS_MAX + 1])),
        MAX,
    );
    let expected = Err(Malformed {
        offset: 0,
        expected: TOO_MANY_COLUMNS,
    });
    assert_eq!(splitter.pop(&mut b"1\n".as_slice()), expected);
    assert_eq!(splitter.finish(), expected);

    for header in [Header::FirstLine, names(&["1"])] {
        let plain = format!("{}\n{}\n", row(COLUMNS_MAX), row(COLUMNS_MAX + 2));
        let splitter = RowSplitter::new(tsv(header), 1 << 20);
        let (records, _) = split(splitter, plain.as_bytes(), &[1_000]).unwrap();
        let (json, _) = records.last().unwrap().4.clone().unwrap();
        let object: Map<String, Value> = serde_json::from_slice(&json).unwrap();
        assert_eq!(object.len(), COLUMNS_MAX + 1);
        assert_eq!(object["column_1001"], json!("1001\t1002"));
    }
}

#[test]
fn a_header_over_its_limit_is_an_error_however_it_is_cut() {
    let header = |length: usize| "n".repeat(length);
    for (plain, header_form, offset) in [
        (
            format!("{}\r\n1\n", header(HEADER_BYTES_MAX + 1)),
            Header::FirstLine,
            0,
        ),
        (header(HEADER_BYTES_MAX + 2), Header::FirstLine, 0),
        (
            format!("1\n#Fields:{}\n", header(HEADER_BYTES_MAX - 7)),
            Header::Directive,
            2,
        ),
    ] {
        for step in [4_095, 65_536, 65_537, 65_538, 1_000_000] {
            let splitter = RowSplitter::new(format(Dialect::CSV, header_form.clone()), 100);
            assert_eq!(
                split(splitter, plain.as_bytes(), &[step]),
                Err(Malformed {
                    offset,
                    expected: HEADER_TOO_LONG
                }),
                "{step}"
            );
        }
    }
    // Neither a header of the limit, nor a longer comment, nor lines, however long their header is.
    for (plain, header_form) in [
        (
            format!("{}\r\n1", header(HEADER_BYTES_MAX)),
            Header::FirstLine,
        ),
        (
            format!("#Software: {}\n1", header(HEADER_BYTES_MAX)),
            Header::Directive,
        ),
    ] {
        for step in [4_095, 65_537, 1_000_000] {
            let splitter = RowSplitter::new(format(Dialect::CSV, header_form.clone()), 100);
            let (records, _) = split(splitter, plain.as_bytes(), &[step]).unwrap();
            assert_eq!(records.len(), 1);
        }
    }
}

#[test]
fn what_is_held_of_a_row_is_bounded() {
    let mut splitter = RowSplitter::new(format(Dialect::CSV, names(&["a"])), 100);
    for piece in ["\"a,b\n", "c", ",d"].repeat(1_000) {
        while splitter.pop(&mut piece.as_bytes()).unwrap().is_some() {}
        assert!(splitter.carry.len() <= 101);
    }
}
