package resource.v1 io.k8s.api.resource.v1 group(resource.k8s.io) version(v1) proto(k8s.io.api.resource.v1) served

resource deviceclasses DeviceClass cluster served preferred crud stored(Yk2PTc1Ybxk=) unconditional select() since(1.34)

resource resourceclaims ResourceClaim namespaced served preferred crud stored(wgAZaHcZxUg=) unconditional select() since(1.34)
  sub status ResourceClaim get patch update

resource resourceclaimtemplates ResourceClaimTemplate namespaced served preferred crud stored(TuzjC49aUfM=) unconditional select() since(1.34)

resource resourceslices ResourceSlice cluster served preferred crud stored(KsC072WgaEY=) unconditional select(metadata.name,spec.nodeName,spec.driver) since(1.34)

alias AllocationConfigSource = string enum(FromClaim,FromClass)
alias DeviceAllocationMode = string enum(All,ExactCount)
alias DeviceTaintEffect = string enum(NoExecute,NoSchedule,None)
alias DeviceTolerationOperator = string enum(Equal,Exists)
alias FullyQualifiedName = string
alias QualifiedName = string

type AllocatedDeviceStatus
  driver!        1 string
  pool!          2 string
  device!        3 string
  shareID?       7 *string             gates(DRAConsumableCapacity)
  conditions     4 []meta.v1.Condition map(type)
  data?          5 *RawExtension
  networkData?   6 *NetworkDeviceData

type AllocationResult
  devices?               1 DeviceAllocationResult
  nodeSelector?          3 *core.v1.NodeSelector
  allocationTimestamp?   5 *Time                  gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)

type CELDeviceSelector
  expression!   1 string

type CapacityRequestPolicy
  default        1 *Quantity
  validValues?   3 []Quantity                  atomic
  validRange?    4 *CapacityRequestPolicyRange

type CapacityRequestPolicyRange
  min?!   1 *Quantity
  max?    2 *Quantity
  step?   3 *Quantity

type CapacityRequirements
  requests?   1 map[string]Quantity

type Counter
  value!   1 Quantity

type CounterSet
  name!        1 string
  counters?!   2 map[string]Counter

type Device
  name!                              1 string
  attributes?                        2 map[string]DeviceAttribute
  capacity?                          3 map[string]DeviceCapacity
  consumesCounters?                  4 []DeviceCounterConsumption                atomic gates(DRAPartitionableDevices)
  nodeName?                          5 *string                                   gates(DRAPartitionableDevices)
  nodeSelector?                      6 *core.v1.NodeSelector                     gates(DRAPartitionableDevices)
  allNodes?                          7 *bool                                     gates(DRAPartitionableDevices)
  taints?                            8 []DeviceTaint                             atomic gates(DRADeviceTaints)
  bindsToNode?                       9 *bool                                     gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)
  bindingConditions?                10 []string                                  atomic gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)
  bindingFailureConditions?         11 []string                                  atomic gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)
  allowMultipleAllocations?         12 *bool                                     gates(DRAConsumableCapacity)
  nodeAllocatableResourceMappings?  13 map[string]NodeAllocatableResourceMapping gates(DRANodeAllocatableResources)

type DeviceAllocationConfiguration
  source!     1 AllocationConfigSource
  requests?   2 []string               atomic
  &           3 DeviceConfiguration

type DeviceAllocationResult
  results?   1 []DeviceRequestAllocationResult atomic
  config?    2 []DeviceAllocationConfiguration atomic

type DeviceAttribute
  int?        2 *int64
  bool?       3 *bool
  string?     4 *string
  version?    5 *string
  ints?       6 []int64  atomic gates(DRAListTypeAttributes)
  bools?      7 []bool   atomic gates(DRAListTypeAttributes)
  strings?    8 []string atomic gates(DRAListTypeAttributes)
  versions?   9 []string atomic gates(DRAListTypeAttributes)

