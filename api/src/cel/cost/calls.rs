//! What calls cost at worst.
use super::super::ast::Expr;
use super::super::library::Overload;
use super::super::meter::{AUTHORIZATION, REGEX, TRAVERSAL};
use super::super::types::Type;
use super::{Call, Coster, ONE, Range, UNKNOWN};

/// Conversions whose texts are short whatever they are made from, so that messages may be joined of them.
const SHORT_TEXTS: [&str; 6] = [
    "bool_to_string",
    "int64_to_string",
    "uint64_to_string",
    "double_to_string",
    "timestamp_to_string",
    "duration_to_string",
];
/// Their length at most.
const SHORT_TEXT: u64 = 40;
/// Characters of the longest name of a format.
const LONGEST_FORMAT: u64 = 64;

impl Coster<'_> {
    /// The cost of a call by one of its overloads, with that of its arguments.
    pub(super) fn overload(
        &mut self,
        expr: &Expr,
        name: &str,
        overload: &Overload,
        target: Option<&Expr>,
        args: &[Expr],
        costs: &[Range],
    ) -> Call {
        let all = costs.iter().fold(Range::default(), |sum, cost| sum.plus(*cost));
        let call = match target {
            Some(target) => self.member(name, overload, target, args),
            None => self.global(expr, name, overload, args, costs),
        };
        match (name, target) {
            ("_&&_" | "_||_" | "_?_:_", None) => call,
            _ => Call { cost: call.cost.plus(all), ..call },
        }
    }

    fn member(&self, name: &str, overload: &Overload, target: &Expr, args: &[Expr]) -> Call {
        let of = self.size_or_unknown(target);
        let arg = |at: usize| args.get(at).map_or(Range::default(), |arg| self.size_or_unknown(arg));
        let plain = |cost| Call { cost, size: None };
        let compared = Range { min: 4, max: 16 };
        match name {
            "check" => plain(Range::exact(AUTHORIZATION)),
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "sort" | "distinct" => {
                let Type::List(item) = self.ty(target) else { return plain(of.scaled(TRAVERSAL)) };
                let mut each = ONE;
                if matches!(**item, Type::String | Type::Bytes) {
                    each = each.plus(self.item_size(target).unwrap_or(UNKNOWN).scaled(TRAVERSAL));
                }
                plain(of.times(each))
            }
            "lowerAscii" | "upperAscii" | "substring" | "trim" => {
                Call { cost: of.scaled(TRAVERSAL), size: Some(of) }
            }
            "replace" => Call { cost: of.scaled(2.0 * TRAVERSAL), size: Some(replaced(of, arg(0), arg(1))) },
            "split" => Call { cost: of.scaled(2.0 * TRAVERSAL), size: Some(Range { min: 0, max: of.max }) },
            "join" => {
                let mut size = self.item_size(target).map_or(Range::default(), |item| of.times(item));
                if !args.is_empty() {
                    let between = Range { min: of.min.saturating_sub(1), max: of.max.saturating_sub(1) };
                    size = size.plus(arg(0).times(between));
                }
                Call { cost: size.scaled(TRAVERSAL), size: Some(size) }
            }
            "find" | "findAll" => Call {
                cost: of.plus(ONE).scaled(TRAVERSAL).times(arg(0).scaled(REGEX)),
                size: Some(Range { min: 0, max: of.max }),
            },
            "matches" => plain(of.plus(ONE).scaled(TRAVERSAL).times(arg(0).scaled(REGEX))),
            "contains" => plain(of.scaled(TRAVERSAL).times(arg(0).scaled(TRAVERSAL))),
            "startsWith" | "endsWith" => plain(arg(0).scaled(TRAVERSAL)),
            "format" => plain(of.scaled(TRAVERSAL)),
            "validate" => plain(arg(0).scaled(TRAVERSAL)),
            "containsIP" | "containsCIDR" => {
                let mut cost = compared.plus(compared).scaled(TRAVERSAL);
                if name == "containsCIDR" {
                    cost = cost.plus(compared.scaled(TRAVERSAL)).plus(ONE);
                }
                if overload.id.ends_with("_string") {
                    cost = cost.plus(arg(0).scaled(TRAVERSAL));
                }
                plain(cost)
            }
            _ => plain(ONE),
        }
    }

    fn global(
        &mut self,
        expr: &Expr,
        name: &str,
        overload: &Overload,
        args: &[Expr],
        costs: &[Range],
    ) -> Call {
        let of = |at: usize| args.get(at).map_or(UNKNOWN, |arg| self.size_or_unknown(arg));
        let plain = |cost| Call { cost, size: None };
        match (name, costs) {
            ("_&&_" | "_||_", [a, b]) => plain(Range { min: a.min, max: a.plus(*b).max }),
            ("_?_:_", [condition, yes, no]) => {
                let size = of(1).union(of(2));
                if let (Some(a), Some(b)) = (self.parts_of(&args[1]), self.parts_of(&args[2])) {
                    self.parts.insert(expr.id, (a.0.union(b.0), a.1.union(b.1)));
                }
                Call { cost: condition.plus(yes.union(*no)), size: Some(size) }
            }
            ("_+_", _) if matches!(overload.id, "add_string" | "add_bytes" | "add_list") => {
                let size = of(0).plus(of(1));
                if let (Some(a), Some(b)) = (self.parts_of(&args[0]), self.parts_of(&args[1])) {
                    self.parts.insert(expr.id, (a.0.union(b.0), a.1.union(b.1)));
                }
                let cost = if overload.id == "add_list" { ONE } else { size.scaled(TRAVERSAL) };
                Call { cost, size: Some(size) }
            }
            ("bytes", _) if overload.id == "string_to_bytes" => {
                let size = Range { min: of(0).min, max: of(0).max.saturating_mul(4) };
                Call { cost: of(0).scaled(TRAVERSAL), size: Some(size) }
            }
            ("string", _) if overload.id == "bytes_to_string" => {
                let size = Range { min: of(0).min / 4, max: of(0).max };
                Call { cost: of(0).scaled(TRAVERSAL), size: Some(size) }
            }
            ("string", _) if SHORT_TEXTS.contains(&overload.id) => {
                Call { cost: ONE, size: Some(Range { min: 1, max: SHORT_TEXT }) }
            }
            ("strings.quote", _) => {
                let size = of(0).times(Range { min: 1, max: 2 }).plus(Range::exact(2));
                Call { cost: of(0).scaled(TRAVERSAL), size: Some(size) }
            }
            ("@in", _) if overload.id == "in_list" => plain(of(1)),
            ("matches", _) => plain(of(0).plus(ONE).scaled(TRAVERSAL).times(of(1).scaled(REGEX))),
            ("_==_" | "_!=_", [_, _]) => {
                let opaque = self.opaque_equality(&args[0]).filter(|_| name == "_==_");
                plain(opaque.unwrap_or_else(|| compared(of(0), of(1))))
            }
            ("_<_" | "_<=_" | "_>_" | "_>=_", _)
                if overload.id.ends_with("_string") || overload.id.ends_with("_bytes") =>
            {
                plain(compared(of(0), of(1)))
            }
            ("url", _) => plain(of(0).scaled(TRAVERSAL)),
            ("sets.contains" | "sets.intersects", _) => plain(of(0).times(of(1)).plus(ONE)),
            ("sets.equivalent", _) => plain(of(0).times(of(1)).times(Range::exact(2)).plus(ONE)),
            _ => plain(ONE),
        }
    }
}

