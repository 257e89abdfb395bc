//! What is wrong with a text that is no YAML, in the words of the original's reader.
//!
//! Our reader is another one, so a fault is told from what it finds where. The original counts lines from 0 and shows a
//! line only where it is not that one; what its scanner finds is then shown counted from 1, what its parser finds is not.
use granit_parser::{ErrorKind, ScanError};

/// Who finds a fault in the original, and so how lines are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finder {
    Scanner,
    Parser,
}

/// The fault of a text, `yaml: line 3: did not find expected key`.
pub(super) fn told(text: &str, error: &ScanError) -> String {
    let place = Place { text, at: error.marker().index(), line: error.marker().line().saturating_sub(1) };
    let (finder, line, problem) = place.problem(error);
    let shown = if line == 0 { 0 } else { line + usize::from(finder == Finder::Scanner) };
    match shown {
        0 => format!("yaml: {problem}"),
        line => format!("yaml: line {line}: {problem}"),
    }
}

/// Where our reader stopped.
struct Place<'t> {
    text: &'t str,
    /// In characters.
    at: usize,
    /// From 0.
    line: usize,
}

impl Place<'_> {
    /// Who finds the fault, in which line (from 0), and its text.
    fn problem(&self, error: &ScanError) -> (Finder, usize, String) {
        let scanner = |problem: &str| (Finder::Scanner, self.line, problem.to_owned());
        let parser = |problem: &str| (Finder::Parser, self.line, problem.to_owned());
        match error.kind() {
            ErrorKind::ExpectedBlockMappingKey
            | ErrorKind::InvalidTrailingSingleQuotedScalar
            | ErrorKind::InvalidTrailingDoubleQuotedScalar => parser("did not find expected key"),
            // The original reads the text behind the comment as one of its own.
            ErrorKind::CommentInterceptedScalar => {
                (Finder::Parser, self.line + 1, "did not find expected key".to_owned())
            }
            ErrorKind::ExpectedBlockSequenceEntry => parser("did not find expected '-' indicator"),
            ErrorKind::InvalidColonPlacement | ErrorKind::ExpectedFlowSequenceSeparator => {
                parser(separator('['))
            }
            ErrorKind::ExpectedFlowMappingSeparator => parser(separator('{')),
            ErrorKind::MismatchedFlowCollectionEnd { open, .. } => parser(separator(*open)),
            ErrorKind::UnclosedFlowCollection { open } => {
                let problem = if self.wants_value(self.text) { CONTENT } else { separator(*open) };
                (Finder::Parser, self.lines(), problem.to_owned())
            }
            ErrorKind::MisplacedFlowCollectionEnd => {
                let before: String = self.text.chars().take(self.at).collect();
                parser(if self.wants_value(&before) { CONTENT } else { "did not find expected key" })
            }
            ErrorKind::ExpectedNodeContent
            | ErrorKind::UnexpectedEof
            | ErrorKind::UnexpectedEofBlockMapping
            | ErrorKind::UnexpectedEofBlockSequence
            | ErrorKind::UnexpectedEofFlowMapping
            | ErrorKind::UnexpectedEofFlowSequence
            | ErrorKind::UnexpectedEofImplicitFlowMapping => parser(CONTENT),
            ErrorKind::UnclosedQuotedScalar | ErrorKind::InvalidQuotedScalarIndent => {
                (Finder::Scanner, self.lines(), "found unexpected end of stream".to_owned())
            }
            // Noticed where the next token would begin.
            ErrorKind::InvalidSimpleKey | ErrorKind::SimpleKeyExpected => {
                (Finder::Scanner, self.line + 1, "could not find expected ':'".to_owned())
            }
            ErrorKind::UnknownAnchor => {
                (Finder::Parser, 0, format!("unknown anchor '{}' referenced", self.alias()))
            }
            ErrorKind::UnexpectedCharacter { character } if character.is_control() => {
                (Finder::Parser, 0, "control characters are not allowed".to_owned())
            }
            ErrorKind::UnexpectedCharacter { .. } | ErrorKind::TabInBlockIndentation => {
                scanner("found character that cannot start any token")
            }
            ErrorKind::TabInPlainScalar => {
                (Finder::Scanner, self.tabbed(), "found a tab character that violates indentation".to_owned())
            }
            ErrorKind::TabAtBlockScalarStart => (
                Finder::Scanner,
                self.line + 1,
                "found a tab character where an indentation space is expected".to_owned(),
            ),
            ErrorKind::InvalidQuotedScalarHexEscape | ErrorKind::InvalidLowSurrogateHexEscape => {
                scanner("did not find expected hexdecimal number")
            }
            ErrorKind::InvalidLowSurrogate
            | ErrorKind::MissingLowSurrogate
            | ErrorKind::UnpairedLowSurrogate
            | ErrorKind::InvalidUnicodeEscape => scanner("found invalid Unicode character escape code"),
            ErrorKind::RecursionLimitExceeded => scanner("exceeded max depth of 10000"),
            ErrorKind::ExpectedDocumentStart => parser("did not find expected <document start>"),
            ErrorKind::UnsupportedYamlMajorVersion => parser("found incompatible YAML document"),
            ErrorKind::DuplicateVersionDirective => parser("found duplicate %YAML directive"),
            ErrorKind::DuplicateTagDirective => parser("found duplicate %TAG directive"),
            ErrorKind::UndeclaredTagHandle => parser("found undefined tag handle"),
            // The rest says of what was read first, as the original's reader does not.
            _ => {
                let said = error.info();
                let problem = said.strip_prefix("while ").and_then(|rest| rest.split_once(", "));
                scanner(problem.map_or(&*said, |(_, problem)| problem))
            }
        }
    }

    /// Whether a text ends where a value is looked for.
    fn wants_value(&self, text: &str) -> bool {
        text.trim_end().ends_with([':', ',', '[', '{', '-']) || text.trim_end().is_empty()
    }

    /// The line of the text's end.
    fn lines(&self) -> usize {
        self.text.matches('\n').count()
    }

    /// The name of the alias at hand.
    fn alias(&self) -> String {
        let name = self.text.chars().skip(self.at).skip_while(|c| *c == '*');
        name.take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
    }

    /// The first line from here on that begins with a tab.
    fn tabbed(&self) -> usize {
        let begins = |line: &str| line.trim_start_matches(' ').starts_with('\t');
        let found = self.text.lines().skip(self.line).position(begins);
        found.map_or(self.line, |more| self.line + more)
    }
}

const CONTENT: &str = "did not find expected node content";

fn separator(open: char) -> &'static str {
    if open == '{' { "did not find expected ',' or '}'" } else { "did not find expected ',' or ']'" }
}
