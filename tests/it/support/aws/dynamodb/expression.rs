//! DynamoDB's expressions: conditions, updates and projections, parsed and applied.
//!
//! A request's placeholders are all resolved while its expressions are parsed, so that one that is
//! undefined, unused, or a reserved word without a placeholder is refused as DynamoDB refuses it.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use self::parser::Parser;
use super::value::{self, Item};
use crate::support::aws::failure::ServiceError;

mod parser;

type Result<T> = std::result::Result<T, ServiceError>;

/// The placeholders of one request, and which of them its expressions used.
#[derive(Debug, Default)]
pub struct Scope {
    names: Map<String, Value>,
    values: Map<String, Value>,
    used: RefCell<BTreeSet<String>>,
}

impl Scope {
    pub fn of(input: &Value) -> Self {
        let map = |name: &str| input.get(name).and_then(Value::as_object).cloned();
        Self {
            names: map("ExpressionAttributeNames").unwrap_or_default(),
            values: map("ExpressionAttributeValues").unwrap_or_default(),
            used: RefCell::default(),
        }
    }

    /// Called once all expressions are parsed.
    pub fn check_all_used(&self) -> Result<()> {
        let used = self.used.borrow();
        for (what, map) in [("Names", &self.names), ("Values", &self.values)] {
            if let Some(unused) = map.keys().find(|key| !used.contains(*key)) {
                return Err(ServiceError::validation(format!(
                    "Value provided in ExpressionAttribute{what} unused in expressions: keys: {{{unused}}}"
                )));
            }
        }
        Ok(())
    }

    fn name(&self, placeholder: &str) -> Result<String> {
        self.used.borrow_mut().insert(placeholder.to_owned());
        let name = self.names.get(placeholder).and_then(Value::as_str);
        name.map(str::to_owned).ok_or_else(|| {
            ServiceError::validation(format!(
                "An expression attribute name used in the document path is not defined; attribute name: {placeholder}"
            ))
        })
    }

    fn value(&self, placeholder: &str) -> Result<Value> {
        self.used.borrow_mut().insert(placeholder.to_owned());
        self.values.get(placeholder).cloned().ok_or_else(|| {
            ServiceError::validation(format!(
                "An expression attribute value used in expression is not defined; attribute value: {placeholder}"
            ))
        })
    }
}

/// Where in an item: an attribute, then members of maps and elements of lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    pub attribute: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Element(usize),
}

impl Path {
    fn get<'a>(&self, item: &'a Item) -> Option<&'a Value> {
        let mut value = item.get(&self.attribute)?;
        for step in &self.steps {
            value = match step {
                Step::Member(name) => value.get("M")?.get(name)?,
                Step::Element(at) => value.get("L")?.get(at)?,
            };
        }
        Some(value)
    }

    /// The map that holds the last member of this path, and the member's name.
    fn holder<'a>(&self, item: &'a mut Item) -> Result<(&'a mut Item, &str)> {
        let invalid = || {
            ServiceError::validation(
                "The document path provided in the update expression is invalid for update",
            )
        };
        let Some((last, between)) = self.steps.split_last() else {
            return Ok((item, &self.attribute));
        };
        let mut value = item.get_mut(&self.attribute).ok_or_else(invalid)?;
        for step in between {
            let next = match step {
                Step::Member(name) => value.get_mut("M").and_then(|map| map.get_mut(name)),
                Step::Element(at) => value.get_mut("L").and_then(|list| list.get_mut(at)),
            };
            value = next.ok_or_else(invalid)?;
        }
        match (last, value.get_mut("M").and_then(Value::as_object_mut)) {
            (Step::Member(name), Some(map)) => Ok((map, name)),
            _ => Err(invalid()),
        }
    }
}

#[derive(Debug, Clone)]
enum Operand {
    Path(Path),
    Value(Value),
    Size(Path),
}

impl Operand {
    fn resolve(&self, item: &Item) -> Option<Value> {
        match self {
            Self::Path(path) => path.get(item).cloned(),
            Self::Value(value) => Some(value.clone()),
            Self::Size(path) => {
                let size = value::size_of(path.get(item)?)?;
                Some(json!({ "N": size.to_string() }))
            }
        }
    }
}

/// A condition, a filter, or the condition of a key.
#[derive(Debug, Clone)]
pub struct Condition(Node);

#[derive(Debug, Clone)]
enum Node {
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Compare(Operand, String, Operand),
    Between(Operand, Operand, Operand),
    In(Operand, Vec<Operand>),
    Exists(Path),
    BeginsWith(Operand, Operand),
    Contains(Operand, Operand),
    HasType(Path, Operand),
}

