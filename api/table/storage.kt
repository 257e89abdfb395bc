package storage.v1 io.k8s.api.storage.v1 group(storage.k8s.io) version(v1) proto(k8s.io.api.storage.v1) served

resource csidrivers CSIDriver cluster served preferred crud stored(hL6j/rwBV5w=) select() since(1.18)

resource csinodes CSINode cluster served preferred crud stored(Pe62DkZtjuo=) select() since(1.17)

resource csistoragecapacities CSIStorageCapacity namespaced served preferred crud stored(xeVl+2Ly1kE=) select() since(1.24)

resource storageclasses StorageClass cluster served preferred short(sc) crud stored(K+m6uJwbjGY=) unconditional select() since(1.6)

resource volumeattachments VolumeAttachment cluster served preferred crud stored(tJx/ezt6UDU=) select() since(1.13)
  sub status VolumeAttachment get patch update

resource volumeattributesclasses VolumeAttributesClass cluster served preferred short(vac) crud stored(tIjydgKBC5w=) unconditional select() since(1.34)

alias FSGroupPolicy = string
alias VolumeBindingMode = string enum(Immediate,WaitForFirstConsumer)
alias VolumeLifecycleMode = string

type CSIDriver kind since(1.18)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 CSIDriverSpec

type CSIDriverList kind since(1.18)
  metadata?   1 meta.v1.ListMeta
  items!      2 []CSIDriver

type CSIDriverSpec
  attachRequired?                       1 *bool
  podInfoOnMount?                       2 *bool
  volumeLifecycleModes?                 3 []VolumeLifecycleMode set
  storageCapacity?                      4 *bool
  fsGroupPolicy?                        5 *FSGroupPolicy
  tokenRequests?                        6 []TokenRequest        atomic
  requiresRepublish?                    7 *bool
  seLinuxMount?                         8 *bool                 gates(SELinuxMountReadWriteOncePod)
  nodeAllocatableUpdatePeriodSeconds?   9 *int64                gates(MutableCSINodeAllocatableCount)
  serviceAccountTokenInSecrets?        10 *bool                 gates(CSIServiceAccountTokenSecrets)
  preventPodSchedulingIfMissing?       11 *bool                 gates(VolumeLimitScaling)

type CSINode kind since(1.17)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 CSINodeSpec

type CSINodeDriver
  name!          1 string
  nodeID!        2 string
  topologyKeys   3 []string             atomic
  allocatable?   4 *VolumeNodeResources

type CSINodeList kind since(1.17)
  metadata?   1 meta.v1.ListMeta
  items!      2 []CSINode

type CSINodeSpec
  drivers!   1 []CSINodeDriver map(name) merge(name)

type CSIStorageCapacity kind since(1.24)
  metadata?            1 meta.v1.ObjectMeta
  nodeTopology?        2 *meta.v1.LabelSelector
  storageClassName!    3 string
  capacity?            4 *Quantity
  maximumVolumeSize?   5 *Quantity

type CSIStorageCapacityList kind since(1.24)
  metadata?   1 meta.v1.ListMeta
  items!      2 []CSIStorageCapacity

type StorageClass kind since(1.6)
  metadata?               1 meta.v1.ObjectMeta
  provisioner!            2 string
  parameters?             3 map[string]string
  reclaimPolicy?          4 *core.v1.PersistentVolumeReclaimPolicy
  mountOptions?           5 []string                               atomic
  allowVolumeExpansion?   6 *bool
  volumeBindingMode?      7 *VolumeBindingMode
  allowedTopologies?      8 []core.v1.TopologySelectorTerm         atomic

type StorageClassList kind since(1.6)
  metadata?   1 meta.v1.ListMeta
  items!      2 []StorageClass

type TokenRequest
  audience!            1 string
  expirationSeconds?   2 *int64

type VolumeAttachment kind since(1.13)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 VolumeAttachmentSpec
  status?     3 VolumeAttachmentStatus

type VolumeAttachmentList kind since(1.13)
  metadata?   1 meta.v1.ListMeta
  items!      2 []VolumeAttachment

