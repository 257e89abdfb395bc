//! Lines about resources, groups and feature gates.
use super::words::{parameter, unknown};
use super::{Line, Parser};
use crate::gates::{Gate, Stage};
use crate::kind::{Group, GroupVersion, GroupVersionKind, Kind, Subresource};
use crate::schema::Shape;

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

impl Parser<'_> {
    pub(super) fn resource(&mut self, plural: &str, kind: &str, flags: &[&str]) -> Line {
        let gvk = GroupVersionKind {
            group: self.package.group.clone(),
            version: self.package.version.clone(),
            kind: self.intern(kind),
        };
        let Shape::Struct(ty) = self.resolve(kind)?.shape else { return Err(unknown(kind)) };
        let list = self.names.get(self.package.short).and_then(|names| names.get(&*format!("{kind}List")));
        let list = list.and_then(|n| n.shape.reference());
        let mut row = Kind::new(gvk, self.intern(plural), ty);
        row.singular = self.intern(&row.singular);
        row.list = list;
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

    pub(super) fn subresource(&mut self, name: &str, kind: &str, verbs: &[&str]) -> Line {
        let Shape::Struct(ty) = self.resolve(kind)?.shape else { return Err(unknown(kind)) };
        let verbs = verbs.iter().map(|v| self.intern(v)).collect();
        let (name, unset) = (self.intern(name), GroupVersionKind::new("", "", ""));
        let row = self.api.kinds.last_mut().ok_or("a subresource without a resource")?;
        // The type's identity is known only when its own line has been read.
        row.subresources.push(Subresource { name, gvk: unset, verbs, ty });
        Ok(())
    }

    pub(super) fn group(&mut self, name: &str, flags: &[&str]) -> Line {
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

    pub(super) fn version(&mut self, version: &str, flags: &[&str]) -> Line {
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

    pub(super) fn gate(&mut self, name: &str, default: &str, stage: &str, flags: &[&str]) -> Line {
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
}
