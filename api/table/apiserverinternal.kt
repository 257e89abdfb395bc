package apiserverinternal.v1alpha1 io.k8s.api.apiserverinternal.v1alpha1 group(internal.apiserver.k8s.io) version(v1alpha1) proto(k8s.io.api.apiserverinternal.v1alpha1) off

resource storageversions StorageVersion cluster preferred crud stored(c8YZt5U0nPk=) select()
  sub status StorageVersion get patch update

alias ConditionStatus = string
alias StorageVersionConditionType = string

type ServerStorageVersion
  apiServerID?!         1 string
  encodingVersion?!     2 string
  decodableVersions?!   3 []string set
  servedVersions?       4 []string set

type StorageVersion kind
  metadata?!   1 meta.v1.ObjectMeta
  spec         2 StorageVersionSpec
  status       3 StorageVersionStatus

type StorageVersionCondition
  type!                 1 StorageVersionConditionType
  status!               2 ConditionStatus
  observedGeneration?   3 int64
  lastTransitionTime?   4 Time
  reason!               5 string
  message?!             6 string

type StorageVersionList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []StorageVersion

type StorageVersionSpec

type StorageVersionStatus
  storageVersions?         1 []ServerStorageVersion    map(apiServerID)
  commonEncodingVersion?   2 *string
  conditions?              3 []StorageVersionCondition map(type)