type DeviceCapacity
  value!           1 Quantity
  requestPolicy?   2 *CapacityRequestPolicy gates(DRAConsumableCapacity)

type DeviceClaim
  requests       1 []DeviceRequest            atomic
  constraints?   2 []DeviceConstraint         atomic
  config?        3 []DeviceClaimConfiguration atomic

type DeviceClaimConfiguration
  requests?   1 []string            atomic
  &           2 DeviceConfiguration

type DeviceClass kind since(1.34)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 DeviceClassSpec

type DeviceClassConfiguration
  &   1 DeviceConfiguration

type DeviceClassList kind since(1.34)
  metadata?   1 meta.v1.ListMeta
  items!      2 []DeviceClass

type DeviceClassSpec
  selectors?              1 []DeviceSelector           atomic
  config?                 2 []DeviceClassConfiguration atomic
  extendedResourceName?   4 *string                    gates(DRAExtendedResource)

type DeviceConfiguration
  opaque?   1 *OpaqueDeviceConfiguration

type DeviceConstraint
  requests?            1 []string            atomic
  matchAttribute?      2 *FullyQualifiedName
  distinctAttribute?   3 *FullyQualifiedName gates(DRAConsumableCapacity)

type DeviceCounterConsumption
  counterSet!   1 string
  counters?!    2 map[string]Counter

type DeviceRequest
  name!             1 string
  exactly?          2 *ExactDeviceRequest
  firstAvailable?   3 []DeviceSubRequest  atomic gates(DRAPrioritizedList)

type DeviceRequestAllocationResult
  request!                    1 string
  driver!                     2 string
  pool!                       3 string
  device!                     4 string
  adminAccess?                5 *bool               gates(DRAAdminAccess)
  tolerations?                6 []DeviceToleration  atomic gates(DRADeviceTaints)
  bindingConditions?          7 []string            atomic gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)
  bindingFailureConditions?   8 []string            atomic gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)
  shareID?                    9 *types.UID          gates(DRAConsumableCapacity)
  consumedCapacity?          10 map[string]Quantity gates(DRAConsumableCapacity)

type DeviceSelector
  cel?   1 *CELDeviceSelector

type DeviceSubRequest
  name!              1 string
  deviceClassName!   2 string
  selectors?         3 []DeviceSelector      atomic
  allocationMode?    4 DeviceAllocationMode
  count?             5 int64
  tolerations?       6 []DeviceToleration    atomic gates(DRADeviceTaints)
  capacity?          7 *CapacityRequirements gates(DRAConsumableCapacity)

type DeviceTaint
  key!         1 string
  value?       2 string
  effect!      3 DeviceTaintEffect
  timeAdded?   4 *Time

type DeviceToleration
  key?                 1 string
  operator?            2 DeviceTolerationOperator default("Equal")
  value?               3 string
  effect?              4 DeviceTaintEffect
  tolerationSeconds?   5 *int64

type ExactDeviceRequest
  deviceClassName!   1 string
  selectors?         2 []DeviceSelector      atomic
  allocationMode?    3 DeviceAllocationMode
  count?             4 int64
  adminAccess?       5 *bool                 gates(DRAAdminAccess)
  tolerations?       6 []DeviceToleration    atomic gates(DRADeviceTaints)
  capacity?          7 *CapacityRequirements gates(DRAConsumableCapacity)

type NetworkDeviceData
  interfaceName?     1 string
  ips?               2 []string atomic
  hardwareAddress?   3 string

type NodeAllocatableResourceMapping
  capacityKey?            1 *QualifiedName
  allocationMultiplier?   2 *Quantity

type OpaqueDeviceConfiguration
  driver!       1 string
  parameters!   2 RawExtension

type ResourceClaim kind since(1.34)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 ResourceClaimSpec
  status?     3 ResourceClaimStatus

type ResourceClaimConsumerReference
  apiGroup?   1 string
  resource!   3 string
  name!       4 string
  uid!        5 types.UID

type ResourceClaimList kind since(1.34)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ResourceClaim