type VolumeAttachmentSource
  persistentVolumeName?   1 *string
  inlineVolumeSpec?       2 *core.v1.PersistentVolumeSpec

type VolumeAttachmentSpec
  attacher!   1 string
  source!     2 VolumeAttachmentSource
  nodeName!   3 string

type VolumeAttachmentStatus
  attached!             1 bool
  attachmentMetadata?   2 map[string]string
  attachError?          3 *VolumeError
  detachError?          4 *VolumeError

type VolumeAttributesClass kind since(1.34)
  metadata?     1 meta.v1.ObjectMeta
  driverName!   2 string
  parameters?   3 map[string]string

type VolumeAttributesClassList kind since(1.34)
  metadata?   1 meta.v1.ListMeta
  items!      2 []VolumeAttributesClass

type VolumeError
  time?        1 Time
  message?     2 string
  errorCode?   3 *int32 gates(MutableCSINodeAllocatableCount)

type VolumeNodeResources
  count?   1 *int32

package storage.v1alpha1 io.k8s.api.storage.v1alpha1 group(storage.k8s.io) version(v1alpha1) proto(k8s.io.api.storage.v1alpha1) off

type CSIStorageCapacity kind since(1.19) deprecated(1.21) use(storage.k8s.io/v1beta1/CSIStorageCapacity)
  metadata?            1 meta.v1.ObjectMeta
  nodeTopology?        2 *meta.v1.LabelSelector
  storageClassName!    3 string
  capacity?            4 *Quantity
  maximumVolumeSize?   5 *Quantity

