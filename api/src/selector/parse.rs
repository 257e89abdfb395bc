//! The grammar of label selectors in query parameters.
//!
//! `in` and `notin` are operators only where an operator may stand; anywhere else they are names.
use super::ParseError;
use super::label::{Operator, Requirement, aggregate, check_key};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'static str),
    End,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Word(text) => text,
            Self::Symbol(text) => text,
            Self::End => "",
        }
    }
}

/// Longer symbols first, so that the longest one wins.
const SYMBOLS: [&str; 9] = ["!=", "==", "!", "=", "(", ")", ",", ">", "<"];
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

struct Parser<'a> {
    rest: &'a str,
}

pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, ParseError> {
    let mut parser = Parser { rest: text };
    let mut found = Vec::new();
    loop {
        match parser.peek() {
            Token::Word(_) | Token::Symbol("!") => {}
            Token::End => return Ok(found),
            other => {
                let text = other.text();
                return fault(format!("found '{text}', expected: !, identifier, or 'end of string'"));
            }
        }
        let requirement = parser.requirement();
        found.push(requirement.map_err(|e| ParseError(format!("unable to parse requirement: {e}")))?);
        match parser.next() {
            Token::End => return Ok(found),
            Token::Symbol(",") => match parser.peek() {
                Token::Word(_) | Token::Symbol("!") => {}
                other => return fault(format!("found '{}', expected: identifier after ','", other.text())),
            },
            other => return fault(format!("found '{}', expected: ',' or 'end of string'", other.text())),
        }
    }
}

fn fault<T>(text: String) -> Result<T, ParseError> {
    Err(ParseError(text))
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Token<'a> {
        let rest = self.rest.trim_start_matches(SPACE);
        if let Some(symbol) = SYMBOLS.into_iter().find(|s| rest.starts_with(s)) {
            self.rest = &rest[symbol.len()..];
            return Token::Symbol(symbol);
        }
        let end = rest.find(|c: char| SPACE.contains(&c) || "!=(),<>".contains(c)).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        if word.is_empty() { Token::End } else { Token::Word(word) }
    }

    fn peek(&self) -> Token<'a> {
        Self { rest: self.rest }.next()
    }

    fn requirement(&mut self) -> Result<Requirement, ParseError> {
        let mut token = self.next();
        let negated = token == Token::Symbol("!");
        if negated {
            token = self.next();
        }
        let Token::Word(key) = token else {
            return fault(format!("found '{}', expected: identifier", token.text()));
        };
        let errors = check_key("<nil>", key);
        if !errors.is_empty() {
            return Err(aggregate(&errors));
        }
        let ends = matches!(self.peek(), Token::End | Token::Symbol(","));
        let (operator, values) = match (negated, ends) {
            (true, _) => (Operator::DoesNotExist, Vec::new()),
            (false, true) => (Operator::Exists, Vec::new()),
            (false, false) => {
                let operator = self.operator()?;
                let list = matches!(operator, Operator::In | Operator::NotIn);
                (operator, if list { self.values()? } else { self.value()? })
            }
        };
        Requirement::new(key, operator, values).map_err(|errors| aggregate(&errors))
    }

    fn operator(&mut self) -> Result<Operator, ParseError> {
        Ok(match self.next() {
            Token::Word("in") => Operator::In,
            Token::Word("notin") => Operator::NotIn,
            Token::Symbol("=") => Operator::Equals,
            Token::Symbol("==") => Operator::DoubleEquals,
            Token::Symbol("!=") => Operator::NotEquals,
            Token::Symbol(">") => Operator::GreaterThan,
            Token::Symbol("<") => Operator::LessThan,
            other => {
                return fault(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text()));
            }
        })
    }

    fn value(&mut self) -> Result<Vec<String>, ParseError> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(vec![String::new()]);
        }
        match self.next() {
            Token::Word(word) => Ok(vec![word.to_owned()]),
            other => fault(format!("found '{}', expected: identifier", other.text())),
        }
    }

    /// A list in parentheses; an empty place between commas is the empty value.
    fn values(&mut self) -> Result<Vec<String>, ParseError> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return fault(format!("found '{}' expected: '('", other.text())),
        }
        match self.peek() {
            Token::Word(_) | Token::Symbol(",") => self.list(),
            Token::Symbol(")") => {
                self.next();
                Ok(Vec::new())
            }
            other => fault(format!("found '{}', expected: ',', ')' or identifier", other.text())),
        }
    }

    fn list(&mut self) -> Result<Vec<String>, ParseError> {
        let mut values = Vec::new();
        loop {
            match self.next() {
                Token::Word(word) => {
                    values.push(word.to_owned());
                    match self.peek() {
                        Token::Symbol(",") => {}
                        Token::Symbol(")") => break,
                        other => return fault(format!("found '{}', expected: ',' or ')'", other.text())),
                    }
                }
                Token::Symbol(",") => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    match self.peek() {
                        Token::Symbol(")") => {
                            values.push(String::new());
                            break;
                        }
                        Token::Symbol(",") => {
                            self.next();
                            values.push(String::new());
                        }
                        _ => {}
                    }
                }
                other => return fault(format!("found '{}', expected: ',', or identifier", other.text())),
            }
        }
        self.next();
        Ok(values)
    }
}
