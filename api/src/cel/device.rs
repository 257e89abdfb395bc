//! Selectors of devices in DeviceClasses, ResourceClaims and device taints: expressions about `device`.
use super::admission;
use super::check::Env;
use super::cost;
use super::eval::Program;
use super::library::opaque::Opaque;
use super::library::semver::Semver;
use super::types::{Decl, Field, Type};
use super::value::{Key, Map, Val};
use crate::quantity::Quantity;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

/// The most a selector may cost at worst.
const MAX_COST: u64 = 1_000_000;
/// Attributes and capacities that one device may have.
const MAX_ENTRIES: u64 = 32;
const MAX_TEXT: u64 = 64;
const MAX_DOMAIN: u64 = 63;

/// `device`.
static DEVICE: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let by_domain = |value: Decl| {
        let of_domain = Decl::map(Arc::new(value), MAX_ENTRIES);
        Decl::map(Arc::new(of_domain), MAX_ENTRIES)
    };
    let quantity = Decl::new(Type::Opaque("kubernetes.Quantity"), 1);
    let fields = [
        ("driver", Decl::new(Type::String, MAX_DOMAIN)),
        ("attributes", by_domain(Decl::new(Type::Dyn, MAX_TEXT))),
        ("capacity", by_domain(quantity)),
        ("allowMultipleAllocations", Decl::new(Type::Bool, 1)),
    ];
    let field = |(name, decl): (&str, Decl)| {
        (name.to_owned(), Field { json: name.to_owned(), decl: Arc::new(decl), required: true })
    };
    Arc::new(Decl::object("kubernetes.DRADevice", fields.map(field).into_iter().collect::<BTreeMap<_, _>>()))
});

/// Why a selector is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not compile.
    Invalid(String),
    /// It can cost too much.
    Expensive,
}

/// Checks the expression of a selector.
///
/// # Errors
/// Why it is not accepted.
pub fn check(text: &str) -> Result<(), Fault> {
    let env = Env::new([("device".to_owned(), DEVICE.clone())]);
    let program = admission::compile_dynamic(&env, text, &[Type::Bool]).map_err(Fault::Invalid)?;
    let root = |name: &str| (name == "device").then(|| DEVICE.clone());
    if cost::estimate(program.checked(), &root).max > MAX_COST { Err(Fault::Expensive) } else { Ok(()) }
}

/// What a selector sees of a device.
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// The driver.
    pub driver: String,
    /// Attributes by domain and name.
    pub attributes: BTreeMap<String, BTreeMap<String, Attribute>>,
    /// Capacities by domain and name.
    pub capacity: BTreeMap<String, BTreeMap<String, Quantity>>,
    /// Several may have it at a time.
    pub shared: bool,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attribute {
    /// `bool`.
    Bool(bool),
    /// `int`.
    Int(i64),
    /// `string`.
    Text(String),
    /// A semantic version.
    Version(String),
}

impl Attribute {
    fn value(&self) -> Val<'static> {
        match self {
            Self::Bool(value) => Val::Bool(*value),
            Self::Int(value) => Val::Int(*value),
            Self::Text(text) => Val::text(text),
            Self::Version(text) => match Semver::parse(text, false) {
                Ok(version) => Val::Opaque(Opaque::Semver(Rc::new(version))),
                Err(_) => Val::text(text),
            },
        }
    }
}

