//! A small schema for tests: enough of Pod and its kin to have every way that lists and maps merge.
use crate::schema::{Field, ListType, Schema, Shape, Special, Type, TypeId};

/// One field in one line: `name shape [merge=KEY|merge|replace|retain] [map=K1,K2|set] [atomic] [default=JSON]`.
/// Shapes: `str bool int long time quantity intstr fields any`, a type's name, `[]shape`, `{}shape`.
pub(crate) fn schema(text: &str) -> Schema {
    let blocks: Vec<(&str, Vec<&str>)> = text
        .trim()
        .split("\n\n")
        .map(|block| {
            let mut lines = block.lines().map(str::trim);
            (lines.next().unwrap_or_default(), lines.collect())
        })
        .collect();
    let names: Vec<&str> =
        blocks.iter().map(|(head, _)| head.split(' ').next().unwrap_or_default()).collect();
    let mut schema = Schema::default();
    for (head, lines) in &blocks {
        schema.add(Type {
            name: head.split(' ').next().unwrap_or_default().into(),
            fields: lines.iter().map(|line| field(line, &names)).collect(),
            atomic: head.ends_with(" atomic"),
            ..Type::default()
        });
    }
    schema.index().expect("a sound schema");
    schema
}

fn shape(text: &str, names: &[&str]) -> Shape {
    if let Some(item) = text.strip_prefix("[]") {
        return Shape::List(Box::new(shape(item, names)));
    }
    if let Some(item) = text.strip_prefix("{}") {
        return Shape::Map(Box::new(shape(item, names)));
    }
    match text {
        "str" => Shape::String,
        "bool" => Shape::Bool,
        "int" => Shape::Int32,
        "long" => Shape::Int64,
        "time" => Shape::Special(Special::Time),
        "quantity" => Shape::Special(Special::Quantity),
        "intstr" => Shape::Special(Special::IntOrString),
        "fields" => Shape::Special(Special::FieldsV1),
        "any" => Shape::Special(Special::Any),
        name => {
            let at = names.iter().position(|n| *n == name).unwrap_or_else(|| panic!("no type {name}"));
            Shape::Struct(TypeId(at as u32))
        }
    }
}

fn field(line: &str, names: &[&str]) -> Field {
    let mut words = line.split(' ');
    let name = words.next().unwrap_or_default();
    let mut field =
        Field { omit_empty: true, ..Field::new(name.into(), shape(words.next().unwrap_or_default(), names)) };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("merge", key) => {
                field.patch.merge = true;
                field.patch_key = (!key.is_empty()).then(|| key.into());
            }
            ("replace", _) => field.patch.replace = true,
            ("retain", _) => field.patch.retain_keys = true,
            ("set", _) => field.list_type = ListType::Set,
            ("map", keys) => {
                field.list_type = ListType::Map;
                field.list_keys = keys.split(',').map(Into::into).collect();
            }
            ("atomic", _) => field.atomic = true,
            ("inline", _) => field.inline = true,
            ("default", json) => field.default = serde_json::from_str(json).ok(),
            other => panic!("{other:?}"),
        }
    }
    field
}

/// Pod as the original marks it, cut down.
pub(crate) const POD: &str = "
Pod
apiVersion str
kind str
metadata ObjectMeta
spec PodSpec
status PodStatus

ObjectMeta
name str
generateName str
namespace str
selfLink str
uid str
resourceVersion str
generation long
creationTimestamp time
deletionTimestamp time
labels {}str
annotations {}str
ownerReferences []OwnerReference merge=uid map=uid
finalizers []str merge set
managedFields []ManagedFieldsEntry

OwnerReference atomic
apiVersion str
kind str
name str
uid str

ManagedFieldsEntry
manager str
operation str
apiVersion str
time time
fieldsType str
fieldsV1 fields
subresource str

PodSpec
volumes []Volume merge=name retain map=name
containers []Container merge=name map=name
nodeSelector {}str atomic
strategy Strategy retain
tolerations []Toleration
hostAliases []HostAlias merge=ip map=ip
template PodTemplate replace
nodeName str
resources Resources
constraints []Constraint merge=topologyKey map=topologyKey,whenUnsatisfiable

Constraint
maxSkew int
topologyKey str
whenUnsatisfiable str

Strategy
type str
rollingUpdate RollingUpdate

RollingUpdate
maxSurge intstr

Volume
name str
emptyDir EmptyDir
hostPath HostPath

EmptyDir
medium str

HostPath
path str

Container
name str
image str
args []str
env []EnvVar merge=name map=name
ports []ContainerPort merge=containerPort map=containerPort,protocol
resources Resources

EnvVar
name str
value str

ContainerPort
name str
containerPort int
protocol str default=\"TCP\"

Resources
limits {}quantity
requests {}quantity

Toleration
key str
operator str

HostAlias
ip str
hostnames []str

PodTemplate
image str
name str

PodStatus
phase str
conditions []Condition merge=type map=type

Condition
type str
status str
lastTransitionTime time
";

/// The schema of [`POD`].
pub(crate) fn pod() -> (Schema, TypeId) {
    let schema = schema(POD);
    let ty = schema.find("Pod").unwrap_or_else(|| panic!("no Pod"));
    (schema, ty)
}
