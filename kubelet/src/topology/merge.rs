//! The best place for a container or pod by the hints of all who give it something.

use std::cmp::Ordering;

use super::{Hint, Hints, Mask, Policy};

/// Nothing of it matters.
const ANYWHERE: Hint = Hint { nodes: None, is_preferred: true };
/// It fits nowhere.
const NOWHERE: Hint = Hint { nodes: None, is_preferred: false };

/// Merges what providers hint; `all`: the nodes of the machine. The best hint, which [`Policy::admits`] judges.
pub fn merge(policy: Policy, all: Mask, providers: &[Hints]) -> Hint {
    if policy == Policy::None {
        return ANYWHERE;
    }
    let mut resources: Vec<Vec<Hint>> = providers.iter().flat_map(of_provider).collect();
    if policy == Policy::SingleNumaNode {
        for hints in &mut resources {
            hints.retain(|hint| hint.is_preferred && hint.nodes.is_none_or(|nodes| nodes.count() == 1));
        }
    }
    let best = best(all, &resources);
    match policy {
        Policy::SingleNumaNode if best.nodes == Some(all) => Hint { nodes: None, ..best },
        _ => best,
    }
}

/// A provider's hints, a list for each resource.
fn of_provider(hints: &Hints) -> Vec<Vec<Hint>> {
    if hints.is_empty() {
        return vec![vec![ANYWHERE]];
    }
    let of = |hints: &Option<Vec<Hint>>| match hints {
        None => vec![ANYWHERE],
        Some(hints) if hints.is_empty() => vec![NOWHERE],
        Some(hints) => hints.clone(),
    };
    hints.values().map(of).collect()
}

fn best(all: Mask, resources: &[Vec<Hint>]) -> Hint {
    let least = |hints: &Vec<Hint>| hints.iter().filter_map(|hint| hint.nodes).map(Mask::count).min();
    let needed = resources.iter().filter_map(least).max().unwrap_or_else(|| all.count());
    let mut best = None;
    each_combination(resources, &mut Vec::new(), &mut |combination| {
        let candidate = together(all, combination);
        if candidate.0.count() > 0 && best.is_none_or(|best| is_better(best, candidate, needed)) {
            best = Some(candidate);
        }
    });
    let (nodes, is_preferred) = best.unwrap_or((all, false));
    Hint { nodes: Some(nodes), is_preferred }
}

fn each_combination(rest: &[Vec<Hint>], chosen: &mut Vec<Hint>, visit: &mut impl FnMut(&[Hint])) {
    let Some((first, rest)) = rest.split_first() else { return visit(chosen) };
    for hint in first {
        chosen.push(*hint);
        each_combination(rest, chosen, visit);
        chosen.pop();
    }
}

/// What several hints come to: only where all agree it is what each prefers.
fn together(all: Mask, hints: &[Hint]) -> (Mask, bool) {
    let placed: Vec<Mask> = hints.iter().filter_map(|hint| hint.nodes).collect();
    let agree = placed.windows(2).all(|pair| pair[0] == pair[1]);
    let is_preferred = agree && hints.iter().all(|hint| hint.is_preferred);
    (placed.into_iter().fold(all, Mask::and), is_preferred)
}

/// Fewer nodes, or as many with lower numbers.
fn is_narrower(one: Mask, other: Mask) -> bool {
    (one.count(), one.0) < (other.count(), other.0)
}

/// Whether a candidate is better than the best so far. Of those that nobody prefers, it is the one whose number of nodes
/// is nearest to what is `needed` without being above it.
fn is_better(best: (Mask, bool), candidate: (Mask, bool), needed: u32) -> bool {
    let ((best, best_is_preferred), (candidate, is_preferred)) = (best, candidate);
    match (best_is_preferred, is_preferred) {
        (false, true) => true,
        (true, false) => false,
        (true, true) => is_narrower(candidate, best),
        (false, false) => match best.count().cmp(&needed) {
            Ordering::Greater => is_narrower(candidate, best),
            Ordering::Equal => candidate.count() == needed && is_narrower(candidate, best),
            Ordering::Less if candidate.count() > needed => false,
            Ordering::Less => match candidate.count().cmp(&best.count()) {
                Ordering::Greater => true,
                Ordering::Equal => is_narrower(candidate, best),
                Ordering::Less => false,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `01!` is the nodes 0 and 1, preferred; `-` any.
    fn hint(text: &str) -> Hint {
        let is_preferred = text.ends_with('!');
        let nodes = text.trim_end_matches('!');
        let nodes = (nodes != "-").then(|| nodes.chars().filter_map(|digit| digit.to_digit(10)).collect());
        Hint { nodes, is_preferred }
    }

    /// Each text is a resource with its hints.
    fn merged(policy: Policy, resources: &[&str]) -> Hint {
        let provider = |(index, text): (usize, &&str)| -> Hints {
            let hints = match *text {
                "any" => None,
                text => Some(text.split_whitespace().map(hint).collect()),
            };
            [(index.to_string(), hints)].into()
        };
        let providers: Vec<Hints> = resources.iter().enumerate().map(provider).collect();
        merge(policy, Mask::from_iter([0, 1]), &providers)
    }

    #[test]
    fn hints_are_merged() {
        use Policy::{BestEffort, Restricted, SingleNumaNode};
        let check = |policy: Policy, resources: &[&str], expected: &str, admitted: bool| {
            let found = merged(policy, resources);
            assert_eq!(found, hint(expected), "{policy:?} {resources:?}");
            assert_eq!(policy.admits(found), admitted, "{policy:?} {resources:?}");
        };
        check(Policy::None, &[""], "-!", true);
        check(BestEffort, &[], "01!", true);
        check(BestEffort, &["any"], "01!", true);
        check(BestEffort, &["0! 1! 01", "1! 01"], "1!", true);
        check(BestEffort, &["0! 1! 01", "any"], "0!", true);
        check(BestEffort, &["0!", "1!"], "01", true);
        check(BestEffort, &["", "0! 1!"], "0", true);
        check(BestEffort, &["01", "0! 01"], "01", true);
        check(Restricted, &["01!", "01!"], "01!", true);
        check(Restricted, &["0! 01", "1! 01"], "0", false);
        check(Restricted, &[""], "01", false);
        check(SingleNumaNode, &["0! 01", "0! 1!"], "0!", true);
        check(SingleNumaNode, &["01!"], "-", false);
        check(SingleNumaNode, &["any", "any"], "-!", true);
    }
}
