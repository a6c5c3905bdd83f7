//! What taking records out of each container costs, and making of them what leaves.

use std::hint::black_box;

use bucket_brigade::format::{Container, Leaves, preset};
use bucket_brigade::records::{Dialect, Header, Record, RowFormat, json};
use bucket_brigade::shape::{Scratch, Shape, Shaped, is_text};

use super::table::{Yardsticks, gzip, head};
use super::texts::{self, Text};
use super::{PIECE_BYTES, logzio, median};

/// Prints a table for each container.
pub fn run() {
    head("containers, plain bytes in pieces of 64 KiB");
    let ndjson = preset_container("ndjson", Leaves::Raw);
    measure("lines: NDJSON of Cloudflare", &ndjson, texts::ndjson());
    let events = texts::events();
    let cloudtrail = preset_container("cloudtrail", Leaves::Raw);
    measure("array: CloudTrail", &cloudtrail, texts::array(&events));
    let values = texts::values(&events);
    measure("values: the same back to back", &Container::Values, values);
    let documents = texts::subscription(&events);
    let name = "subscription: the same as escaped messages";
    measure(name, &Container::Subscription, documents);
    drop(events);
    let broker = preset_container("msk", Leaves::Raw);
    measure("multi-line: a Kafka broker's", &broker, texts::broker());
    let vpc_flow = preset_container("vpcflow", Leaves::Raw);
    let name = "lines after a header: VPC flow";
    measure(name, &vpc_flow, texts::vpc_flow());
    let vpc_flow = preset_container("vpcflow", Leaves::Json);
    measure("rows: VPC flow", &vpc_flow, texts::vpc_flow());
    let cloudfront = preset_container("cloudfront", Leaves::Json);
    measure("rows: W3C, CloudFront", &cloudfront, texts::cloudfront());
    let w3c = preset_container("w3c", Leaves::Json);
    measure("rows: W3C with blanks and quotes", &w3c, texts::w3c());
    measure("rows: CSV with quotes", &rows(Dialect::CSV), texts::csv());
    measure("rows: TSV", &rows(Dialect::TSV), texts::tsv());
}

fn preset_container(name: &str, leaves: Leaves) -> Container {
    preset(name).expect("a preset").container(leaves)
}

fn rows(dialect: Dialect) -> Container {
    Container::Rows(RowFormat {
        dialect,
        header: Header::FirstLine,
        numbers: Vec::new(),
    })
}

fn measure(name: &str, container: &Container, (plain, records): Text) {
    let shape = logzio();
    let object = gzip(&plain);
    let mut json = Vec::new();
    shaped(container, &plain, &shape, |out| {
        json.extend_from_slice(out);
        json.push(b'\n');
    });
    println!(
        "{name}: {} MiB plain, {:.1} MiB gzip -6, {records} records",
        plain.len() >> 20,
        object.len() as f64 / (1 << 20) as f64,
    );
    let yardsticks = Yardsticks::measure(&plain, &object, &json);
    drop((object, json));
    yardsticks.print();
    let split_alone = median(|| {
        let mut count = 0;
        split(
            container,
            &plain,
            |_| false,
            |record, _| {
                black_box(record);
                count += 1;
            },
        );
        assert_eq!(count, records);
    });
    yardsticks.row("split", split_alone);
    if holds_json(container, &plain) {
        let members = median(|| {
            let mut last = 0;
            split(
                container,
                &plain,
                |_| false,
                |record, _| {
                    let ends = json::members(record.bytes).map(|member| member.expect("whole").end);
                    last = last.max(ends.sum());
                },
            );
            assert!(last > 0);
        });
        yardsticks.row("split, go over the members of every record", members);
    }
    let leaving = median(|| {
        let mut count = 0;
        shaped(container, &plain, &shape, |out| {
            black_box(out);
            count += 1;
        });
        assert_eq!(count, records);
    });
    yardsticks.row("split, shape: a JSON object a line", leaving);
}

/// Whether the records of `plain` are JSON objects as they stand.
fn holds_json(container: &Container, plain: &[u8]) -> bool {
    let mut is_json = true;
    let mut splitter = container.splitter(1 << 20);
    let mut piece = &plain[..plain.len().min(PIECE_BYTES)];
    while let Some(record) = splitter.pop(&mut piece).expect("a whole object") {
        is_json &= record.bytes.starts_with(b"{");
    }
    is_json
}

/// Gives each record of `plain` to `each`, and what `look` says of the piece that it ended in.
fn split(
    container: &Container,
    plain: &[u8],
    look: impl Fn(&[u8]) -> bool,
    mut each: impl FnMut(&Record<'_>, bool),
) {
    let mut splitter = container.splitter(1 << 20);
    for mut piece in plain.chunks(PIECE_BYTES) {
        let looked = look(piece);
        while let Some(record) = splitter.pop(&mut piece).expect("a whole object") {
            each(&record, looked);
        }
    }
    while let Some(record) = splitter.finish().expect("a whole object") {
        each(&record, false);
    }
}

/// Gives each record to `each` as it leaves.
pub fn shaped(container: &Container, plain: &[u8], shape: &Shape, mut each: impl FnMut(&[u8])) {
    let mut scratch = Scratch::default();
    split(container, plain, is_text, |record, is_text| {
        match shape.shape(record, is_text, &mut scratch) {
            Shaped::Unchanged(out) | Shaped::Edited(out) | Shaped::Cut(out) => each(out),
            Shaped::TooLong | Shaped::Filtered => {}
        }
    });
}