impl Coster<'_> {
    /// Of comparing values of a library's type; the original has a rule for equality alone.
    fn opaque_equality(&self, first: &Expr) -> Option<Range> {
        match self.ty(first) {
            Type::Opaque("kubernetes.URL") => Some(self.size_or_unknown(first).scaled(TRAVERSAL)),
            Type::Opaque("kubernetes.NamedFormat") => Some(Range::exact(LONGEST_FORMAT).scaled(TRAVERSAL)),
            Type::Opaque(_) => Some(ONE),
            _ => None,
        }
    }
}

/// Of comparing two values: as long as the shorter one.
fn compared(a: Range, b: Range) -> Range {
    let max = a.max.min(b.max);
    Range { min: u64::from(max > 0), max }.scaled(TRAVERSAL)
}

fn replaced(of: Range, from: Range, to: Range) -> Range {
    let ratio = |a: u64, b: u64| a.div_ceil(b.max(1));
    let (most, kept_most) = if from.min == 0 {
        (of.max.saturating_add(1), of.max)
    } else if to.max <= from.min {
        (0, of.max)
    } else {
        (ratio(of.max, from.min), 0)
    };
    let (least, kept_least) = if from.max == 0 {
        (of.min.saturating_add(1), of.min)
    } else if from.max <= to.min {
        (0, of.min)
    } else {
        (ratio(of.min, from.max), 0)
    };
    Range { min: least, max: most }.times(to).plus(Range { min: kept_least, max: kept_most })
}
