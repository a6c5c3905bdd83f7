//! DynamoDB in memory: tables, conditional writes, queries in key order, pages.

pub mod expression;
mod table;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Map, Value, json};

use self::expression::{Condition, Scope, Update, projection};
pub use self::table::KeySchema;
use self::table::Table;
use self::value::{Item, item_bytes};
use super::failure::{Failure, Faults, ServiceError, nothing, text};

type Answer = Result<Value, ServiceError>;

/// Largest item: names and contents of its attributes.
const ITEM_BYTES_MAX: usize = 400 * 1_024;
/// Largest page of a query or scan, before filtering.
const PAGE_BYTES_MAX: usize = 1_024 * 1_024;
const BATCH_GET_MAX: usize = 100;
const BATCH_WRITE_MAX: usize = 25;

/// A handle on the tables; clones share them.
#[derive(Debug, Clone, Default)]
pub struct DynamoDb {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    tables: BTreeMap<String, Table>,
    faults: Faults,
    requests: BTreeMap<String, u64>,
    unprocessed_next: usize,
}

impl DynamoDb {
    pub fn create_table(&self, name: &str, schema: KeySchema, indexes: &[(&str, KeySchema)]) {
        let indexes = indexes
            .iter()
            .map(|(name, schema)| ((*name).to_owned(), schema.clone()));
        let table = Table {
            schema,
            indexes: indexes.collect(),
            items: BTreeMap::new(),
        };
        self.state().tables.insert(name.to_owned(), table);
    }

    /// Every item of a table, in key order.
    pub fn items(&self, table: &str) -> Vec<Item> {
        let state = self.state();
        state
            .tables
            .get(table)
            .map_or(Vec::new(), |table| table.items.values().cloned().collect())
    }

    /// Makes requests fail.
    pub fn faults(&self, set: impl FnOnce(&mut Faults)) {
        set(&mut self.state().faults);
    }

    /// The next BatchGetItem leaves this many of its keys unprocessed.
    pub fn leave_unprocessed(&self, keys: usize) {
        self.state().unprocessed_next = keys;
    }

