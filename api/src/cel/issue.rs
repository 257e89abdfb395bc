//! Faults of expressions with their places, printed as the original prints them.
use std::fmt::{self, Display, Formatter, Write};

/// An expression's text and the places of its nodes.
#[derive(Clone, Debug, Default)]
pub struct Source {
    text: String,
    /// Offsets of characters, by the numbers of nodes.
    places: Vec<usize>,
}

impl Source {
    /// A text without nodes.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), places: Vec::new() }
    }

    /// The expression.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.places.len()
    }

    /// A new node at a character.
    pub fn place(&mut self, offset: usize) -> usize {
        self.places.push(offset);
        self.places.len() - 1
    }

    /// A new node at the place of another.
    pub fn same_place(&mut self, other: usize) -> usize {
        let offset = self.places.get(other).copied().unwrap_or_default();
        self.place(offset)
    }

    /// Line (from 1) and column (from 0) of a node.
    fn position(&self, node: usize) -> (usize, usize) {
        let offset = self.places.get(node).copied().unwrap_or_default();
        let (mut line, mut column) = (1, 0);
        for c in self.text.chars().take(offset) {
            if c == '\n' {
                (line, column) = (line + 1, 0);
            } else {
                column += 1;
            }
        }
        (line, column)
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// From 1.
    pub line: usize,
    /// In characters, from 0.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// The faults of an expression.
#[derive(Clone, Debug, Default)]
pub struct Issues {
    source: Source,
    list: Vec<Issue>,
}

impl Issues {
    /// None yet.
    pub fn new(source: Source) -> Self {
        Self { source, list: Vec::new() }
    }

    /// Adds one.
    pub fn push(&mut self, issue: Issue) {
        self.list.push(issue);
    }

    /// Adds one at a node.
    pub fn at(&mut self, source: &Source, node: usize, message: String) {
        let (line, column) = source.position(node);
        self.list.push(Issue { line, column, message });
    }

    /// Is nothing wrong?
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The first message without its place.
    pub fn first(&self) -> &str {
        self.list.first().map_or("", |issue| &issue.message)
    }
}

impl Display for Issues {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&Issue> = self.list.iter().collect();
        sorted.sort_by_key(|issue| (issue.line, issue.column));
        for (at, issue) in sorted.iter().enumerate() {
            if at > 0 {
                f.write_char('\n')?;
            }
            write!(f, "ERROR: <input>:{}:{}: {}", issue.line, issue.column + 1, issue.message)?;
            let Some(line) = self.source.text.split('\n').nth(issue.line - 1) else { continue };
            write!(f, "\n | {}\n | ", line.replace('\t', " "))?;
            let wide = |c: char| c.len_utf8() > 1;
            for c in line.chars().take(issue.column) {
                f.write_char(if wide(c) { '．' } else { '.' })?;
            }
            f.write_char(if line.chars().nth(issue.column).is_some_and(wide) { '＾' } else { '^' })?;
        }
        Ok(())
    }
}

impl std::error::Error for Issues {}
