//! The conditions and updates of the moves, as DynamoDB reads them.
//!
//! `#name` always stands for the attribute `name`, since many of ours are words that DynamoDB reserves;
//! `:name` stands for a value that the move gives.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::item::Item;

pub const ABSENT: &str = "attribute_not_exists(#pk)";

/// A row that can be claimed by counting one attempt, and does not get stuck by that.
pub const CLAIMABLE: &str = "attribute_not_exists(#pk) OR (#attempts < :nearly_stuck AND (\
    #state = :queued OR (#state = :claimed AND #lease_until <= :now AND #owner <> :owner)))";

/// Makes [`CLAIMABLE`] rows claimed.
pub const CLAIM: &str = "SET #state = :claimed, #owner = :owner, #lease_until = :until, \
    #changed_at = :now, #bucket = :bucket, #key = :key, #etag = :etag, #size = :size, \
    #attempts = if_not_exists(#attempts, :zero) + :one, \
    #position_offset = if_not_exists(#position_offset, :zero), \
    #position_record = if_not_exists(#position_record, :zero), \
    #records_read = if_not_exists(#records_read, :zero) \
    REMOVE #queued_until";

pub const HELD: &str = "#state = :claimed AND #owner = :owner";

/// A held row whose checkpoint says less than the new one.
pub const HELD_AND_BEHIND: &str = "#state = :claimed AND #owner = :owner AND (\
    (#records_read <= :records_read AND (#position_offset < :position_offset OR \
        (#position_offset = :position_offset AND #position_record < :position_record))) OR \
    (#records_read < :records_read AND \
        #position_offset = :position_offset AND #position_record = :position_record))";

pub const RENEW: &str = "SET #lease_until = :until, #changed_at = :now";

pub const CHECKPOINT: &str = "SET #lease_until = :until, #changed_at = :now, #attempts = :zero, \
    #checkpoint = :checkpoint, #position_offset = :position_offset, \
    #position_record = :position_record, #records_read = :records_read \
    REMOVE #state_index";

pub const NOT_LIVE: &str = "attribute_not_exists(#pk) OR \
    (#state = :queued AND #queued_until <= :now) OR (#state = :claimed AND #lease_until <= :now)";

pub const QUEUE: &str = "SET #state = :queued, #queued_until = :until, #changed_at = :now, \
    #bucket = :bucket, #key = :key, #etag = :etag, #size = :size, \
    #attempts = if_not_exists(#attempts, :zero) REMOVE #owner, #lease_until";

pub const QUEUED_UNTIL: &str =
    "#state = :queued AND #queued_until = :until AND attribute_not_exists(#owner)";

pub const UNQUEUE: &str = "SET #queued_until = :zero";

/// Everything that a move's decision rests on.
const DECISIVE: [&str; 7] = [
    "state",
    "owner",
    "lease_until",
    "queued_until",
    "expires_at",
    "attempts",
    "checkpoint",
];

/// What a range asks of each shard.
pub const WITHIN: &str = "#pk = :pk AND #sk BETWEEN :lower AND :upper";

/// What a range asks for of each row; the partition key tells the bucket.
pub const GLANCE: &str = "#key, #etag, #size, #state, #queued_until, #lease_until, #expires_at";

pub const WRITE_MARK: &str = "SET #name = :name, #value = :value";

/// The row stays without its value, so that no function needs the right to delete rows.
pub const REMOVE_MARK: &str = "REMOVE #value";

pub const WRITE_MARK_ONCE: &str = "SET #name = :name, #value = if_not_exists(#value, :value)";

/// A value by the name of its placeholder, without the colon.
pub type Value = (&'static str, AttributeValue);

/// What the `#name` of these expressions stand for; DynamoDB refuses names that none uses.
pub fn names(expressions: &[&str]) -> Option<HashMap<String, String>> {
    let names: HashMap<_, _> = expressions
        .iter()
        .flat_map(|expression| expression.split('#').skip(1))
        .map(|rest| {
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            (format!("#{}", &rest[..end]), rest[..end].to_owned())
        })
        .collect();
    Some(names)
}

/// What the `:name` of an expression stand for; none if it has none, since DynamoDB refuses an empty map.
pub fn values(values: Vec<Value>) -> Option<HashMap<String, AttributeValue>> {
    let values: HashMap<_, _> = values
        .into_iter()
        .map(|(name, value)| (format!(":{name}"), value))
        .collect();
    (!values.is_empty()).then_some(values)
}

/// The condition that a row still is as it was found.
pub fn unchanged(found: Option<&Item>) -> (String, Vec<Value>) {
    let Some(found) = found else {
        return (ABSENT.to_owned(), Vec::new());
    };
    let mut terms = Vec::new();
    let mut values = Vec::new();
    for name in DECISIVE {
        match found.get(name) {
            Some(value) => {
                terms.push(format!("#{name} = :{name}"));
                values.push((name, value.clone()));
            }
            None => terms.push(format!("attribute_not_exists(#{name})")),
        }
    }
    (terms.join(" AND "), values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_an_expression_stands_for_the_attribute_it_names() {
        let names = names(&[HELD, "SET #a_b = if_not_exists(#pk, :zero)"]).expect("some");
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort();
        let expected = ["a_b", "owner", "pk", "state"];
        assert_eq!(
            names,
            expected.map(|name| (format!("#{name}"), name.to_owned()))
        );
    }
}
