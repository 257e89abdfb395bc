//! Rows that keep their table: the built-in table lives as long as the process, that of a custom resource as long as
//! somebody serves it.
use super::Api;
use crate::kind::Kind;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A table, held.
#[derive(Clone, Debug)]
pub enum ApiRef {
    /// The built-in one.
    Builtin(&'static Api),
    /// That of a CustomResourceDefinition; freed when its last row is gone.
    Custom(Arc<Api>),
}

impl ApiRef {
    /// Are both the very same table?
    pub fn same(&self, other: &Self) -> bool {
        std::ptr::eq::<Api>(&**self, &**other)
    }

    /// The first row that `wanted` holds for.
    pub fn find(&self, wanted: impl Fn(&Kind) -> bool) -> Option<KindRef> {
        let at = self.kinds.iter().position(wanted)?;
        Some(KindRef { api: self.clone(), at })
    }

    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = KindRef> + '_ {
        (0..self.kinds.len()).map(|at| KindRef { api: self.clone(), at })
    }
}

impl From<&'static Api> for ApiRef {
    fn from(api: &'static Api) -> Self {
        Self::Builtin(api)
    }
}

impl From<Arc<Api>> for ApiRef {
    fn from(api: Arc<Api>) -> Self {
        Self::Custom(api)
    }
}

impl Deref for ApiRef {
    type Target = Api;

    fn deref(&self) -> &Api {
        match self {
            Self::Builtin(api) => api,
            Self::Custom(api) => api,
        }
    }
}

/// A row of a table, which is held with it.
#[derive(Clone)]
pub struct KindRef {
    api: ApiRef,
    at: usize,
}

impl KindRef {
    /// The table of the row.
    pub fn api(&self) -> &ApiRef {
        &self.api
    }
}

impl Deref for KindRef {
    type Target = Kind;

    fn deref(&self) -> &Kind {
        &self.api.kinds[self.at]
    }
}

impl fmt::Debug for KindRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.gvk.api_version(), self.plural)
    }
}
