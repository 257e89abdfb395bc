package apps.v1 io.k8s.api.apps.v1 group(apps) version(v1) proto(k8s.io.api.apps.v1) served

resource controllerrevisions ControllerRevision namespaced served preferred crud stored(85nkx63pcBU=) unconditional select() since(1.9)

resource daemonsets DaemonSet namespaced served preferred short(ds) categories(all) crud stored(dd7pWHUlMKQ=) unconditional select() since(1.9)
  sub status DaemonSet get patch update

resource deployments Deployment namespaced served preferred short(deploy) categories(all) crud stored(8aSe+NMegvE=) unconditional select() since(1.9)
  sub scale autoscaling.v1.Scale get patch update
  sub status Deployment get patch update

resource replicasets ReplicaSet namespaced served preferred short(rs) categories(all) crud stored(P1RzHs8/mWQ=) unconditional select() since(1.9)
  sub scale autoscaling.v1.Scale get patch update
  sub status ReplicaSet get patch update

resource statefulsets StatefulSet namespaced served preferred short(sts) categories(all) crud stored(H+vl74LkKdo=) unconditional select() since(1.9)
  sub scale autoscaling.v1.Scale get patch update
  sub status StatefulSet get patch update

alias DaemonSetConditionType = string
alias DaemonSetUpdateStrategyType = string enum(OnDelete,RollingUpdate)
alias DeploymentConditionType = string
alias DeploymentStrategyType = string enum(Recreate,RollingUpdate)
alias PersistentVolumeClaimRetentionPolicyType = string
alias PodManagementPolicyType = string enum(OrderedReady,Parallel)
alias ReplicaSetConditionType = string
alias StatefulSetConditionType = string
alias StatefulSetUpdateStrategyType = string enum(OnDelete,RollingUpdate)

type ControllerRevision kind since(1.9)
  metadata?   1 meta.v1.ObjectMeta
  data?       2 RawExtension
  revision!   3 int64

type ControllerRevisionList kind since(1.9)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ControllerRevision

type DaemonSet kind since(1.9)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 DaemonSetSpec
  status?     3 DaemonSetStatus

type DaemonSetCondition
  type!                 1 DaemonSetConditionType
  status!               2 core.v1.ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type DaemonSetList kind since(1.9)
  metadata?   1 meta.v1.ListMeta
  items!      2 []DaemonSet

type DaemonSetSpec
  selector!               1 *meta.v1.LabelSelector
  template!               2 core.v1.PodTemplateSpec
  updateStrategy?         3 DaemonSetUpdateStrategy
  minReadySeconds?        4 int32
  revisionHistoryLimit?   6 *int32

type DaemonSetStatus
  currentNumberScheduled!   1 int32
  numberMisscheduled!       2 int32
  desiredNumberScheduled!   3 int32
  numberReady!              4 int32
  observedGeneration?       5 int64
  updatedNumberScheduled?   6 int32
  numberAvailable?          7 int32
  numberUnavailable?        8 int32
  collisionCount?           9 *int32
  conditions?              10 []DaemonSetCondition map(type) merge(type)

type DaemonSetUpdateStrategy
  type?            1 DaemonSetUpdateStrategyType
  rollingUpdate?   2 *RollingUpdateDaemonSet

type Deployment kind since(1.9)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 DeploymentSpec
  status?     3 DeploymentStatus

type DeploymentCondition
  type!                 1 DeploymentConditionType
  status!               2 core.v1.ConditionStatus
  lastUpdateTime?       6 Time
  lastTransitionTime?   7 Time
  reason?               4 string
  message?              5 string

type DeploymentList kind since(1.9)
  metadata?   1 meta.v1.ListMeta
  items!      2 []Deployment

type DeploymentSpec
  replicas?                  1 *int32
  selector!                  2 *meta.v1.LabelSelector
  template!                  3 core.v1.PodTemplateSpec
  strategy?                  4 DeploymentStrategy      retainkeys
  minReadySeconds?           5 int32
  revisionHistoryLimit?      6 *int32
  paused?                    7 bool
  progressDeadlineSeconds?   9 *int32

