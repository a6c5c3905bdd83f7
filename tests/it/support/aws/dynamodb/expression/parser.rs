//! The grammar of the expressions.

use std::collections::{BTreeSet, VecDeque};
use std::sync::LazyLock;

use serde_json::Value;

use super::{Node, Operand, Path, Result, Scope, Step, Sum, Term, Update};
use crate::support::aws::failure::ServiceError;

/// Words that an expression may not use as a bare attribute name; from "Reserved words in
/// DynamoDB" in the developer guide.
static RESERVED: LazyLock<BTreeSet<&str>> =
    LazyLock::new(|| include_str!("reserved_words.txt").lines().collect());

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Name(String),
    Value(String),
    Number(usize),
    Symbol(String),
}

pub(super) struct Parser<'a> {
    text: &'a str,
    tokens: VecDeque<Token>,
    scope: &'a Scope,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, scope: &'a Scope) -> Result<Self> {
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

    pub(super) fn end(&self) -> Result<()> {
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

    pub(super) fn list<T>(&mut self, one: fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
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

    pub(super) fn or(&mut self) -> Result<Node> {
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

    pub(super) fn path(&mut self) -> Result<Path> {
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

    pub(super) fn update(&mut self) -> Result<Update> {
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