type ResourceClaimSpec
  devices   1 DeviceClaim

type ResourceClaimStatus
  allocation?    1 *AllocationResult
  reservedFor?   2 []ResourceClaimConsumerReference map(uid) merge(uid)
  devices?       4 []AllocatedDeviceStatus          map(driver,device,pool,shareID) gates(DRAResourceClaimDeviceStatus)

type ResourceClaimTemplate kind since(1.34)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 ResourceClaimTemplateSpec

type ResourceClaimTemplateList kind since(1.34)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ResourceClaimTemplate

type ResourceClaimTemplateSpec
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 ResourceClaimSpec

type ResourcePool
  name!                 1 string
  generation!           2 int64
  resourceSliceCount!   3 int64

type ResourceSlice kind since(1.34)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 ResourceSliceSpec

type ResourceSliceList kind since(1.34)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ResourceSlice

type ResourceSliceSpec
  driver!                   1 string
  pool!                     2 ResourcePool
  nodeName?                 3 *string
  nodeSelector?             4 *core.v1.NodeSelector
  allNodes?                 5 *bool
  devices?                  6 []Device              atomic
  perDeviceNodeSelection?   7 *bool                 gates(DRAPartitionableDevices)
  sharedCounters?           8 []CounterSet          atomic gates(DRAPartitionableDevices)

package resource.v1alpha3 io.k8s.api.resource.v1alpha3 group(resource.k8s.io) version(v1alpha3) proto(k8s.io.api.resource.v1alpha3) off

resource devicetaintrules DeviceTaintRule cluster crud stored(DJ3UJ0fj8MI=) unconditional select() since(1.33) removed(1.39)
  sub status DeviceTaintRule get patch update

resource resourcepoolstatusrequests ResourcePoolStatusRequest cluster crud stored(iy583CtMwdY=) select() since(1.36) removed(1.42)
  sub status ResourcePoolStatusRequest get patch update

alias DeviceTaintEffect = string enum(NoExecute,NoSchedule,None)

type CELDeviceSelector
  expression!   1 string

type DeviceSelector
  cel?   1 *CELDeviceSelector

type DeviceTaint
  key!         1 string
  value?       2 string
  effect!      3 DeviceTaintEffect
  timeAdded?   4 *Time

type DeviceTaintRule kind since(1.33)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 DeviceTaintRuleSpec
  status?     3 DeviceTaintRuleStatus

type DeviceTaintRuleList kind since(1.33)
  metadata?   1 meta.v1.ListMeta
  items!      2 []DeviceTaintRule

type DeviceTaintRuleSpec
  deviceSelector?   1 *DeviceTaintSelector
  taint?!           2 DeviceTaint

type DeviceTaintRuleStatus
  conditions?   1 []meta.v1.Condition map(type) merge(type)

type DeviceTaintSelector
  driver?   2 *string
  pool?     3 *string
  device?   4 *string

type PoolStatus
  driver?!              1 string
  poolName?!            2 string
  generation!           9 int64
  resourceSliceCount?   8 *int32
  totalDevices?         4 *int32
  allocatedDevices?     5 *int32
  availableDevices?     6 *int32
  unavailableDevices?   7 *int32
  nodeName?             3 *string
  validationError?     10 *string

type ResourcePoolStatusRequest kind since(1.36)
  metadata?!   1 meta.v1.ObjectMeta
  spec!        2 ResourcePoolStatusRequestSpec
  status?      3 *ResourcePoolStatusRequestStatus

type ResourcePoolStatusRequestList kind since(1.36)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ResourcePoolStatusRequest

type ResourcePoolStatusRequestSpec
  driver!     1 string
  poolName?   2 *string
  limit?      3 *int32  default(100)

type ResourcePoolStatusRequestStatus
  poolCount?!   6 *int32
  pools?        2 []PoolStatus        atomic
  conditions?   3 []meta.v1.Condition map(type) merge(type)

