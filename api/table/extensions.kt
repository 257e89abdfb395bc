package extensions.v1beta1 io.k8s.api.extensions.v1beta1 group(extensions) version(v1beta1) proto(k8s.io.api.extensions.v1beta1) never

alias DaemonSetConditionType = string
alias DaemonSetUpdateStrategyType = string
alias DeploymentConditionType = string
alias DeploymentStrategyType = string
alias PathType = string
alias PolicyType = string
alias ReplicaSetConditionType = string

type DaemonSet kind since(1.1) deprecated(1.8) removed(1.16) use(apps/v1/DaemonSet)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 DaemonSetSpec
  status?     3 DaemonSetStatus

type DaemonSetCondition
  type!                 1 DaemonSetConditionType
  status!               2 core.v1.ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type DaemonSetList kind since(1.1) deprecated(1.8) removed(1.16) use(apps/v1/DaemonSetList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []DaemonSet

type DaemonSetSpec
  selector?               1 *meta.v1.LabelSelector
  template!               2 core.v1.PodTemplateSpec
  updateStrategy?         3 DaemonSetUpdateStrategy
  minReadySeconds?        4 int32
  templateGeneration?     5 int64
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

type Deployment kind since(1.1) deprecated(1.8) removed(1.16) use(apps/v1/Deployment)
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

type DeploymentList kind since(1.1) deprecated(1.8) removed(1.16) use(apps/v1/DeploymentList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []Deployment

type DeploymentRollback kind since(1.2) deprecated(1.8) removed(1.16)
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

type HTTPIngressPath
  path?       1 string
  pathType?   3 *PathType
  backend!    2 IngressBackend

type HTTPIngressRuleValue
  paths!   1 []HTTPIngressPath atomic

type IPBlock
  cidr!     1 string
  except?   2 []string atomic

type Ingress kind since(1.1) deprecated(1.14) removed(1.22) use(networking.k8s.io/v1/Ingress)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 IngressSpec
  status?     3 IngressStatus

type IngressBackend
  serviceName?   1 string
  servicePort?   2 IntOrString
  resource?      3 *core.v1.TypedLocalObjectReference

type IngressList kind since(1.1) deprecated(1.14) removed(1.22) use(networking.k8s.io/v1/IngressList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []Ingress

type IngressLoadBalancerIngress
  ip?         1 string
  hostname?   2 string
  ports?      4 []IngressPortStatus atomic

type IngressLoadBalancerStatus
  ingress?   1 []IngressLoadBalancerIngress atomic

type IngressPortStatus
  port!       1 int32
  protocol!   2 core.v1.Protocol
  error?      3 *string

type IngressRule
  host?   1 string
  &       2 IngressRuleValue

type IngressRuleValue
  http?   1 *HTTPIngressRuleValue

type IngressSpec
  ingressClassName?   4 *string
  backend?            1 *IngressBackend
  tls?                2 []IngressTLS    atomic
  rules?              3 []IngressRule   atomic

type IngressStatus
  loadBalancer?   1 IngressLoadBalancerStatus

type IngressTLS
  hosts?        1 []string atomic
  secretName?   2 string

type NetworkPolicy kind since(1.3) deprecated(1.9) removed(1.16) use(networking.k8s.io/v1/NetworkPolicy)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 NetworkPolicySpec

type NetworkPolicyEgressRule
  ports?   1 []NetworkPolicyPort atomic
  to?      2 []NetworkPolicyPeer atomic

type NetworkPolicyIngressRule
  ports?   1 []NetworkPolicyPort atomic
  from?    2 []NetworkPolicyPeer atomic

type NetworkPolicyList kind since(1.3) deprecated(1.9) removed(1.16) use(networking.k8s.io/v1/NetworkPolicyList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []NetworkPolicy

type NetworkPolicyPeer
  podSelector?         1 *meta.v1.LabelSelector
  namespaceSelector?   2 *meta.v1.LabelSelector
  ipBlock?             3 *IPBlock

type NetworkPolicyPort
  protocol?   1 *core.v1.Protocol
  port?       2 *IntOrString
  endPort?    3 *int32

type NetworkPolicySpec
  podSelector!   1 meta.v1.LabelSelector
  ingress?       2 []NetworkPolicyIngressRule atomic
  egress?        3 []NetworkPolicyEgressRule  atomic
  policyTypes?   4 []PolicyType               atomic

type ReplicaSet kind since(1.2) deprecated(1.8) removed(1.16) use(apps/v1/ReplicaSet)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 ReplicaSetSpec
  status?     3 ReplicaSetStatus

type ReplicaSetCondition
  type!                 1 ReplicaSetConditionType
  status!               2 core.v1.ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type ReplicaSetList kind since(1.2) deprecated(1.8) removed(1.16) use(apps/v1/ReplicaSetList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ReplicaSet

type ReplicaSetSpec
  replicas?          1 *int32
  minReadySeconds?   4 int32
  selector?          2 *meta.v1.LabelSelector
  template?          3 core.v1.PodTemplateSpec

type ReplicaSetStatus
  replicas!               1 int32
  fullyLabeledReplicas?   2 int32
  readyReplicas?          4 int32
  availableReplicas?      5 int32
  terminatingReplicas?    7 *int32
  observedGeneration?     3 int64
  conditions?             6 []ReplicaSetCondition map(type) merge(type)

type RollbackConfig
  revision?   1 int64

type RollingUpdateDaemonSet
  maxUnavailable?   1 *IntOrString
  maxSurge?         2 *IntOrString

type RollingUpdateDeployment
  maxUnavailable?   1 *IntOrString
  maxSurge?         2 *IntOrString

type Scale kind since(1.1) deprecated(1.2) removed(1.16)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 ScaleSpec
  status?     3 ScaleStatus

type ScaleSpec
  replicas?   1 int32 default(0)

type ScaleStatus
  replicas!         1 int32
  selector?         2 map[string]string atomic
  targetSelector?   3 string
