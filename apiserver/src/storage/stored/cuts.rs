//! Finds the cut points of a canonical body in one pass over its bytes.

/// Offsets into a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cuts {
    /// First byte after `"kind":…,"apiVersion":…,`; 0 where those two do not lead.
    pub items: u32,
    /// The `{` of metadata.
    pub metadata: u32,
    /// Where the resourceVersion member belongs: at the next member's quote or at the closing brace.
    pub hole: u32,
    /// After the `}` of metadata.
    pub metadata_end: u32,
}

impl Cuts {
    /// Scans a compact JSON object; the error says what is missing.
    pub fn find(body: &[u8]) -> Result<Self, &'static str> {
        if u32::try_from(body.len()).is_err() {
            return Err("longer than 4 GiB");
        }
        let (mut items, mut leading, mut struct_order) = (0, 0, false);
        let mut at = open(body, 0)?;
        for nth in 0.. {
            let Some(member) = Member::read(body, at)? else { break };
            match member.name {
                b"kind" | b"apiVersion" => {
                    struct_order |= nth == 0 && member.name == b"kind";
                    leading += usize::from(nth < 2);
                    if nth == 1 && leading == 2 {
                        items = member.next as u32;
                    }
                }
                b"metadata" => {
                    let (hole, end) = hole(body, member.value, struct_order)?;
                    if end != member.end {
                        return Err("metadata ends early");
                    }
                    let (metadata, hole) = (member.value as u32, hole as u32);
                    return Ok(Self { items, metadata, hole, metadata_end: end as u32 });
                }
                _ => {}
            }
            at = member.next;
        }
        Err("no metadata")
    }
}

/// Members before resourceVersion in the order of Go's `ObjectMeta`.
const BEFORE: [&[u8]; 5] = [b"name", b"generateName", b"namespace", b"selfLink", b"uid"];

/// The hole and the end of the metadata object at `start`.
fn hole(body: &[u8], start: usize, struct_order: bool) -> Result<(usize, usize), &'static str> {
    let (mut at, mut hole) = (open(body, start)?, None);
    while let Some(member) = Member::read(body, at)? {
        if member.name == b"resourceVersion" {
            return Err("has a resourceVersion");
        }
        let before =
            if struct_order { BEFORE.contains(&member.name) } else { member.name < &b"resourceVersion"[..] };
        if hole.is_none() && !before {
            hole = Some(at);
        }
        at = member.next;
    }
    Ok((hole.unwrap_or(at), at + 1))
}

fn open(body: &[u8], at: usize) -> Result<usize, &'static str> {
    if body.get(at) == Some(&b'{') { Ok(at + 1) } else { Err("not an object") }
}

/// One member of an object.
struct Member<'a> {
    name: &'a [u8],
    value: usize,
    end: usize,
    /// The next member's quote, or the closing brace.
    next: usize,
}

impl<'a> Member<'a> {
    /// The member at `at`; none at the closing brace.
    fn read(body: &'a [u8], at: usize) -> Result<Option<Self>, &'static str> {
        if body.get(at) == Some(&b'}') {
            return Ok(None);
        }
        let name_end = string(body, at)?;
        if body.get(name_end) != Some(&b':') {
            return Err("a member without value");
        }
        let end = value(body, name_end + 1)?;
        let next = match body.get(end) {
            Some(b',') => end + 1,
            Some(b'}') => end,
            _ => return Err("an object without end"),
        };
        Ok(Some(Self { name: &body[at + 1..name_end - 1], value: name_end + 1, end, next }))
    }
}

/// The end of the string whose quote is at `at`.
fn string(body: &[u8], at: usize) -> Result<usize, &'static str> {
    if body.get(at) != Some(&b'"') {
        return Err("not compact JSON");
    }
    let mut at = at + 1;
    loop {
        match body.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return Err("a string without end"),
        }
    }
}

/// The end of the value at `start`.
fn value(body: &[u8], start: usize) -> Result<usize, &'static str> {
    let (mut at, mut depth) = (start, 0_usize);
    loop {
        match body.get(at) {
            Some(b'"') => at = string(body, at)?,
            Some(b'{' | b'[') => {
                depth += 1;
                at += 1;
                continue;
            }
            Some(b'}' | b']') if depth > 0 => {
                depth -= 1;
                at += 1;
            }
            Some(b',' | b':') if depth > 0 => {
                at += 1;
                continue;
            }
            Some(b',' | b'}' | b']' | b':') | None => return Err("a value is missing"),
            Some(_) => {
                while body.get(at).is_some_and(|b| !matches!(b, b',' | b'}' | b']')) {
                    at += 1;
                }
            }
        }
        if depth == 0 {
            return Ok(at);
        }
    }
}