package resource.v1beta1 io.k8s.api.resource.v1beta1 group(resource.k8s.io) version(v1beta1) proto(k8s.io.api.resource.v1beta1) off

resource deviceclasses DeviceClass cluster crud stored(Yk2PTc1Ybxk=,resource.k8s.io/v1/DeviceClass) unconditional select() since(1.32) removed(1.38)

resource resourceclaims ResourceClaim namespaced crud stored(wgAZaHcZxUg=,resource.k8s.io/v1/ResourceClaim) unconditional select() since(1.32) removed(1.38)
  sub status ResourceClaim get patch update

resource resourceclaimtemplates ResourceClaimTemplate namespaced crud stored(TuzjC49aUfM=,resource.k8s.io/v1/ResourceClaimTemplate) unconditional select() since(1.32) removed(1.38)

resource resourceslices ResourceSlice cluster crud stored(KsC072WgaEY=,resource.k8s.io/v1/ResourceSlice) unconditional select(metadata.name,spec.nodeName,spec.driver) since(1.32) removed(1.38)

alias AllocationConfigSource = string enum(FromClaim,FromClass)
alias DeviceAllocationMode = string enum(All,ExactCount)
alias DeviceTaintEffect = string enum(NoExecute,NoSchedule,None)
alias DeviceTolerationOperator = string enum(Equal,Exists)
alias FullyQualifiedName = string
alias QualifiedName = string

type AllocatedDeviceStatus
  driver!        1 string
  pool!          2 string
  device!        3 string
  shareID?       7 *string             gates(DRAConsumableCapacity)
  conditions     4 []meta.v1.Condition map(type)
  data?          5 *RawExtension
  networkData?   6 *NetworkDeviceData

type AllocationResult
  devices?               1 DeviceAllocationResult
  nodeSelector?          3 *core.v1.NodeSelector
  allocationTimestamp?   5 *Time                  gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)

type BasicDevice
  attributes?                        1 map[string]DeviceAttribute
  capacity?                          2 map[string]DeviceCapacity
  consumesCounters?                  3 []DeviceCounterConsumption                atomic gates(DRAPartitionableDevices)
  nodeName?                          4 *string                                   gates(DRAPartitionableDevices)
  nodeSelector?                      5 *core.v1.NodeSelector
  allNodes?                          6 *bool                                     gates(DRAPartitionableDevices)
  taints?                            7 []DeviceTaint                             atomic gates(DRADeviceTaints)
  bindsToNode?                       8 *bool                                     gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)
  bindingConditions?                 9 []string                                  atomic gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)
  bindingFailureConditions?         10 []string                                  atomic gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)
  allowMultipleAllocations?         11 *bool                                     gates(DRAConsumableCapacity)
  nodeAllocatableResourceMappings?  12 map[string]NodeAllocatableResourceMapping gates(DRANodeAllocatableResources)

type CELDeviceSelector
  expression!   1 string

type CapacityRequestPolicy
  default        1 *Quantity
  validValues?   3 []Quantity                  atomic
  validRange?    4 *CapacityRequestPolicyRange

type CapacityRequestPolicyRange
  min?!   1 *Quantity
  max?    2 *Quantity
  step?   3 *Quantity

type CapacityRequirements
  requests?   1 map[string]Quantity

type Counter
  value!   1 Quantity

type CounterSet
  name!        1 string
  counters?!   2 map[string]Counter

type Device
  name!    1 string
  basic?   2 *BasicDevice

type DeviceAllocationConfiguration
  source!     1 AllocationConfigSource
  requests?   2 []string               atomic
  &           3 DeviceConfiguration

type DeviceAllocationResult
  results?   1 []DeviceRequestAllocationResult atomic
  config?    2 []DeviceAllocationConfiguration atomic

type DeviceAttribute
  int?        2 *int64
  bool?       3 *bool
  string?     4 *string
  version?    5 *string
  ints?       6 []int64  atomic gates(DRAListTypeAttributes)
  bools?      7 []bool   atomic gates(DRAListTypeAttributes)
  strings?    8 []string atomic gates(DRAListTypeAttributes)
  versions?   9 []string atomic gates(DRAListTypeAttributes)

