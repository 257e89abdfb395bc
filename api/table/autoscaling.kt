package autoscaling.v1 io.k8s.api.autoscaling.v1 group(autoscaling) version(v1) proto(k8s.io.api.autoscaling.v1) served

resource horizontalpodautoscalers HorizontalPodAutoscaler namespaced served short(hpa) categories(all) crud stored(qwQve8ut294=,autoscaling/v2/HorizontalPodAutoscaler) unconditional select() since(1.2)
  sub status HorizontalPodAutoscaler get patch update

alias HorizontalPodAutoscalerConditionType = string
alias MetricSourceType = string enum(ContainerResource,External,Object,Pods,Resource)

type ContainerResourceMetricSource
  name!                       1 core.v1.ResourceName
  targetAverageUtilization?   2 *int32
  targetAverageValue?         3 *Quantity
  container!                  5 string

type ContainerResourceMetricStatus
  name!                        1 core.v1.ResourceName
  currentAverageUtilization?   2 *int32
  currentAverageValue!         3 Quantity
  container!                   4 string

type CrossVersionObjectReference atomic
  kind!         1 string
  name!         2 string
  apiVersion?   3 string

type ExternalMetricSource
  metricName!           1 string
  metricSelector?       2 *meta.v1.LabelSelector
  targetValue?          3 *Quantity
  targetAverageValue?   4 *Quantity

type ExternalMetricStatus
  metricName!            1 string
  metricSelector?        2 *meta.v1.LabelSelector
  currentValue!          3 Quantity
  currentAverageValue?   4 *Quantity

type HorizontalPodAutoscaler kind since(1.2)
  metadata?   1 meta.v1.ObjectMeta
  spec?!      2 HorizontalPodAutoscalerSpec
  status?     3 HorizontalPodAutoscalerStatus

type HorizontalPodAutoscalerCondition
  type!                 1 HorizontalPodAutoscalerConditionType
  status!               2 core.v1.ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type HorizontalPodAutoscalerList kind since(1.2)
  metadata?   1 meta.v1.ListMeta
  items!      2 []HorizontalPodAutoscaler

type HorizontalPodAutoscalerSpec
  scaleTargetRef!                   1 CrossVersionObjectReference
  minReplicas?                      2 *int32
  maxReplicas!                      3 int32
  targetCPUUtilizationPercentage?   4 *int32

type HorizontalPodAutoscalerStatus
  observedGeneration?                1 *int64
  lastScaleTime?                     2 *Time
  currentReplicas!                   3 int32
  desiredReplicas!                   4 int32
  currentCPUUtilizationPercentage?   5 *int32

type MetricSpec
  type!                1 MetricSourceType
  object?              2 *ObjectMetricSource
  pods?                3 *PodsMetricSource
  resource?            4 *ResourceMetricSource
  containerResource?   7 *ContainerResourceMetricSource
  external?            5 *ExternalMetricSource

type MetricStatus
  type!                1 MetricSourceType
  object?              2 *ObjectMetricStatus
  pods?                3 *PodsMetricStatus
  resource?            4 *ResourceMetricStatus
  containerResource?   7 *ContainerResourceMetricStatus
  external?            5 *ExternalMetricStatus

type ObjectMetricSource
  target!         1 CrossVersionObjectReference
  metricName!     2 string
  targetValue!    3 Quantity
  selector?       4 *meta.v1.LabelSelector
  averageValue?   5 *Quantity

type ObjectMetricStatus
  target!         1 CrossVersionObjectReference
  metricName!     2 string
  currentValue!   3 Quantity
  selector?       4 *meta.v1.LabelSelector
  averageValue?   5 *Quantity

type PodsMetricSource
  metricName!           1 string
  targetAverageValue!   2 Quantity
  selector?             3 *meta.v1.LabelSelector

type PodsMetricStatus
  metricName!            1 string
  currentAverageValue!   2 Quantity
  selector?              3 *meta.v1.LabelSelector

type ResourceMetricSource
  name!                       1 core.v1.ResourceName
  targetAverageUtilization?   2 *int32
  targetAverageValue?         3 *Quantity

type ResourceMetricStatus
  name!                        1 core.v1.ResourceName
  currentAverageUtilization?   2 *int32
  currentAverageValue!         3 Quantity

type Scale kind since(1.2)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 ScaleSpec
  status?     3 ScaleStatus

type ScaleSpec
  replicas?   1 int32 default(0)

type ScaleStatus
  replicas!   1 int32
  selector?   2 string

