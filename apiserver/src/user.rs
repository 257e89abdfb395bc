//! Who a request comes from, after authentication and impersonation.
use std::collections::BTreeMap;

/// The group of every authenticated user.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of requests without credentials.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of a user without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group that passes every authorization check.
pub const MASTERS: &str = "system:masters";
/// The name of the server's own identity.
const OWN: &str = "system:apiserver";
/// The group of every ServiceAccount.
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
/// Prefix of a ServiceAccount's user name, `system:serviceaccount:‹namespace›:‹name›`.
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// An authenticated (or anonymous) identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name, unique among active users.
    pub name: String,
    /// Identifier over time; empty when the authenticator has none.
    pub uid: String,
    /// Groups the user is in.
    pub groups: Vec<String>,
    /// Further facts from the authenticator (`authentication.kubernetes.io/pod-name`).
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The user of requests without credentials.
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..Self::default() }
    }

    /// The user of a ServiceAccount, in the groups that every ServiceAccount has.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            name: format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"),
            uid: uid.to_owned(),
            groups: vec![
                SERVICE_ACCOUNTS.to_owned(),
                format!("{SERVICE_ACCOUNTS}:{namespace}"),
                AUTHENTICATED.to_owned(),
            ],
            extra: BTreeMap::new(),
        }
    }

    /// A member of `system:masters`: the server's own identity for what it writes by itself.
    pub fn loopback() -> Self {
        Self {
            name: OWN.to_owned(),
            groups: vec![AUTHENTICATED.to_owned(), MASTERS.to_owned()],
            ..Self::default()
        }
    }

    /// Is the user in the group?
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// Namespace and name, where the user is a ServiceAccount.
    pub fn as_service_account(&self) -> Option<(&str, &str)> {
        self.name.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')
    }
}