type DeviceCapacity
  value!           1 Quantity
  requestPolicy?   2 *CapacityRequestPolicy gates(DRAConsumableCapacity)

type DeviceClaim
  requests       1 []DeviceRequest            atomic
  constraints?   2 []DeviceConstraint         atomic
  config?        3 []DeviceClaimConfiguration atomic

type DeviceClaimConfiguration
  requests?   1 []string            atomic
  &           2 DeviceConfiguration

type DeviceClass kind since(1.32)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 DeviceClassSpec

type DeviceClassConfiguration
  &   1 DeviceConfiguration

type DeviceClassList kind since(1.32)
  metadata?   1 meta.v1.ListMeta
  items!      2 []DeviceClass

type DeviceClassSpec
  selectors?              1 []DeviceSelector           atomic
  config?                 2 []DeviceClassConfiguration atomic
  extendedResourceName?   4 *string                    gates(DRAExtendedResource)

type DeviceConfiguration
  opaque?   1 *OpaqueDeviceConfiguration

type DeviceConstraint
  requests?            1 []string            atomic
  matchAttribute?      2 *FullyQualifiedName
  distinctAttribute?   3 *FullyQualifiedName gates(DRAConsumableCapacity)

type DeviceCounterConsumption
  counterSet!   1 string
  counters?!    2 map[string]Counter

type DeviceRequest
  name!             1 string
  deviceClassName   2 string
  selectors?        3 []DeviceSelector      atomic
  allocationMode?   4 DeviceAllocationMode
  count?            5 int64
  adminAccess?      6 *bool                 gates(DRAAdminAccess)
  firstAvailable?   7 []DeviceSubRequest    atomic gates(DRAPrioritizedList)
  tolerations?      8 []DeviceToleration    atomic gates(DRADeviceTaints)
  capacity?         9 *CapacityRequirements gates(DRAConsumableCapacity)

type DeviceRequestAllocationResult
  request!                    1 string
  driver!                     2 string
  pool!                       3 string
  device!                     4 string
  adminAccess?                5 *bool               gates(DRAAdminAccess)
  tolerations?                6 []DeviceToleration  atomic gates(DRADeviceTaints)
  bindingConditions?          7 []string            atomic gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)
  bindingFailureConditions?   8 []string            atomic gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)
  shareID?                    9 *types.UID          gates(DRAConsumableCapacity)
  consumedCapacity?          10 map[string]Quantity gates(DRAConsumableCapacity)

type DeviceSelector
  cel?   1 *CELDeviceSelector

type DeviceSubRequest
  name!              1 string
  deviceClassName!   2 string
  selectors?         3 []DeviceSelector      atomic
  allocationMode?    4 DeviceAllocationMode
  count?             5 int64
  tolerations?       7 []DeviceToleration    atomic gates(DRADeviceTaints)
  capacity?          8 *CapacityRequirements gates(DRAConsumableCapacity)

type DeviceTaint
  key!         1 string
  value?       2 string
  effect!      3 DeviceTaintEffect
  timeAdded?   4 *Time

type DeviceToleration
  key?                 1 string
  operator?            2 DeviceTolerationOperator default("Equal")
  value?               3 string
  effect?              4 DeviceTaintEffect
  tolerationSeconds?   5 *int64

type NetworkDeviceData
  interfaceName?     1 string
  ips?               2 []string atomic
  hardwareAddress?   3 string

type NodeAllocatableResourceMapping
  capacityKey?            1 *QualifiedName
  allocationMultiplier?   2 *Quantity

type OpaqueDeviceConfiguration
  driver!       1 string
  parameters!   2 RawExtension

type ResourceClaim kind since(1.32)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 ResourceClaimSpec
  status?     3 ResourceClaimStatus

type ResourceClaimConsumerReference
  apiGroup?   1 string
  resource!   3 string
  name!       4 string
  uid!        5 types.UID

