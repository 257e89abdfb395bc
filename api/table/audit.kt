package audit.v1 io.k8s.apiserver.pkg.apis.audit.v1 group(audit.k8s.io) version(v1) proto(k8s.io.apiserver.pkg.apis.audit.v1) never

alias Level = string
alias Stage = string

type AuthenticationMetadata
  impersonationConstraint?   1 string

type Event kind
  level!                     1 Level
  auditID!                   2 types.UID
  stage!                     3 Stage
  requestURI!                4 string
  verb!                      5 string
  user!                      6 authentication.v1.UserInfo
  impersonatedUser?          7 *authentication.v1.UserInfo
  authenticationMetadata?   17 *AuthenticationMetadata
  sourceIPs?                 8 []string                    atomic
  userAgent?                16 string
  objectRef?                 9 *ObjectReference
  responseStatus?           10 *meta.v1.Status
  requestObject?            11 *runtime.Unknown
  responseObject?           12 *runtime.Unknown
  requestReceivedTimestamp  13 MicroTime
  stageTimestamp            14 MicroTime
  annotations?              15 map[string]string

type EventList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []Event

type GroupResources
  group?           1 string
  resources?       2 []string atomic
  resourceNames?   3 []string atomic

type ObjectReference
  resource?          1 string
  namespace?         2 string
  name?              3 string
  uid?               4 types.UID
  apiGroup?          5 string
  apiVersion?        6 string
  resourceVersion?   7 string
  subresource?       8 string

type Policy kind
  metadata?            1 meta.v1.ObjectMeta
  rules!               2 []PolicyRule       atomic
  omitStages?          3 []Stage            atomic
  omitManagedFields?   4 bool

type PolicyList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []Policy

type PolicyRule
  level!               1 Level
  users?               2 []string         atomic
  userGroups?          3 []string         atomic
  verbs?               4 []string         atomic
  resources?           5 []GroupResources atomic
  namespaces?          6 []string         atomic
  nonResourceURLs?     7 []string         atomic
  omitStages?          8 []Stage          atomic
  omitManagedFields?   9 *bool