    /// Requests so far, by operation.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.state().requests.clone()
    }

    /// Answers one request; `None` closes the connection without a word.
    pub(super) fn answer(&self, operation: &str, input: &Value) -> Option<Answer> {
        let mut state = self.state();
        *state.requests.entry(operation.to_owned()).or_default() += 1;
        let failure = state.faults.take(operation);
        if let Some(error) = failure.and_then(|f| f.error("ProvisionedThroughputExceededException"))
        {
            return Some(Err(error));
        }
        let answer = state.perform(operation, input);
        (failure != Some(Failure::AnswerLost)).then_some(answer)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn perform(&mut self, operation: &str, input: &Value) -> Answer {
        match operation {
            "CreateTable" => self.create_table(input),
            "DescribeTable" => self.describe_table(input),
            "UpdateTimeToLive" => Ok(nothing()),
            "PutItem" => self.put_item(input),
            "UpdateItem" => self.update_item(input),
            "DeleteItem" => self.delete_item(input),
            "GetItem" => self.get_item(input),
            "Query" => self.read_page(input, true),
            "Scan" => self.read_page(input, false),
            "BatchGetItem" => self.batch_get_item(input),
            "BatchWriteItem" => self.batch_write_item(input),
            _ => Err(ServiceError::new(
                400,
                "UnknownOperationException",
                operation,
            )),
        }
    }

    fn table(&mut self, input: &Value) -> Result<&mut Table, ServiceError> {
        let name = text(input, "TableName")?;
        self.tables.get_mut(name).ok_or_else(|| {
            let message = "Requested resource not found";
            ServiceError::new(400, "ResourceNotFoundException", message)
        })
    }

    fn create_table(&mut self, input: &Value) -> Answer {
        let schema = schema(input, input)?;
        let mut indexes = BTreeMap::new();
        for index in array(input, "GlobalSecondaryIndexes") {
            indexes.insert(
                text(index, "IndexName")?.to_owned(),
                self::schema(index, input)?,
            );
        }
        let table = Table {
            schema,
            indexes,
            items: BTreeMap::new(),
        };
        self.tables
            .insert(text(input, "TableName")?.to_owned(), table);
        self.describe_table(input)
    }

    fn describe_table(&mut self, input: &Value) -> Answer {
        let name = text(input, "TableName")?.to_owned();
        let table = self.table(input)?;
        Ok(json!({
            "Table": {
                "TableName": name, "TableStatus": "ACTIVE", "ItemCount": table.items.len(),
                "TableArn": format!("arn:aws:dynamodb:us-east-1:123456789012:table/{name}"),
            }
        }))
    }

    fn put_item(&mut self, input: &Value) -> Answer {
        let scope = Scope::of(input);
        let condition = condition(input, "ConditionExpression", &scope)?;
        scope.check_all_used()?;
        let item = object(input, "Item")?.clone();
        let table = self.table(input)?;
        let key = table.schema.read(&item)?;
        check_size(&item)?;
        check(condition.as_ref(), table.items.get(&key), input)?;
        let old = table.items.insert(key, item);
        Ok(returned(input, old.as_ref(), None, &BTreeSet::new()))
    }

    fn update_item(&mut self, input: &Value) -> Answer {
        let scope = Scope::of(input);
        let condition = condition(input, "ConditionExpression", &scope)?;
        let update = match input.get("UpdateExpression").and_then(Value::as_str) {
            Some(text) => Update::parse(text, &scope)?,
            None => Update::default(),
        };
        scope.check_all_used()?;
        let table = self.table(input)?;
        let key_attributes = object(input, "Key")?;
        let key = table.exact_key(key_attributes)?;
        check(condition.as_ref(), table.items.get(&key), input)?;
        for attribute in update.attributes() {
            if key_attributes.contains_key(attribute) {
                return Err(ServiceError::validation(format!(
                    "One or more parameter values were invalid: Cannot update attribute {attribute}. This attribute is part of the key"
                )));
            }
        }
        let old = table.items.get(&key).cloned();
        let before = old.clone().unwrap_or_else(|| key_attributes.clone());
        let after = update.apply(&before)?;
        check_size(&after)?;
        let written: BTreeSet<String> =
            update.attributes().into_iter().map(str::to_owned).collect();
        table.items.insert(key, after.clone());
        Ok(returned(input, old.as_ref(), Some(&after), &written))
    }

    fn delete_item(&mut self, input: &Value) -> Answer {
        let scope = Scope::of(input);
        let condition = condition(input, "ConditionExpression", &scope)?;
        scope.check_all_used()?;
        let table = self.table(input)?;
        let key = table.exact_key(object(input, "Key")?)?;
        check(condition.as_ref(), table.items.get(&key), input)?;
        let old = table.items.remove(&key);
        Ok(returned(input, old.as_ref(), None, &BTreeSet::new()))
    }

    fn get_item(&mut self, input: &Value) -> Answer {
        let scope = Scope::of(input);
        let kept = kept(input, &scope)?;
        scope.check_all_used()?;
        let table = self.table(input)?;
        let key = table.exact_key(object(input, "Key")?)?;
        Ok(match table.items.get(&key) {
            Some(item) => json!({ "Item": projected(item, kept.as_ref()) }),
            None => nothing(),
        })
    }

    /// Query and Scan: items in order from the start key on, until the page is full.
    fn read_page(&mut self, input: &Value, is_query: bool) -> Answer {
        let scope = Scope::of(input);
        let key_condition = condition(input, "KeyConditionExpression", &scope)?;
        let filter = condition(input, "FilterExpression", &scope)?;
        let kept = kept(input, &scope)?;
        scope.check_all_used()?;
        let table = self.table(input)?;
        let schema = table.schema_of(input)?.clone();
        if is_query {
            let condition = key_condition.as_ref().ok_or_else(|| {
                ServiceError::validation("Either the KeyConditions or KeyConditionExpression parameter must be specified")
            })?;
            check_key_condition(condition, &schema)?;
        }
        let backward = input.get("ScanIndexForward") == Some(&Value::Bool(false));
        let limit = input
            .get("Limit")
            .and_then(Value::as_u64)
            .unwrap_or(u64::MAX);
        let start = input.get("ExclusiveStartKey").and_then(Value::as_object);
        let start = start.map(|start| table.place(&schema, start)).transpose()?;

        let rows = table.rows(&schema, key_condition.as_ref(), start.as_ref(), backward)?;
        let mut found = Vec::new();
        let (mut scanned, mut bytes, mut last) = (0, 0, None);
        for item in rows {
            if scanned == limit || bytes > PAGE_BYTES_MAX {
                break;
            }
            if key_condition
                .as_ref()
                .is_some_and(|condition| !condition.holds(item))
            {
                continue;
            }
            scanned += 1;
            bytes += item_bytes(item);
            last = Some(item);
            if filter.as_ref().is_none_or(|filter| filter.holds(item)) {
                found.push(Value::Object(projected(item, kept.as_ref())));
            }
        }
        // Like the real one, a page that is full may be the last: only the next one tells.
        let full = scanned == limit || bytes > PAGE_BYTES_MAX;
        let mut page = json!({ "Count": found.len(), "ScannedCount": scanned });
        if input.get("Select").and_then(Value::as_str) != Some("COUNT") {
            page["Items"] = Value::Array(found);
        }
        if let (true, Some(last)) = (full, last) {
            page["LastEvaluatedKey"] = Value::Object(table.key_attributes(&schema, last));
        }
        Ok(page)
    }

    fn batch_get_item(&mut self, input: &Value) -> Answer {
        let requests = object(input, "RequestItems")?;
        let count: usize = requests
            .values()
            .map(|request| array(request, "Keys").count())
            .sum();
        if !(1..=BATCH_GET_MAX).contains(&count) {
            return Err(ServiceError::validation(
                "Too many items requested for the BatchGetItem call",
            ));
        }
        let mut responses = Map::new();
        let mut unprocessed = Map::new();
        for (name, request) in requests {
            let scope = Scope::of(request);
            let kept = kept(request, &scope)?;
            scope.check_all_used()?;
            let table = self.tables.get(name).ok_or_else(|| {
                ServiceError::new(
                    400,
                    "ResourceNotFoundException",
                    "Requested resource not found",
                )
            })?;
            let mut seen = BTreeSet::new();
            let mut found = Vec::new();
            let mut left = Vec::new();
            for key in array(request, "Keys") {
                let attributes = key
                    .as_object()
                    .ok_or_else(|| ServiceError::validation("Keys"))?;
                let key = table.exact_key(attributes)?;
                if !seen.insert(key.clone()) {
                    return Err(ServiceError::validation(
                        "Provided list of item keys contains duplicates",
                    ));
                }
                if self.unprocessed_next > 0 {
                    self.unprocessed_next -= 1;
                    left.push(Value::Object(attributes.clone()));
                } else if let Some(item) = table.items.get(&key) {
                    found.push(Value::Object(projected(item, kept.as_ref())));
                }
            }
            responses.insert(name.clone(), Value::Array(found));
            if !left.is_empty() {
                let mut again = request.clone();
                again["Keys"] = Value::Array(left);
                unprocessed.insert(name.clone(), again);
            }
        }
        Ok(json!({ "Responses": responses, "UnprocessedKeys": unprocessed }))
    }

    fn batch_write_item(&mut self, input: &Value) -> Answer {
        let requests = object(input, "RequestItems")?;
        let count: usize = requests
            .values()
            .filter_map(Value::as_array)
            .map(Vec::len)
            .sum();
        if !(1..=BATCH_WRITE_MAX).contains(&count) {
            return Err(ServiceError::validation(
                "Too many items requested for the BatchWriteItem call",
            ));
        }
        for (name, writes) in requests {
            for write in writes.as_array().into_iter().flatten() {
                let mut single = json!({ "TableName": name });
                if let Some(put) = write.get("PutRequest") {
                    single["Item"] = put["Item"].clone();
                    self.put_item(&single)?;
                } else {
                    single["Key"] = write["DeleteRequest"]["Key"].clone();
                    self.delete_item(&single)?;
                }
            }
        }
        Ok(json!({ "UnprocessedItems": {} }))
    }
}

