package coordination.v1 io.k8s.api.coordination.v1 group(coordination.k8s.io) version(v1) proto(k8s.io.api.coordination.v1) served

resource leases Lease namespaced served preferred crud stored(gqkMMb/YqFM=) upsert select() since(1.14)

alias CoordinatedLeaseStrategy = string

type Lease kind since(1.14)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 LeaseSpec

type LeaseList kind since(1.19)
  metadata?   1 meta.v1.ListMeta
  items!      2 []Lease

type LeaseSpec
  holderIdentity?         1 *string
  leaseDurationSeconds?   2 *int32
  acquireTime?            3 *MicroTime
  renewTime?              4 *MicroTime
  leaseTransitions?       5 *int32
  strategy?               6 *CoordinatedLeaseStrategy gates(CoordinatedLeaderElection)
  preferredHolder?        7 *string                   gates(CoordinatedLeaderElection)

package coordination.v1alpha2 io.k8s.api.coordination.v1alpha2 group(coordination.k8s.io) version(v1alpha2) proto(k8s.io.api.coordination.v1alpha2) off

resource leasecandidates LeaseCandidate namespaced crud stored(lvME0iHWE20=,coordination.k8s.io/v1beta1/LeaseCandidate) upsert select() since(1.32) removed(1.38)

type LeaseCandidate kind since(1.32)
  metadata?   1 meta.v1.ObjectMeta
  spec?!      2 LeaseCandidateSpec

type LeaseCandidateList kind since(1.32)
  metadata?   1 meta.v1.ListMeta
  items!      2 []LeaseCandidate

type LeaseCandidateSpec
  leaseName!          1 string
  pingTime?           2 *MicroTime
  renewTime?          3 *MicroTime
  binaryVersion!      4 string
  emulationVersion?   5 string
  strategy?!          6 coordination.v1.CoordinatedLeaseStrategy

package coordination.v1beta1 io.k8s.api.coordination.v1beta1 group(coordination.k8s.io) version(v1beta1) proto(k8s.io.api.coordination.v1beta1) off

resource leasecandidates LeaseCandidate namespaced crud stored(lvME0iHWE20=) upsert select() since(1.33) removed(1.39)

type Lease kind since(1.12) deprecated(1.19) use(coordination.k8s.io/v1/Lease)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 LeaseSpec

type LeaseCandidate kind since(1.33)
  metadata?   1 meta.v1.ObjectMeta
  spec?!      2 LeaseCandidateSpec

type LeaseCandidateList kind since(1.33)
  metadata?   1 meta.v1.ListMeta
  items!      2 []LeaseCandidate

type LeaseCandidateSpec
  leaseName!          1 string
  pingTime?           2 *MicroTime
  renewTime?          3 *MicroTime
  binaryVersion!      4 string
  emulationVersion?   5 string
  strategy?!          6 coordination.v1.CoordinatedLeaseStrategy

type LeaseList kind since(1.12) deprecated(1.19) use(coordination.k8s.io/v1/LeaseList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []Lease

type LeaseSpec
  holderIdentity?         1 *string
  leaseDurationSeconds?   2 *int32
  acquireTime?            3 *MicroTime
  renewTime?              4 *MicroTime
  leaseTransitions?       5 *int32
  strategy?               6 *coordination.v1.CoordinatedLeaseStrategy gates(CoordinatedLeaderElection)
  preferredHolder?        7 *string                                   gates(CoordinatedLeaderElection)
