//! The steps by which a table is changed, in the order in which the kernel takes them: all or none of them.

use super::rule::{Key, Rule, Value};
use super::ruleset::{Family, Hook, Set};

/// Key of an element, and its value in maps.
pub type Element<'a> = (&'a Key, Option<&'a Value>);

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command<'a> {
    /// The family of the table.
    pub family: Family,
    /// What is done.
    pub what: What<'a>,
}

/// What a step does. Chains, sets and rules are named by the chain's or set's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What<'a> {
    /// Makes the table; one that is there stays as it is.
    AddTable,
    /// Deletes the table with all that is in it.
    DeleteTable,
    /// Makes a set or map.
    AddSet(&'a str, &'a Set),
    /// Deletes a set or map that no rule names.
    DeleteSet(&'a str, &'a Set),
    /// Makes a chain.
    AddChain(&'a str, Option<Hook>),
    /// Deletes all rules of a chain.
    FlushChain(&'a str),
    /// Deletes a chain that is empty and named nowhere.
    DeleteChain(&'a str),
    /// Adds a rule behind those of a chain.
    AddRule(&'a str, &'a Rule),
    /// Adds a rule with a comment before those of a chain.
    InsertRule(&'a str, &'a Rule, &'a str),
    /// Deletes a rule by the number the kernel gave it.
    DeleteRule(&'a str, u64),
    /// Adds elements to a set or map.
    AddElements(&'a str, Vec<Element<'a>>),
    /// Deletes elements of a set or map.
    DeleteElements(&'a str, Vec<&'a Key>),
}

/// Steps for tables of one name, one in each family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands<'a> {
    /// Name of the tables.
    pub table: &'a str,
    /// The steps.
    pub list: Vec<Command<'a>>,
}

impl<'a> Commands<'a> {
    /// No steps yet.
    pub fn new(table: &'a str) -> Commands<'a> {
        Commands { table, list: Vec::new() }
    }

    /// Adds a step.
    pub fn push(&mut self, family: Family, what: What<'a>) {
        self.list.push(Command { family, what });
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
