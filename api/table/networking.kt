package networking.v1 io.k8s.api.networking.v1 group(networking.k8s.io) version(v1) proto(k8s.io.api.networking.v1) served

resource ingressclasses IngressClass cluster served preferred crud stored(l/iqIbDgFyQ=) unconditional select() since(1.19)

resource ingresses Ingress namespaced served preferred short(ing) crud stored(39NQlfNR+bo=) unconditional select() since(1.19)
  sub status Ingress get patch update

resource ipaddresses IPAddress cluster served preferred short(ip) crud stored(3f/plJFChNE=) unconditional select() since(1.33)

resource networkpolicies NetworkPolicy namespaced served preferred short(netpol) crud stored(YpfwF18m1G8=) unconditional select() since(1.7)

resource servicecidrs ServiceCIDR cluster served preferred crud stored(gNLvruQhW2g=) unconditional select() since(1.33)
  sub status ServiceCIDR get patch update

alias PathType = string enum(Exact,ImplementationSpecific,Prefix)
alias PolicyType = string enum(Egress,Ingress)

type HTTPIngressPath
  path?       1 string
  pathType!   3 *PathType
  backend!    2 IngressBackend

type HTTPIngressRuleValue
  paths!   1 []HTTPIngressPath atomic

type IPAddress kind since(1.33)
  metadata?   1 meta.v1.ObjectMeta
  spec?!      2 IPAddressSpec

type IPAddressList kind since(1.33)
  metadata?   1 meta.v1.ListMeta
  items!      2 []IPAddress

type IPAddressSpec
  parentRef?!   1 *ParentReference

type IPBlock
  cidr!     1 string
  except?   2 []string atomic

type Ingress kind since(1.19)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 IngressSpec
  status?     3 IngressStatus

type IngressBackend
  service?    4 *IngressServiceBackend
  resource?   3 *core.v1.TypedLocalObjectReference

type IngressClass kind since(1.19)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 IngressClassSpec

type IngressClassList kind since(1.19)
  metadata?   1 meta.v1.ListMeta
  items!      2 []IngressClass

type IngressClassParametersReference
  apiGroup?    1 *string
  kind!        2 string
  name!        3 string
  scope        4 *string
  namespace?   5 *string

type IngressClassSpec
  controller?   1 string
  parameters?   2 *IngressClassParametersReference

type IngressList kind since(1.19)
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

type IngressServiceBackend
  name!   1 string
  port?   2 ServiceBackendPort

type IngressSpec
  ingressClassName?   4 *string
  defaultBackend?     1 *IngressBackend
  tls?                2 []IngressTLS    atomic
  rules?              3 []IngressRule   atomic

type IngressStatus
  loadBalancer?   1 IngressLoadBalancerStatus

type IngressTLS
  hosts?        1 []string atomic
  secretName?   2 string

type NetworkPolicy kind since(1.7)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 NetworkPolicySpec

type NetworkPolicyEgressRule
  ports?   1 []NetworkPolicyPort atomic
  to?      2 []NetworkPolicyPeer atomic

type NetworkPolicyIngressRule
  ports?   1 []NetworkPolicyPort atomic
  from?    2 []NetworkPolicyPeer atomic

type NetworkPolicyList kind since(1.19)
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
  podSelector    1 meta.v1.LabelSelector
  ingress?       2 []NetworkPolicyIngressRule atomic
  egress?        3 []NetworkPolicyEgressRule  atomic
  policyTypes?   4 []PolicyType               atomic

type ParentReference
  group?       1 string
  resource?!   2 string
  namespace?   3 string
  name?!       4 string

type ServiceBackendPort atomic
  name?     1 string
  number?   2 int32

type ServiceCIDR kind since(1.33)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 ServiceCIDRSpec
  status?     3 ServiceCIDRStatus

type ServiceCIDRList kind since(1.33)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ServiceCIDR

type ServiceCIDRSpec
  cidrs?   1 []string atomic

type ServiceCIDRStatus
  conditions?   1 []meta.v1.Condition map(type) merge(type)

package networking.v1beta1 io.k8s.api.networking.v1beta1 group(networking.k8s.io) version(v1beta1) proto(k8s.io.api.networking.v1beta1) off

resource ipaddresses IPAddress cluster short(ip) crud stored(3f/plJFChNE=,networking.k8s.io/v1/IPAddress) unconditional select() since(1.31) removed(1.37)

resource servicecidrs ServiceCIDR cluster crud stored(gNLvruQhW2g=,networking.k8s.io/v1/ServiceCIDR) unconditional select() since(1.31) removed(1.37)
  sub status ServiceCIDR get patch update

alias PathType = string

type HTTPIngressPath
  path?       1 string
  pathType?   3 *PathType
  backend!    2 IngressBackend

type HTTPIngressRuleValue
  paths!   1 []HTTPIngressPath atomic

type IPAddress kind since(1.31)
  metadata?   1 meta.v1.ObjectMeta
  spec?!      2 IPAddressSpec

type IPAddressList kind since(1.31)
  metadata?   1 meta.v1.ListMeta
  items!      2 []IPAddress

type IPAddressSpec
  parentRef?!   1 *ParentReference

type Ingress kind since(1.14) deprecated(1.19) use(networking.k8s.io/v1/Ingress)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 IngressSpec
  status?     3 IngressStatus

type IngressBackend
  serviceName?   1 string
  servicePort?   2 IntOrString
  resource?      3 *core.v1.TypedLocalObjectReference

type IngressClass kind since(1.18) deprecated(1.19) use(networking.k8s.io/v1/IngressClassList)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 IngressClassSpec

type IngressClassList kind since(1.18) deprecated(1.19) use(networking.k8s.io/v1/IngressClassList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []IngressClass

type IngressClassParametersReference
  apiGroup?    1 *string
  kind!        2 string
  name!        3 string
  scope!       4 *string
  namespace?   5 *string

type IngressClassSpec
  controller?   1 string
  parameters?   2 *IngressClassParametersReference

type IngressList kind since(1.14) deprecated(1.19) use(networking.k8s.io/v1/IngressList)
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

type ParentReference
  group?       1 string
  resource?!   2 string
  namespace?   3 string
  name?!       4 string

type ServiceCIDR kind since(1.31)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 ServiceCIDRSpec
  status?     3 ServiceCIDRStatus

type ServiceCIDRList kind since(1.31)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ServiceCIDR

type ServiceCIDRSpec
  cidrs?   1 []string atomic

type ServiceCIDRStatus
  conditions?   1 []meta.v1.Condition map(type) merge(type)