fn schema(keys: &Value, definitions: &Value) -> Result<KeySchema, ServiceError> {
    let attribute = |role: &str| {
        let key = array(keys, "KeySchema").find(|key| key["KeyType"] == role)?;
        let name = key["AttributeName"].as_str()?;
        let definition = array(definitions, "AttributeDefinitions")
            .find(|definition| definition["AttributeName"] == name)?;
        Some((
            name.to_owned(),
            definition["AttributeType"].as_str()?.to_owned(),
        ))
    };
    Ok(KeySchema {
        hash: attribute("HASH").ok_or_else(|| ServiceError::validation("No hash key"))?,
        range: attribute("RANGE"),
    })
}

fn check_key_condition(condition: &Condition, schema: &KeySchema) -> Result<(), ServiceError> {
    if condition.equal_to(&schema.hash.0).is_none() {
        let message = format!(
            "Query condition missed key schema element: {}",
            schema.hash.0
        );
        return Err(ServiceError::validation(message));
    }
    let keys: BTreeSet<&str> = schema.attributes().map(|(name, _)| name.as_str()).collect();
    match condition
        .attributes()
        .iter()
        .find(|name| !keys.contains(name.as_str()))
    {
        Some(name) => {
            let message = format!("Query key condition not supported: {name}");
            Err(ServiceError::validation(message))
        }
        None => Ok(()),
    }
}

