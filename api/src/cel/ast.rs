//! The tree of an expression, with macros expanded as the original's parser expands them.

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `null`.
    Null,
    /// `true`.
    Bool(bool),
    /// `1`.
    Int(i64),
    /// `1u`.
    Uint(u64),
    /// `1.0`.
    Double(f64),
    /// `'a'`.
    String(std::sync::Arc<str>),
    /// `b'a'`.
    Bytes(std::sync::Arc<[u8]>),
}

/// A node; its number is an index into the positions and into what the checker finds out.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// Number, unique in the expression.
    pub id: usize,
    /// What it is.
    pub kind: Kind,
}

/// An entry of a map or object literal.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<K> {
    /// Where faults of the entry are shown.
    pub id: usize,
    /// Key or field.
    pub key: K,
    /// Value.
    pub value: Expr,
    /// `?key: value`: left out when the value is none.
    pub optional: bool,
}

/// A fold over a list or the keys of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Fold {
    /// What is walked.
    pub range: Expr,
    /// The item of a list, the key of a map; with `second` the index or key.
    pub variable: String,
    /// The value.
    pub second: Option<String>,
    /// The name of what is carried on.
    pub accumulator: String,
    /// What it is at first.
    pub init: Expr,
    /// Whether to go on.
    pub condition: Expr,
    /// What it is next.
    pub step: Expr,
    /// What the fold is.
    pub result: Expr,
}

/// The kinds of nodes.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A literal.
    Literal(Literal),
    /// A name.
    Ident(String),
    /// `operand.field`; with `test` whether it is there.
    Select {
        /// The object.
        operand: Box<Expr>,
        /// The field.
        field: String,
        /// `has(operand.field)`.
        test: bool,
    },
    /// A call.
    Call {
        /// The function; operators have names like `_+_`.
        function: String,
        /// What stands before the dot.
        target: Option<Box<Expr>>,
        /// The arguments.
        args: Vec<Expr>,
    },
    /// `[a, ?b]`.
    List {
        /// The items.
        items: Vec<Expr>,
        /// Indices of those with a question mark.
        optional: Vec<usize>,
    },
    /// `{a: b}`.
    Map(Vec<Entry<Expr>>),
    /// `Name{a: b}`.
    Struct {
        /// The type.
        name: String,
        /// The fields.
        fields: Vec<Entry<String>>,
    },
    /// What macros expand to.
    Fold(Box<Fold>),
}

impl Expr {
    /// The name that identifiers joined by dots spell.
    pub fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.clone()),
            Kind::Select { operand, field, test: false } => {
                Some(format!("{}.{field}", operand.qualified_name()?))
            }
            _ => None,
        }
    }

    /// Calls `visit` for this node and all below it.
    pub fn walk<'e>(&'e self, visit: &mut dyn FnMut(&'e Self)) {
        visit(self);
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => operand.walk(visit),
            Kind::Call { target, args, .. } => {
                target.iter().for_each(|target| target.walk(visit));
                args.iter().for_each(|arg| arg.walk(visit));
            }
            Kind::List { items, .. } => items.iter().for_each(|item| item.walk(visit)),
            Kind::Map(entries) => entries.iter().for_each(|entry| {
                entry.key.walk(visit);
                entry.value.walk(visit);
            }),
            Kind::Struct { fields, .. } => fields.iter().for_each(|field| field.value.walk(visit)),
            Kind::Fold(fold) => {
                for part in [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result] {
                    part.walk(visit);
                }
            }
        }
    }
}
