//! The parser of the table's text: the first passes declare names, so that order does not matter, the last fills
//! the types and resources in.
use super::Api;
use crate::defaults::{Plan, Rule};
use crate::gates::{Gate, Stage};
use crate::kind::{Group, GroupVersion, GroupVersionKind, Kind, Subresource};
use crate::schema::{Field, Lifecycle, ListType, SchemaError, Served, Shape, Special, Type, TypeId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

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

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

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

    fn gate(&mut self, name: &str, default: &str, stage: &str, flags: &[&str]) -> Line {
        let stage = match stage {
            "alpha" => Stage::Alpha,
            "beta" => Stage::Beta,
            "ga" => Stage::Ga,
            "deprecated" => Stage::Deprecated,
            _ => return Err(unknown(stage)),
        };
        let locked = match flags {
            [] => false,
            ["locked"] => true,
            _ => return Err(unknown(&flags.join(" "))),
        };
        if !matches!(default, "on" | "off") {
            return Err(unknown(default));
        }
        let name = self.intern(name);
        self.api.gates.insert(name, Gate { default: default == "on", stage, locked });
        Ok(())
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

    fn resource(&mut self, plural: &str, kind: &str, flags: &[&str]) -> Line {
        let gvk = GroupVersionKind {
            group: self.package.group.clone(),
            version: self.package.version.clone(),
            kind: self.intern(kind),
        };
        let Shape::Struct(ty) = self.resolve(kind)?.shape else { return Err(unknown(kind)) };
        let list = self.names.get(self.package.short).and_then(|names| names.get(&*format!("{kind}List")));
        let list = list.and_then(|n| n.shape.reference());
        let mut row = Kind {
            plural: self.intern(plural),
            singular: self.intern(&kind.to_lowercase()),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: false,
            verbs: Vec::new(),
            served_by_default: false,
            preferred: false,
            storage: None,
            storage_hash: Arc::default(),
            storage_resource: self.intern(plural),
            field_selectors: Vec::new(),
            field_selector_aliases: Vec::new(),
            create_on_update: false,
            unconditional_update: false,
            orphan_by_default: false,
            external: false,
            introduced: None,
            removed: None,
            subresources: Vec::new(),
            ty,
            list,
            gvk,
        };
        for flag in flags {
            self.resource_flag(&mut row, flag)?;
        }
        if !row.has_verb("list") {
            row.list = None;
        }
        self.api.kinds.push(row);
        Ok(())
    }

    fn resource_flag(&mut self, row: &mut Kind, flag: &str) -> Line {
        match parameter(flag) {
            ("namespaced", None) => row.namespaced = true,
            ("cluster", None) => row.namespaced = false,
            ("served", None) => row.served_by_default = true,
            ("preferred", None) => row.preferred = true,
            ("external", None) => row.external = true,
            ("singular", Some(name)) => row.singular = self.intern(name),
            ("short", Some(names)) => row.short_names = self.intern_all(names),
            ("categories", Some(names)) => row.categories = self.intern_all(names),
            ("crud", None) => row.verbs = VERBS.map(|v| self.intern(v)).to_vec(),
            ("verbs", Some(verbs)) => row.verbs = self.intern_all(verbs),
            ("stored", Some(stored)) => {
                let (hash, gvk) = stored.split_once(',').map_or((stored, None), |(h, g)| (h, Some(g)));
                row.storage_hash = self.intern(hash);
                row.storage = Some(gvk.map_or_else(|| Ok(row.gvk.clone()), |g| self.gvk(g))?);
            }
            ("upsert", None) => row.create_on_update = true,
            ("unconditional", None) => row.unconditional_update = true,
            ("orphan", None) => row.orphan_by_default = true,
            ("select", Some("")) => {
                row.field_selectors = self.intern_all("metadata.name,metadata.namespace");
            }
            ("select", Some(labels)) => row.field_selectors = self.intern_all(labels),
            ("aliases", Some(pairs)) => {
                for pair in pairs.split(',') {
                    let (from, to) = pair.split_once('=').ok_or_else(|| unknown(flag))?;
                    row.field_selector_aliases.push((self.intern(from), self.intern(to)));
                }
            }
            ("since", Some(v)) => row.introduced = Some(self.intern(v)),
            ("removed", Some(v)) => row.removed = Some(self.intern(v)),
            _ => return Err(unknown(flag)),
        }
        Ok(())
    }

    fn subresource(&mut self, name: &str, kind: &str, verbs: &[&str]) -> Line {
        let Shape::Struct(ty) = self.resolve(kind)?.shape else { return Err(unknown(kind)) };
        let verbs = verbs.iter().map(|v| self.intern(v)).collect();
        let (name, unset) = (self.intern(name), GroupVersionKind::new("", "", ""));
        let row = self.api.kinds.last_mut().ok_or("a subresource without a resource")?;
        // The type's identity is known only when its own line has been read.
        row.subresources.push(Subresource { name, gvk: unset, verbs, ty });
        Ok(())
    }

    fn group(&mut self, name: &str, flags: &[&str]) -> Line {
        let name = if name == "core" { "" } else { name };
        let mut group = Group { name: self.intern(name), preferred_version: None, versions: Vec::new() };
        for flag in flags {
            match parameter(flag) {
                ("preferred", Some(v)) => group.preferred_version = Some(self.intern(v)),
                _ => return Err(unknown(flag)),
            }
        }
        self.groups.push(group);
        Ok(())
    }

    fn version(&mut self, version: &str, flags: &[&str]) -> Line {
        let mut row =
            GroupVersion { version: self.intern(version), served_by_default: false, priority: None };
        for flag in flags {
            match parameter(flag) {
                ("served", None) => row.served_by_default = true,
                ("priority", Some(pair)) => {
                    let (group, version) = pair.split_once(',').ok_or_else(|| unknown(flag))?;
                    let number = |s: &str| s.parse().map_err(|_| unknown(flag));
                    row.priority = Some((number(group)?, number(version)?));
                }
                _ => return Err(unknown(flag)),
            }
        }
        self.groups.last_mut().ok_or("a version outside of a group")?.versions.push(row);
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

/// Splits at blanks that are not within parentheses or double quotes.
fn split<'a>(line: &'a str, words: &mut Vec<&'a str>) {
    let (mut start, mut depth, mut quoted) = (None, 0usize, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'"' => quoted = !quoted,
            _ => {}
        }
        match (byte, start) {
            (b' ', Some(from)) if depth == 0 && !quoted => {
                words.push(&line[from..at]);
                start = None;
            }
            (b' ', _) => {}
            (_, None) => start = Some(at),
            _ => {}
        }
    }
    if let Some(from) = start {
        words.push(&line[from..]);
    }
}

/// `word(text)` as word and text, a plain word as itself.
pub(crate) fn parameter(flag: &str) -> (&str, Option<&str>) {
    flag.strip_suffix(')').and_then(|f| f.split_once('(')).map_or((flag, None), |(w, p)| (w, Some(p)))
}

pub(crate) fn unknown(word: &str) -> String {
    format!("not understood: {word}")
}

fn served(word: &str) -> Option<Served> {
    match word {
        "served" => Some(Served::ByDefault),
        "off" => Some(Served::OnRequest),
        "never" => Some(Served::Never),
        _ => None,
    }
}

fn base(name: &str) -> Option<Shape> {
    Some(match name {
        "string" => Shape::String,
        "bool" => Shape::Bool,
        "int32" => Shape::Int32,
        "int64" => Shape::Int64,
        "float64" => Shape::Float64,
        "bytes" => Shape::Bytes,
        "Time" => Shape::Special(Special::Time),
        "MicroTime" => Shape::Special(Special::MicroTime),
        "Duration" => Shape::Special(Special::Duration),
        "Quantity" => Shape::Special(Special::Quantity),
        "IntOrString" => Shape::Special(Special::IntOrString),
        "FieldsV1" => Shape::Special(Special::FieldsV1),
        "RawExtension" => Shape::Special(Special::RawExtension),
        "JSON" => Shape::Special(Special::Json),
        "any" => Shape::Special(Special::Any),
        _ => return None,
    })
}