type ResourceClaimList kind since(1.32)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ResourceClaim

type ResourceClaimSpec
  devices   1 DeviceClaim

type ResourceClaimStatus
  allocation?    1 *AllocationResult
  reservedFor?   2 []ResourceClaimConsumerReference map(uid) merge(uid)
  devices?       4 []AllocatedDeviceStatus          map(driver,device,pool,shareID) gates(DRAResourceClaimDeviceStatus)

type ResourceClaimTemplate kind since(1.32)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 ResourceClaimTemplateSpec

type ResourceClaimTemplateList kind since(1.32)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ResourceClaimTemplate

type ResourceClaimTemplateSpec
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 ResourceClaimSpec

type ResourcePool
  name!                 1 string
  generation!           2 int64
  resourceSliceCount!   3 int64

type ResourceSlice kind since(1.32)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 ResourceSliceSpec

type ResourceSliceList kind since(1.32)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ResourceSlice

type ResourceSliceSpec
  driver!                   1 string
  pool!                     2 ResourcePool
  nodeName?                 3 string
  nodeSelector?             4 *core.v1.NodeSelector
  allNodes?                 5 bool
  devices?                  6 []Device              atomic
  perDeviceNodeSelection?   7 *bool                 gates(DRAPartitionableDevices)
  sharedCounters?           8 []CounterSet          atomic gates(DRAPartitionableDevices)

package resource.v1beta2 io.k8s.api.resource.v1beta2 group(resource.k8s.io) version(v1beta2) proto(k8s.io.api.resource.v1beta2) off

resource deviceclasses DeviceClass cluster crud stored(Yk2PTc1Ybxk=,resource.k8s.io/v1/DeviceClass) unconditional select() since(1.33) removed(1.39)

resource devicetaintrules DeviceTaintRule cluster crud stored(DJ3UJ0fj8MI=,resource.k8s.io/v1alpha3/DeviceTaintRule) unconditional select() since(1.36) removed(1.42)
  sub status DeviceTaintRule get patch update

resource resourceclaims ResourceClaim namespaced crud stored(wgAZaHcZxUg=,resource.k8s.io/v1/ResourceClaim) unconditional select() since(1.33) removed(1.39)
  sub status ResourceClaim get patch update

resource resourceclaimtemplates ResourceClaimTemplate namespaced crud stored(TuzjC49aUfM=,resource.k8s.io/v1/ResourceClaimTemplate) unconditional select() since(1.33) removed(1.39)

resource resourceslices ResourceSlice cluster crud stored(KsC072WgaEY=,resource.k8s.io/v1/ResourceSlice) unconditional select(metadata.name,spec.nodeName,spec.driver) since(1.33) removed(1.39)

alias AllocationConfigSource = string enum(FromClaim,FromClass)
alias DeviceAllocationMode = string enum(All,ExactCount)
alias DeviceTaintEffect = string enum(NoExecute,NoSchedule,None)
alias DeviceTolerationOperator = string enum(Equal,Exists)
alias FullyQualifiedName = string
alias QualifiedName = string

type AllocatedDeviceStatus
  driver!        1 string
  pool!          2 string
  device!        3 string
  shareID?       7 *string             gates(DRAConsumableCapacity)
  conditions     4 []meta.v1.Condition map(type)
  data?          5 *RawExtension
  networkData?   6 *NetworkDeviceData

type AllocationResult
  devices?               1 DeviceAllocationResult
  nodeSelector?          3 *core.v1.NodeSelector
  allocationTimestamp?   5 *Time                  gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)

type CELDeviceSelector
  expression!   1 string

type CapacityRequestPolicy
  default        1 *Quantity
  validValues?   3 []Quantity                  atomic
  validRange?    4 *CapacityRequestPolicyRange

type CapacityRequestPolicyRange
  min?!   1 *Quantity
  max?    2 *Quantity
  step?   3 *Quantity

type CapacityRequirements
  requests?   1 map[string]Quantity

