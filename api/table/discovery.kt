package discovery.v1 io.k8s.api.discovery.v1 group(discovery.k8s.io) version(v1) proto(k8s.io.api.discovery.v1) served

resource endpointslices EndpointSlice namespaced served preferred crud stored(qgS0xkrxYAI=) unconditional select() since(1.21)

alias AddressType = string enum(FQDN,IPv4,IPv6)

type Endpoint
  addresses!            1 []string                 set
  conditions?           2 EndpointConditions
  hostname?             3 *string
  targetRef?            4 *core.v1.ObjectReference
  deprecatedTopology?   5 map[string]string
  nodeName?             6 *string
  zone?                 7 *string
  hints?                8 *EndpointHints

type EndpointConditions
  ready?         1 *bool
  serving?       2 *bool
  terminating?   3 *bool

type EndpointHints
  forZones?   1 []ForZone atomic
  forNodes?   2 []ForNode atomic

type EndpointPort atomic
  name?          1 *string
  protocol?      2 *core.v1.Protocol
  port?          3 *int32
  appProtocol?   4 *string

type EndpointSlice kind since(1.21)
  metadata?      1 meta.v1.ObjectMeta
  addressType!   4 AddressType
  endpoints      2 []Endpoint         atomic
  ports          3 []EndpointPort     atomic

type EndpointSliceList kind since(1.21)
  metadata?   1 meta.v1.ListMeta
  items!      2 []EndpointSlice

type ForNode
  name!   1 string

type ForZone
  name!   1 string

package discovery.v1beta1 io.k8s.api.discovery.v1beta1 group(discovery.k8s.io) version(v1beta1) proto(k8s.io.api.discovery.v1beta1) never

alias AddressType = string enum(FQDN,IPv4,IPv6)

type Endpoint
  addresses!    1 []string                 set
  conditions?   2 EndpointConditions
  hostname?     3 *string
  targetRef?    4 *core.v1.ObjectReference
  topology?     5 map[string]string
  nodeName?     6 *string
  hints?        7 *EndpointHints

type EndpointConditions
  ready?         1 *bool
  serving?       2 *bool
  terminating?   3 *bool

type EndpointHints
  forZones?   1 []ForZone atomic
  forNodes?   2 []ForNode atomic

type EndpointPort
  name?          1 *string
  protocol?      2 *core.v1.Protocol
  port?          3 *int32
  appProtocol?   4 *string

type EndpointSlice kind since(1.16) deprecated(1.21) removed(1.25) use(discovery.k8s.io/v1/EndpointSlice)
  metadata?      1 meta.v1.ObjectMeta
  addressType!   4 AddressType
  endpoints!     2 []Endpoint         atomic
  ports          3 []EndpointPort     atomic

type EndpointSliceList kind since(1.16) deprecated(1.21) removed(1.25) use(discovery.k8s.io/v1/EndpointSlice)
  metadata?   1 meta.v1.ListMeta
  items!      2 []EndpointSlice

type ForNode
  name!   1 string

type ForZone
  name!   1 string
