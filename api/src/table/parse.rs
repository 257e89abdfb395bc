//! The parser of the table's text: the first passes declare names, so that order does not matter, the last fills
//! the types and resources in.
mod resources;
mod words;

use super::Api;
use crate::defaults::{Plan, Rule};
use crate::kind::{Group, GroupVersionKind};
use crate::schema::{Field, Lifecycle, ListType, SchemaError, Served, Shape, Special, Type, TypeId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use words::{base, served, split};

pub(crate) use words::{parameter, unknown};

/// Why a table cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A line that the language does not allow, or a name nobody declares.
    #[error("{file}.kt:{line}: {message}")]
    Line {
        /// File without its ending.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The types do not hold together.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A default names a member or function that is not there.
    #[error("{0}")]
    Defaults(String),
}

/// Reads all files into one [`Api`].
pub(super) fn parse<'t>(files: &[(&'t str, &'t str)]) -> Result<Api, TableError> {
    let mut parser = Parser::default();
    for step in [Parser::declare, Parser::wrappers, Parser::aliases] {
        parser.pass(files, false, step)?;
    }
    parser.pass(files, true, Parser::define)?;
    parser.finish()
}

/// What a name stands for.
#[derive(Clone)]
struct Named {
    shape: Shape,
    alias: Option<Arc<str>>,
    enumeration: Arc<[Arc<str>]>,
    wrapped: bool,
}

impl Named {
    fn plain(shape: Shape) -> Self {
        Self { shape, alias: None, enumeration: Arc::default(), wrapped: false }
    }
}

/// The package that the lines below it belong to.
#[derive(Clone, Default)]
struct Package<'t> {
    short: &'t str,
    full: Arc<str>,
    group: Arc<str>,
    version: Arc<str>,
    proto: Option<Arc<str>>,
    served: Served,
}

#[derive(Default)]
struct Parser<'t> {
    strings: HashSet<Arc<str>>,
    api: Api,
    /// Package `core.v1` and name `Pod` to what it is.
    names: HashMap<&'t str, HashMap<&'t str, Named>>,
    package: Package<'t>,
    current_type: Option<TypeId>,
    /// The type whose defaults the lines below set.
    defaulted: Option<TypeId>,
    groups: Vec<Group>,
    rules: Vec<(TypeId, Rule)>,
}

type Line<T = ()> = Result<T, String>;

