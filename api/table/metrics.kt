package metrics.v1alpha1 io.k8s.metrics.pkg.apis.metrics.v1alpha1 group(metrics.k8s.io) version(v1alpha1) proto(k8s.io.metrics.pkg.apis.metrics.v1alpha1) never

type ContainerMetrics
  name!    1 string
  usage!   2 core.v1.ResourceList

type NodeMetrics kind
  metadata?    1 meta.v1.ObjectMeta
  timestamp!   2 Time
  window!      3 Duration
  usage!       4 core.v1.ResourceList

type NodeMetricsList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []NodeMetrics

type PodMetrics kind
  metadata?     1 meta.v1.ObjectMeta
  timestamp!    2 Time
  window!       3 Duration
  containers!   4 []ContainerMetrics atomic

type PodMetricsList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []PodMetrics

package metrics.v1beta1 io.k8s.metrics.pkg.apis.metrics.v1beta1 group(metrics.k8s.io) version(v1beta1) proto(k8s.io.metrics.pkg.apis.metrics.v1beta1) never

resource nodes NodeMetrics cluster external singular() verbs(get,list)

resource pods PodMetrics namespaced external singular() verbs(get,list)

type ContainerMetrics
  name!    1 string
  usage!   2 core.v1.ResourceList

type NodeMetrics kind
  metadata?    1 meta.v1.ObjectMeta
  timestamp!   2 Time
  window!      3 Duration
  usage!       4 core.v1.ResourceList

type NodeMetricsList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []NodeMetrics

type PodMetrics kind
  metadata?     1 meta.v1.ObjectMeta
  timestamp!    2 Time
  window!       3 Duration
  containers!   4 []ContainerMetrics atomic

type PodMetricsList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []PodMetrics