type DeploymentStatus
  observedGeneration?    1 int64
  replicas?              2 int32
  updatedReplicas?       3 int32
  readyReplicas?         7 int32
  availableReplicas?     4 int32
  unavailableReplicas?   5 int32
  terminatingReplicas?   9 *int32
  conditions?            6 []DeploymentCondition map(type) merge(type)
  collisionCount?        8 *int32

type DeploymentStrategy
  type?            1 DeploymentStrategyType
  rollingUpdate?   2 *RollingUpdateDeployment

type ReplicaSet kind since(1.9)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 ReplicaSetSpec
  status?     3 ReplicaSetStatus

type ReplicaSetCondition
  type!                 1 ReplicaSetConditionType
  status!               2 core.v1.ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type ReplicaSetList kind since(1.9)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ReplicaSet

type ReplicaSetSpec
  replicas?          1 *int32
  minReadySeconds?   4 int32
  selector!          2 *meta.v1.LabelSelector
  template?          3 core.v1.PodTemplateSpec

type ReplicaSetStatus
  replicas!               1 int32
  fullyLabeledReplicas?   2 int32
  readyReplicas?          4 int32
  availableReplicas?      5 int32
  terminatingReplicas?    7 *int32
  observedGeneration?     3 int64
  conditions?             6 []ReplicaSetCondition map(type) merge(type)

type RollingUpdateDaemonSet
  maxUnavailable?   1 *IntOrString
  maxSurge?         2 *IntOrString

type RollingUpdateDeployment
  maxUnavailable?   1 *IntOrString
  maxSurge?         2 *IntOrString

type RollingUpdateStatefulSetStrategy
  partition?        1 *int32
  maxUnavailable?   2 *IntOrString gates(MaxUnavailableStatefulSet)

type StatefulSet kind since(1.9)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 StatefulSetSpec
  status?     3 StatefulSetStatus

type StatefulSetCondition
  type!                 1 StatefulSetConditionType
  status!               2 core.v1.ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type StatefulSetList kind since(1.9)
  metadata?   1 meta.v1.ListMeta
  items!      2 []StatefulSet

type StatefulSetOrdinals
  start   1 int32

type StatefulSetPersistentVolumeClaimRetentionPolicy
  whenDeleted?   1 PersistentVolumeClaimRetentionPolicyType
  whenScaled?    2 PersistentVolumeClaimRetentionPolicyType

type StatefulSetSpec
  replicas?                               1 *int32
  selector!                               2 *meta.v1.LabelSelector
  template!                               3 core.v1.PodTemplateSpec
  volumeClaimTemplates?                   4 []core.v1.PersistentVolumeClaim                  atomic
  serviceName                             5 string
  podManagementPolicy?                    6 PodManagementPolicyType
  updateStrategy?                         7 StatefulSetUpdateStrategy
  revisionHistoryLimit?                   8 *int32
  minReadySeconds?                        9 int32
  persistentVolumeClaimRetentionPolicy?  10 *StatefulSetPersistentVolumeClaimRetentionPolicy
  ordinals?                              11 *StatefulSetOrdinals

type StatefulSetStatus
  observedGeneration?   1 int64
  replicas!             2 int32
  readyReplicas?        3 int32
  currentReplicas?      4 int32
  updatedReplicas?      5 int32
  currentRevision?      6 string
  updateRevision?       7 string
  collisionCount?       9 *int32
  conditions?          10 []StatefulSetCondition map(type) merge(type)
  availableReplicas    11 int32

type StatefulSetUpdateStrategy
  type?            1 StatefulSetUpdateStrategyType
  rollingUpdate?   2 *RollingUpdateStatefulSetStrategy

package apps.v1beta1 io.k8s.api.apps.v1beta1 group(apps) version(v1beta1) proto(k8s.io.api.apps.v1beta1) never

alias DeploymentConditionType = string
alias DeploymentStrategyType = string
alias PersistentVolumeClaimRetentionPolicyType = string
alias PodManagementPolicyType = string
alias StatefulSetConditionType = string
alias StatefulSetUpdateStrategyType = string