fn condition(input: &Value, name: &str, scope: &Scope) -> Result<Option<Condition>, ServiceError> {
    let text = input.get(name).and_then(Value::as_str);
    text.map(|text| Condition::parse(text, scope)).transpose()
}

fn kept(input: &Value, scope: &Scope) -> Result<Option<BTreeSet<String>>, ServiceError> {
    let text = input.get("ProjectionExpression").and_then(Value::as_str);
    text.map(|text| projection(text, scope)).transpose()
}

fn projected(item: &Item, kept: Option<&BTreeSet<String>>) -> Item {
    let is_kept = |name: &String| kept.is_none_or(|kept| kept.contains(name));
    let attributes = item.iter().filter(|(name, _)| is_kept(name));
    attributes
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn check_size(item: &Item) -> Result<(), ServiceError> {
    if item_bytes(item) > ITEM_BYTES_MAX {
        let message = "Item size has exceeded the maximum allowed size";
        return Err(ServiceError::validation(message));
    }
    Ok(())
}

/// Refuses a write whose condition does not hold, with the item that is there if asked for.
fn check(
    condition: Option<&Condition>,
    current: Option<&Item>,
    input: &Value,
) -> Result<(), ServiceError> {
    let absent = Item::new();
    if condition.is_none_or(|condition| condition.holds(current.unwrap_or(&absent))) {
        return Ok(());
    }
    let message = "The conditional request failed";
    let mut error = ServiceError::new(400, "ConditionalCheckFailedException", message);
    let wants_item = input["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD";
    if let (true, Some(current)) = (wants_item, current) {
        error
            .more
            .insert("Item".to_owned(), Value::Object(current.clone()));
    }
    Err(error)
}

/// The answer that `ReturnValues` asks for.
fn returned(
    input: &Value,
    old: Option<&Item>,
    new: Option<&Item>,
    written: &BTreeSet<String>,
) -> Value {
    let attributes = match input["ReturnValues"].as_str() {
        Some("ALL_OLD") => old.cloned(),
        Some("ALL_NEW") => new.cloned(),
        Some("UPDATED_OLD") => old.map(|old| projected(old, Some(written))),
        Some("UPDATED_NEW") => new.map(|new| projected(new, Some(written))),
        Some(_) | None => None,
    };
    match attributes {
        Some(attributes) => json!({ "Attributes": attributes }),
        None => nothing(),
    }
}

fn array<'a>(input: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    input
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn object<'a>(input: &'a Value, name: &str) -> Result<&'a Item, ServiceError> {
    let found = input.get(name).and_then(Value::as_object);
    found.ok_or_else(|| ServiceError::validation(format!("Missing required parameter {name}")))
}