impl<'t> Parser<'t> {
    /// Goes through all lines; only the last step needs the indented ones.
    fn pass(
        &mut self,
        files: &[(&'t str, &'t str)],
        indented: bool,
        step: fn(&mut Self, &[&'t str]) -> Line,
    ) -> Result<(), TableError> {
        let mut words = Vec::new();
        for (file, text) in files {
            self.package = Package::default();
            self.defaulted = None;
            for (number, line) in text.lines().enumerate() {
                let inner = line.starts_with(' ');
                if line.is_empty() || line.starts_with('#') || (inner && !indented) {
                    continue;
                }
                words.clear();
                if inner {
                    words.push("");
                }
                split(line, &mut words);
                step(self, &words).map_err(|message| TableError::Line {
                    file: (*file).to_owned(),
                    line: number + 1,
                    message,
                })?;
            }
        }
        Ok(())
    }

    fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.strings.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.strings.insert(new.clone());
        new
    }

    fn intern_all(&mut self, list: &str) -> Vec<Arc<str>> {
        list.split(',').filter(|s| !s.is_empty()).map(|s| self.intern(s)).collect()
    }

    /// First pass: the names of all types.
    fn declare(&mut self, words: &[&'t str]) -> Line {
        match words {
            ["package", rest @ ..] => self.open_package(rest),
            ["type", name, ..] => {
                let ty = Type { name: self.full_name(name), ..Type::default() };
                if self.api.schema.find(&ty.name).is_some() {
                    return Err(format!("{} is declared twice", ty.name));
                }
                let id = self.api.schema.add(ty);
                self.name(name, Named::plain(Shape::Struct(id)))
            }
            _ => Ok(()),
        }
    }

    /// Second pass: forms of types.
    fn wrappers(&mut self, words: &[&'t str]) -> Line {
        match words {
            ["package", rest @ ..] => self.open_package(rest),
            ["wrapper", name, "=", ty] => {
                let shape = self.resolve(ty)?.shape;
                self.name(name, Named { wrapped: true, ..Named::plain(shape) })
            }
            ["special", name, "=", form] => self.special(name, form),
            _ => Ok(()),
        }
    }

    /// Third pass: aliases of all these.
    fn aliases(&mut self, words: &[&'t str]) -> Line {
        match words {
            ["package", rest @ ..] => self.open_package(rest),
            ["alias", name, "=", ty, flags @ ..] => self.alias(name, ty, flags),
            _ => Ok(()),
        }
    }

    fn define(&mut self, words: &[&'t str]) -> Line {
        match words {
            ["package", rest @ ..] => self.open_package(rest),
            ["alias" | "wrapper" | "special", _, "=", ..] => Ok(()),
            ["gate", name, default, stage, flags @ ..] => self.gate(name, default, stage, flags),
            ["defaults", ty] => {
                self.defaulted = Some(self.struct_of(ty)?);
                Ok(())
            }
            ["", rule @ ..] if self.defaulted.is_some() => self.rule(rule),
            ["type", name, flags @ ..] => self.open_type(name, flags),
            ["resource", plural, kind, flags @ ..] => self.resource(plural, kind, flags),
            ["", "sub", name, kind, verbs @ ..] => self.subresource(name, kind, verbs),
            ["group", name, flags @ ..] => self.group(name, flags),
            ["", "version", version, flags @ ..] => self.version(version, flags),
            ["", name, number, ty, flags @ ..] => self.field(name, number, ty, flags),
            _ => Err(format!("not understood: {}", words.join(" "))),
        }
    }

    fn full_name(&mut self, name: &str) -> Arc<str> {
        let full = format!("{}.{name}", self.package.full);
        self.intern(&full)
    }

    fn name(&mut self, name: &'t str, named: Named) -> Line {
        self.names.entry(self.package.short).or_default().insert(name, named);
        Ok(())
    }

    fn open_package(&mut self, words: &[&'t str]) -> Line {
        let [short, full, flags @ ..] = words else { return Err("a package needs two names".into()) };
        let mut package = Package { short, full: self.intern(full), ..Package::default() };
        for flag in flags {
            match parameter(flag) {
                ("group", Some(v)) => package.group = self.intern(v),
                ("version", Some(v)) => package.version = self.intern(v),
                ("proto", Some(v)) => package.proto = Some(self.intern(v)),
                (word, None) => package.served = served(word).ok_or_else(|| unknown(flag))?,
                _ => return Err(unknown(flag)),
            }
        }
        self.package = package;
        self.current_type = None;
        self.defaulted = None;
        Ok(())
    }

    fn struct_of(&self, name: &str) -> Line<TypeId> {
        match self.resolve(name)?.shape {
            Shape::Struct(id) => Ok(id),
            _ => Err(format!("{name} is no struct")),
        }
    }

    /// A line of a type's defaults.
    fn rule(&mut self, words: &[&str]) -> Line {
        let ty = self.defaulted.ok_or("a rule outside of a type's defaults")?;
        if let ["as", other] = words {
            let same = self.struct_of(other)?;
            let rules: Vec<Rule> =
                self.rules.iter().filter(|(t, _)| *t == same).map(|(_, r)| r.clone()).collect();
            if rules.is_empty() {
                return Err(format!("{other} has no defaults"));
            }
            self.rules.extend(rules.into_iter().map(|r| (ty, r)));
            return Ok(());
        }
        let rule = Rule::parse(words)?;
        self.rules.push((ty, rule));
        Ok(())
    }

    fn alias(&mut self, name: &'t str, ty: &str, flags: &[&str]) -> Line {
        let mut named = self.resolve(ty)?;
        let version = self.package.full.rsplit('.').next().unwrap_or_default().to_owned();
        named.alias = Some(self.intern(&format!("{version}.{name}")));
        for flag in flags {
            match parameter(flag) {
                ("enum", Some(values)) => {
                    named.enumeration = values.split(',').map(|v| self.intern(v)).collect();
                }
                _ => return Err(unknown(flag)),
            }
        }
        self.name(name, named)
    }

    fn special(&mut self, name: &'t str, form: &str) -> Line {
        let (form, Some(inner)) = parameter(form) else { return Err(unknown(form)) };
        let Shape::Struct(id) = self.resolve(inner)?.shape else {
            return Err(format!("{inner} is no struct"));
        };
        let special = match form {
            "schema-or-bool" => Special::SchemaOrBool(id),
            "schema-or-array" => Special::SchemaOrArray(id),
            "schema-or-strings" => Special::SchemaOrStrings(id),
            _ => return Err(unknown(form)),
        };
        self.name(name, Named::plain(Shape::Special(special)))
    }

    /// A type expression: a base type, a name of this package or of another (`core.v1.Pod`), or a list or map
    /// of one.
    fn resolve(&self, ty: &str) -> Line<Named> {
        if let Some(item) = ty.strip_prefix("[]") {
            let item = self.resolve(item)?;
            return Ok(Named { shape: Shape::List(Box::new(item.shape)), alias: None, ..item });
        }
        if let Some(item) = ty.strip_prefix("map[string]") {
            let item = self.resolve(item)?;
            return Ok(Named { shape: Shape::Map(Box::new(item.shape)), alias: None, ..item });
        }
        if let Some(shape) = base(ty) {
            return Ok(Named::plain(shape));
        }
        let found = match ty.rsplit_once('.') {
            None => self.names.get(self.package.short).and_then(|names| names.get(ty)),
            Some((package, name)) => self.names.get(package).and_then(|names| names.get(name)),
        };
        found.cloned().ok_or_else(|| format!("there is no type {ty}"))
    }

    fn open_type(&mut self, name: &str, flags: &[&str]) -> Line {
        let full = self.full_name(name);
        let id = self.api.schema.find(&full).ok_or_else(|| format!("there is no type {full}"))?;
        let mut ty = Type { name: full, served: self.package.served, ..Type::default() };
        if let Some(package) = self.package.proto.clone() {
            ty.proto = Some(self.intern(&format!("{package}.{name}")));
        }
        let (mut group, mut version) = (self.package.group.clone(), self.package.version.clone());
        let mut life = Lifecycle::default();
        for flag in flags {
            match parameter(flag) {
                ("kind", None) => ty.has_type_meta = true,
                ("nopb", None) => ty.proto = None,
                ("atomic", None) => ty.atomic = true,
                ("union", None) => ty.union = true,
                ("in", Some("*")) => (group, version) = (self.intern("*"), self.intern("*")),
                ("in", Some(gv)) => {
                    let (g, v) = gv.split_once('/').ok_or_else(|| unknown(flag))?;
                    (group, version) = (self.intern(g), self.intern(v));
                }
                ("since", Some(v)) => life.introduced = Some(self.intern(v)),
                ("deprecated", Some(v)) => life.deprecated = Some(self.intern(v)),
                ("removed", Some(v)) => life.removed = Some(self.intern(v)),
                ("use", Some(gvk)) => life.replacement = Some(self.gvk(gvk)?),
                (word, None) => ty.served = served(word).ok_or_else(|| unknown(flag))?,
                _ => return Err(unknown(flag)),
            }
        }
        if life != Lifecycle::default() {
            ty.lifecycle = Some(Box::new(life));
        }
        if ty.has_type_meta {
            let gvk = GroupVersionKind { group, version, kind: self.intern(name) };
            if self.api.by_gvk.insert(gvk.clone(), id).is_some() {
                return Err(format!("two types are {gvk:?}"));
            }
            ty.gvk = Some(gvk);
        }
        self.api.schema.types[id.0 as usize] = ty;
        self.current_type = Some(id);
        Ok(())
    }

    fn gvk(&mut self, text: &str) -> Line<GroupVersionKind> {
        let mut parts = text.split('/');
        let (Some(group), Some(version), Some(kind), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(format!("{text} is no group/version/Kind"));
        };
        Ok(GroupVersionKind {
            group: self.intern(group),
            version: self.intern(version),
            kind: self.intern(kind),
        })
    }

    fn field(&mut self, name: &str, number: &str, ty: &str, flags: &[&str]) -> Line {
        let id = self.current_type.ok_or("a field outside of a type")?;
        let bare = name.trim_end_matches(['?', '!']);
        let marks = &name[bare.len()..];
        let (pointer, ty) = ty.strip_prefix('*').map_or((false, ty), |t| (true, t));
        let named = self.resolve(ty)?;
        let json_name = if matches!(bare, "&" | "~") { "" } else { bare };
        let mut field = Field {
            alias: named.alias,
            enumeration: named.enumeration,
            wrapped: named.wrapped,
            number: if number == "-" { 0 } else { number.parse().map_err(|_| unknown(number))? },
            pointer,
            omit_empty: marks.contains('?'),
            required: marks.contains('!'),
            inline: bare == "&",
            ..Field::new(self.intern(json_name), named.shape)
        };
        for flag in flags {
            self.field_flag(&mut field, flag)?;
        }
        self.api.schema.types[id.0 as usize].fields.push(field);
        Ok(())
    }

    fn field_flag(&mut self, field: &mut Field, flag: &str) -> Line {
        let whole = matches!(field.shape, Shape::Map(_) | Shape::Struct(_));
        match parameter(flag) {
            ("omitzero", None) => field.omit_zero = true,
            ("atomic", None) if whole => field.atomic = true,
            ("atomic", None) => field.list_type_marked = true,
            ("granular", None) => field.granular = true,
            ("set", None) => (field.list_type, field.list_type_marked) = (ListType::Set, true),
            ("map", Some(keys)) => {
                (field.list_type, field.list_type_marked) = (ListType::Map, true);
                field.list_keys = self.intern_all(keys);
            }
            ("merge", Some(key)) => {
                field.patch.merge = true;
                field.patch_key = (!key.is_empty()).then(|| self.intern(key));
            }
            ("mergekey", Some(key)) => field.patch_key = Some(self.intern(key)),
            ("retainkeys", None) => field.patch.retain_keys = true,
            ("replace", None) => field.patch.replace = true,
            ("default", Some(json)) => {
                let value = serde_json::from_str(json).map_err(|e| format!("{json}: {e}"))?;
                field.default = Some(value);
            }
            ("discriminator", None) => field.discriminator = true,
            ("gates", Some(gates)) => field.gates = self.intern_all(gates),
            _ => return Err(unknown(flag)),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Api, TableError> {
        self.api.schema.index()?;
        self.api.groups = self.groups;
        self.api.defaults = Plan::compile(&self.api.schema, &self.rules).map_err(TableError::Defaults)?;
        let schema = &self.api.schema;
        for kind in &mut self.api.kinds {
            for sub in &mut kind.subresources {
                if let Some(gvk) = &schema.get(sub.ty).gvk {
                    sub.gvk = gvk.clone();
                }
            }
        }
        let groups = &self.api.groups;
        let place = |gvk: &GroupVersionKind| {
            let at = groups.iter().position(|g| g.name == gvk.group).unwrap_or(groups.len());
            let version =
                groups.get(at).and_then(|g| g.versions.iter().position(|v| v.version == gvk.version));
            (at, version)
        };
        self.api.kinds.sort_by(|a, b| (place(&a.gvk), &a.plural).cmp(&(place(&b.gvk), &b.plural)));
        Ok(self.api)
    }
}
