//! A table: its keys, its indexes, its items in order.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde_json::Value;

use super::expression::Condition;
use super::value::{Item, KeyValue};
use crate::support::aws::failure::ServiceError;

/// Name and type (`S`, `N`, `B`) of a key attribute.
pub type KeyAttribute = (String, String);

/// The attributes that order a table or an index.
#[derive(Debug, Clone)]
pub struct KeySchema {
    pub hash: KeyAttribute,
    pub range: Option<KeyAttribute>,
}

impl KeySchema {
    pub fn new(hash: (&str, &str), range: Option<(&str, &str)>) -> Self {
        let owned = |(name, kind): (&str, &str)| (name.to_owned(), kind.to_owned());
        Self {
            hash: owned(hash),
            range: range.map(owned),
        }
    }

    pub(super) fn attributes(&self) -> impl Iterator<Item = &KeyAttribute> {
        std::iter::once(&self.hash).chain(&self.range)
    }

    /// The place of an item in the order of this schema.
    pub(super) fn read(&self, item: &Item) -> Result<Key, ServiceError> {
        let read = |(name, kind): &KeyAttribute| {
            let value = item.get(name).ok_or_else(|| {
                ServiceError::validation(format!(
                    "One or more parameter values were invalid: Missing the key {name} in the item"
                ))
            })?;
            KeyValue::read(name, kind, value)
        };
        Ok((
            read(&self.hash)?,
            self.range.as_ref().map(read).transpose()?,
        ))
    }
}

pub(super) type Key = (KeyValue, Option<KeyValue>);

#[derive(Debug)]
pub(super) struct Table {
    pub(super) schema: KeySchema,
    pub(super) indexes: BTreeMap<String, KeySchema>,
    pub(super) items: BTreeMap<Key, Item>,
}

/// Where an item stands in an index: its key there, then its key in the table.
pub(super) type Place = (Key, Key);

impl Table {
    /// The key of a request, which must name the key attributes and nothing else.
    pub(super) fn exact_key(&self, attributes: &Item) -> Result<Key, ServiceError> {
        if attributes.len() != self.schema.attributes().count() {
            let message = "The provided key element does not match the schema";
            return Err(ServiceError::validation(message));
        }
        self.schema.read(attributes)
    }

    pub(super) fn schema_of(&self, input: &Value) -> Result<&KeySchema, ServiceError> {
        let Some(index) = input.get("IndexName").and_then(Value::as_str) else {
            return Ok(&self.schema);
        };
        if input.get("ConsistentRead") == Some(&Value::Bool(true)) {
            let message = "Consistent reads are not supported on global secondary indexes";
            return Err(ServiceError::validation(message));
        }
        self.indexes.get(index).ok_or_else(|| {
            let message = format!("The table does not have the specified index: {index}");
            ServiceError::validation(message)
        })
    }

    pub(super) fn place(&self, schema: &KeySchema, item: &Item) -> Result<Place, ServiceError> {
        Ok((schema.read(item)?, self.schema.read(item)?))
    }

    /// Candidates in order, behind `start`. An index holds the items that have its attributes.
    pub(super) fn rows<'a>(
        &'a self,
        schema: &KeySchema,
        condition: Option<&Condition>,
        start: Option<&Place>,
        backward: bool,
    ) -> Result<Vec<&'a Item>, ServiceError> {
        let is_table = schema.hash == self.schema.hash
            && self.indexes.values().all(|index| index.hash != schema.hash);
        let mut rows: Vec<&Item> = match condition.and_then(|c| c.equal_to(&schema.hash.0)) {
            // A partition of the table itself need not be looked for among the others.
            Some(hash) if is_table => {
                let hash = KeyValue::read(&schema.hash.0, &schema.hash.1, hash)?;
                let from = Bound::Included((hash.clone(), None));
                let rows = self.items.range((from, Bound::Unbounded));
                rows.take_while(|((h, _), _)| *h == hash)
                    .map(|(_, item)| item)
                    .collect()
            }
            Some(_) | None => {
                let mut placed: Vec<(Place, &Item)> = self
                    .items
                    .values()
                    .filter_map(|item| Some((self.place(schema, item).ok()?, item)))
                    .collect();
                placed.sort_by(|(a, _), (b, _)| a.cmp(b));
                placed.into_iter().map(|(_, item)| item).collect()
            }
        };
        if backward {
            rows.reverse();
        }
        if let Some(start) = start {
            rows.retain(|item| {
                self.place(schema, item).is_ok_and(|place| {
                    if backward {
                        place < *start
                    } else {
                        place > *start
                    }
                })
            });
        }
        Ok(rows)
    }

    pub(super) fn key_attributes(&self, schema: &KeySchema, item: &Item) -> Item {
        let names = self.schema.attributes().chain(schema.attributes());
        names
            .filter_map(|(name, _)| Some((name.clone(), item.get(name)?.clone())))
            .collect()
    }
}
