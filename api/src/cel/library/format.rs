//! Named formats: what Kubernetes calls a name, a label value, and so on.
use super::opaque::Opaque;
use super::{Out, Rows, url};
use crate::cel::eval::Context;
use crate::cel::value::Val;
use crate::custom::formats;
use crate::names;

pub(super) const ROWS: Rows = &[
    ("format.named", "format-named", "string -> optional(kubernetes.NamedFormat)"),
    ("format.dns1123Label", "format-dns1123Label", "-> kubernetes.NamedFormat"),
    ("format.dns1123Subdomain", "format-dns1123Subdomain", "-> kubernetes.NamedFormat"),
    ("format.dns1035Label", "format-dns1035Label", "-> kubernetes.NamedFormat"),
    ("format.qualifiedName", "format-qualifiedName", "-> kubernetes.NamedFormat"),
    ("format.dns1123LabelPrefix", "format-dns1123LabelPrefix", "-> kubernetes.NamedFormat"),
    ("format.dns1123SubdomainPrefix", "format-dns1123SubdomainPrefix", "-> kubernetes.NamedFormat"),
    ("format.dns1035LabelPrefix", "format-dns1035LabelPrefix", "-> kubernetes.NamedFormat"),
    ("format.labelValue", "format-labelValue", "-> kubernetes.NamedFormat"),
    ("format.uri", "format-uri", "-> kubernetes.NamedFormat"),
    ("format.uuid", "format-uuid", "-> kubernetes.NamedFormat"),
    ("format.byte", "format-byte", "-> kubernetes.NamedFormat"),
    ("format.date", "format-date", "-> kubernetes.NamedFormat"),
    ("format.datetime", "format-datetime", "-> kubernetes.NamedFormat"),
    ("validate", "format-validate", "kubernetes.NamedFormat . string -> optional(list(string))"),
];

/// A format's name, and what tells the faults of a text.
type Format = (&'static str, fn(&str) -> Vec<String>);

const FORMATS: [Format; 13] = [
    ("dns1123Label", names::dns_label),
    ("dns1123Subdomain", names::dns_subdomain),
    ("dns1035Label", names::dns1035_label),
    ("qualifiedName", names::qualified_name),
    ("dns1123LabelPrefix", |text| names::dns_label(&names::mask_trailing_dash(text))),
    ("dns1123SubdomainPrefix", |text| names::dns_subdomain(&names::mask_trailing_dash(text))),
    ("dns1035LabelPrefix", |text| names::dns1035_label(&names::mask_trailing_dash(text))),
    ("labelValue", names::label_value),
    ("uri", |text| url::Url::parse(text).err().into_iter().collect()),
    ("uuid", |text| fault(formats::has("uuid", text), "does not match the UUID format")),
    ("byte", |text| fault(formats::has("byte", text), "invalid base64")),
    ("date", |text| fault(formats::has("date", text), "invalid date")),
    ("datetime", |text| fault(formats::has("datetime", text), "invalid datetime")),
];

fn fault(fits: bool, text: &str) -> Vec<String> {
    if fits { Vec::new() } else { vec![text.to_owned()] }
}

fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|(known, _)| *known == name)
}

pub(super) fn call<'a>(_: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    let made = |name| Val::Opaque(Opaque::Format(name));
    Some(Ok(match (name, args) {
        ("format.named", [Val::String(name)]) => Val::optional(find(name).map(|(name, _)| made(name))),
        ("validate", [Val::Opaque(Opaque::Format(format)), Val::String(text)]) => {
            let faults = find(format)?.1(text);
            let list = || Val::list(faults.iter().map(Val::text).collect());
            Val::optional((!faults.is_empty()).then(list))
        }
        (name, []) => made(find(name.strip_prefix("format.")?)?.0),
        _ => return None,
    }))
}
