//! The place within a document, kept on the stack and worded only when an error needs it.
use crate::schema::Type;

/// One step into a document.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    parent: Option<&'a Frame<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    /// A key of a map, which type errors do not name.
    Entry(&'a str),
    Index(usize),
}

impl<'a> Frame<'a> {
    /// The document itself.
    pub(super) fn root() -> Self {
        Self { parent: None, step: Step::Root }
    }

    /// A member.
    pub(super) fn key<'b>(&'b self, name: &'b str) -> Frame<'b>
    where
        'a: 'b,
    {
        Frame { parent: Some(self), step: Step::Key(name) }
    }

    /// A value of a map.
    pub(super) fn entry<'b>(&'b self, name: &'b str) -> Frame<'b>
    where
        'a: 'b,
    {
        Frame { parent: Some(self), step: Step::Entry(name) }
    }

    /// A list item.
    pub(super) fn index<'b>(&'b self, at: usize) -> Frame<'b>
    where
        'a: 'b,
    {
        Frame { parent: Some(self), step: Step::Index(at) }
    }

    fn write(&self, whole: bool, out: &mut String) {
        if let Some(parent) = self.parent {
            parent.write(whole, out);
        }
        match self.step {
            Step::Entry(_) if !whole => {}
            Step::Key(name) | Step::Entry(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Step::Index(at) if whole => out.push_str(&format!("[{at}]")),
            Step::Root | Step::Index(_) => {}
        }
    }

    /// `spec.containers[0].name`.
    pub(super) fn full(&self) -> String {
        let mut out = String::new();
        self.write(true, &mut out);
        out
    }

    /// The way Go words a place in type errors, without indexes and keys of maps: `spec.containers.name`.
    pub(super) fn members(&self) -> String {
        let mut out = String::new();
        self.write(false, &mut out);
        out
    }
}

/// Where a type error happened, as Go words it: ` struct field PodSpec.spec.containers`, or ` value`.
pub(super) fn place(owner: Option<&Type>, path: &Frame<'_>) -> String {
    match owner {
        Some(owner) => format!("struct field {}.{}", owner.short_name(), path.members()),
        None => "value".to_owned(),
    }
}
