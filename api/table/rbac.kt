package rbac.v1 io.k8s.api.rbac.v1 group(rbac.authorization.k8s.io) version(v1) proto(k8s.io.api.rbac.v1) served

resource clusterrolebindings ClusterRoleBinding cluster served preferred crud stored(48tpQ8gZHFc=) upsert unconditional select() since(1.8)

resource clusterroles ClusterRole cluster served preferred crud stored(bYE5ZWDrJ44=) upsert unconditional select() since(1.8)

resource rolebindings RoleBinding namespaced served preferred crud stored(eGsCzGH6b1g=) upsert unconditional select() since(1.8)

resource roles Role namespaced served preferred crud stored(7FuwZcIIItM=) upsert unconditional select() since(1.8)

type AggregationRule
  clusterRoleSelectors?   1 []meta.v1.LabelSelector atomic

type ClusterRole kind since(1.8)
  metadata?          1 meta.v1.ObjectMeta
  rules              2 []PolicyRule       atomic
  aggregationRule?   3 *AggregationRule

type ClusterRoleBinding kind since(1.8)
  metadata?   1 meta.v1.ObjectMeta
  subjects?   2 []Subject          atomic
  roleRef!    3 RoleRef

type ClusterRoleBindingList kind since(1.8)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ClusterRoleBinding

type ClusterRoleList kind since(1.8)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ClusterRole

type PolicyRule
  verbs!             1 []string atomic
  apiGroups?         2 []string atomic
  resources?         3 []string atomic
  resourceNames?     4 []string atomic
  nonResourceURLs?   5 []string atomic

type Role kind since(1.8)
  metadata?   1 meta.v1.ObjectMeta
  rules       2 []PolicyRule       atomic

type RoleBinding kind since(1.8)
  metadata?   1 meta.v1.ObjectMeta
  subjects?   2 []Subject          atomic
  roleRef!    3 RoleRef

type RoleBindingList kind since(1.8)
  metadata?   1 meta.v1.ListMeta
  items!      2 []RoleBinding

type RoleList kind since(1.8)
  metadata?   1 meta.v1.ListMeta
  items!      2 []Role

type RoleRef atomic
  apiGroup   1 string
  kind!      2 string
  name!      3 string

type Subject atomic
  kind!        1 string
  apiGroup?    2 string
  name!        3 string
  namespace?   4 string

package rbac.v1alpha1 io.k8s.api.rbac.v1alpha1 group(rbac.authorization.k8s.io) version(v1alpha1) proto(k8s.io.api.rbac.v1alpha1) never

type AggregationRule
  clusterRoleSelectors?   1 []meta.v1.LabelSelector atomic

type ClusterRole kind
  metadata?          1 meta.v1.ObjectMeta
  rules              2 []PolicyRule       atomic
  aggregationRule?   3 *AggregationRule

type ClusterRoleBinding kind
  metadata?   1 meta.v1.ObjectMeta
  subjects?   2 []Subject          atomic
  roleRef!    3 RoleRef

type ClusterRoleBindingList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []ClusterRoleBinding

type ClusterRoleList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []ClusterRole

type PolicyRule
  verbs!             1 []string atomic
  apiGroups?         3 []string atomic
  resources?         4 []string atomic
  resourceNames?     5 []string atomic
  nonResourceURLs?   6 []string atomic

type Role kind
  metadata?   1 meta.v1.ObjectMeta
  rules       2 []PolicyRule       atomic

type RoleBinding kind
  metadata?   1 meta.v1.ObjectMeta
  subjects?   2 []Subject          atomic
  roleRef!    3 RoleRef

type RoleBindingList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []RoleBinding

type RoleList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []Role

type RoleRef
  apiGroup   1 string
  kind!      2 string
  name!      3 string

type Subject
  kind!         1 string
  apiVersion?   2 string
  name!         3 string
  namespace?    4 string

package rbac.v1beta1 io.k8s.api.rbac.v1beta1 group(rbac.authorization.k8s.io) version(v1beta1) proto(k8s.io.api.rbac.v1beta1) never

type AggregationRule
  clusterRoleSelectors?   1 []meta.v1.LabelSelector atomic

type ClusterRole kind since(1.6) deprecated(1.17) removed(1.22) use(rbac.authorization.k8s.io/v1/ClusterRole)
  metadata?          1 meta.v1.ObjectMeta
  rules              2 []PolicyRule       atomic
  aggregationRule?   3 *AggregationRule

type ClusterRoleBinding kind since(1.6) deprecated(1.17) removed(1.22) use(rbac.authorization.k8s.io/v1/ClusterRoleBinding)
  metadata?   1 meta.v1.ObjectMeta
  subjects?   2 []Subject          atomic
  roleRef!    3 RoleRef

type ClusterRoleBindingList kind since(1.6) deprecated(1.17) removed(1.22) use(rbac.authorization.k8s.io/v1/ClusterRoleBindingList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ClusterRoleBinding

type ClusterRoleList kind since(1.6) deprecated(1.17) removed(1.22) use(rbac.authorization.k8s.io/v1/ClusterRoleList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ClusterRole

type PolicyRule
  verbs!             1 []string atomic
  apiGroups?         2 []string atomic
  resources?         3 []string atomic
  resourceNames?     4 []string atomic
  nonResourceURLs?   5 []string atomic

type Role kind since(1.6) deprecated(1.17) removed(1.22) use(rbac.authorization.k8s.io/v1/Role)
  metadata?   1 meta.v1.ObjectMeta
  rules       2 []PolicyRule       atomic

type RoleBinding kind since(1.6) deprecated(1.17) removed(1.22) use(rbac.authorization.k8s.io/v1/RoleBinding)
  metadata?   1 meta.v1.ObjectMeta
  subjects?   2 []Subject          atomic
  roleRef!    3 RoleRef

type RoleBindingList kind since(1.6) deprecated(1.17) removed(1.22) use(rbac.authorization.k8s.io/v1/RoleBindingList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []RoleBinding

type RoleList kind since(1.6) deprecated(1.17) removed(1.22) use(rbac.authorization.k8s.io/v1/RoleList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []Role

type RoleRef
  apiGroup   1 string
  kind!      2 string
  name!      3 string

type Subject
  kind!        1 string
  apiGroup?    2 string
  name!        3 string
  namespace?   4 string
