//! Reads expressions. What is open lies on a stack of its own, so that no expression is too deep for the thread's.
use super::{Error, Fault, class};
use regex_syntax::hir::{Class, ClassUnicode, Hir, Look, Repetition};

/// Times that something may be repeated, nested repetitions multiplied.
const REPEATS: u32 = 1000;
/// Groups within groups.
const DEPTH: usize = 1000;

/// `(?imsU)`.
#[derive(Clone, Copy, Default)]
struct Flags {
    folds: bool,
    multi_line: bool,
    dot_is_all: bool,
    swaps_greed: bool,
}

/// A part of a sequence, and how often something in it is repeated.
struct Piece {
    hir: Hir,
    times: u32,
}

/// A group that is open, or the whole.
#[derive(Default)]
struct Frame {
    /// Those that hold again when it ends.
    flags: Flags,
    branches: Vec<Piece>,
    pieces: Vec<Piece>,
}

impl Frame {
    /// What stands since the last `|` becomes a branch.
    fn end_branch(&mut self) {
        let times = self.pieces.iter().map(|piece| piece.times).max().unwrap_or(1);
        let hir = Hir::concat(self.pieces.drain(..).map(|piece| piece.hir).collect());
        self.branches.push(Piece { hir, times });
    }

    fn end(mut self) -> Piece {
        self.end_branch();
        let times = self.branches.iter().map(|piece| piece.times).max().unwrap_or(1);
        let hir = Hir::alternation(self.branches.into_iter().map(|piece| piece.hir).collect());
        Piece { hir, times }
    }
}

struct Parser<'p> {
    pattern: &'p str,
    rest: &'p str,
    flags: Flags,
    /// The innermost last; the whole is always there.
    frames: Vec<Frame>,
    frame: Frame,
}

/// Reads an expression.
pub(super) fn parse(pattern: &str) -> Result<Hir, Error> {
    let mut parser = Parser {
        pattern,
        rest: pattern,
        flags: Flags::default(),
        frames: Vec::new(),
        frame: Frame::default(),
    };
    // The text from the last repetition on, where nothing stands between.
    let mut repeated: Option<&str> = None;
    while let Some(next) = parser.rest.chars().next() {
        repeated = parser.step(next, repeated)?;
    }
    if !parser.frames.is_empty() {
        return Err(Fault::Parenthesis.at(pattern));
    }
    Ok(parser.frame.end().hir)
}

