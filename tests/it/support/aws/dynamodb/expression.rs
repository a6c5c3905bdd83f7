//! DynamoDB's expressions: conditions, updates and projections, parsed and applied.
//!
//! A request's placeholders are all resolved while its expressions are parsed, so that one that is
//! undefined, unused, or a reserved word without a placeholder is refused as DynamoDB refuses it.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::value::{self, Item};
use crate::support::aws::failure::ServiceError;

type Result<T> = std::result::Result<T, ServiceError>;

/// Words that an expression may not use as a bare attribute name; from "Reserved words in
/// DynamoDB" in the developer guide.
static RESERVED: LazyLock<BTreeSet<&str>> =
    LazyLock::new(|| include_str!("reserved_words.txt").lines().collect());

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

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Name(String),
    Value(String),
    Number(usize),
    Symbol(String),
}

struct Parser<'a> {
    text: &'a str,
    tokens: VecDeque<Token>,
    scope: &'a Scope,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, scope: &'a Scope) -> Result<Self> {
        Ok(Self {
            text,
            tokens: tokens(text)?,
            scope,
        })
    }

    fn error(&self) -> ServiceError {
        ServiceError::validation(format!(
            "Invalid expression: Syntax error; token: {:?}, near: {:?}",
            self.tokens.front(),
            self.text
        ))
    }

    fn end(&self) -> Result<()> {
        if self.tokens.is_empty() {
            Ok(())
        } else {
            Err(self.error())
        }
    }

    fn takes_symbol(&mut self, symbol: &str) -> bool {
        let takes = self.tokens.front() == Some(&Token::Symbol(symbol.to_owned()));
        if takes {
            self.tokens.pop_front();
        }
        takes
    }

    fn symbol(&mut self, symbol: &str) -> Result<()> {
        if self.takes_symbol(symbol) {
            Ok(())
        } else {
            Err(self.error())
        }
    }

    fn takes_keyword(&mut self, keyword: &str) -> bool {
        let takes =
            matches!(self.tokens.front(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(keyword));
        if takes {
            self.tokens.pop_front();
        }
        takes
    }

    fn list<T>(&mut self, one: fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut list = vec![one(self)?];
        while self.takes_symbol(",") {
            list.push(one(self)?);
        }
        Ok(list)
    }

    /// The name of a function, if a call of it follows.
    fn function(&mut self) -> Option<String> {
        let (Some(Token::Word(word)), Some(Token::Symbol(symbol))) =
            (self.tokens.front(), self.tokens.get(1))
        else {
            return None;
        };
        if symbol != "(" {
            return None;
        }
        let word = word.clone();
        self.tokens.drain(..2);
        Some(word)
    }

    fn or(&mut self) -> Result<Node> {
        let mut left = self.and()?;
        while self.takes_keyword("OR") {
            left = Node::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Node> {
        let mut left = self.not()?;
        while self.takes_keyword("AND") {
            left = Node::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Node> {
        if self.takes_keyword("NOT") {
            return Ok(Node::Not(Box::new(self.not()?)));
        }
        if self.takes_symbol("(") {
            let node = self.or()?;
            self.symbol(")")?;
            return Ok(node);
        }
        let is_size = matches!(self.tokens.front(), Some(Token::Word(word)) if word == "size");
        if !is_size && let Some(function) = self.function() {
            let node = self.call(&function)?;
            self.symbol(")")?;
            return Ok(node);
        }
        self.comparison()
    }

    fn call(&mut self, function: &str) -> Result<Node> {
        match function {
            "attribute_exists" => Ok(Node::Exists(self.path()?)),
            "attribute_not_exists" => Ok(Node::Not(Box::new(Node::Exists(self.path()?)))),
            "begins_with" => {
                let (value, start) = self.two_operands()?;
                Ok(Node::BeginsWith(value, start))
            }
            "contains" => {
                let (value, member) = self.two_operands()?;
                Ok(Node::Contains(value, member))
            }
            "attribute_type" => {
                let path = self.path()?;
                self.symbol(",")?;
                Ok(Node::HasType(path, self.operand()?))
            }
            _ => Err(ServiceError::validation(format!(
                "Invalid expression: Invalid function name; function: {function}"
            ))),
        }
    }

    fn two_operands(&mut self) -> Result<(Operand, Operand)> {
        let first = self.operand()?;
        self.symbol(",")?;
        Ok((first, self.operand()?))
    }

    fn comparison(&mut self) -> Result<Node> {
        let left = self.operand()?;
        if self.takes_keyword("BETWEEN") {
            let low = self.operand()?;
            if !self.takes_keyword("AND") {
                return Err(self.error());
            }
            return Ok(Node::Between(left, low, self.operand()?));
        }
        if self.takes_keyword("IN") {
            self.symbol("(")?;
            let list = self.list(Self::operand)?;
            self.symbol(")")?;
            return Ok(Node::In(left, list));
        }
        match self.tokens.pop_front() {
            Some(Token::Symbol(symbol))
                if ["=", "<>", "<", "<=", ">", ">="].contains(&symbol.as_str()) =>
            {
                Ok(Node::Compare(left, symbol, self.operand()?))
            }
            _ => Err(self.error()),
        }
    }

    fn operand(&mut self) -> Result<Operand> {
        if let Some(Token::Value(placeholder)) = self.tokens.front().cloned() {
            self.tokens.pop_front();
            return Ok(Operand::Value(self.scope.value(&placeholder)?));
        }
        match self.function() {
            None => Ok(Operand::Path(self.path()?)),
            Some(function) if function == "size" => {
                let path = self.path()?;
                self.symbol(")")?;
                Ok(Operand::Size(path))
            }
            Some(_) => Err(self.error()),
        }
    }

    fn member(&mut self) -> Result<String> {
        match self.tokens.pop_front() {
            Some(Token::Name(placeholder)) => self.scope.name(&placeholder),
            Some(Token::Word(word)) => {
                if RESERVED.contains(word.to_ascii_uppercase().as_str()) {
                    return Err(ServiceError::validation(format!(
                        "Invalid expression: Attribute name is a reserved keyword; reserved keyword: {word}"
                    )));
                }
                Ok(word)
            }
            _ => Err(self.error()),
        }
    }

    fn path(&mut self) -> Result<Path> {
        let attribute = self.member()?;
        let mut steps = Vec::new();
        loop {
            if self.takes_symbol(".") {
                steps.push(Step::Member(self.member()?));
            } else if self.takes_symbol("[") {
                let Some(Token::Number(at)) = self.tokens.pop_front() else {
                    return Err(self.error());
                };
                steps.push(Step::Element(at));
                self.symbol("]")?;
            } else {
                return Ok(Path { attribute, steps });
            }
        }
    }

    fn update(&mut self) -> Result<Update> {
        let mut update = Update::default();
        while !self.tokens.is_empty() {
            if self.takes_keyword("SET") {
                update.sets.extend(self.list(Self::set)?);
            } else if self.takes_keyword("REMOVE") {
                update.removes.extend(self.list(Self::path)?);
            } else if self.takes_keyword("ADD") {
                update.adds.extend(self.list(Self::path_and_value)?);
            } else if self.takes_keyword("DELETE") {
                update.deletes.extend(self.list(Self::path_and_value)?);
            } else {
                return Err(self.error());
            }
        }
        Ok(update)
    }

    fn path_and_value(&mut self) -> Result<(Path, Value)> {
        let path = self.path()?;
        match self.operand()? {
            Operand::Value(value) => Ok((path, value)),
            Operand::Path(_) | Operand::Size(_) => Err(self.error()),
        }
    }

    fn set(&mut self) -> Result<(Path, Sum)> {
        let path = self.path()?;
        self.symbol("=")?;
        let first = self.term()?;
        let sum = if self.takes_symbol("+") {
            Sum::Two(first, false, self.term()?)
        } else if self.takes_symbol("-") {
            Sum::Two(first, true, self.term()?)
        } else {
            Sum::One(first)
        };
        Ok((path, sum))
    }

    fn term(&mut self) -> Result<Term> {
        let term = match self.function().as_deref() {
            None => return Ok(Term::Operand(self.operand()?)),
            Some("if_not_exists") => {
                let path = self.path()?;
                self.symbol(",")?;
                Term::IfNotExists(path, Box::new(self.term()?))
            }
            Some("list_append") => {
                let first = self.term()?;
                self.symbol(",")?;
                Term::ListAppend(Box::new(first), Box::new(self.term()?))
            }
            Some(_) => return Err(self.error()),
        };
        self.symbol(")")?;
        Ok(term)
    }
}

fn tokens(text: &str) -> Result<VecDeque<Token>> {
    let mut tokens = VecDeque::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word_end = |text: &str| {
            text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(text.len())
        };
        let length = match first {
            '#' | ':' => {
                let length = 1 + word_end(&rest[1..]);
                let placeholder = rest[..length].to_owned();
                tokens.push_back(match first {
                    '#' => Token::Name(placeholder),
                    _ => Token::Value(placeholder),
                });
                length
            }
            '0'..='9' => {
                let length = word_end(rest);
                let number = rest[..length].parse().map_err(|_| syntax(rest))?;
                tokens.push_back(Token::Number(number));
                length
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let length = word_end(rest);
                tokens.push_back(Token::Word(rest[..length].to_owned()));
                length
            }
            _ => {
                let symbols = [
                    "<>", "<=", ">=", "=", "<", ">", "(", ")", ",", ".", "[", "]", "+", "-",
                ];
                let symbol = symbols.into_iter().find(|symbol| rest.starts_with(symbol));
                let symbol = symbol.ok_or_else(|| syntax(rest))?;
                tokens.push_back(Token::Symbol(symbol.to_owned()));
                symbol.len()
            }
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn syntax(near: &str) -> ServiceError {
    ServiceError::validation(format!("Invalid expression: Syntax error; near: {near:?}"))
}