impl Condition {
    pub fn parse(text: &str, scope: &Scope) -> Result<Self> {
        let mut parser = Parser::new(text, scope)?;
        let node = parser.or()?;
        parser.end()?;
        Ok(Self(node))
    }

    pub fn holds(&self, item: &Item) -> bool {
        self.0.holds(item)
    }

    /// What a key condition demands of the attribute `name` by `=`, if it does.
    pub fn equal_to(&self, name: &str) -> Option<&Value> {
        self.0.equal_to(name)
    }

    /// The attributes it names.
    pub fn attributes(&self) -> BTreeSet<String> {
        let mut attributes = BTreeSet::new();
        self.0.collect_attributes(&mut attributes);
        attributes
    }
}

impl Node {
    fn holds(&self, item: &Item) -> bool {
        let compared = |a: &Operand, b: &Operand| {
            let (a, b) = (a.resolve(item)?, b.resolve(item)?);
            value::compare(&a, &b)
        };
        match self {
            Self::And(a, b) => a.holds(item) && b.holds(item),
            Self::Or(a, b) => a.holds(item) || b.holds(item),
            Self::Not(a) => !a.holds(item),
            Self::Compare(a, comparator, b) => match comparator.as_str() {
                "=" | "<>" => {
                    let same = a
                        .resolve(item)
                        .zip(b.resolve(item))
                        .is_some_and(|(a, b)| value::equal(&a, &b));
                    same == (comparator == "=")
                }
                "<" => compared(a, b).is_some_and(Ordering::is_lt),
                "<=" => compared(a, b).is_some_and(Ordering::is_le),
                ">" => compared(a, b).is_some_and(Ordering::is_gt),
                _ => compared(a, b).is_some_and(Ordering::is_ge),
            },
            Self::Between(a, low, high) => {
                compared(a, low).is_some_and(Ordering::is_ge)
                    && compared(a, high).is_some_and(Ordering::is_le)
            }
            Self::In(a, list) => list
                .iter()
                .any(|b| compared(a, b).is_some_and(Ordering::is_eq)),
            Self::Exists(path) => path.get(item).is_some(),
            Self::BeginsWith(a, b) => a
                .resolve(item)
                .zip(b.resolve(item))
                .is_some_and(|(a, b)| value::begins_with(&a, &b)),
            Self::Contains(a, b) => a
                .resolve(item)
                .zip(b.resolve(item))
                .is_some_and(|(a, b)| value::contains(&a, &b)),
            Self::HasType(path, kind) => {
                let found = path.get(item).and_then(value::typed);
                let kind = kind.resolve(item);
                let wanted = kind.as_ref().and_then(|kind| kind.get("S")?.as_str());
                found.map(|(found, _)| found) == wanted && wanted.is_some()
            }
        }
    }

    fn equal_to(&self, name: &str) -> Option<&Value> {
        match self {
            Self::And(a, b) => a.equal_to(name).or_else(|| b.equal_to(name)),
            Self::Compare(Operand::Path(path), comparator, Operand::Value(value)) => {
                (comparator == "=" && path.attribute == name).then_some(value)
            }
            _ => None,
        }
    }

    fn collect_attributes(&self, into: &mut BTreeSet<String>) {
        let mut operand = |operand: &Operand| match operand {
            Operand::Path(path) | Operand::Size(path) => {
                into.insert(path.attribute.clone());
            }
            Operand::Value(_) => {}
        };
        match self {
            Self::And(a, b) | Self::Or(a, b) => {
                a.collect_attributes(into);
                b.collect_attributes(into);
            }
            Self::Not(a) => a.collect_attributes(into),
            Self::Compare(a, _, b) | Self::BeginsWith(a, b) | Self::Contains(a, b) => {
                operand(a);
                operand(b);
            }
            Self::Between(a, b, c) => [a, b, c].into_iter().for_each(operand),
            Self::In(a, list) => std::iter::once(a).chain(list).for_each(operand),
            Self::Exists(path) | Self::HasType(path, _) => {
                into.insert(path.attribute.clone());
            }
        }
    }
}

/// An update expression.
#[derive(Debug, Default)]
pub struct Update {
    sets: Vec<(Path, Sum)>,
    removes: Vec<Path>,
    adds: Vec<(Path, Value)>,
    deletes: Vec<(Path, Value)>,
}

#[derive(Debug)]
enum Sum {
    One(Term),
    Two(Term, bool, Term),
}

#[derive(Debug)]
enum Term {
    Operand(Operand),
    IfNotExists(Path, Box<Term>),
    ListAppend(Box<Term>, Box<Term>),
}