impl<'p> Parser<'p> {
    /// Reads on by one item; gives the text from it on if it is a repetition.
    fn step(&mut self, next: char, repeated: Option<&'p str>) -> Result<Option<&'p str>, Error> {
        let before = self.rest;
        match next {
            '(' => self.open()?,
            '|' => {
                self.advance(1);
                self.frame.end_branch();
            }
            ')' => self.close()?,
            '^' => self.look(1, if self.flags.multi_line { Look::StartLF } else { Look::Start }),
            '$' => self.look(1, if self.flags.multi_line { Look::EndLF } else { Look::End }),
            '.' => {
                self.advance(1);
                let all = [('\0', char::MAX)];
                let lines = [('\0', '\u{9}'), ('\u{b}', char::MAX)];
                self.class(class::of(if self.flags.dot_is_all { &all } else { &lines }));
            }
            '[' => self.bracket()?,
            '*' | '+' | '?' => {
                self.advance(1);
                let (min, max) = match next {
                    '*' => (0, None),
                    '+' => (1, None),
                    _ => (0, Some(1)),
                };
                self.repeat(before, repeated, min, max, false)?;
                return Ok(Some(before));
            }
            '{' => match counts(self.rest) {
                Some((min, max, length)) => {
                    self.advance(length);
                    let is_wrong = |count: u32| count > REPEATS;
                    if is_wrong(min) || max.is_some_and(|max| is_wrong(max) || min > max) {
                        return Err(Fault::RepeatCount.at(&before[..length]));
                    }
                    self.repeat(before, repeated, min, max, true)?;
                    return Ok(Some(before));
                }
                None => self.literal_of(1, '{'),
            },
            '\\' => self.escape()?,
            other => self.literal_of(other.len_utf8(), other),
        }
        Ok(None)
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    /// What was read since.
    fn since(&self, before: &'p str) -> &'p str {
        &before[..before.len() - self.rest.len()]
    }

    fn push(&mut self, hir: Hir) {
        self.frame.pieces.push(Piece { hir, times: 1 });
    }

    fn look(&mut self, bytes: usize, look: Look) {
        self.advance(bytes);
        self.push(Hir::look(look));
    }

    fn class(&mut self, class: ClassUnicode) {
        self.push(Hir::class(Class::Unicode(class)));
    }

    fn literal_of(&mut self, bytes: usize, character: char) {
        self.advance(bytes);
        self.literal(character);
    }

    fn literal(&mut self, character: char) {
        if self.flags.folds {
            let alone = class::of(&[(character, character)]);
            self.class(class::finished(alone, true, false));
        } else {
            self.push(Hir::literal(character.to_string().into_bytes()));
        }
    }

    /// Something that no text has: the halves of surrogate pairs are no characters.
    fn literal_number(&mut self, number: u32) {
        match char::from_u32(number) {
            Some(character) => self.literal(character),
            None => self.push(Hir::fail()),
        }
    }

    /// Repeats what stands last.
    fn repeat(
        &mut self,
        before: &'p str,
        repeated: Option<&'p str>,
        min: u32,
        max: Option<u32>,
        is_counted: bool,
    ) -> Result<(), Error> {
        let mut greedy = !self.flags.swaps_greed;
        if self.rest.starts_with('?') {
            self.advance(1);
            greedy = !greedy;
        }
        if let Some(former) = repeated {
            return Err(Fault::NestedRepetition.at(self.since(former)));
        }
        let Some(Piece { hir, times }) = self.frame.pieces.pop() else {
            return Err(Fault::Argument.at(self.since(before)));
        };
        let factor = if is_counted { max.unwrap_or(min).max(1) } else { 1 };
        let times = times.saturating_mul(factor);
        if is_counted && factor >= 2 && times > REPEATS {
            return Err(Fault::RepeatCount.at(self.since(before)));
        }
        let hir = Hir::repetition(Repetition { min, max, greedy, sub: Box::new(hir) });
        self.frame.pieces.push(Piece { hir, times });
        Ok(())
    }

    fn open(&mut self) -> Result<(), Error> {
        if self.rest.starts_with("(?") {
            return self.open_perl();
        }
        self.advance(1);
        self.enter(self.flags)
    }

    /// Begins a group. What groups capture is asked by nobody.
    fn enter(&mut self, flags: Flags) -> Result<(), Error> {
        if self.frames.len() == DEPTH {
            return Err(Fault::Depth.at(self.pattern));
        }
        let inner = Frame { flags: self.flags, ..Frame::default() };
        self.frames.push(std::mem::replace(&mut self.frame, inner));
        self.flags = flags;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let Some(outer) = self.frames.pop() else {
            return Err(Fault::UnexpectedParenthesis.at(self.pattern));
        };
        self.advance(1);
        let inner = std::mem::replace(&mut self.frame, outer);
        self.flags = inner.flags;
        let piece = inner.end();
        self.frame.pieces.push(piece);
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, `(?flags)` and `(?flags:`.
    fn open_perl(&mut self) -> Result<(), Error> {
        let start = self.rest;
        for prefix in ["(?P<", "(?<"] {
            if start.starts_with(prefix) && (prefix == "(?<" || start.len() > prefix.len()) {
                let end = start.find('>').ok_or_else(|| Fault::Capture.at(start))?;
                let name = start.get(prefix.len()..end).unwrap_or_default();
                if name.is_empty() || !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
                    return Err(Fault::Capture.at(&start[..=end]));
                }
                self.advance(end + 1);
                return self.enter(self.flags);
            }
        }
        self.advance(2);
        let (mut flags, mut sets, mut is_told) = (self.flags, true, false);
        while let Some(next) = self.rest.chars().next() {
            self.advance(next.len_utf8());
            match next {
                'i' => flags.folds = sets,
                'm' => flags.multi_line = sets,
                's' => flags.dot_is_all = sets,
                'U' => flags.swaps_greed = sets,
                '-' if sets => {
                    (sets, is_told) = (false, false);
                    continue;
                }
                ':' | ')' if sets || is_told => {
                    if next == ':' {
                        return self.enter(flags);
                    }
                    self.flags = flags;
                    return Ok(());
                }
                _ => return Err(Fault::Perl.at(self.since(start))),
            }
            is_told = true;
        }
        Err(Fault::Perl.at(start))
    }

    fn escape(&mut self) -> Result<(), Error> {
        let start = self.rest;
        let next = start[1..].chars().next();
        match next {
            Some('A') => self.look(2, Look::Start),
            Some('z') => self.look(2, Look::End),
            Some('b') => self.look(2, Look::WordAscii),
            Some('B') => self.look(2, Look::WordAsciiNegate),
            Some('C') => return Err(Fault::Escape.at(&start[..2])),
            Some('Q') => {
                let (literal, rest) = start[2..].split_once(r"\E").unwrap_or((&start[2..], ""));
                literal.chars().for_each(|character| self.literal(character));
                self.rest = rest;
            }
            _ => match self.group()? {
                Some(class) => self.class(class),
                None => {
                    let number = self.character()?;
                    self.literal_number(number);
                }
            },
        }
        Ok(())
    }

    /// `\pL`, `\p{Greek}`, `\d` and the like, within brackets and without.
    fn group(&mut self) -> Result<Option<ClassUnicode>, Error> {
        let start = self.rest;
        let Some(letter) = start.strip_prefix('\\').and_then(|rest| rest.chars().next()) else {
            return Ok(None);
        };
        if let Some((class, negated)) = class::perl(letter) {
            self.advance(2);
            return Ok(Some(class::finished(class, self.flags.folds, negated)));
        }
        if !matches!(letter, 'p' | 'P') {
            return Ok(None);
        }
        let rest = &start[2..];
        let length = match rest.chars().next() {
            Some('{') => rest.find('}').map(|end| end + 1),
            Some(single) => Some(single.len_utf8()),
            None => None,
        };
        let length = length.ok_or_else(|| Fault::Range.at(start))?;
        let name = rest[..length].trim_start_matches('{').trim_end_matches('}');
        let (name, inverted) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        self.advance(2 + length);
        let class = class::unicode(name).ok_or_else(|| Fault::Range.at(self.since(start)))?;
        Ok(Some(class::finished(class, self.flags.folds, inverted != (letter == 'P'))))
    }

    /// The number of the character that an escape sequence stands for.
    fn character(&mut self) -> Result<u32, Error> {
        let start = self.rest;
        self.advance(1);
        let Some(next) = self.rest.chars().next() else {
            return Err(Fault::Backslash.at(""));
        };
        self.advance(next.len_utf8());
        let number = match next {
            '1'..='7' if !self.rest.starts_with(|c: char| ('0'..='7').contains(&c)) => None,
            '0'..='7' => {
                let digits = |c: &char| ('0'..='7').contains(c);
                let more: String = self.rest.chars().take(2).take_while(digits).collect();
                self.advance(more.len());
                u32::from_str_radix(&format!("{next}{more}"), 8).ok()
            }
            'x' => self.hexadecimal(),
            'a' => Some(7),
            'f' => Some(12),
            'n' => Some(10),
            'r' => Some(13),
            't' => Some(9),
            'v' => Some(11),
            other => (other.is_ascii() && !other.is_ascii_alphanumeric()).then_some(other as u32),
        };
        number.ok_or_else(|| Fault::Escape.at(self.since(start)))
    }

    /// `\xFF`, `\x{10FFFF}`: what comes after the letter.
    fn hexadecimal(&mut self) -> Option<u32> {
        let mut next = || {
            let next = self.rest.chars().next()?;
            self.rest = &self.rest[next.len_utf8()..];
            Some(next)
        };
        let first = next()?;
        if first != '{' {
            let second = next()?;
            return Some(first.to_digit(16)? * 16 + second.to_digit(16)?);
        }
        let mut number = None;
        loop {
            match next()? {
                '}' => return number,
                digit => {
                    let more = number.unwrap_or(0) * 16 + digit.to_digit(16)?;
                    number = Some(more).filter(|number| *number <= char::MAX as u32);
                    number?;
                }
            }
        }
    }

    /// `[a-z]`.
    fn bracket(&mut self) -> Result<(), Error> {
        let start = self.rest;
        self.advance(1);
        let negated = self.rest.starts_with('^');
        self.advance(usize::from(negated));
        let (mut class, mut first) = (ClassUnicode::empty(), true);
        while first || !self.rest.starts_with(']') {
            first = false;
            match self.named()? {
                Some(part) => class.union(&part),
                None => {
                    let (low, high) = self.range(start)?;
                    let part = scalars(low, high);
                    class.union(&class::finished(part, self.flags.folds, false));
                }
            }
        }
        self.advance(1);
        // Its parts are folded: what a negated part lacks must not come back.
        self.class(class::finished(class, false, negated));
        Ok(())
    }

    /// A named class within brackets.
    fn named(&mut self) -> Result<Option<ClassUnicode>, Error> {
        let Some(inner) = self.rest.strip_prefix("[:") else { return self.group() };
        let Some(end) = inner.find(":]") else { return Ok(None) };
        let name = &inner[..end];
        let (bare, negated) = name.strip_prefix('^').map_or((name, false), |bare| (bare, true));
        let class = class::posix(bare).ok_or_else(|| Fault::Range.at(&self.rest[..end + 4]))?;
        self.advance(end + 4);
        Ok(Some(class::finished(class, self.flags.folds, negated)))
    }

    /// One character, or a range of them.
    fn range(&mut self, whole: &'p str) -> Result<(u32, u32), Error> {
        let start = self.rest;
        let low = self.member(whole)?;
        let ranges = self.rest.len() >= 2 && self.rest.starts_with('-') && !self.rest.starts_with("-]");
        if !ranges {
            return Ok((low, low));
        }
        self.advance(1);
        let high = self.member(whole)?;
        if high < low {
            return Err(Fault::Range.at(self.since(start)));
        }
        Ok((low, high))
    }

    fn member(&mut self, whole: &'p str) -> Result<u32, Error> {
        match self.rest.chars().next() {
            None => Err(Fault::Bracket.at(whole)),
            Some('\\') => self.character(),
            Some(other) => {
                self.advance(other.len_utf8());
                Ok(other as u32)
            }
        }
    }
}

/// The characters between two numbers, without the surrogates among them.
fn scalars(low: u32, high: u32) -> ClassUnicode {
    let parts = [(low, high.min(0xd7ff)), (low.max(0xe000), high)];
    let ranges = parts.into_iter().filter(|(low, high)| low <= high);
    let ranges: Vec<(char, char)> =
        ranges.filter_map(|(low, high)| Some((char::from_u32(low)?, char::from_u32(high)?))).collect();
    class::of(&ranges)
}

/// `{2}`, `{2,}` and `{2,3}`: the counts, and the length of the text. Numbers that are too large to count are some that
/// are too large to repeat.
fn counts(text: &str) -> Option<(u32, Option<u32>, usize)> {
    let end = text.find('}')?;
    let inner = &text[1..end];
    let (min, max) = inner.split_once(',').map_or((inner, inner), |(min, max)| (min, max));
    let max = if max.is_empty() && inner.contains(',') { None } else { Some(count(max)?) };
    Some((count(min)?, max, end + 1))
}

fn count(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let leads_with_zero = text.len() > 1 && text.starts_with('0');
    (is_number && !leads_with_zero).then(|| text.parse().unwrap_or(u32::MAX))
}