type Counter
  value!   1 Quantity

type CounterSet
  name!        1 string
  counters?!   2 map[string]Counter

type Device
  name!                              1 string
  attributes?                        2 map[string]DeviceAttribute
  capacity?                          3 map[string]DeviceCapacity
  consumesCounters?                  4 []DeviceCounterConsumption                atomic gates(DRAPartitionableDevices)
  nodeName?                          5 *string                                   gates(DRAPartitionableDevices)
  nodeSelector?                      6 *core.v1.NodeSelector                     gates(DRAPartitionableDevices)
  allNodes?                          7 *bool                                     gates(DRAPartitionableDevices)
  taints?                            8 []DeviceTaint                             atomic gates(DRADeviceTaints)
  bindsToNode?                       9 *bool                                     gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)
  bindingConditions?                10 []string                                  atomic gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)
  bindingFailureConditions?         11 []string                                  atomic gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)
  allowMultipleAllocations?         12 *bool                                     gates(DRAConsumableCapacity)
  nodeAllocatableResourceMappings?  13 map[string]NodeAllocatableResourceMapping gates(DRANodeAllocatableResources)

type DeviceAllocationConfiguration
  source!     1 AllocationConfigSource
  requests?   2 []string               atomic
  &           3 DeviceConfiguration

type DeviceAllocationResult
  results?   1 []DeviceRequestAllocationResult atomic
  config?    2 []DeviceAllocationConfiguration atomic

type DeviceAttribute
  int?        2 *int64
  bool?       3 *bool
  string?     4 *string
  version?    5 *string
  ints?       6 []int64  atomic gates(DRAListTypeAttributes)
  bools?      7 []bool   atomic gates(DRAListTypeAttributes)
  strings?    8 []string atomic gates(DRAListTypeAttributes)
  versions?   9 []string atomic gates(DRAListTypeAttributes)

type DeviceCapacity
  value!           1 Quantity
  requestPolicy?   2 *CapacityRequestPolicy gates(DRAConsumableCapacity)

type DeviceClaim
  requests       1 []DeviceRequest            atomic
  constraints?   2 []DeviceConstraint         atomic
  config?        3 []DeviceClaimConfiguration atomic

type DeviceClaimConfiguration
  requests?   1 []string            atomic
  &           2 DeviceConfiguration

type DeviceClass kind since(1.33)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 DeviceClassSpec

type DeviceClassConfiguration
  &   1 DeviceConfiguration

type DeviceClassList kind since(1.33)
  metadata?   1 meta.v1.ListMeta
  items!      2 []DeviceClass

type DeviceClassSpec
  selectors?              1 []DeviceSelector           atomic
  config?                 2 []DeviceClassConfiguration atomic
  extendedResourceName?   4 *string                    gates(DRAExtendedResource)

type DeviceConfiguration
  opaque?   1 *OpaqueDeviceConfiguration

type DeviceConstraint
  requests?            1 []string            atomic
  matchAttribute?      2 *FullyQualifiedName
  distinctAttribute?   3 *FullyQualifiedName gates(DRAConsumableCapacity)

type DeviceCounterConsumption
  counterSet!   1 string
  counters?!    2 map[string]Counter

type DeviceRequest
  name!             1 string
  exactly?          2 *ExactDeviceRequest
  firstAvailable?   3 []DeviceSubRequest  atomic gates(DRAPrioritizedList)

type DeviceRequestAllocationResult
  request!                    1 string
  driver!                     2 string
  pool!                       3 string
  device!                     4 string
  adminAccess?                5 *bool               gates(DRAAdminAccess)
  tolerations?                6 []DeviceToleration  atomic gates(DRADeviceTaints)
  bindingConditions?          7 []string            atomic gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)
  bindingFailureConditions?   8 []string            atomic gates(DRADeviceBindingConditions,DRAResourceClaimDeviceStatus)
  shareID?                    9 *types.UID          gates(DRAConsumableCapacity)
  consumedCapacity?          10 map[string]Quantity gates(DRAConsumableCapacity)