fn map(entries: impl Iterator<Item = (String, Val<'static>)>) -> Val<'static> {
    let entry =
        |(key, value): (String, Val<'static>)| (Key::Text(key.as_str().into()), (Val::text(&key), value));
    Val::Map(Map::Made(Rc::new(entries.map(entry).collect())))
}

/// What a device has, by domain. The original answers with nothing for a domain that a device has nothing of, and not with
/// an error: that holds for the `asked` domains.
fn by_domain<T>(
    all: &BTreeMap<String, BTreeMap<String, T>>,
    asked: &[String],
    value: impl Fn(&T) -> Val<'static>,
) -> Val<'static> {
    let of_domain =
        |named: &BTreeMap<String, T>| map(named.iter().map(|(name, of)| (name.clone(), value(of))));
    let none = asked.iter().filter(|domain| !all.contains_key(*domain));
    let none = none.map(|domain| (domain.clone(), map(std::iter::empty())));
    map(all.iter().map(|(domain, named)| (domain.clone(), of_domain(named))).chain(none))
}

/// The texts of an expression: among them are the domains that it asks for.
fn texts(expression: &str) -> Vec<String> {
    let (mut texts, mut open): (Vec<String>, Option<(char, String)>) = (Vec::new(), None);
    let mut letters = expression.chars();
    while let Some(letter) = letters.next() {
        open = match open.take() {
            Some((quote, text)) if quote == letter => {
                texts.push(text);
                None
            }
            Some((quote, mut text)) => {
                // What is escaped is part of no domain.
                text.push(if letter == '\\' { letters.next().unwrap_or(letter) } else { letter });
                Some((quote, text))
            }
            None => matches!(letter, '\'' | '"').then(|| (letter, String::new())),
        };
    }
    texts.sort();
    texts.dedup();
    texts
}

/// A selector ready to be evaluated.
#[derive(Clone, Debug)]
pub struct Selector {
    program: Program,
    /// Domains that it may ask for.
    asked: Vec<String>,
}

impl Selector {
    /// Compiles the expression of a selector.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(text: &str) -> Result<Self, String> {
        let env = Env::new([("device".to_owned(), DEVICE.clone())]);
        let program = admission::compile_dynamic(&env, text, &[Type::Bool])?;
        Ok(Self { program, asked: texts(text) })
    }

    /// Whether it selects a device.
    ///
    /// # Errors
    /// Why it has no answer, for example that the device lacks an attribute.
    pub fn selects(&self, device: &Device) -> Result<bool, String> {
        let fields = [
            ("driver".to_owned(), Val::text(&device.driver)),
            ("attributes".to_owned(), by_domain(&device.attributes, &self.asked, Attribute::value)),
            (
                "capacity".to_owned(),
                by_domain(&device.capacity, &self.asked, |of| Val::Opaque(Opaque::Quantity(*of))),
            ),
            ("allowMultipleAllocations".to_owned(), Val::Bool(device.shared)),
        ];
        let (out, _) = self.program.evaluate(&[("device", map(fields.into_iter()))], MAX_COST);
        match out {
            Ok(Val::Bool(selected)) => Ok(selected),
            Ok(other) => Err(format!("must evaluate to bool, not {}", other.type_name())),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Attribute, Device, Fault, Selector, check};

    #[test]
    fn selectors_select() {
        let mut device = Device { driver: "gpu.example.com".to_owned(), ..Device::default() };
        let attributes = device.attributes.entry("gpu.example.com".to_owned()).or_default();
        attributes.insert("model".to_owned(), Attribute::Text("x".to_owned()));
        attributes.insert("count".to_owned(), Attribute::Int(3));
        attributes.insert("version".to_owned(), Attribute::Version("1.2.0".to_owned()));
        let capacity = device.capacity.entry("gpu.example.com".to_owned()).or_default();
        capacity.insert("memory".to_owned(), "2Gi".parse().unwrap());
        for (text, expected) in [
            ("device.driver == 'gpu.example.com'", Ok(true)),
            ("device.attributes['gpu.example.com'].model == 'y'", Ok(false)),
            ("device.attributes['gpu.example.com'].?count.orValue(1) > 2", Ok(true)),
            ("device.capacity['gpu.example.com'].memory.compareTo(quantity('1Gi')) >= 0", Ok(true)),
            ("device.attributes['gpu.example.com'].version.isGreaterThan(semver('1.0.0'))", Ok(true)),
            ("device.allowMultipleAllocations", Ok(false)),
            ("device.attributes['gpu.example.com'].nothing == 'y'", Err(())),
            ("has(device.attributes[\"other.example.com\"].model)", Ok(false)),
            ("'memory' in device.capacity['other.example.com']", Ok(false)),
            ("device.attributes['other.example.com'].model == 'y'", Err(())),
        ] {
            let selector = Selector::compile(text).unwrap();
            assert_eq!(selector.selects(&device).map_err(drop), expected, "{text}");
        }
    }

    #[test]
    fn selectors() {
        for text in [
            "device.driver == 'gpu.example.com'",
            "device.attributes['gpu.example.com'].model == 'x' && device.attributes['gpu.example.com'].?count.orValue(1) > 2",
            "device.capacity['gpu.example.com'].memory.compareTo(quantity('1Gi')) >= 0",
            "cel.bind(a, device.attributes['gpu.example.com'], a.version.isGreaterThan(semver('1.0.0')))",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        let list = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]";
        let mut dear = "int('1'.find('[0-9]*')) < 100".to_owned();
        for name in ["a", "b", "c", "d", "e", "f", "g"] {
            dear = format!("{list}.all({name}, {dear})");
        }
        assert_eq!(check(&dear), Err(Fault::Expensive));
        assert_eq!(check("device.driver"), Err(Fault::Invalid("must evaluate to bool".to_owned())));
        assert!(
            matches!(check("device.nope == 1"), Err(Fault::Invalid(text)) if text.contains("undefined field 'nope'"))
        );
    }
}
