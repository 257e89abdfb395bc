//! Chains as text, and the input of `iptables-restore` that leads from one state to another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The tables that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// What passes.
    Filter,
    /// What is translated.
    Nat,
}

impl Table {
    /// Both, in the order in which they are written.
    pub const ALL: [Table; 2] = [Table::Filter, Table::Nat];

    /// The program's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Table::Filter => "filter",
            Table::Nat => "nat",
        }
    }
}

/// A jump from a chain of the kernel's to one of the cluster's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jump {
    /// In this table.
    pub table: Table,
    /// From this chain.
    pub from: &'static str,
    /// For packets that match.
    pub matching: &'static str,
    /// To this chain.
    pub to: String,
}

/// Rules by chain; a rule is what follows `-A CHAIN`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chains(pub BTreeMap<(Table, String), Vec<String>>);

impl Chains {
    /// Has the chain, with or without rules.
    pub fn declare(&mut self, table: Table, chain: impl Into<String>) {
        self.0.entry((table, chain.into())).or_default();
    }

    /// Adds a rule at the end of a chain.
    pub fn add(&mut self, table: Table, chain: &str, rule: impl Into<String>) {
        self.0.entry((table, chain.to_owned())).or_default().push(rule.into());
    }

    /// Number of rules.
    pub fn size(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

/// What the kernel has of a cluster: rules of its chains as they are printed, and those of others' chains that lead to them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Number of rules by chain of the cluster's.
    pub chains: BTreeMap<(Table, String), usize>,
    /// Rules of others' chains that lead to one of the cluster's: table, and what follows `-A`.
    pub jumps: Vec<(Table, String)>,
}

/// Reads the output of `iptables-save`.
pub fn found(text: &str, owns: impl Fn(&str) -> bool) -> Found {
    let (mut found, mut table) = (Found::default(), None);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = Table::ALL.into_iter().find(|table| table.name() == name);
        }
        let Some(table) = table else { continue };
        let chain_of = |rest: &str| rest.split(' ').next().unwrap_or_default().to_owned();
        if let Some(rest) = line.strip_prefix(':') {
            let chain = chain_of(rest);
            if owns(&chain) {
                found.chains.insert((table, chain), 0);
            }
        } else if let Some(rest) = line.strip_prefix("-A ") {
            let chain = chain_of(rest);
            let target = rest.rsplit_once(" -j ").map(|(_, target)| chain_of(target)).unwrap_or_default();
            if let Some(count) = found.chains.get_mut(&(table, chain.clone())) {
                *count += 1;
            } else if owns(&target) {
                found.jumps.push((table, rest.to_owned()));
            }
        }
    }
    found
}

impl Found {
    /// Whether a jump is there.
    pub fn has(&self, jump: &Jump) -> bool {
        let (begin, end) = (format!("{} ", jump.from), format!("-j {}", jump.to));
        let is = |rule: &str| rule.starts_with(&begin) && rule.ends_with(&end);
        self.jumps.iter().any(|(table, rule)| *table == jump.table && is(rule))
    }
}

