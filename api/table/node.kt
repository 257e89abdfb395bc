package node.v1 io.k8s.api.node.v1 group(node.k8s.io) version(v1) proto(k8s.io.api.node.v1) served

resource runtimeclasses RuntimeClass cluster served preferred crud stored(WQTu1GL3T2Q=) upsert select() since(1.20)

type Overhead
  podFixed?   1 core.v1.ResourceList

type RuntimeClass kind since(1.20)
  metadata?     1 meta.v1.ObjectMeta
  handler!      2 string
  overhead?     3 *Overhead
  scheduling?   4 *Scheduling

type RuntimeClassList kind since(1.20)
  metadata?   1 meta.v1.ListMeta
  items!      2 []RuntimeClass

type Scheduling
  nodeSelector?   1 map[string]string    atomic
  tolerations?    2 []core.v1.Toleration atomic

package node.v1alpha1 io.k8s.api.node.v1alpha1 group(node.k8s.io) version(v1alpha1) proto(k8s.io.api.node.v1alpha1) never

type Overhead
  podFixed?   1 core.v1.ResourceList

type RuntimeClass kind
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 RuntimeClassSpec

type RuntimeClassList kind
  metadata?   1 meta.v1.ListMeta
  items!      2 []RuntimeClass

type RuntimeClassSpec
  runtimeHandler!   1 string
  overhead?         2 *Overhead
  scheduling?       3 *Scheduling

type Scheduling
  nodeSelector?   1 map[string]string    atomic
  tolerations?    2 []core.v1.Toleration atomic

package node.v1beta1 io.k8s.api.node.v1beta1 group(node.k8s.io) version(v1beta1) proto(k8s.io.api.node.v1beta1) never

type Overhead
  podFixed?   1 core.v1.ResourceList

type RuntimeClass kind since(1.13) deprecated(1.22)
  metadata?     1 meta.v1.ObjectMeta
  handler!      2 string
  overhead?     3 *Overhead
  scheduling?   4 *Scheduling

type RuntimeClassList kind since(1.13) deprecated(1.22)
  metadata?   1 meta.v1.ListMeta
  items!      2 []RuntimeClass

type Scheduling
  nodeSelector?   1 map[string]string    atomic
  tolerations?    2 []core.v1.Toleration atomic
