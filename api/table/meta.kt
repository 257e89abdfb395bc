package meta.v1 io.k8s.apimachinery.pkg.apis.meta.v1 group(meta.k8s.io) version(v1) proto(k8s.io.apimachinery.pkg.apis.meta.v1) never

alias CauseType = string
alias ConditionStatus = string
alias DeletionPropagation = string
alias FieldSelectorOperator = string
alias IncludeObjectPolicy = string
alias LabelSelectorOperator = string
alias ManagedFieldsOperationType = string
alias ResourceVersionMatch = string
alias RowConditionType = string
alias StatusReason = string
wrapper Verbs = []string

type APIGroup kind in(/v1) served
  name!                         1 string
  versions!                     2 []GroupVersionForDiscovery  atomic
  preferredVersion?             3 GroupVersionForDiscovery
  serverAddressByClientCIDRs?   4 []ServerAddressByClientCIDR atomic

type APIGroupList kind in(/v1) served
  groups!   1 []APIGroup atomic

type APIResource
  name!                 1 string
  singularName!         6 string
  namespaced!           2 bool
  group?                8 string
  version?              9 string
  kind!                 3 string
  verbs!                4 Verbs
  shortNames?           5 []string atomic
  categories?           7 []string atomic
  storageVersionHash?  10 string

type APIResourceList kind in(/v1) served
  groupVersion!   1 string
  resources!      2 []APIResource atomic

type APIVersions kind in(/v1) served
  versions!                     1 []string                    atomic
  serverAddressByClientCIDRs!   2 []ServerAddressByClientCIDR atomic

type ApplyOptions kind in(*)
  dryRun?         1 []string atomic
  force!          2 bool
  fieldManager!   3 string

type Condition
  type!                 1 string
  status!               2 ConditionStatus
  observedGeneration?   3 int64
  lastTransitionTime!   4 Time
  reason!               5 string
  message!              6 string

type CreateOptions kind in(*)
  dryRun?            1 []string atomic
  fieldManager?      3 string
  fieldValidation?   4 string

type DeleteOptions kind in(*)
  gracePeriodSeconds?                                 1 *int64
  preconditions?                                      2 *Preconditions
  orphanDependents?                                   3 *bool
  propagationPolicy?                                  4 *DeletionPropagation
  dryRun?                                             5 []string             atomic
  ignoreStoreReadErrorWithClusterBreakingPotential?   6 *bool

type FieldSelectorRequirement
  key!        1 string
  operator!   2 FieldSelectorOperator
  values?     3 []string              atomic

type GetOptions kind in(*)
  resourceVersion?   1 string

type GroupKind
  group!   1 string
  kind!    2 string

type GroupResource
  group!      1 string
  resource!   2 string

type GroupVersion
  group!     1 string
  version!   2 string

type GroupVersionForDiscovery
  groupVersion!   1 string
  version!        2 string

type GroupVersionKind
  group!     1 string
  version!   2 string
  kind!      3 string

type GroupVersionResource
  group!      1 string
  version!    2 string
  resource!   3 string

type LabelSelector atomic
  matchLabels?        1 map[string]string
  matchExpressions?   2 []LabelSelectorRequirement atomic

type LabelSelectorRequirement
  key!        1 string
  operator!   2 LabelSelectorOperator
  values?     3 []string              atomic

type List kind served
  metadata?   1 ListMeta
  items!      2 []RawExtension

type ListMeta
  selfLink?             1 string
  resourceVersion?      2 string
  continue?             3 string
  remainingItemCount?   4 *int64
  shardInfo?            5 *ShardInfo gates(ShardedListAndWatch)

type ListOptions kind in(*)
  labelSelector?          1 string
  fieldSelector?          2 string
  watch?                  3 bool
  allowWatchBookmarks?    9 bool
  resourceVersion?        4 string
  resourceVersionMatch?  10 ResourceVersionMatch
  timeoutSeconds?         5 *int64
  limit?                  7 int64
  continue?               8 string
  sendInitialEvents?     11 *bool
  shardSelector?         15 string               gates(ShardedListAndWatch)

type ManagedFieldsEntry
  manager?       1 string
  operation?     2 ManagedFieldsOperationType
  apiVersion?    3 string
  time?          4 *Time
  fieldsType?    6 string
  fieldsV1?      7 *FieldsV1
  subresource?   8 string

type ObjectMeta
  name?                         1 string
  generateName?                 2 string
  namespace?                    3 string
  selfLink?                     4 string
  uid?                          5 types.UID
  resourceVersion?              6 string
  generation?                   7 int64
  creationTimestamp?            8 Time                 omitzero
  deletionTimestamp?            9 *Time
  deletionGracePeriodSeconds?  10 *int64
  labels?                      11 map[string]string
  annotations?                 12 map[string]string
  ownerReferences?             13 []OwnerReference     map(uid) merge(uid)
  finalizers?                  14 []string             set merge()
  managedFields?               17 []ManagedFieldsEntry atomic

type OwnerReference atomic
  apiVersion!           5 string
  kind!                 1 string
  name!                 3 string
  uid!                  4 types.UID
  controller?           6 *bool
  blockOwnerDeletion?   7 *bool

type PartialObjectMetadata kind
  metadata?   1 ObjectMeta

type PartialObjectMetadataList kind
  metadata?   1 ListMeta
  items!      2 []PartialObjectMetadata

type Patch

type PatchOptions kind in(*)
  dryRun?            1 []string atomic
  force?             2 *bool
  fieldManager?      3 string
  fieldValidation?   4 string

type Preconditions
  uid?               1 *types.UID
  resourceVersion?   2 *string

type RootPaths
  paths!   1 []string atomic

type ServerAddressByClientCIDR
  clientCIDR!      1 string
  serverAddress!   2 string

type ShardInfo
  selector!   1 string

type Status kind in(/v1) served
  metadata?   1 ListMeta
  status?     2 string
  message?    3 string
  reason?     4 StatusReason
  details?    5 *StatusDetails
  code?       6 int32

type StatusCause
  reason?    1 CauseType
  message?   2 string
  field?     3 string

type StatusDetails
  name?                1 string
  group?               2 string
  kind?                3 string
  uid?                 6 types.UID
  causes?              4 []StatusCause atomic
  retryAfterSeconds?   5 int32

type Table kind nopb
  metadata?            - ListMeta
  columnDefinitions!   - []TableColumnDefinition atomic
  rows!                - []TableRow              atomic

type TableColumnDefinition nopb
  name!          - string
  type!          - string
  format!        - string
  description!   - string
  priority!      - int32

type TableOptions kind
  includeObject?   1 IncludeObjectPolicy

type TableRow nopb
  cells!        - []any               atomic
  conditions?   - []TableRowCondition atomic
  object?       - RawExtension

type TableRowCondition nopb
  type!      - RowConditionType
  status!    - ConditionStatus
  reason?    - string
  message?   - string

type Timestamp
  seconds!   1 int64
  nanos!     2 int32

type TypeMeta
  kind?         1 string
  apiVersion?   2 string

type UpdateOptions kind in(*)
  dryRun?            1 []string atomic
  fieldManager?      2 string
  fieldValidation?   3 string

type WatchEvent
  type!     1 string
  object!   2 RawExtension

package meta.v1beta1 io.k8s.apimachinery.pkg.apis.meta.v1beta1 group(meta.k8s.io) version(v1beta1) proto(k8s.io.apimachinery.pkg.apis.meta.v1beta1) never

type PartialObjectMetadataList kind
  metadata?   2 meta.v1.ListMeta
  items!      1 []meta.v1.PartialObjectMetadata
