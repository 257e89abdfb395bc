//! Closing a schema: proof that it holds together, and its look-up tables.
use super::{Field, Member, Schema, Shape, Type, TypeId};
use std::sync::Arc;

/// A schema that does not hold together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A field's type is not in the schema.
    #[error("{ty}.{field} refers to a type that does not exist")]
    Dangling {
        /// Name of the type with the bad field.
        ty: Arc<str>,
        /// JSON name of the field.
        field: Arc<str>,
    },
    /// Two fields share a JSON name or a protobuf number.
    #[error("{ty}.{field} clashes with another field's name or number")]
    Clash {
        /// Name of the type.
        ty: Arc<str>,
        /// JSON name of the second field.
        field: Arc<str>,
    },
    /// A key of a map list is not a field of its items.
    #[error("{ty}.{field} is keyed by {key}, which its items do not have")]
    NoSuchKey {
        /// Name of the type.
        ty: Arc<str>,
        /// JSON name of the list.
        field: Arc<str>,
        /// The missing key.
        key: Arc<str>,
    },
    /// An inline field is no struct.
    #[error("{ty} has an inline field that is no struct")]
    Inline {
        /// Name of the type.
        ty: Arc<str>,
    },
}

impl Schema {
    /// Proves that all references resolve and fills the look-up tables of all types.
    pub fn index(&mut self) -> Result<(), SchemaError> {
        for ty in &mut self.types {
            ty.by_name = (0u16..).zip(&ty.fields).map(|(i, f)| (f.name.clone(), i)).collect();
            ty.by_name.retain(|(name, _)| !name.is_empty());
            ty.by_name.sort();
            ty.by_number = (0u16..).zip(&ty.fields).filter(|(_, f)| f.number != 0).map(|(i, _)| i).collect();
            let fields = &ty.fields;
            ty.by_number.sort_by_key(|i| fields[*i as usize].number);
        }
        for at in 0..self.types.len() {
            self.check(TypeId(at as u32))?;
        }
        for at in 0..self.types.len() {
            let mut members = Vec::new();
            self.flatten(TypeId(at as u32), &mut members, 0)?;
            let names = NameTable::of(members.iter().map(|m| &*self.member(*m).name));
            let names = names.map_err(|clash| {
                let field = self.member(members[clash]).name.clone();
                SchemaError::Clash { ty: self.types[at].name.clone(), field }
            })?;
            let written = |i: &u16| self.member(members[*i as usize]).always_written();
            self.types[at].always = (0..members.len() as u16).filter(written).collect();
            self.types[at].members = members;
            self.types[at].names = names;
        }
        Ok(())
    }

    fn flatten(&self, id: TypeId, out: &mut Vec<Member>, depth: u8) -> Result<(), SchemaError> {
        let ty = self.get(id);
        for (index, field) in (0u16..).zip(&ty.fields) {
            match field.shape {
                Shape::Struct(inner) if field.inline && depth < 8 => self.flatten(inner, out, depth + 1)?,
                _ if field.inline => return Err(SchemaError::Inline { ty: ty.name.clone() }),
                _ if field.name.is_empty() => {}
                _ => out.push(Member { owner: id, index }),
            }
        }
        Ok(())
    }

    fn check(&self, id: TypeId) -> Result<(), SchemaError> {
        let ty = self.get(id);
        let clash = |field: &Field| SchemaError::Clash { ty: ty.name.clone(), field: field.name.clone() };
        for pair in ty.by_number.windows(2) {
            let (a, b) = (&ty.fields[pair[0] as usize], &ty.fields[pair[1] as usize]);
            if a.number == b.number {
                return Err(clash(b));
            }
        }
        for field in &ty.fields {
            if field.shape.reference().is_some_and(|id| id.0 as usize >= self.types.len()) {
                return Err(SchemaError::Dangling { ty: ty.name.clone(), field: field.name.clone() });
            }
            self.check_keys(ty, field)?;
        }
        Ok(())
    }

    fn check_keys(&self, ty: &Type, field: &Field) -> Result<(), SchemaError> {
        let Some(item) = field.shape.reference() else { return Ok(()) };
        let item = self.get(item);
        let inline = item.fields.iter().filter(|f| f.inline).filter_map(|f| f.shape.reference());
        let owners: Vec<&Type> = std::iter::once(item).chain(inline.map(|id| self.get(id))).collect();
        for key in field.list_keys.iter().chain(&field.patch_key) {
            if !owners.iter().any(|t| t.field(key).is_some()) {
                let (ty, field, key) = (ty.name.clone(), field.name.clone(), key.clone());
                return Err(SchemaError::NoSuchKey { ty, field, key });
            }
        }
        Ok(())
    }
}

/// Finds names among a few dozen: open addressing over their positions, with half the slots free.
#[derive(Clone, Debug, Default)]
pub struct NameTable {
    /// Position plus one; 0: free.
    slots: Box<[u16]>,
}

impl NameTable {
    /// Of names by position; the error is the position of a name that comes twice.
    fn of<'a>(names: impl ExactSizeIterator<Item = &'a str> + Clone) -> Result<Self, usize> {
        let size = (names.len() * 2).next_power_of_two().max(2);
        let mut table = Self { slots: vec![0; size].into_boxed_slice() };
        for (at, name) in names.clone().enumerate() {
            let mut slot = hash(name) & (size - 1);
            while table.slots[slot] != 0 {
                let other = usize::from(table.slots[slot]) - 1;
                if names.clone().nth(other) == Some(name) {
                    return Err(at);
                }
                slot = (slot + 1) & (size - 1);
            }
            table.slots[slot] = at as u16 + 1;
        }
        Ok(table)
    }

    /// The first answer of `matches` for the positions that may have the name.
    #[inline]
    pub(super) fn find<T>(&self, name: &str, matches: impl Fn(usize) -> Option<T>) -> Option<T> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut slot = hash(name) & mask;
        loop {
            let at = usize::from(self.slots[slot]).checked_sub(1)?;
            if let Some(found) = matches(at) {
                return Some(found);
            }
            slot = (slot + 1) & mask;
        }
    }
}

/// Mixes the length and both ends of a name. Only the schema's own names are ever stored, so no input can make
/// the table slow.
#[inline]
fn hash(name: &str) -> usize {
    let bytes = name.as_bytes();
    let end = |part: &[u8]| part.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    let (first, last) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (end(bytes), 0),
    };
    let mixed = (first ^ last.rotate_left(29) ^ bytes.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 40) as usize
}
