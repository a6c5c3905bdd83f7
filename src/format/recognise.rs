//! The start of an object → which source wrote it, or in what way it holds records.
//!
//! Content decides; the key only tells apart what looks alike, and names what has no look of its own. Of what is split
//! as a document nothing that follows a fault can be read, so only what is one as far as it is seen is taken for one;
//! what is in doubt is lines, which lose nothing.

use super::head::JsonHead;
use super::presets::{self, Preset};
use super::text::{Start, Told};
use super::{Container, Leaves};

/// What the start of an object says.
#[derive(Clone, Debug, PartialEq)]
pub enum Recognised {
    As(&'static Preset),
    /// Records of that source, held in another way than it writes them by itself.
    Within(&'static Preset, Container),
    /// More of the start could tell more.
    NeedsMore,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The longest name of a member that is taken for one that holds records: it stands in every checkpoint.
const NAME_BYTES_MAX: usize = 100;

/// Says what an object is whose plain bytes begin with `head`. `is_all` says that more cannot be had: then it
/// always knows, and what it does not know is lines.
pub fn recognise(key: &str, head: &[u8], is_all: bool) -> Recognised {
    let head = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
    let text = head.trim_ascii_start();
    let json = match text.first() {
        None if !is_all => return Recognised::NeedsMore,
        Some(b'{') => JsonHead::of(text).and_then(|head| object(key, &head, is_all)),
        Some(b'[') => array(text, is_all),
        None | Some(_) => None,
    };
    json.unwrap_or_else(|| lines(key, text, is_all))
}

/// None if it is no JSON after all.
fn object(key: &str, head: &JsonHead<'_>, is_all: bool) -> Option<Recognised> {
    if let Some(told) = document(key, head, is_all) {
        return Some(told);
    }
    let Some(rest) = head.rest else {
        if !is_all {
            return Some(Recognised::NeedsMore);
        }
        return Some(match () {
            // What it would be told by has not come, so it is an error to end here, and no record.
            () if source(head).is_some() => ndjson_or_values(head),
            () if presets::CLOUDTRAIL.is_keyed(key) => Recognised::As(&presets::CLOUDTRAIL),
            () if presets::CONFIG.is_keyed(key) => Recognised::As(&presets::CONFIG),
            () if is_subscription_type(head) => Recognised::As(&presets::CLOUDWATCH_LOGS),
            () => ndjson_or_values(head),
        });
    };
    let next = rest.trim_ascii_start();
    let is_line = memchr::memchr(b'\n', &rest[..rest.len() - next.len()]).is_some();
    if !head.is_pretty() && (is_line || next.is_empty()) {
        return Some(ndjson(head));
    }
    each_value(rest, |_| true).then(|| values(head))
}

/// A JSON document that holds records, or several.
fn document(key: &str, head: &JsonHead<'_>, is_all: bool) -> Option<Recognised> {
    let rest = head.rest.unwrap_or_default();
    let is_alone = rest.trim_ascii_start().is_empty();
    if is_subscription(head) {
        let is_another = |head: &JsonHead<'_>| is_subscription(head) || head.rest.is_none();
        return each_value(rest, is_another).then_some(Recognised::As(&presets::CLOUDWATCH_LOGS));
    }
    if presets::CLOUDTRAIL.is_keyed(key) && head.holds_array("Records") {
        return Some(Recognised::As(&presets::CLOUDTRAIL));
    }
    if presets::CONFIG.is_keyed(key) && head.holds_array("configurationItems") {
        return Some(Recognised::As(&presets::CONFIG));
    }
    for member in head.members() {
        let name = std::str::from_utf8(member.name)
            .ok()
            .filter(|name| name.len() <= NAME_BYTES_MAX);
        let Some(name) = name else {
            continue;
        };
        let told = match member.first_element() {
            None if is_alone && head.rest.is_some() && member.is_empty() => empty(head, name),
            None => None,
            Some(first) => {
                let told = array_in(head, name, &first);
                let may_be_known = first.rest.is_none() && !is_all;
                if told.is_none() && may_be_known && name == "Records" {
                    return Some(Recognised::NeedsMore);
                }
                told.or_else(|| {
                    (name == "Records" && is_alone)
                        .then_some(Recognised::As(&presets::JSON_DOCUMENT))
                })
            }
        };
        let is_another = |head: &JsonHead<'_>| head.holds_array(name) || head.rest.is_none();
        if let Some(told) = told
            && each_value(rest, is_another)
        {
            // Another line may still show that this is one of many.
            let is_sure = is_all || head.rest.is_none() || !is_alone;
            return Some(if is_sure { told } else { Recognised::NeedsMore });
        }
    }
    None
}

/// An array of objects that begins with `first`, in the member of that name.
fn array_in(head: &JsonHead<'_>, name: &str, first: &JsonHead<'_>) -> Option<Recognised> {
    let source = source(first);
    match name {
        "configurationItems" => Some(Recognised::As(&presets::CONFIG)),
        "Records" => Some(held(source?, fields(name))),
        // What stands beside it would be lost.
        _ if head.members().len() == 1 => Some(held(source?, fields(name))),
        _ => None,
    }
}

/// A document whose array of that name holds nothing, if what stands beside it is no record itself.
fn empty(head: &JsonHead<'_>, name: &str) -> Option<Recognised> {
    let is_config = head.has("fileVersion");
    match name {
        "Records" if head.members().len() == 1 => Some(Recognised::As(&presets::JSON_DOCUMENT)),
        "configurationItems" if is_config => Some(Recognised::As(&presets::CONFIG)),
        _ => None,
    }
}

fn fields(name: &str) -> Container {
    Container::Array {
        fields: vec![name.to_owned()],
    }
}

fn is_subscription_type(head: &JsonHead<'_>) -> bool {
    head.value("messageType").is_some_and(|value| {
        value.starts_with(b"\"DATA_MESSAGE\"") || value.starts_with(b"\"CONTROL_MESSAGE\"")
    })
}

fn is_subscription(head: &JsonHead<'_>) -> bool {
    is_subscription_type(head) && head.has("logGroup") && head.holds_array("logEvents")
}

/// A JSON array of objects, not text in brackets. None if it is none.
fn array(text: &[u8], is_all: bool) -> Option<Recognised> {
    let inside = text[1..].trim_ascii_start();
    let Some(first) = JsonHead::of(inside) else {
        // Nothing has come yet, or there is nothing.
        let is_empty = match inside.strip_prefix(b"]") {
            Some(rest) => rest.trim_ascii().is_empty(),
            None => inside.is_empty() && !is_all,
        };
        return is_empty.then_some(match is_all {
            true => Recognised::As(&presets::JSON_ARRAY),
            false => Recognised::NeedsMore,
        });
    };
    let Some(rest) = first.rest else {
        if !is_all {
            return Some(Recognised::NeedsMore);
        }
        return Some(array_of(&first));
    };
    array_goes_on(rest).then(|| array_of(&first))
}

fn array_of(first: &JsonHead<'_>) -> Recognised {
    let container = Container::Array { fields: Vec::new() };
    match source(first) {
        Some(source) => held(source, container),
        None => Recognised::As(&presets::JSON_ARRAY),
    }
}

/// Whether what follows an object of an array is the rest of it, as far as it is here, and no more than other such
/// arrays follow that.
fn array_goes_on(mut rest: &[u8]) -> bool {
    let mut is_inside = true;
    loop {
        rest = rest.trim_ascii_start();
        let Some((first, after)) = rest.split_first() else {
            return true;
        };
        let after = after.trim_ascii_start();
        match (is_inside, first) {
            (true, b']') => {
                is_inside = false;
                rest = after;
                continue;
            }
            (false, b'[') if after.first() == Some(&b']') => {
                rest = &after[1..];
                continue;
            }
            (true, b',') | (false, b'[') => is_inside = true,
            _ => return false,
        }
        if after.is_empty() {
            return true;
        }
        match JsonHead::of(after).map(|head| head.rest) {
            None => return false,
            Some(None) => return true,
            Some(Some(more)) => rest = more,
        }
    }
}

/// Whether what follows a value is objects, with a comma before each or not, and `is_another` says yes to each, as
/// far as they are here.
fn each_value(mut rest: &[u8], is_another: impl Fn(&JsonHead<'_>) -> bool) -> bool {
    loop {
        rest = rest.trim_ascii_start();
        rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
        if rest.is_empty() {
            return true;
        }
        let Some(head) = JsonHead::of(rest).filter(&is_another) else {
            return false;
        };
        match head.rest {
            Some(more) => rest = more,
            None => return true,
        }
    }
}

/// Who writes such records.
fn source(record: &JsonHead<'_>) -> Option<&'static Preset> {
    let mut sources = presets::JSON_SOURCES.iter();
    sources.find(|preset| preset.is_told_by(record)).copied()
}

/// The records of a source in a container.
fn held(preset: &'static Preset, container: Container) -> Recognised {
    match preset.container(Leaves::Raw) == container {
        true => Recognised::As(preset),
        false => Recognised::Within(preset, container),
    }
}

fn values(head: &JsonHead<'_>) -> Recognised {
    match source(head) {
        Some(source) => held(source, Container::Values),
        None => Recognised::As(&presets::JSON_VALUES),
    }
}

/// As a line, or if it stands on several, as a value.
fn ndjson_or_values(head: &JsonHead<'_>) -> Recognised {
    match head.is_pretty() {
        true => values(head),
        false => ndjson(head),
    }
}

fn ndjson(head: &JsonHead<'_>) -> Recognised {
    match source(head) {
        Some(source) => held(source, Container::Lines),
        None => Recognised::As(&presets::NDJSON),
    }
}

fn lines(key: &str, text: &[u8], is_all: bool) -> Recognised {
    let Some(start) = Start::new(key, text, is_all) else {
        return match is_all {
            true => Recognised::As(&presets::LINES),
            false => Recognised::NeedsMore,
        };
    };
    // Directives may go on.
    if !is_all && start.lines().all(|line| line.starts_with(b"#")) && start.fields().is_none() {
        return Recognised::NeedsMore;
    }
    for preset in presets::TEXT_SOURCES {
        match preset.tells(&start) {
            Told::Yes => return Recognised::As(preset),
            Told::Maybe if !is_all => return Recognised::NeedsMore,
            Told::Maybe | Told::No => {}
        }
    }
    Recognised::As(&presets::LINES)
}
