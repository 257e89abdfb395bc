//! What the original says of a strategic patch that makes something of an object that its type cannot hold: it converts
//! maps into structs there, with words of their own.
use knarr_api::schema::Schema;

/// Types that convert themselves; their words are those of JSON.
const OWN: [&str; 3] = ["resource.Quantity", "intstr.IntOrString", "v1.FieldsV1"];

/// The words for a fault that JSON's reader would find: `cannot convert int64 to string`.
pub fn words(schema: &Schema, fault: &str) -> String {
    restored(fault, |ty| schema.types.iter().any(|known| known.go_name() == ty))
        .unwrap_or_else(|| fault.to_owned())
}

fn restored(fault: &str, is_struct: impl Fn(&str) -> bool) -> Option<String> {
    let (found, rest) = fault.strip_prefix("json: cannot unmarshal ")?.split_once(" into Go ")?;
    let (_, wanted) = rest.rsplit_once(" of type ")?;
    if OWN.contains(&wanted) {
        return None;
    }
    let kind = match found.split_once(' ').unwrap_or((found, "")) {
        ("object", _) => "map",
        ("array", _) => "slice",
        ("number", text) if text.contains(['.', 'e', 'E']) => "float64",
        ("number", _) => "int64",
        (other, _) => other,
    };
    let scalar = ["string", "bool", "int32", "int64", "float64"].contains(&wanted);
    Some(if wanted.starts_with("[]") {
        format!("cannot restore slice from {kind}")
    } else if wanted.starts_with("map[") {
        format!("cannot restore map from {kind}")
    } else if !scalar && is_struct(wanted) {
        format!("cannot restore struct from: {kind}")
    } else {
        // Names of other types are those of strings.
        let is_text = !scalar || wanted == "string";
        match kind {
            "int64" if is_text => format!("cannot convert int64 to {wanted}"),
            "int64" | "float64" if !is_text && wanted != "bool" => {
                format!("cannot convert {kind} to {wanted}")
            }
            _ if is_text => "unrecognized type: string".to_owned(),
            _ => format!("unrecognized type: {wanted}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults() {
        let check = |found: &str, wanted: &str, expected: &str| {
            let fault = format!("json: cannot unmarshal {found} into Go struct field A.b of type {wanted}");
            let restored = restored(&fault, |ty| ty == "v1.PodSpec").unwrap_or_else(|| "as JSON".to_owned());
            assert_eq!(restored, expected, "{fault}");
        };
        check("number", "string", "cannot convert int64 to string");
        check("bool", "string", "unrecognized type: string");
        check("number", "v1.DNSPolicy", "cannot convert int64 to v1.DNSPolicy");
        check("object", "v1.DNSPolicy", "unrecognized type: string");
        check("number 1.5", "int32", "cannot convert float64 to int32");
        check("string", "int64", "unrecognized type: int64");
        check("number", "bool", "unrecognized type: bool");
        check("object", "[]v1.Container", "cannot restore slice from map");
        check("array", "map[string]string", "cannot restore map from slice");
        check("array", "v1.PodSpec", "cannot restore struct from: slice");
        check("bool", "resource.Quantity", "as JSON");
        assert_eq!(restored("illegal base64 data at input byte 0", |_| false), None);
    }
}
