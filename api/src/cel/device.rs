//! Selectors of devices in DeviceClasses, ResourceClaims and device taints: expressions about `device`.
use super::admission;
use super::check::Env;
use super::cost;
use super::types::{Decl, Field, Type};
use std::collections::BTreeMap;
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
    let program = admission::compile(&env, text, &[Type::Bool]).map_err(Fault::Invalid)?;
    let root = |name: &str| (name == "device").then(|| DEVICE.clone());
    if cost::estimate(program.checked(), &root).max > MAX_COST { Err(Fault::Expensive) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::{Fault, check};

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