type CSIStorageCapacityList kind since(1.19) deprecated(1.21) use(storage.k8s.io/v1beta1/CSIStorageCapacityList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []CSIStorageCapacity

type VolumeAttachment kind since(1.9) deprecated(1.21) use(storage.k8s.io/v1/VolumeAttachment)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 VolumeAttachmentSpec
  status?     3 VolumeAttachmentStatus

type VolumeAttachmentList kind since(1.9) deprecated(1.21) use(storage.k8s.io/v1/VolumeAttachmentList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []VolumeAttachment

type VolumeAttachmentSource
  persistentVolumeName?   1 *string
  inlineVolumeSpec?       2 *core.v1.PersistentVolumeSpec

type VolumeAttachmentSpec
  attacher!   1 string
  source!     2 VolumeAttachmentSource
  nodeName!   3 string

type VolumeAttachmentStatus
  attached!             1 bool
  attachmentMetadata?   2 map[string]string
  attachError?          3 *VolumeError
  detachError?          4 *VolumeError

type VolumeAttributesClass kind since(1.29) deprecated(1.32) use(storage.k8s.io/v1/VolumeAttributesClass)
  metadata?     1 meta.v1.ObjectMeta
  driverName!   2 string
  parameters?   3 map[string]string

type VolumeAttributesClassList kind since(1.29) deprecated(1.32) use(storage.k8s.io/v1/VolumeAttributesClassList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []VolumeAttributesClass

type VolumeError
  time?        1 Time
  message?     2 string
  errorCode?   3 *int32 gates(MutableCSINodeAllocatableCount)

package storage.v1beta1 io.k8s.api.storage.v1beta1 group(storage.k8s.io) version(v1beta1) proto(k8s.io.api.storage.v1beta1) off

resource volumeattributesclasses VolumeAttributesClass cluster short(vac) crud stored(tIjydgKBC5w=,storage.k8s.io/v1/VolumeAttributesClass) unconditional select() since(1.31) removed(1.37)

alias FSGroupPolicy = string
alias VolumeBindingMode = string
alias VolumeLifecycleMode = string

type CSIDriver kind since(1.14) deprecated(1.19) use(storage.k8s.io/v1/CSIDriver)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 CSIDriverSpec

type CSIDriverList kind since(1.14) deprecated(1.19) use(storage.k8s.io/v1/CSIDriverList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []CSIDriver

type CSIDriverSpec
  attachRequired?                       1 *bool
  podInfoOnMount?                       2 *bool
  volumeLifecycleModes?                 3 []VolumeLifecycleMode atomic
  storageCapacity?                      4 *bool
  fsGroupPolicy?                        5 *FSGroupPolicy
  tokenRequests?                        6 []TokenRequest        atomic
  requiresRepublish?                    7 *bool
  seLinuxMount?                         8 *bool                 gates(SELinuxMountReadWriteOncePod)
  nodeAllocatableUpdatePeriodSeconds?   9 *int64                gates(MutableCSINodeAllocatableCount)
  serviceAccountTokenInSecrets?        10 *bool                 gates(CSIServiceAccountTokenSecrets)
  preventPodSchedulingIfMissing?       11 *bool                 gates(VolumeLimitScaling)

type CSINode kind since(1.14) deprecated(1.17) removed(1.22) use(storage.k8s.io/v1/CSINode)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 CSINodeSpec

type CSINodeDriver
  name!          1 string
  nodeID!        2 string
  topologyKeys   3 []string             atomic
  allocatable?   4 *VolumeNodeResources

type CSINodeList kind since(1.14) deprecated(1.17) removed(1.22) use(storage.k8s.io/v1/CSINode)
  metadata?   1 meta.v1.ListMeta
  items!      2 []CSINode

type CSINodeSpec
  drivers!   1 []CSINodeDriver map(name) merge(name)

type CSIStorageCapacity kind since(1.21) deprecated(1.24) use(storage.k8s.io/v1/CSIStorageCapacity)
  metadata?            1 meta.v1.ObjectMeta
  nodeTopology?        2 *meta.v1.LabelSelector
  storageClassName!    3 string
  capacity?            4 *Quantity
  maximumVolumeSize?   5 *Quantity

type CSIStorageCapacityList kind since(1.21) deprecated(1.24) use(storage.k8s.io/v1/CSIStorageCapacityList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []CSIStorageCapacity

type StorageClass kind since(1.4) deprecated(1.19) use(storage.k8s.io/v1/StorageClass)
  metadata?               1 meta.v1.ObjectMeta
  provisioner!            2 string
  parameters?             3 map[string]string
  reclaimPolicy?          4 *core.v1.PersistentVolumeReclaimPolicy
  mountOptions?           5 []string                               atomic
  allowVolumeExpansion?   6 *bool
  volumeBindingMode?      7 *VolumeBindingMode
  allowedTopologies?      8 []core.v1.TopologySelectorTerm         atomic

type StorageClassList kind since(1.4) deprecated(1.19) use(storage.k8s.io/v1/StorageClassList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []StorageClass

type TokenRequest
  audience!            1 string
  expirationSeconds?   2 *int64

type VolumeAttachment kind since(1.10) deprecated(1.19) use(storage.k8s.io/v1/VolumeAttachment)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 VolumeAttachmentSpec
  status?     3 VolumeAttachmentStatus

type VolumeAttachmentList kind since(1.10) deprecated(1.19) use(storage.k8s.io/v1/VolumeAttachmentList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []VolumeAttachment

type VolumeAttachmentSource
  persistentVolumeName?   1 *string
  inlineVolumeSpec?       2 *core.v1.PersistentVolumeSpec

type VolumeAttachmentSpec
  attacher!   1 string
  source!     2 VolumeAttachmentSource
  nodeName!   3 string

type VolumeAttachmentStatus
  attached!             1 bool
  attachmentMetadata?   2 map[string]string
  attachError?          3 *VolumeError
  detachError?          4 *VolumeError

type VolumeAttributesClass kind since(1.31) deprecated(1.34) use(storage.k8s.io/v1/VolumeAttributesClass)
  metadata?     1 meta.v1.ObjectMeta
  driverName!   2 string
  parameters?   3 map[string]string

type VolumeAttributesClassList kind since(1.31) deprecated(1.34) use(storage.k8s.io/v1/VolumeAttributesClassList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []VolumeAttributesClass

type VolumeError
  time?        1 Time
  message?     2 string
  errorCode?   3 *int32 gates(MutableCSINodeAllocatableCount)

type VolumeNodeResources
  count?   1 *int32
