package apiregistration.v1 io.k8s.kube-aggregator.pkg.apis.apiregistration.v1 group(apiregistration.k8s.io) version(v1) proto(k8s.io.kube_aggregator.pkg.apis.apiregistration.v1) served

resource apiservices APIService cluster served preferred categories(api-extensions) crud stored(InPBPD7+PqM=) select() since(1.10)
  sub status APIService get patch update

alias APIServiceConditionType = string
alias ConditionStatus = string

type APIService kind since(1.10)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 APIServiceSpec
  status?     3 APIServiceStatus

type APIServiceCondition
  type!                 1 APIServiceConditionType
  status!               2 ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type APIServiceList kind since(1.10)
  metadata?   1 meta.v1.ListMeta
  items!      2 []APIService

type APIServiceSpec
  service?                 1 *ServiceReference
  group?                   2 string
  version?                 3 string
  insecureSkipTLSVerify?   4 bool
  caBundle?                5 bytes             atomic
  groupPriorityMinimum!    7 int32
  versionPriority!         8 int32

type APIServiceStatus
  conditions?   1 []APIServiceCondition map(type) merge(type)

type ServiceReference
  namespace?   1 string
  name?        2 string
  port?        3 *int32

package apiregistration.v1beta1 io.k8s.kube-aggregator.pkg.apis.apiregistration.v1beta1 group(apiregistration.k8s.io) version(v1beta1) proto(k8s.io.kube_aggregator.pkg.apis.apiregistration.v1beta1) never

alias APIServiceConditionType = string
alias ConditionStatus = string

type APIService kind since(1.7) deprecated(1.19) use(apiregistration.k8s.io/v1/APIService)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 APIServiceSpec
  status?     3 APIServiceStatus

type APIServiceCondition
  type!                 1 APIServiceConditionType
  status!               2 ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type APIServiceList kind since(1.7) deprecated(1.19) use(apiregistration.k8s.io/v1/APIServiceList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []APIService

type APIServiceSpec
  service?                 1 *ServiceReference
  group?                   2 string
  version?                 3 string
  insecureSkipTLSVerify?   4 bool
  caBundle?                5 bytes             atomic
  groupPriorityMinimum!    7 int32
  versionPriority!         8 int32

type APIServiceStatus
  conditions?   1 []APIServiceCondition map(type) merge(type)

type ServiceReference
  namespace?   1 string
  name?        2 string
  port?        3 *int32