impl Update {
    pub fn parse(text: &str, scope: &Scope) -> Result<Self> {
        let mut parser = Parser::new(text, scope)?;
        let update = parser.update()?;
        parser.end()?;
        Ok(update)
    }

    /// The attributes it writes.
    pub fn attributes(&self) -> BTreeSet<&str> {
        let sets = self.sets.iter().map(|(path, _)| path);
        let others = self.adds.iter().chain(&self.deletes).map(|(path, _)| path);
        let paths = sets.chain(&self.removes).chain(others);
        paths.map(|path| path.attribute.as_str()).collect()
    }

    /// The item after the update; every operand is read from the item before it.
    pub fn apply(&self, before: &Item) -> Result<Item> {
        let mut after = before.clone();
        for (path, sum) in &self.sets {
            let value = sum.evaluate(before)?;
            let (holder, name) = path.holder(&mut after)?;
            holder.insert(name.to_owned(), value);
        }
        for path in &self.removes {
            if path.get(&after).is_some() {
                let (holder, name) = path.holder(&mut after)?;
                holder.remove(name);
            }
        }
        for (path, value) in &self.adds {
            let sum = match path.get(before) {
                None => value.clone(),
                Some(old) => added(old, value)?,
            };
            let (holder, name) = path.holder(&mut after)?;
            holder.insert(name.to_owned(), sum);
        }
        for (path, value) in &self.deletes {
            if let Some(old) = path.get(before) {
                let left = deleted(old, value)?;
                let (holder, name) = path.holder(&mut after)?;
                match left {
                    Some(left) => holder.insert(name.to_owned(), left),
                    None => holder.remove(name),
                };
            }
        }
        Ok(after)
    }
}

impl Sum {
    fn evaluate(&self, item: &Item) -> Result<Value> {
        match self {
            Self::One(term) => term.evaluate(item),
            Self::Two(a, minus, b) => value::sum(&a.evaluate(item)?, &b.evaluate(item)?, *minus)
                .ok_or_else(|| wrong_operand("not a number")),
        }
    }
}

impl Term {
    fn evaluate(&self, item: &Item) -> Result<Value> {
        match self {
            Self::Operand(operand) => operand.resolve(item).ok_or_else(|| {
                ServiceError::validation(
                    "The provided expression refers to an attribute that does not exist in the item",
                )
            }),
            Self::IfNotExists(path, otherwise) => match path.get(item) {
                Some(value) => Ok(value.clone()),
                None => otherwise.evaluate(item),
            },
            Self::ListAppend(a, b) => {
                let list = |value: Value| match value.get("L").and_then(Value::as_array) {
                    Some(list) => Ok(list.clone()),
                    None => Err(wrong_operand("not a list")),
                };
                let (a, b) = (list(a.evaluate(item)?)?, list(b.evaluate(item)?)?);
                let both = [a, b].concat();
                Ok(json!({ "L": both }))
            }
        }
    }
}

fn added(old: &Value, more: &Value) -> Result<Value> {
    if let Some(sum) = value::sum(old, more, false) {
        return Ok(sum);
    }
    let (kind, mut old, more) = sets(old, more)?;
    for member in more {
        if !old.contains(&member) {
            old.push(member);
        }
    }
    Ok(json!({ kind: old }))
}

fn deleted(old: &Value, gone: &Value) -> Result<Option<Value>> {
    let (kind, mut old, gone) = sets(old, gone)?;
    old.retain(|member| !gone.contains(member));
    Ok((!old.is_empty()).then(|| json!({ kind: old })))
}

fn sets(a: &Value, b: &Value) -> Result<(String, Vec<Value>, Vec<Value>)> {
    let set = |value: &Value| {
        let (kind, content) = value::typed(value)?;
        let members = content.as_array().filter(|_| kind.len() == 2)?;
        Some((kind.to_owned(), members.clone()))
    };
    match (set(a), set(b)) {
        (Some((kind, a)), Some((other, b))) if kind == other => Ok((kind, a, b)),
        _ => Err(wrong_operand("not two sets of one type")),
    }
}

fn wrong_operand(what: &str) -> ServiceError {
    ServiceError::validation(format!(
        "An operand in the expression has an incorrect type: {what}"
    ))
}

/// The top-level attributes that a projection keeps.
pub fn projection(text: &str, scope: &Scope) -> Result<BTreeSet<String>> {
    let mut parser = Parser::new(text, scope)?;
    let paths = parser.list(Parser::path)?;
    parser.end()?;
    Ok(paths.into_iter().map(|path| path.attribute).collect())
}