/// The steps from one state to another: chains that differ are written whole, those that are gone are deleted, `jumps` are
/// put first in their chains. Nothing else is touched, and a table's steps are taken all or not at all.
pub fn steps(old: &Chains, new: &Chains, jumps: &[&Jump]) -> (String, usize) {
    let (mut text, mut count) = (String::new(), 0);
    for table in Table::ALL {
        let of_table = |chains: &Chains| -> BTreeSet<String> {
            chains.0.keys().filter(|(t, _)| *t == table).map(|(_, chain)| chain.clone()).collect()
        };
        let (before, now) = (of_table(old), of_table(new));
        let key = |chain: &String| (table, chain.clone());
        let changed: Vec<&String> =
            now.iter().filter(|chain| old.0.get(&key(chain)) != new.0.get(&key(chain))).collect();
        let gone: Vec<&String> = before.difference(&now).collect();
        let jumps: Vec<&&Jump> = jumps.iter().filter(|jump| jump.table == table).collect();
        if changed.is_empty() && gone.is_empty() && jumps.is_empty() {
            continue;
        }
        let _ = writeln!(text, "*{}", table.name());
        for chain in changed.iter().chain(&gone) {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        for chain in changed {
            for rule in &new.0[&key(chain)] {
                let _ = writeln!(text, "-A {chain} {rule}");
                count += 1;
            }
        }
        // Each is put before the ones that were, so the first comes last.
        for Jump { from, matching, to, .. } in jumps.into_iter().rev() {
            let _ = writeln!(text, "-I {from} 1 {matching}-j {to}");
            count += 1;
        }
        for chain in gone {
            let _ = writeln!(text, "-X {chain}");
            count += 1;
        }
        text.push_str("COMMIT\n");
    }
    (text, count)
}

/// The steps that take away all that was found.
pub fn removal(found: &Found) -> String {
    let mut text = String::new();
    for table in Table::ALL {
        let chains: Vec<&String> =
            found.chains.keys().filter(|(t, _)| *t == table).map(|(_, chain)| chain).collect();
        if chains.is_empty() {
            continue;
        }
        let _ = writeln!(text, "*{}", table.name());
        for chain in &chains {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        for (_, rule) in found.jumps.iter().filter(|(t, _)| *t == table) {
            let _ = writeln!(text, "-D {rule}");
        }
        for chain in chains {
            let _ = writeln!(text, "-X {chain}");
        }
        text.push_str("COMMIT\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chains(list: &[(&str, &[&str])]) -> Chains {
        let mut chains = Chains::default();
        for (chain, rules) in list {
            chains.declare(Table::Nat, *chain);
            rules.iter().for_each(|rule| chains.add(Table::Nat, chain, *rule));
        }
        chains
    }

    #[test]
    fn only_what_differs_is_written() {
        let old = chains(&[("A", &["-j B"]), ("B", &[]), ("C", &["-j RETURN"])]);
        let new = chains(&[("A", &["-j D"]), ("C", &["-j RETURN"]), ("D", &[])]);
        let jump = |from, to: &str| Jump { table: Table::Nat, from, matching: "-p tcp ", to: to.to_owned() };
        let (one, two) = (jump("OUTPUT", "A"), jump("OUTPUT", "C"));
        let expected = "*nat\n:A - [0:0]\n:D - [0:0]\n:B - [0:0]\n-A A -j D\n-I OUTPUT 1 -p tcp -j C\n\
                        -I OUTPUT 1 -p tcp -j A\n-X B\nCOMMIT\n";
        assert_eq!(steps(&old, &new, &[&one, &two]), (expected.to_owned(), 4));
        assert_eq!(steps(&new, &new, &[]), (String::new(), 0));
    }

    #[test]
    fn what_is_ours_is_found_and_taken_away() {
        let text = "# by hand\n*mangle\n:X-1 - [0:0]\nCOMMIT\n*nat\n:PREROUTING ACCEPT [1:2]\n:X-1 - [0:0]\n:X-2 - [0:0]\n\
                    -A PREROUTING -m comment --comment \"a -j b\" -j X-1\n-A PREROUTING -j X-2\n-A X-1 -j RETURN\nCOMMIT\n";
        let found = found(text, |chain| chain == "X-1");
        assert_eq!(found.chains, BTreeMap::from([((Table::Nat, "X-1".to_owned()), 1)]));
        assert_eq!(found.jumps.len(), 1);
        let jump = |to: &str| Jump { table: Table::Nat, from: "PREROUTING", matching: "", to: to.to_owned() };
        assert!(found.has(&jump("X-1")) && !found.has(&jump("X-2")));
        let expected =
            "*nat\n:X-1 - [0:0]\n-D PREROUTING -m comment --comment \"a -j b\" -j X-1\n-X X-1\nCOMMIT\n";
        assert_eq!(removal(&found), expected);
    }
}