package autoscaling.v2 io.k8s.api.autoscaling.v2 group(autoscaling) version(v2) proto(k8s.io.api.autoscaling.v2) served

resource horizontalpodautoscalers HorizontalPodAutoscaler namespaced served preferred short(hpa) categories(all) crud stored(qwQve8ut294=) unconditional select() since(1.23)
  sub status HorizontalPodAutoscaler get patch update

alias HPAScalingPolicyType = string
alias HorizontalPodAutoscalerConditionType = string
alias MetricSourceType = string
alias MetricTargetType = string
alias ScalingPolicySelect = string

type ContainerResourceMetricSource
  name!        1 core.v1.ResourceName
  target!      2 MetricTarget
  container!   3 string

type ContainerResourceMetricStatus
  name!        1 core.v1.ResourceName
  current!     2 MetricValueStatus
  container!   3 string

type CrossVersionObjectReference
  kind!         1 string
  name!         2 string
  apiVersion?   3 string

type ExternalMetricSource
  metric!   1 MetricIdentifier
  target!   2 MetricTarget

type ExternalMetricStatus
  metric!    1 MetricIdentifier
  current!   2 MetricValueStatus

type HPAScalingPolicy
  type!            1 HPAScalingPolicyType
  value!           2 int32
  periodSeconds!   3 int32

type HPAScalingRules
  stabilizationWindowSeconds?   3 *int32
  selectPolicy?                 1 *ScalingPolicySelect
  policies?                     2 []HPAScalingPolicy   atomic
  tolerance?                    4 *Quantity            gates(HPAConfigurableTolerance)

type HorizontalPodAutoscaler kind since(1.23)
  metadata?   1 meta.v1.ObjectMeta
  spec?!      2 HorizontalPodAutoscalerSpec
  status?     3 HorizontalPodAutoscalerStatus

type HorizontalPodAutoscalerBehavior
  scaleUp?     1 *HPAScalingRules
  scaleDown?   2 *HPAScalingRules

type HorizontalPodAutoscalerCondition
  type!                 1 HorizontalPodAutoscalerConditionType
  status!               2 core.v1.ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type HorizontalPodAutoscalerList kind since(1.23)
  metadata?   1 meta.v1.ListMeta
  items!      2 []HorizontalPodAutoscaler

type HorizontalPodAutoscalerSpec
  scaleTargetRef!   1 CrossVersionObjectReference
  minReplicas?      2 *int32
  maxReplicas!      3 int32
  metrics?          4 []MetricSpec                     atomic
  behavior?         5 *HorizontalPodAutoscalerBehavior

type HorizontalPodAutoscalerStatus
  observedGeneration?   1 *int64
  lastScaleTime?        2 *Time
  currentReplicas?      3 int32
  desiredReplicas!      4 int32
  currentMetrics        5 []MetricStatus                     atomic
  conditions?           6 []HorizontalPodAutoscalerCondition map(type) merge(type)

type MetricIdentifier
  name!       1 string
  selector?   2 *meta.v1.LabelSelector

type MetricSpec
  type!                1 MetricSourceType
  object?              2 *ObjectMetricSource
  pods?                3 *PodsMetricSource
  resource?            4 *ResourceMetricSource
  containerResource?   7 *ContainerResourceMetricSource
  external?            5 *ExternalMetricSource

type MetricStatus
  type!                1 MetricSourceType
  object?              2 *ObjectMetricStatus
  pods?                3 *PodsMetricStatus
  resource?            4 *ResourceMetricStatus
  containerResource?   7 *ContainerResourceMetricStatus
  external?            5 *ExternalMetricStatus

type MetricTarget
  type!                 1 MetricTargetType
  value?                2 *Quantity
  averageValue?         3 *Quantity
  averageUtilization?   4 *int32

type MetricValueStatus
  value?                1 *Quantity
  averageValue?         2 *Quantity
  averageUtilization?   3 *int32

type ObjectMetricSource
  describedObject!   1 CrossVersionObjectReference
  target!            2 MetricTarget
  metric!            3 MetricIdentifier

type ObjectMetricStatus
  metric!            1 MetricIdentifier
  current!           2 MetricValueStatus
  describedObject!   3 CrossVersionObjectReference

type PodsMetricSource
  metric!   1 MetricIdentifier
  target!   2 MetricTarget

type PodsMetricStatus
  metric!    1 MetricIdentifier
  current!   2 MetricValueStatus

type ResourceMetricSource
  name!     1 core.v1.ResourceName
  target!   2 MetricTarget

type ResourceMetricStatus
  name!      1 core.v1.ResourceName
  current!   2 MetricValueStatus
