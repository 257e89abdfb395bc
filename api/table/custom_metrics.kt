package custom_metrics.v1beta1 io.k8s.metrics.pkg.apis.custom_metrics.v1beta1 group(custom.metrics.k8s.io) version(v1beta1) proto(k8s.io.metrics.pkg.apis.custom_metrics.v1beta1) never

type MetricListOptions kind
  labelSelector?         1 string
  metricLabelSelector?   2 string

type MetricValue kind
  describedObject!   1 core.v1.ObjectReference
  metricName!        2 string
  timestamp!         3 Time
  window?            4 *int64
  value!             5 Quantity
  selector           6 *meta.v1.LabelSelector

type MetricValueList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []MetricValue

package custom_metrics.v1beta2 io.k8s.metrics.pkg.apis.custom_metrics.v1beta2 group(custom.metrics.k8s.io) version(v1beta2) proto(k8s.io.metrics.pkg.apis.custom_metrics.v1beta2) never

type MetricIdentifier
  name!      1 string
  selector   2 *meta.v1.LabelSelector

type MetricListOptions kind
  labelSelector?         1 string
  metricLabelSelector?   2 string

type MetricValue kind
  describedObject!   1 core.v1.ObjectReference
  metric!            2 MetricIdentifier
  timestamp!         3 Time
  windowSeconds?     4 *int64
  value!             5 Quantity

type MetricValueList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []MetricValue
