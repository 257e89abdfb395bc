//! Metadata: owners, selectors, times, patches.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference, Time};
use knarr_component::store::Key;
use kube::Resource;

/// Labels or annotations.
pub(crate) type Map = BTreeMap<String, String>;

/// Now, to the second, as the API keeps times.
pub(crate) fn now() -> Time {
    Time(whole_seconds(Timestamp::now()))
}

/// A time without its fraction of a second.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The owner that manages an object.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// A reference by which `owner` manages an object and waits for it in foreground deletion.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    let meta = owner.meta();
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The key of the `K` that manages an object.
pub(crate) fn controller_key<K: Resource<DynamicType = ()>>(meta: &ObjectMeta) -> Option<Key> {
    let owner = controller_of(meta)?;
    let group = |version: &str| version.split_once('/').map_or(String::new(), |(group, _)| group.to_string());
    let same = owner.kind == K::kind(&()) && group(&owner.api_version) == K::group(&());
    same.then(|| Key::new(meta.namespace.clone().unwrap_or_default(), owner.name.clone()))
}

pub(crate) fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

pub(crate) fn namespace(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or_default()
}

pub(crate) fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}

pub(crate) fn is_deleting(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

/// When an object was made; the beginning of time for one that was not.
pub(crate) fn created(meta: &ObjectMeta) -> Timestamp {
    meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

pub(crate) use knarr_component::selector::matches;

pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

pub(crate) fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

pub(crate) fn has_finalizer(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|have| have == finalizer)
}

/// Whether a selector matches everything, which workloads must never do.
pub(crate) fn selects_everything(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// Whether all pairs of `selector` are among `labels`, as Services select.
pub(crate) fn contains_all(selector: &Map, labels: Option<&Map>) -> bool {
    selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// A selector as a Go program prints the structure, which messages of the original have.
pub(crate) fn selector_structure(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".to_string() };
    let pairs = selector.match_labels.iter().flatten();
    let labels: Vec<String> = pairs.map(|(key, value)| format!("{key}: {value},")).collect();
    let labels = format!("map[string]string{{{}}}", labels.concat());
    let rules = selector.match_expressions.iter().flatten().map(|rule| {
        let values = rule.values.as_deref().unwrap_or_default().join(" ");
        format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", rule.key, rule.operator)
    });
    let rules = format!("[]LabelSelectorRequirement{{{}}}", rules.collect::<String>());
    format!("&LabelSelector{{MatchLabels:{labels},MatchExpressions:{rules},}}")
}

/// Whether an API error has this HTTP code.
pub(crate) fn is_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// Whether something failed to be made because its namespace is going away.
pub(crate) fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403
        && (causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
            || status.message.contains("because it is being terminated"))
}

/// A result in which "it is not there" is as good as done.
pub(crate) fn ignore_absent<T>(result: kube::Result<T>) -> kube::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_code(&error, 404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `value` percent or number of `total`, rounded up or down.
pub(crate) fn scaled(
    value: &k8s_openapi::apimachinery::pkg::util::intstr::IntOrString,
    total: i32,
    round_up: bool,
) -> Option<i32> {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    match value {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
            let product = percent * i64::from(total);
            let result = if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(result).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

    use super::*;

    #[test]
    fn percentages_round_both_ways() {
        let check = |value: &str, total, up, expected| {
            assert_eq!(scaled(&IntOrString::String(value.into()), total, up), expected, "{value} of {total}");
        };
        check("25%", 10, true, Some(3));
        check("25%", 10, false, Some(2));
        check("100%", 3, true, Some(3));
        check("0%", 3, true, Some(0));
        check("many", 3, true, None);
        assert_eq!(scaled(&IntOrString::Int(4), 1, true), Some(4));
    }
}
