package scheduling.v1 io.k8s.api.scheduling.v1 group(scheduling.k8s.io) version(v1) proto(k8s.io.api.scheduling.v1) served

resource priorityclasses PriorityClass cluster served preferred short(pc) crud stored(1QwjyaZjj3Y=) unconditional select() since(1.14)

type PriorityClass kind since(1.14)
  metadata?           1 meta.v1.ObjectMeta
  value               2 int32
  globalDefault?      3 bool
  description?        4 string
  preemptionPolicy?   5 *core.v1.PreemptionPolicy

type PriorityClassList kind since(1.14)
  metadata?   1 meta.v1.ListMeta
  items!      2 []PriorityClass

package scheduling.v1alpha2 io.k8s.api.scheduling.v1alpha2 group(scheduling.k8s.io) version(v1alpha2) proto(k8s.io.api.scheduling.v1alpha2) off

resource podgroups PodGroup namespaced crud stored(YYgX3v5V204=) unconditional select() since(1.36) removed(1.42)
  sub status PodGroup get patch update

resource workloads Workload namespaced crud stored(vSX7gJe5Mx8=) unconditional select() since(1.36) removed(1.42)

alias DisruptionMode = string enum(Pod,PodGroup)

type BasicSchedulingPolicy

type GangSchedulingPolicy
  minCount!   1 int32

type PodGroup kind
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 PodGroupSpec
  status?     3 PodGroupStatus

type PodGroupList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []PodGroup

type PodGroupResourceClaim
  name!                        1 string
  resourceClaimName?           2 *string
  resourceClaimTemplateName?   3 *string

type PodGroupResourceClaimStatus
  name!                1 string
  resourceClaimName?   2 *string

type PodGroupSchedulingConstraints
  topology?   1 []TopologyConstraint atomic

type PodGroupSchedulingPolicy union
  basic?   1 *BasicSchedulingPolicy
  gang?    2 *GangSchedulingPolicy

type PodGroupSpec
  podGroupTemplateRef      1 *PodGroupTemplateReference
  schedulingPolicy!        2 PodGroupSchedulingPolicy
  schedulingConstraints?   3 *PodGroupSchedulingConstraints gates(TopologyAwareWorkloadScheduling)
  resourceClaims?          4 []PodGroupResourceClaim        map(name) merge(name) retainkeys gates(DRAWorkloadResourceClaims)
  disruptionMode?          5 *DisruptionMode                default("Pod") gates(WorkloadAwarePreemption)
  priorityClassName?       6 string                         gates(WorkloadAwarePreemption)
  priority?                7 *int32                         gates(WorkloadAwarePreemption)

type PodGroupStatus
  conditions?              1 []meta.v1.Condition           map(type) merge(type)
  resourceClaimStatuses?   2 []PodGroupResourceClaimStatus map(name) merge(name) retainkeys gates(DRAWorkloadResourceClaims)

type PodGroupTemplate
  name!                   1 string
  schedulingPolicy!       2 PodGroupSchedulingPolicy
  schedulingConstraints   3 *PodGroupSchedulingConstraints gates(TopologyAwareWorkloadScheduling)
  resourceClaims?         4 []PodGroupResourceClaim        map(name) merge(name) retainkeys gates(DRAWorkloadResourceClaims)
  disruptionMode?         5 *DisruptionMode                gates(WorkloadAwarePreemption)
  priorityClassName?      6 string                         gates(WorkloadAwarePreemption)
  priority?               7 *int32                         gates(WorkloadAwarePreemption)

type PodGroupTemplateReference union
  workload   1 *WorkloadPodGroupTemplateReference

type TopologyConstraint
  key!   1 string

type TypedLocalObjectReference
  apiGroup?   1 string
  kind!       2 string
  name!       3 string

type Workload kind
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 WorkloadSpec

type WorkloadList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []Workload

type WorkloadPodGroupTemplateReference
  workloadName!           1 string
  podGroupTemplateName!   2 string

type WorkloadSpec
  controllerRef?       1 *TypedLocalObjectReference
  podGroupTemplates!   2 []PodGroupTemplate         map(name)

package scheduling.v1beta1 io.k8s.api.scheduling.v1beta1 group(scheduling.k8s.io) version(v1beta1) proto(k8s.io.api.scheduling.v1beta1) never

type PriorityClass kind since(1.11) deprecated(1.14) removed(1.22) use(scheduling.k8s.io/v1/PriorityClass)
  metadata?           1 meta.v1.ObjectMeta
  value               2 int32
  globalDefault?      3 bool
  description?        4 string
  preemptionPolicy?   5 *core.v1.PreemptionPolicy

type PriorityClassList kind since(1.11) deprecated(1.14) removed(1.22) use(scheduling.k8s.io/v1/PriorityClassList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []PriorityClass
