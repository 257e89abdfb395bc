//! Parser events to [`Value`]s.
use super::faults;
use super::resolve::{Plain, resolve, to_value};
use crate::json::{self, DecodeError, StrictError};
use crate::{Object, Value, go_text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use std::collections::HashMap;

/// Deepest nesting, as with JSON.
const MAX_DEPTH: usize = 127;
/// Most values of a text, those that aliases repeat included.
const MAX_VALUES: usize = 1_000_000;

/// Reads up to `most` documents.
pub(super) fn documents(
    text: &str,
    strict: &mut Vec<StrictError>,
    most: usize,
) -> Result<Vec<Value>, DecodeError> {
    let mut reader =
        Reader { text, events: Parser::new_from_str(text), anchors: HashMap::new(), values: 0, strict };
    let mut out = Vec::new();
    while out.len() < most {
        match reader.next()? {
            Some((Event::DocumentStart(..), _)) => {
                reader.anchors.clear();
                let (first, span) = reader.expect()?;
                out.push(reader.node(first, span, 0)?);
                // Up to the end of the document, where more of it than there may be is noticed.
                reader.next()?;
            }
            Some((Event::StreamEnd, _)) | None => break,
            Some(_) => {}
        }
    }
    Ok(out)
}

struct Reader<'i, 's, I: Iterator<Item = Result<(Event<'i>, Span), ScanError>>> {
    text: &'s str,
    events: I,
    anchors: HashMap<usize, (Value, usize)>,
    values: usize,
    strict: &'s mut Vec<StrictError>,
}

impl<'i, I: Iterator<Item = Result<(Event<'i>, Span), ScanError>>> Reader<'i, '_, I> {
    /// The next event that says something of the data: comments do not.
    fn next(&mut self) -> Result<Option<(Event<'i>, Span)>, DecodeError> {
        let said =
            |event: &Result<(Event<'_>, Span), ScanError>| !matches!(event, Ok((Event::Comment(..), _)));
        self.events.find(said).transpose().map_err(|e| DecodeError::Syntax(faults::told(self.text, &e)))
    }

    fn expect(&mut self) -> Result<(Event<'i>, Span), DecodeError> {
        self.next()?.ok_or_else(|| DecodeError::Syntax("yaml: unexpected end of the text".to_owned()))
    }

    fn count(&mut self, values: usize) -> Result<(), DecodeError> {
        self.values += values;
        if self.values > MAX_VALUES {
            return Err(DecodeError::Syntax("yaml: document contains excessive aliasing".to_owned()));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'i>, span: Span, depth: usize) -> Result<Value, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(deep());
        }
        self.count(1)?;
        let before = self.values;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref())?, anchor),
            Event::SequenceStart(_, anchor, _) => (self.sequence(depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.mapping(depth)?, anchor),
            Event::Alias(anchor) => {
                let (value, size) =
                    self.anchors.get(&anchor).cloned().ok_or_else(|| syntax(span, "unknown anchor"))?;
                self.count(size)?;
                // Aliases of what holds aliases are as deep as they are many.
                if json::is_deeper(&value, MAX_DEPTH.saturating_sub(depth)) {
                    return Err(deep());
                }
                return Ok(value);
            }
            _ => return Err(syntax(span, "did not find expected node content")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), 1 + self.values - before));
        }
        Ok(value)
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let mut items = Vec::new();
        loop {
            match self.expect()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let (mut own, mut merged) = (Object::new(), Vec::new());
        loop {
            let (event, span) = self.expect()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let merge =
                matches!(&event, Event::Scalar(t, ScalarStyle::Plain, _, _) if resolve(t) == Plain::Merge);
            let key = self.node(event, span, depth + 1)?;
            let (event, value_span) = self.expect()?;
            let value = self.node(event, value_span, depth + 1)?;
            if merge {
                merged.push(value);
                continue;
            }
            let key = key_text(key, &value)?;
            if own.contains_key(&key) {
                let fault = StrictError::Yaml { line: span.start.line(), key: key.clone() };
                json::report(self.strict, fault);
            }
            own.insert(key, value);
        }
        for value in merged {
            merge_into(&mut own, value).ok_or_else(|| {
                DecodeError::Syntax(
                    "yaml: map merge requires map or sequence of maps as the value".to_owned(),
                )
            })?;
        }
        Ok(Value::Object(own))
    }
}

/// Adds the members of a merge key's value that are not there yet.
fn merge_into(own: &mut Object, value: Value) -> Option<()> {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                own.entry(key).or_insert(value);
            }
        }
        Value::Array(maps) => {
            for map in maps {
                merge_into(own, map)?;
            }
        }
        _ => return None,
    }
    Some(())
}

/// The member's name that a key becomes.
fn key_text(key: Value, value: &Value) -> Result<String, DecodeError> {
    match key {
        Value::String(text) => Ok(text),
        Value::Bool(b) => Ok(b.to_string()),
        Value::Number(n) => Ok(n.to_string()),
        Value::Null => {
            let value = go_text::literal(value);
            let fault = format!("unsupported map key of type: %!s(<nil>), key: <nil>, value: {value}");
            Err(DecodeError::Syntax(fault))
        }
        Value::Array(_) | Value::Object(_) => {
            let key = go_text::literal(&key).replace("map[string]", "map[interface {}]");
            Err(DecodeError::Syntax(format!("yaml: invalid map key: {key}")))
        }
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, DecodeError> {
    let core = tag.map(ToString::to_string).unwrap_or_default();
    let core = core.rsplit([':', '!']).next().unwrap_or_default();
    match core {
        "str" => Ok(Value::from(text)),
        "binary" => {
            let compact: String = text.split_whitespace().collect();
            let bytes = STANDARD.decode(compact).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let fault = "yaml: !!binary value contains invalid base64 data";
            bytes.map(Value::from).ok_or_else(|| DecodeError::Syntax(fault.to_owned()))
        }
        "int" | "float" | "bool" | "null" => {
            let (value, is) = (plain(text)?, resolve(text).tag());
            if is == core || (is, core) == ("int", "float") {
                return Ok(value);
            }
            Err(DecodeError::Syntax(format!("yaml: cannot decode !!{is} `{text}` as a !!{core}")))
        }
        _ if style == ScalarStyle::Plain => plain(text),
        _ => Ok(Value::from(text)),
    }
}

/// The value of a plain scalar; JSON has none for what is no number.
fn plain(text: &str) -> Result<Value, DecodeError> {
    let not_finite = || match text.trim_start_matches(['+', '-']) {
        infinite if infinite.to_lowercase() == ".inf" && text.starts_with('-') => "-Inf",
        infinite if infinite.to_lowercase() == ".inf" => "+Inf",
        _ => "NaN",
    };
    to_value(text).ok_or_else(|| DecodeError::Syntax(format!("json: unsupported value: {}", not_finite())))
}

fn deep() -> DecodeError {
    DecodeError::Syntax("yaml: exceeded max depth".to_owned())
}

fn syntax(span: Span, text: &str) -> DecodeError {
    DecodeError::Syntax(format!("yaml: line {}: {text}", span.start.line()))
}
