//! Regular expressions of RE2, as Go has them: what patterns of schemas and CEL's `matches` are written in.
//!
//! The engine is that of the `regex` crate, whose own syntax differs: `\d`, `\w` and `\b` know ASCII only in RE2, brackets
//! stand for themselves within a class, there are no operations on sets, braces that repeat nothing are literal. So an
//! expression is read here ([`parser`], errors in Go's words) and handed to the engine without its syntax.
//!
//! Source: the syntax page of RE2 (<https://github.com/google/re2/wiki/Syntax>), with Perl's classes and groups.
mod class;
mod parser;
#[cfg(test)]
mod tests;

use regex_automata::meta;
use regex_automata::util::syntax;
use std::ops::Range;

/// The most memory that a compiled expression may take: `[\p{L}\p{N}_]` a thousand times over needs a quarter of it.
const SIZE: usize = 64 << 20;
/// The most memory of the automaton that is made while matching.
const CACHE: usize = 1 << 20;

/// What is wrong with an expression: `error parsing regexp: ‹fault›: ‹where›`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {fault}: `{part}`")]
pub struct Error {
    fault: Fault,
    part: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("invalid character class range")]
    Range,
    #[error("invalid escape sequence")]
    Escape,
    #[error("invalid named capture")]
    Capture,
    #[error("invalid or unsupported Perl syntax")]
    Perl,
    #[error("invalid nested repetition operator")]
    NestedRepetition,
    #[error("invalid repeat count")]
    RepeatCount,
    #[error("missing closing ]")]
    Bracket,
    #[error("missing closing )")]
    Parenthesis,
    #[error("missing argument to repetition operator")]
    Argument,
    #[error("trailing backslash at end of expression")]
    Backslash,
    #[error("unexpected )")]
    UnexpectedParenthesis,
    #[error("expression nests too deeply")]
    Depth,
    #[error("expression too large")]
    Size,
}

impl Fault {
    fn at(self, part: &str) -> Error {
        Error { fault: self, part: part.to_owned() }
    }
}

/// A compiled expression; clones share it.
#[derive(Clone, Debug)]
pub struct Regex(meta::Regex);

impl Regex {
    /// Reads and compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(pattern: &str) -> Result<Self, Error> {
        let parsed = parser::parse(pattern)?;
        let config = meta::Config::new().nfa_size_limit(Some(SIZE)).hybrid_cache_capacity(CACHE);
        let built = meta::Builder::new()
            .configure(config)
            .syntax(syntax::Config::new().unicode(true))
            .build_from_hir(&parsed);
        built.map(Self).map_err(|_| Fault::Size.at(pattern))
    }

    /// Whether it is found anywhere in a text.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// Where it is found first; the places lie between characters.
    pub fn find(&self, text: &str) -> Option<Range<usize>> {
        self.0.find(text).map(|found| found.range())
    }

    /// Where it is found, one place after the other.
    pub fn find_iter<'t>(&self, text: &'t str) -> impl Iterator<Item = Range<usize>> + use<'_, 't> {
        self.0.find_iter(text).map(|found| found.range())
    }
}