type ControllerRevision kind since(1.7) deprecated(1.8) removed(1.16) use(apps/v1/ControllerRevision)
  metadata?   1 meta.v1.ObjectMeta
  data?       2 RawExtension
  revision!   3 int64

type ControllerRevisionList kind since(1.7) deprecated(1.8) removed(1.16) use(apps/v1/ControllerRevisionList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ControllerRevision

type Deployment kind since(1.6) deprecated(1.8) removed(1.16) use(apps/v1/Deployment)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 DeploymentSpec
  status?     3 DeploymentStatus

type DeploymentCondition
  type!                 1 DeploymentConditionType
  status!               2 core.v1.ConditionStatus
  lastUpdateTime?       6 Time
  lastTransitionTime?   7 Time
  reason?               4 string
  message?              5 string

type DeploymentList kind since(1.6) deprecated(1.8) removed(1.16) use(apps/v1/DeploymentList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []Deployment

type DeploymentRollback kind since(1.6) deprecated(1.8) removed(1.16) use(apps/v1/DeploymentRollback)
  name!                 1 string
  updatedAnnotations?   2 map[string]string
  rollbackTo!           3 RollbackConfig

type DeploymentSpec
  replicas?                  1 *int32
  selector?                  2 *meta.v1.LabelSelector
  template!                  3 core.v1.PodTemplateSpec
  strategy?                  4 DeploymentStrategy      retainkeys
  minReadySeconds?           5 int32
  revisionHistoryLimit?      6 *int32
  paused?                    7 bool
  rollbackTo?                8 *RollbackConfig
  progressDeadlineSeconds?   9 *int32

type DeploymentStatus
  observedGeneration?    1 int64
  replicas?              2 int32
  updatedReplicas?       3 int32
  readyReplicas?         7 int32
  availableReplicas?     4 int32
  unavailableReplicas?   5 int32
  terminatingReplicas?   9 *int32
  conditions?            6 []DeploymentCondition map(type) merge(type)
  collisionCount?        8 *int32

type DeploymentStrategy
  type?            1 DeploymentStrategyType
  rollingUpdate?   2 *RollingUpdateDeployment

type RollbackConfig
  revision?   1 int64

type RollingUpdateDeployment
  maxUnavailable?   1 *IntOrString
  maxSurge?         2 *IntOrString

type RollingUpdateStatefulSetStrategy
  partition?        1 *int32
  maxUnavailable?   2 *IntOrString gates(MaxUnavailableStatefulSet)

type Scale kind since(1.6) deprecated(1.8) removed(1.16) use(autoscaling/v1/Scale)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 ScaleSpec
  status?     3 ScaleStatus

type ScaleSpec
  replicas?   1 int32 default(0)

type ScaleStatus
  replicas!         1 int32
  selector?         2 map[string]string
  targetSelector?   3 string

type StatefulSet kind since(1.5) deprecated(1.8) removed(1.16) use(apps/v1/StatefulSet)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 StatefulSetSpec
  status?     3 StatefulSetStatus

type StatefulSetCondition
  type!                 1 StatefulSetConditionType
  status!               2 core.v1.ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type StatefulSetList kind since(1.5) deprecated(1.8) removed(1.16) use(apps/v1/StatefulSetList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []StatefulSet

type StatefulSetOrdinals
  start   1 int32

type StatefulSetPersistentVolumeClaimRetentionPolicy
  whenDeleted?   1 PersistentVolumeClaimRetentionPolicyType
  whenScaled?    2 PersistentVolumeClaimRetentionPolicyType

type StatefulSetSpec
  replicas?                               1 *int32
  selector?                               2 *meta.v1.LabelSelector
  template!                               3 core.v1.PodTemplateSpec
  volumeClaimTemplates?                   4 []core.v1.PersistentVolumeClaim                  atomic
  serviceName                             5 string
  podManagementPolicy?                    6 PodManagementPolicyType
  updateStrategy?                         7 StatefulSetUpdateStrategy
  revisionHistoryLimit?                   8 *int32
  minReadySeconds?                        9 int32
  persistentVolumeClaimRetentionPolicy?  10 *StatefulSetPersistentVolumeClaimRetentionPolicy
  ordinals?                              11 *StatefulSetOrdinals

type StatefulSetStatus
  observedGeneration?   1 *int64
  replicas!             2 int32
  readyReplicas?        3 int32
  currentReplicas?      4 int32
  updatedReplicas?      5 int32
  currentRevision?      6 string
  updateRevision?       7 string
  collisionCount?       9 *int32
  conditions?          10 []StatefulSetCondition map(type) merge(type)
  availableReplicas    11 int32

type StatefulSetUpdateStrategy
  type?            1 StatefulSetUpdateStrategyType
  rollingUpdate?   2 *RollingUpdateStatefulSetStrategy

package apps.v1beta2 io.k8s.api.apps.v1beta2 group(apps) version(v1beta2) proto(k8s.io.api.apps.v1beta2) never

alias DaemonSetConditionType = string
alias DaemonSetUpdateStrategyType = string
alias DeploymentConditionType = string
alias DeploymentStrategyType = string
alias PersistentVolumeClaimRetentionPolicyType = string
alias PodManagementPolicyType = string
alias ReplicaSetConditionType = string
alias StatefulSetConditionType = string
alias StatefulSetUpdateStrategyType = string

type ControllerRevision kind since(1.8) deprecated(1.9) removed(1.16) use(apps/v1/ControllerRevision)
  metadata?   1 meta.v1.ObjectMeta
  data?       2 RawExtension
  revision!   3 int64

type ControllerRevisionList kind since(1.8) deprecated(1.9) removed(1.16) use(apps/v1/ControllerRevisionList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ControllerRevision

type DaemonSet kind since(1.8) deprecated(1.9) removed(1.16) use(apps/v1/DaemonSet)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 DaemonSetSpec
  status?     3 DaemonSetStatus

type DaemonSetCondition
  type!                 1 DaemonSetConditionType
  status!               2 core.v1.ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type DaemonSetList kind since(1.8) deprecated(1.9) removed(1.16) use(apps/v1/DaemonSetList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []DaemonSet

type DaemonSetSpec
  selector!               1 *meta.v1.LabelSelector
  template!               2 core.v1.PodTemplateSpec
  updateStrategy?         3 DaemonSetUpdateStrategy
  minReadySeconds?        4 int32
  revisionHistoryLimit?   6 *int32

type DaemonSetStatus
  currentNumberScheduled!   1 int32
  numberMisscheduled!       2 int32
  desiredNumberScheduled!   3 int32
  numberReady!              4 int32
  observedGeneration?       5 int64
  updatedNumberScheduled?   6 int32
  numberAvailable?          7 int32
  numberUnavailable?        8 int32
  collisionCount?           9 *int32
  conditions?              10 []DaemonSetCondition map(type) merge(type)

type DaemonSetUpdateStrategy
  type?            1 DaemonSetUpdateStrategyType
  rollingUpdate?   2 *RollingUpdateDaemonSet

type Deployment kind since(1.8) deprecated(1.9) removed(1.16) use(apps/v1/Deployment)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 DeploymentSpec
  status?     3 DeploymentStatus

type DeploymentCondition
  type!                 1 DeploymentConditionType
  status!               2 core.v1.ConditionStatus
  lastUpdateTime?       6 Time
  lastTransitionTime?   7 Time
  reason?               4 string
  message?              5 string

type DeploymentList kind since(1.8) deprecated(1.9) removed(1.16) use(apps/v1/DeploymentList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []Deployment

type DeploymentSpec
  replicas?                  1 *int32
  selector!                  2 *meta.v1.LabelSelector
  template!                  3 core.v1.PodTemplateSpec
  strategy?                  4 DeploymentStrategy      retainkeys
  minReadySeconds?           5 int32
  revisionHistoryLimit?      6 *int32
  paused?                    7 bool
  progressDeadlineSeconds?   9 *int32

type DeploymentStatus
  observedGeneration?    1 int64
  replicas?              2 int32
  updatedReplicas?       3 int32
  readyReplicas?         7 int32
  availableReplicas?     4 int32
  unavailableReplicas?   5 int32
  terminatingReplicas?   9 *int32
  conditions?            6 []DeploymentCondition map(type) merge(type)
  collisionCount?        8 *int32

type DeploymentStrategy
  type?            1 DeploymentStrategyType
  rollingUpdate?   2 *RollingUpdateDeployment

type ReplicaSet kind since(1.8) deprecated(1.9) removed(1.16) use(apps/v1/ReplicaSet)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 ReplicaSetSpec
  status?     3 ReplicaSetStatus

type ReplicaSetCondition
  type!                 1 ReplicaSetConditionType
  status!               2 core.v1.ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type ReplicaSetList kind since(1.8) deprecated(1.9) removed(1.16) use(apps/v1/ReplicaSetList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ReplicaSet

type ReplicaSetSpec
  replicas?          1 *int32
  minReadySeconds?   4 int32
  selector!          2 *meta.v1.LabelSelector
  template?          3 core.v1.PodTemplateSpec

type ReplicaSetStatus
  replicas!               1 int32
  fullyLabeledReplicas?   2 int32
  readyReplicas?          4 int32
  availableReplicas?      5 int32
  terminatingReplicas?    7 *int32
  observedGeneration?     3 int64
  conditions?             6 []ReplicaSetCondition map(type) merge(type)

type RollingUpdateDaemonSet
  maxUnavailable?   1 *IntOrString
  maxSurge?         2 *IntOrString

type RollingUpdateDeployment
  maxUnavailable?   1 *IntOrString
  maxSurge?         2 *IntOrString

type RollingUpdateStatefulSetStrategy
  partition?        1 *int32
  maxUnavailable?   2 *IntOrString gates(MaxUnavailableStatefulSet)

type Scale kind since(1.8) deprecated(1.9) removed(1.16) use(autoscaling/v1/Scale)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 ScaleSpec
  status?     3 ScaleStatus

type ScaleSpec
  replicas?   1 int32 default(0)

type ScaleStatus
  replicas!         1 int32
  selector?         2 map[string]string atomic
  targetSelector?   3 string

type StatefulSet kind since(1.8) deprecated(1.9) removed(1.16) use(apps/v1/StatefulSet)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 StatefulSetSpec
  status?     3 StatefulSetStatus

type StatefulSetCondition
  type!                 1 StatefulSetConditionType
  status!               2 core.v1.ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type StatefulSetList kind since(1.8) deprecated(1.9) removed(1.16) use(apps/v1/StatefulSetList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []StatefulSet

type StatefulSetOrdinals
  start   1 int32

type StatefulSetPersistentVolumeClaimRetentionPolicy
  whenDeleted?   1 PersistentVolumeClaimRetentionPolicyType
  whenScaled?    2 PersistentVolumeClaimRetentionPolicyType

type StatefulSetSpec
  replicas?                               1 *int32
  selector!                               2 *meta.v1.LabelSelector
  template!                               3 core.v1.PodTemplateSpec
  volumeClaimTemplates?                   4 []core.v1.PersistentVolumeClaim                  atomic
  serviceName                             5 string
  podManagementPolicy?                    6 PodManagementPolicyType
  updateStrategy?                         7 StatefulSetUpdateStrategy
  revisionHistoryLimit?                   8 *int32
  minReadySeconds?                        9 int32
  persistentVolumeClaimRetentionPolicy?  10 *StatefulSetPersistentVolumeClaimRetentionPolicy
  ordinals?                              11 *StatefulSetOrdinals

type StatefulSetStatus
  observedGeneration?   1 int64
  replicas!             2 int32
  readyReplicas?        3 int32
  currentReplicas?      4 int32
  updatedReplicas?      5 int32
  currentRevision?      6 string
  updateRevision?       7 string
  collisionCount?       9 *int32
  conditions?          10 []StatefulSetCondition map(type) merge(type)
  availableReplicas    11 int32

type StatefulSetUpdateStrategy
  type?            1 StatefulSetUpdateStrategyType
  rollingUpdate?   2 *RollingUpdateStatefulSetStrategy
