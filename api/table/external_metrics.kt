package external_metrics.v1beta1 io.k8s.metrics.pkg.apis.external_metrics.v1beta1 group(external.metrics.k8s.io) version(v1beta1) proto(k8s.io.metrics.pkg.apis.external_metrics.v1beta1) never

type ExternalMetricValue kind
  metricName!     1 string
  metricLabels!   2 map[string]string
  timestamp!      3 Time
  window?         4 *int64
  value!          5 Quantity

type ExternalMetricValueList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []ExternalMetricValue