type DeviceSelector
  cel?   1 *CELDeviceSelector

type DeviceSubRequest
  name!              1 string
  deviceClassName!   2 string
  selectors?         3 []DeviceSelector      atomic
  allocationMode?    4 DeviceAllocationMode
  count?             5 int64
  tolerations?       6 []DeviceToleration    atomic gates(DRADeviceTaints)
  capacity?          7 *CapacityRequirements gates(DRAConsumableCapacity)

type DeviceTaint
  key!         1 string
  value?       2 string
  effect!      3 DeviceTaintEffect
  timeAdded?   4 *Time

type DeviceTaintRule kind since(1.36)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 DeviceTaintRuleSpec
  status?     3 DeviceTaintRuleStatus

type DeviceTaintRuleList kind since(1.36)
  metadata?   1 meta.v1.ListMeta
  items!      2 []DeviceTaintRule

type DeviceTaintRuleSpec
  deviceSelector?   1 *DeviceTaintSelector
  taint?!           2 DeviceTaint

type DeviceTaintRuleStatus
  conditions?   1 []meta.v1.Condition map(type) merge(type)

type DeviceTaintSelector
  driver?   2 *string
  pool?     3 *string
  device?   4 *string

type DeviceToleration
  key?                 1 string
  operator?            2 DeviceTolerationOperator default("Equal")
  value?               3 string
  effect?              4 DeviceTaintEffect
  tolerationSeconds?   5 *int64

type ExactDeviceRequest
  deviceClassName!   1 string
  selectors?         2 []DeviceSelector      atomic
  allocationMode?    3 DeviceAllocationMode
  count?             4 int64
  adminAccess?       5 *bool                 gates(DRAAdminAccess)
  tolerations?       6 []DeviceToleration    atomic gates(DRADeviceTaints)
  capacity?          7 *CapacityRequirements gates(DRAConsumableCapacity)

type NetworkDeviceData
  interfaceName?     1 string
  ips?               2 []string atomic
  hardwareAddress?   3 string

type NodeAllocatableResourceMapping
  capacityKey?            1 *QualifiedName
  allocationMultiplier?   2 *Quantity

type OpaqueDeviceConfiguration
  driver!       1 string
  parameters!   2 RawExtension

type ResourceClaim kind since(1.33)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 ResourceClaimSpec
  status?     3 ResourceClaimStatus

type ResourceClaimConsumerReference
  apiGroup?   1 string
  resource!   3 string
  name!       4 string
  uid!        5 types.UID

type ResourceClaimList kind since(1.33)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ResourceClaim

type ResourceClaimSpec
  devices   1 DeviceClaim

type ResourceClaimStatus
  allocation?    1 *AllocationResult
  reservedFor?   2 []ResourceClaimConsumerReference map(uid) merge(uid)
  devices?       4 []AllocatedDeviceStatus          map(driver,device,pool,shareID) gates(DRAResourceClaimDeviceStatus)

type ResourceClaimTemplate kind since(1.33)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 ResourceClaimTemplateSpec

type ResourceClaimTemplateList kind since(1.33)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ResourceClaimTemplate

type ResourceClaimTemplateSpec
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 ResourceClaimSpec

type ResourcePool
  name!                 1 string
  generation!           2 int64
  resourceSliceCount!   3 int64

type ResourceSlice kind since(1.33)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 ResourceSliceSpec

type ResourceSliceList kind since(1.33)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ResourceSlice

type ResourceSliceSpec
  driver!                   1 string
  pool!                     2 ResourcePool
  nodeName?                 3 *string
  nodeSelector?             4 *core.v1.NodeSelector
  allNodes?                 5 *bool
  devices?                  6 []Device              atomic
  perDeviceNodeSelection?   7 *bool                 gates(DRAPartitionableDevices)
  sharedCounters?           8 []CounterSet          atomic gates(DRAPartitionableDevices)
