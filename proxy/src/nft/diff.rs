//! The commands that lead from one state of the tables to another.
//!
//! Commands come in phases, because each must be valid where it stands: sets and chains are made before
//! rules and elements name them; elements are deleted before others take their keys; chains go last, when
//! nothing names them any more. The kernel takes the whole or nothing of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::{Command, Commands, Element, What};
use super::rule::Key;
use super::ruleset::{Change, Family, Fragment, RuleSet};

/// Commands that turn `old` into `new` in the tables named `table`; empty when there is no difference. What
/// both states share is passed over.
pub fn diff<'a>(table: &'a str, old: &'a RuleSet, new: &'a RuleSet) -> Commands<'a> {
    let mut plan = Plan::default();
    plan.all(old, new);
    plan.finish(Commands::new(table))
}

/// Commands that replace whatever the tables hold by `new`. Atomic like [`diff`]: no packet sees a state
/// without rules, but sets forget what they learned (session affinity).
pub fn full<'a>(table: &'a str, new: &'a RuleSet) -> Commands<'a> {
    let mut commands = without(table);
    for family in Family::ALL {
        commands.push(family, What::AddTable);
    }
    let mut plan = Plan::default();
    plan.fragment((None, Some(&new.base)));
    new.services().for_each(|(_, fragment)| plan.fragment((None, Some(fragment))));
    plan.finish(commands)
}

/// Commands that delete the tables, whether or not they are there.
pub fn without(table: &str) -> Commands<'_> {
    let mut commands = Commands::new(table);
    for family in Family::ALL {
        // Made first, since deleting what is not there fails the whole transaction.
        commands.push(family, What::AddTable);
        commands.push(family, What::DeleteTable);
    }
    commands
}

/// Commands by phase, in the order in which they are given to the kernel.
#[derive(Default)]
struct Plan<'a> {
    create: Vec<Command<'a>>,
    flush: Vec<Command<'a>>,
    rules: Vec<Command<'a>>,
    remove: BTreeMap<(Family, &'a str), Vec<&'a Key>>,
    insert: BTreeMap<(Family, &'a str), Vec<Element<'a>>>,
    clear: Vec<Command<'a>>,
    delete_chains: Vec<Command<'a>>,
    delete_sets: Vec<Command<'a>>,
}

impl<'a> Plan<'a> {
    fn all(&mut self, old: &'a RuleSet, new: &'a RuleSet) {
        if !Arc::ptr_eq(&old.base, &new.base) && old.base != new.base {
            self.fragment((Some(&old.base), Some(&new.base)));
        }
        old.changes(new).for_each(|change| self.fragment(change));
    }

    fn fragment(&mut self, (old, new): Change<'a>) {
        self.sets(old, new);
        self.chains(old, new);
        self.elements(old, new);
    }

    fn sets(&mut self, old: Option<&'a Fragment>, new: Option<&'a Fragment>) {
        for (key @ (family, name), set) in new.iter().flat_map(|f| &f.sets) {
            if old.is_none_or(|f| !f.sets.contains_key(key)) {
                self.create.push(Command { family: *family, what: What::AddSet(name, set) });
            }
        }
        for (key @ (family, name), set) in old.iter().flat_map(|f| &f.sets) {
            if new.is_none_or(|f| !f.sets.contains_key(key)) {
                self.delete_sets.push(Command { family: *family, what: What::DeleteSet(name, set) });
            }
        }
    }

    fn chains(&mut self, old: Option<&'a Fragment>, new: Option<&'a Fragment>) {
        for (key @ (family, name), chain) in new.iter().flat_map(|f| &f.chains) {
            let family = *family;
            match old.and_then(|f| f.chains.get(key)) {
                Some(before) if before == chain => continue,
                Some(_) => self.flush.push(Command { family, what: What::FlushChain(name) }),
                None => self.create.push(Command { family, what: What::AddChain(name, chain.hook) }),
            }
            let rules = chain.rules.iter();
            self.rules.extend(rules.map(|rule| Command { family, what: What::AddRule(name, rule) }));
        }
        for key @ (family, name) in old.iter().flat_map(|f| f.chains.keys()) {
            if new.is_none_or(|f| !f.chains.contains_key(key)) {
                // All are emptied before any is deleted, since they may name each other.
                self.clear.push(Command { family: *family, what: What::FlushChain(name) });
                self.delete_chains.push(Command { family: *family, what: What::DeleteChain(name) });
            }
        }
    }

    fn elements(&mut self, old: Option<&'a Fragment>, new: Option<&'a Fragment>) {
        for (place @ (family, set, key), value) in new.iter().flat_map(|f| &f.elements) {
            match old.and_then(|f| f.elements.get(place)) {
                Some(before) if before == value => continue,
                Some(_) => self.remove.entry((*family, set)).or_default().push(key),
                None => {}
            }
            self.insert.entry((*family, set)).or_default().push((key, value.as_ref()));
        }
        for place @ (family, set, key) in old.iter().flat_map(|f| f.elements.keys()) {
            if new.is_none_or(|f| !f.elements.contains_key(place)) {
                self.remove.entry((*family, set)).or_default().push(key);
            }
        }
    }

    fn finish(self, mut commands: Commands<'a>) -> Commands<'a> {
        let remove = self
            .remove
            .into_iter()
            .map(|((family, set), keys)| Command { family, what: What::DeleteElements(set, keys) });
        let insert = self
            .insert
            .into_iter()
            .map(|((family, set), elements)| Command { family, what: What::AddElements(set, elements) });
        let before = self.create.into_iter().chain(self.flush).chain(self.rules);
        let after = self.clear.into_iter().chain(self.delete_chains).chain(self.delete_sets);
        commands.list.extend(before.chain(remove).chain(insert).chain(after));
        commands
    }
}
