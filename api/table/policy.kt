package policy.v1 io.k8s.api.policy.v1 group(policy) version(v1) proto(k8s.io.api.policy.v1) served

resource poddisruptionbudgets PodDisruptionBudget namespaced served preferred short(pdb) crud stored(EVWiDmWqyJw=) select() since(1.21)
  sub status PodDisruptionBudget get patch update

alias UnhealthyPodEvictionPolicyType = string enum(AlwaysAllow,IfHealthyBudget)

type Eviction kind since(1.22)
  metadata?        1 meta.v1.ObjectMeta
  deleteOptions?   2 *meta.v1.DeleteOptions

type PodDisruptionBudget kind since(1.21)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 PodDisruptionBudgetSpec
  status?     3 PodDisruptionBudgetStatus

type PodDisruptionBudgetList kind since(1.21)
  metadata?   1 meta.v1.ListMeta
  items!      2 []PodDisruptionBudget

type PodDisruptionBudgetSpec
  minAvailable?                 1 *IntOrString
  selector?                     2 *meta.v1.LabelSelector          replace
  maxUnavailable?               3 *IntOrString
  unhealthyPodEvictionPolicy?   4 *UnhealthyPodEvictionPolicyType

type PodDisruptionBudgetStatus
  observedGeneration?   1 int64
  disruptedPods?        2 map[string]Time
  disruptionsAllowed    3 int32
  currentHealthy        4 int32
  desiredHealthy        5 int32
  expectedPods          6 int32
  conditions?           7 []meta.v1.Condition map(type) merge(type)

package policy.v1beta1 io.k8s.api.policy.v1beta1 group(policy) version(v1beta1) proto(k8s.io.api.policy.v1beta1) never

alias UnhealthyPodEvictionPolicyType = string enum(AlwaysAllow,IfHealthyBudget)

type Eviction kind since(1.5) deprecated(1.22)
  metadata?        1 meta.v1.ObjectMeta
  deleteOptions?   2 *meta.v1.DeleteOptions

type PodDisruptionBudget kind since(1.5) deprecated(1.21) removed(1.25) use(policy/v1/PodDisruptionBudget)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 PodDisruptionBudgetSpec
  status?     3 PodDisruptionBudgetStatus

type PodDisruptionBudgetList kind since(1.5) deprecated(1.21) removed(1.25) use(policy/v1/PodDisruptionBudgetList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []PodDisruptionBudget

type PodDisruptionBudgetSpec
  minAvailable?                 1 *IntOrString
  selector?                     2 *meta.v1.LabelSelector
  maxUnavailable?               3 *IntOrString
  unhealthyPodEvictionPolicy?   4 *UnhealthyPodEvictionPolicyType

type PodDisruptionBudgetStatus
  observedGeneration?   1 int64
  disruptedPods?        2 map[string]Time
  disruptionsAllowed    3 int32
  currentHealthy        4 int32
  desiredHealthy        5 int32
  expectedPods          6 int32
  conditions?           7 []meta.v1.Condition map(type) merge(type)
