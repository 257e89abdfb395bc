//! The commands that lead from one state of the tables to another.
//!
//! Commands come in phases, because each must be valid where it stands: sets and chains are made before
//! rules and elements name them; elements are deleted before others take their keys; chains go last, when
//! nothing names them any more. nft applies the whole or nothing of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use super::ruleset::{Chain, Family, Fragment, RuleSet};

/// Commands that turn `old` into `new` in the tables named `table`; empty when there is no difference. The
/// cost is a comparison of pointers for each unchanged service.
pub fn diff(table: &str, old: &RuleSet, new: &RuleSet) -> String {
    let mut plan = Plan::new(table);
    plan.fragment(Some(&old.base), Some(&new.base));
    for (key, fragment) in &new.services {
        plan.fragment(old.services.get(key), Some(fragment));
    }
    for (key, fragment) in &old.services {
        if !new.services.contains_key(key) {
            plan.fragment(Some(fragment), None);
        }
    }
    plan.finish()
}

/// Commands that replace whatever the tables hold by `new`. Atomic like [`diff`]: no packet sees a state
/// without rules, but sets forget what they learned (session affinity).
pub fn full(table: &str, new: &RuleSet) -> String {
    let mut commands = String::new();
    for family in Family::ALL {
        let ip = family.ip();
        // `add` first, since deleting what is not there fails the whole transaction.
        let _ =
            writeln!(commands, "add table {ip} {table}\ndelete table {ip} {table}\nadd table {ip} {table}");
    }
    commands + &diff(table, &RuleSet::default(), new)
}

/// Key of an element, and its value in maps.
type Element<'a> = (&'a str, Option<&'a str>);

/// Commands by phase, in the order in which they are given to nft.
struct Plan<'a> {
    table: &'a str,
    create: String,
    flush: String,
    rules: String,
    remove: BTreeMap<(Family, &'a str), Vec<&'a str>>,
    insert: BTreeMap<(Family, &'a str), Vec<Element<'a>>>,
    clear: String,
    delete_chains: String,
    delete_sets: String,
}

impl<'a> Plan<'a> {
    fn new(table: &'a str) -> Plan<'a> {
        Plan {
            table,
            create: String::new(),
            flush: String::new(),
            rules: String::new(),
            remove: BTreeMap::new(),
            insert: BTreeMap::new(),
            clear: String::new(),
            delete_chains: String::new(),
            delete_sets: String::new(),
        }
    }

    fn fragment(&mut self, old: Option<&'a Arc<Fragment>>, new: Option<&'a Arc<Fragment>>) {
        match (old, new) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) || old == new => {}
            (old, new) => {
                let (old, new) = (old.map(|f| &**f), new.map(|f| &**f));
                self.sets(old, new);
                self.chains(old, new);
                self.elements(old, new);
            }
        }
    }

    fn sets(&mut self, old: Option<&'a Fragment>, new: Option<&'a Fragment>) {
        let table = self.table;
        for (key @ (family, name), set) in new.iter().flat_map(|f| &f.sets) {
            if old.is_none_or(|f| !f.sets.contains_key(key)) {
                let (kind, ip, declaration) = (set.kind, family.ip(), &set.declaration);
                let _ = writeln!(self.create, "add {kind} {ip} {table} {name} {{ {declaration} }}");
            }
        }
        for (key @ (family, name), set) in old.iter().flat_map(|f| &f.sets) {
            if new.is_none_or(|f| !f.sets.contains_key(key)) {
                let _ = writeln!(self.delete_sets, "delete {} {} {table} {name}", set.kind, family.ip());
            }
        }
    }

    fn chains(&mut self, old: Option<&'a Fragment>, new: Option<&'a Fragment>) {
        let table = self.table;
        for (key, chain) in new.iter().flat_map(|f| &f.chains) {
            let (ip, name) = (key.0.ip(), &key.1);
            match old.and_then(|f| f.chains.get(key)) {
                Some(before) if before == chain => continue,
                Some(_) => {
                    let _ = writeln!(self.flush, "flush chain {ip} {table} {name}");
                }
                None => self.create_chain(ip, name, chain),
            }
            for rule in &chain.rules {
                let _ = writeln!(self.rules, "add rule {ip} {table} {name} {rule}");
            }
        }
        for key @ (family, name) in old.iter().flat_map(|f| f.chains.keys()) {
            if new.is_none_or(|f| !f.chains.contains_key(key)) {
                // All are emptied before any is deleted, since they may name each other.
                let _ = writeln!(self.clear, "flush chain {} {table} {name}", family.ip());
                let _ = writeln!(self.delete_chains, "delete chain {} {table} {name}", family.ip());
            }
        }
    }

    fn create_chain(&mut self, ip: &str, name: &str, chain: &Chain) {
        let table = self.table;
        let _ = match chain.hook {
            Some(hook) => writeln!(self.create, "add chain {ip} {table} {name} {{ {hook}; }}"),
            None => writeln!(self.create, "add chain {ip} {table} {name}"),
        };
    }

    fn elements(&mut self, old: Option<&'a Fragment>, new: Option<&'a Fragment>) {
        for (key @ (family, set, element), value) in new.iter().flat_map(|f| &f.elements) {
            match old.and_then(|f| f.elements.get(key)) {
                Some(before) if before == value => continue,
                Some(_) => self.remove.entry((*family, set)).or_default().push(element),
                None => {}
            }
            self.insert.entry((*family, set)).or_default().push((element, value.as_deref()));
        }
        for key @ (family, set, element) in old.iter().flat_map(|f| f.elements.keys()) {
            if new.is_none_or(|f| !f.elements.contains_key(key)) {
                self.remove.entry((*family, set)).or_default().push(element);
            }
        }
    }

    fn finish(self) -> String {
        let mut text = self.create + &self.flush + &self.rules;
        for ((family, set), keys) in &self.remove {
            let keys = keys.join(", ");
            let _ = writeln!(text, "delete element {} {} {set} {{ {keys} }}", family.ip(), self.table);
        }
        for ((family, set), elements) in &self.insert {
            let elements: Vec<String> = elements
                .iter()
                .map(|(key, value)| match value {
                    Some(value) => format!("{key} : {value}"),
                    None => (*key).to_owned(),
                })
                .collect();
            let elements = elements.join(", ");
            let _ = writeln!(text, "add element {} {} {set} {{ {elements} }}", family.ip(), self.table);
        }
        text + &self.clear + &self.delete_chains + &self.delete_sets
    }
}
