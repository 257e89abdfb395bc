//! Entry points for fuzzing: bytes in, and what must hold whatever they are.
//!
//! `api/fuzz` hands them to cargo-fuzz; the tests below run the same functions for a moment over seeds that are always
//! the same ([`run`]). None of them may panic on input: a panic is the finding.
use crate::cel::admission;
use crate::json::StrictError;
use crate::patch::{json as json_patch, merge, strategic};
use crate::quantity::Quantity;
use crate::schema::TypeId;
use crate::selector::{FieldSelector, LabelSelector};
use crate::{Value, defaults, json, managed_fields, protobuf, table, yaml};

/// An entry point with inputs to begin with.
pub struct Target {
    /// Its name, that of the file in `fuzz_targets`.
    pub name: &'static str,
    /// What is done with an input.
    pub body: fn(&[u8]),
    /// Inputs that get somewhere.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of this crate.
pub const TARGETS: &[Target] = &[
    Target { name: "protobuf", body: protobuf, seeds: protobuf_seeds },
    Target { name: "documents", body: documents, seeds: document_seeds },
    Target { name: "patches", body: patches, seeds: patch_seeds },
    Target { name: "selectors", body: selectors, seeds: selector_seeds },
    Target { name: "quantities", body: quantities, seeds: quantity_seeds },
    Target { name: "expressions", body: expressions, seeds: expression_seeds },
];

/// A moment of each target, for tests. `KNARR_FUZZ_SEED` and `KNARR_FUZZ_ROUNDS` look further.
pub fn moment(targets: &[Target]) {
    let number = |variable: &str, default: u64| {
        std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (rounds, seed) = (number("KNARR_FUZZ_ROUNDS", 4_000), number("KNARR_FUZZ_SEED", 36));
    targets.iter().for_each(|target| run(target, rounds, seed));
}

/// Changes seeds for some rounds and hands them to a target; the same inputs for the same `seed`.
fn run(target: &Target, rounds: u64, seed: u64) {
    let seeds = (target.seeds)();
    let mut random = Random(seed | 1);
    seeds.iter().for_each(|input| (target.body)(input));
    for _ in 0..rounds {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            random.change(&mut input, &seeds);
        }
        (target.body)(&input);
    }
}

/// A xorshift generator: enough to vary inputs, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`; 0 for an empty range.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len());
        match self.below(7) {
            0 => input.truncate(at),
            1 if !input.is_empty() => input[at] = self.next() as u8,
            2 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            3 if !input.is_empty() => drop(input.remove(at)),
            4 => input.insert(at.min(input.len()), self.next() as u8),
            5 => {
                let end = (at + self.below(16)).min(input.len());
                let piece = input[at.min(end)..end].to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
}

/// The type that the kinds of inputs are tried as: a pod has something of everything.
fn pod() -> TypeId {
    table::builtin().type_of("", "v1", "Pod").unwrap_or(TypeId(0))
}

fn pod_text() -> String {
    r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"b","labels":{"x":"y"},"creationTimestamp":"2024-01-02T03:04:05Z","managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1","time":"2024-01-02T03:04:05Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{}}}}}}]},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"limits":{"cpu":"100m","memory":"1Gi"}},"livenessProbe":{"httpGet":{"port":"http"},"periodSeconds":3}}],"volumes":[{"name":"v","emptyDir":{}}],"tolerations":[{"operator":"Exists"}]},"status":{"phase":"Running","podIPs":[{"ip":"10.0.0.1"}]}}"#.to_owned()
}

/// Bytes as a document in protobuf: what decodes has one message, and that one decodes to the same.
pub fn protobuf(input: &[u8]) {
    let api = table::builtin();
    if let Ok(decoded) = protobuf::decode(api, input) {
        again(decoded.ty, &decoded.value);
    }
    if let Ok(value) = protobuf::decode_message(api, pod(), input) {
        again(pod(), &value);
    }
}

/// Encodes a decoded value and decodes it.
fn again(ty: TypeId, value: &Value) {
    let api = table::builtin();
    let mut bytes = Vec::new();
    if protobuf::encode_message(&api.schema, ty, value, &mut bytes).is_ok() {
        let read = protobuf::decode_message(api, ty, &bytes).expect("what was encoded decodes");
        let mut second = Vec::new();
        protobuf::encode_message(&api.schema, ty, &read, &mut second).expect("what was decoded encodes");
        assert_eq!(bytes, second, "encoding is stable: {value}");
    }
}

fn protobuf_seeds() -> Vec<Vec<u8>> {
    let api = table::builtin();
    let mut strict = Vec::new();
    let value = json::decode(&api.schema, pod(), pod_text().as_bytes(), &mut strict).unwrap_or_default();
    let (mut bare, mut sealed) = (Vec::new(), Vec::new());
    protobuf::encode_message(&api.schema, pod(), &value, &mut bare).expect("a pod has a message");
    protobuf::seal("v1", "Pod", &bare, "", &mut sealed);
    vec![bare, sealed, b"k8s\0".to_vec()]
}

/// Bytes as JSON and YAML of a pod: what decodes is canonical after one pass, through defaults too.
pub fn documents(input: &[u8]) {
    let api = table::builtin();
    let mut strict: Vec<StrictError> = Vec::new();
    let mut decoded = Vec::new();
    decoded.extend(json::decode(&api.schema, pod(), input, &mut strict));
    decoded.extend(yaml::decode(&api.schema, pod(), input, &mut strict));
    for mut value in decoded {
        defaults::apply(api, pod(), &mut value);
        let once = json::to_vec(&api.schema, pod(), &value);
        let read = json::decode(&api.schema, pod(), &once, &mut strict).expect("what was encoded decodes");
        assert_eq!(json::to_vec(&api.schema, pod(), &read), once, "encoding is stable");
    }
}

fn document_seeds() -> Vec<Vec<u8>> {
    let yaml = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    image: &i x\n    args: [*i, \"1\", 0x1]\n";
    vec![pod_text().into_bytes(), yaml.into(), b"{}".to_vec(), b"[[[[{\"a\":1e400}]]]]".to_vec()]
}

/// Text as an expression of a policy: it is compiled or refused.
pub fn expressions(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let options = admission::Options { params: true, authorizer: true, mutations: true };
    let env = admission::environment(options);
    drop(admission::compile(&env, text, &[]));
}

fn expression_seeds() -> Vec<Vec<u8>> {
    [
        "object.spec.replicas <= 5 && has(params.x) ? [1, 2u, 0x3, 4.5e6].all(i, i > 0) : 'a'.matches('(b|c)*')",
        "object.metadata.labels.exists_one(k, k.startsWith(\"\\u00e4\")) || r'\\x' in {'a': b'\\xff', 'b': null}",
        "Object{spec: Object.spec{replicas: int(quantity('1k').asInteger())}}",
        "authorizer.group('').resource('pods').check('get').allowed() && cel.bind(x, duration('1h'), x > duration('1m'))",
        "!-(-1)[0].a.b.c[?'d'].orValue(timestamp(request.userInfo.username))",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A patch of each kind to a pod: a byte for the kind, then the patch as JSON.
pub fn patches(input: &[u8]) {
    let api = table::builtin();
    let Some((kind, text)) = input.split_first() else { return };
    let Ok(patch) = json::parse(text, &mut Vec::new()) else { return };
    let mut target: Value = serde_json::from_str(&pod_text()).expect("the seed is JSON");
    let outcome = match kind % 4 {
        0 => json_patch::Patch::decode(&patch).and_then(|patch| patch.apply(&mut target)).is_ok(),
        1 => {
            merge::apply(&mut target, patch.clone());
            let mut twice = target.clone();
            merge::apply(&mut twice, patch);
            assert_eq!(twice, target, "a merge patch applied again changes nothing");
            true
        }
        2 => strategic::apply(&api.schema, pod(), &mut target, patch).is_ok(),
        _ => apply(&mut target, patch),
    };
    if outcome && json::normalize(&api.schema, pod(), &mut target, &mut Vec::new()).is_ok() {
        json::to_vec(&api.schema, pod(), &target);
    }
}

/// Server-side apply, with force.
fn apply(target: &mut Value, mut config: Value) -> bool {
    let api = table::builtin();
    let Some(kind) = api.resource("", "v1", "pods") else { return false };
    if !config.is_object() {
        return false;
    }
    config["apiVersion"] = "v1".into();
    config["kind"] = "Pod".into();
    if json::normalize(&api.schema, pod(), &mut config, &mut Vec::new()).is_err() {
        return false;
    }
    let write = managed_fields::Write {
        manager: "fuzz",
        subresource: "",
        now: crate::time::Timestamp::default(),
        versions: &managed_fields::Alike,
    };
    let applied = managed_fields::apply(api, kind, Some(target), config, &write, true);
    applied.map(|new| *target = new).is_ok()
}

fn patch_seeds() -> Vec<Vec<u8>> {
    [
        "\0[{\"op\":\"add\",\"path\":\"/spec/containers/-\",\"value\":{\"name\":\"d\"}},{\"op\":\"test\",\"path\":\"/metadata/name\",\"value\":\"a\"}]",
        "\0[{\"op\":\"move\",\"from\":\"/spec/volumes/0\",\"path\":\"/spec/a~1b\"},{\"op\":\"copy\",\"from\":\"/spec\",\"path\":\"/spec/x\"}]",
        "\u{1}{\"metadata\":{\"labels\":null},\"spec\":{\"containers\":[]}}",
        "\u{2}{\"spec\":{\"containers\":[{\"name\":\"c\",\"$patch\":\"replace\",\"image\":\"j\"}],\"$setElementOrder/containers\":[{\"name\":\"c\"}],\"$retainKeys\":[\"containers\"]}}",
        "\u{2}{\"spec\":{\"tolerations\":[{\"key\":\"k\"}],\"$deleteFromPrimitiveList/finalizers\":[\"a\"]}}",
        "\u{3}{\"metadata\":{\"name\":\"a\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"ports\":[{\"containerPort\":81}]}]}}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// Text as label and field selectors: what parses prints as something that parses to the same.
pub fn selectors(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(selector) = text.parse::<LabelSelector>() {
        let printed = selector.to_string();
        // A set of just the empty text is printed as an empty one, which is none; so does the original.
        if printed.contains("()") {
            return;
        }
        let read: LabelSelector = printed.parse().unwrap_or_else(|e| panic!("{text:?} as {printed:?}: {e}"));
        assert_eq!(read, selector, "{text:?}");
        let labels = serde_json::json!({"x": "y", "n": "5"});
        assert_eq!(read.matches(&labels), selector.matches(&labels), "{text:?}");
    }
    if let Ok(selector) = text.parse::<FieldSelector>() {
        let printed = selector.to_string();
        let read: FieldSelector = printed.parse().unwrap_or_else(|e| panic!("{text:?} as {printed:?}: {e}"));
        assert_eq!(read, selector, "{text:?}");
        selector.matches(|_| Some("a"));
    }
}

fn selector_seeds() -> Vec<Vec<u8>> {
    [
        "x=y,n!=5",
        "a in (b, c),d notin (e),f,!g",
        "n>3,n<9",
        "metadata.name=a,spec.x!=b\\,c",
        "x==y",
        "a.b/c-d in (,e)",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// Text as a quantity: the canonical form is one, and of the same value.
pub fn quantities(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(quantity) = text.parse::<Quantity>() {
        let canonical = quantity.to_string();
        let read: Quantity = canonical.parse().unwrap_or_else(|e| panic!("{text:?} as {canonical:?}: {e}"));
        assert_eq!(read.nanos(), quantity.nanos(), "{text:?} as {canonical:?}");
        assert_eq!(read.to_string(), canonical, "{text:?}");
        let _ = (quantity.value(), quantity.milli_value(), quantity.round_up_to_milli());
    }
}

fn quantity_seeds() -> Vec<Vec<u8>> {
    ["100m", "1.5Gi", "-3e6", "12E", "0.000000001", "9223372036854775807", "1n", "+.5Ki", "1e-9", "5u"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_moment_of_each() {
        super::moment(super::TARGETS);
    }
}
