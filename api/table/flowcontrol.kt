package flowcontrol.v1 io.k8s.api.flowcontrol.v1 group(flowcontrol.apiserver.k8s.io) version(v1) proto(k8s.io.api.flowcontrol.v1) served

resource flowschemas FlowSchema cluster served preferred crud stored(GJVAJZSZBIw=) unconditional select() since(1.29)
  sub status FlowSchema get patch update

resource prioritylevelconfigurations PriorityLevelConfiguration cluster served preferred crud stored(Kir5PVfvNeI=) unconditional select() since(1.29)
  sub status PriorityLevelConfiguration get patch update

alias ConditionStatus = string
alias FlowDistinguisherMethodType = string
alias FlowSchemaConditionType = string
alias LimitResponseType = string
alias PriorityLevelConfigurationConditionType = string
alias PriorityLevelEnablement = string
alias SubjectKind = string

type ExemptPriorityLevelConfiguration
  nominalConcurrencyShares?   1 *int32
  lendablePercent?            2 *int32

type FlowDistinguisherMethod
  type!   1 FlowDistinguisherMethodType

type FlowSchema kind since(1.29)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 FlowSchemaSpec
  status?     3 FlowSchemaStatus

type FlowSchemaCondition
  type?                 1 FlowSchemaConditionType
  status?               2 ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type FlowSchemaList kind since(1.29)
  metadata?   1 meta.v1.ListMeta
  items!      2 []FlowSchema

type FlowSchemaSpec
  priorityLevelConfiguration!   1 PriorityLevelConfigurationReference
  matchingPrecedence            2 int32
  distinguisherMethod?          3 *FlowDistinguisherMethod
  rules?                        4 []PolicyRulesWithSubjects           atomic

type FlowSchemaStatus
  conditions?   1 []FlowSchemaCondition map(type) merge(type)

type GroupSubject
  name!   1 string

type LimitResponse union
  type!      1 LimitResponseType     discriminator
  queuing?   2 *QueuingConfiguration

type LimitedPriorityLevelConfiguration
  nominalConcurrencyShares   1 *int32
  limitResponse?             2 LimitResponse
  lendablePercent?           3 *int32
  borrowingLimitPercent?     4 *int32

type NonResourcePolicyRule
  verbs!             1 []string set
  nonResourceURLs!   6 []string set

type PolicyRulesWithSubjects
  subjects!           1 []Subject               atomic
  resourceRules?      2 []ResourcePolicyRule    atomic
  nonResourceRules?   3 []NonResourcePolicyRule atomic

type PriorityLevelConfiguration kind since(1.29)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 PriorityLevelConfigurationSpec
  status?     3 PriorityLevelConfigurationStatus

type PriorityLevelConfigurationCondition
  type?                 1 PriorityLevelConfigurationConditionType
  status?               2 ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type PriorityLevelConfigurationList kind since(1.29)
  metadata?   1 meta.v1.ListMeta
  items!      2 []PriorityLevelConfiguration

type PriorityLevelConfigurationReference
  name!   1 string

type PriorityLevelConfigurationSpec union
  type!      1 PriorityLevelEnablement            discriminator
  limited?   2 *LimitedPriorityLevelConfiguration
  exempt?    3 *ExemptPriorityLevelConfiguration

type PriorityLevelConfigurationStatus
  conditions?   1 []PriorityLevelConfigurationCondition map(type) merge(type)

type QueuingConfiguration
  queues             1 int32
  handSize           2 int32
  queueLengthLimit   3 int32

type ResourcePolicyRule
  verbs!          1 []string set
  apiGroups!      2 []string set
  resources!      3 []string set
  clusterScope?   4 bool
  namespaces      5 []string set

type ServiceAccountSubject
  namespace!   1 string
  name!        2 string

type Subject union
  kind!             1 SubjectKind            discriminator
  user?             2 *UserSubject
  group?            3 *GroupSubject
  serviceAccount?   4 *ServiceAccountSubject

type UserSubject
  name!   1 string

package flowcontrol.v1beta1 io.k8s.api.flowcontrol.v1beta1 group(flowcontrol.apiserver.k8s.io) version(v1beta1) proto(k8s.io.api.flowcontrol.v1beta1) off

alias ConditionStatus = string
alias FlowDistinguisherMethodType = string
alias FlowSchemaConditionType = string
alias LimitResponseType = string
alias PriorityLevelConfigurationConditionType = string
alias PriorityLevelEnablement = string
alias SubjectKind = string

type ExemptPriorityLevelConfiguration
  nominalConcurrencyShares?   1 *int32
  lendablePercent?            2 *int32

type FlowDistinguisherMethod
  type!   1 FlowDistinguisherMethodType

type FlowSchema kind since(1.20) use(flowcontrol.apiserver.k8s.io/v1beta3/FlowSchema)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 FlowSchemaSpec
  status?     3 FlowSchemaStatus

type FlowSchemaCondition
  type?                 1 FlowSchemaConditionType
  status?               2 ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type FlowSchemaList kind since(1.20) use(flowcontrol.apiserver.k8s.io/v1beta3/FlowSchemaList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []FlowSchema

type FlowSchemaSpec
  priorityLevelConfiguration!   1 PriorityLevelConfigurationReference
  matchingPrecedence            2 int32
  distinguisherMethod?          3 *FlowDistinguisherMethod
  rules?                        4 []PolicyRulesWithSubjects           atomic

type FlowSchemaStatus
  conditions?   1 []FlowSchemaCondition map(type)

type GroupSubject
  name!   1 string

type LimitResponse union
  type!      1 LimitResponseType     discriminator
  queuing?   2 *QueuingConfiguration

type LimitedPriorityLevelConfiguration
  assuredConcurrencyShares   1 int32
  limitResponse?             2 LimitResponse
  lendablePercent?           3 *int32
  borrowingLimitPercent?     4 *int32

type NonResourcePolicyRule
  verbs!             1 []string set
  nonResourceURLs!   6 []string set

type PolicyRulesWithSubjects
  subjects!           1 []Subject               atomic
  resourceRules?      2 []ResourcePolicyRule    atomic
  nonResourceRules?   3 []NonResourcePolicyRule atomic

type PriorityLevelConfiguration kind since(1.20) use(flowcontrol.apiserver.k8s.io/v1beta3/PriorityLevelConfiguration)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 PriorityLevelConfigurationSpec
  status?     3 PriorityLevelConfigurationStatus

type PriorityLevelConfigurationCondition
  type?                 1 PriorityLevelConfigurationConditionType
  status?               2 ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type PriorityLevelConfigurationList kind since(1.20) use(flowcontrol.apiserver.k8s.io/v1beta3/PriorityLevelConfigurationList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []PriorityLevelConfiguration

type PriorityLevelConfigurationReference
  name!   1 string

type PriorityLevelConfigurationSpec union
  type!      1 PriorityLevelEnablement            discriminator
  limited?   2 *LimitedPriorityLevelConfiguration
  exempt?    3 *ExemptPriorityLevelConfiguration

type PriorityLevelConfigurationStatus
  conditions?   1 []PriorityLevelConfigurationCondition map(type)

type QueuingConfiguration
  queues             1 int32
  handSize           2 int32
  queueLengthLimit   3 int32

type ResourcePolicyRule
  verbs!          1 []string set
  apiGroups!      2 []string set
  resources!      3 []string set
  clusterScope?   4 bool
  namespaces      5 []string set

type ServiceAccountSubject
  namespace!   1 string
  name!        2 string

type Subject union
  kind!             1 SubjectKind            discriminator
  user?             2 *UserSubject
  group?            3 *GroupSubject
  serviceAccount?   4 *ServiceAccountSubject

type UserSubject
  name!   1 string

package flowcontrol.v1beta2 io.k8s.api.flowcontrol.v1beta2 group(flowcontrol.apiserver.k8s.io) version(v1beta2) proto(k8s.io.api.flowcontrol.v1beta2) off

alias ConditionStatus = string
alias FlowDistinguisherMethodType = string
alias FlowSchemaConditionType = string
alias LimitResponseType = string
alias PriorityLevelConfigurationConditionType = string
alias PriorityLevelEnablement = string
alias SubjectKind = string

type ExemptPriorityLevelConfiguration
  nominalConcurrencyShares?   1 *int32
  lendablePercent?            2 *int32

type FlowDistinguisherMethod
  type!   1 FlowDistinguisherMethodType

type FlowSchema kind since(1.23) use(flowcontrol.apiserver.k8s.io/v1beta3/FlowSchema)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 FlowSchemaSpec
  status?     3 FlowSchemaStatus

type FlowSchemaCondition
  type?                 1 FlowSchemaConditionType
  status?               2 ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type FlowSchemaList kind since(1.23) use(flowcontrol.apiserver.k8s.io/v1beta3/FlowSchemaList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []FlowSchema

type FlowSchemaSpec
  priorityLevelConfiguration!   1 PriorityLevelConfigurationReference
  matchingPrecedence            2 int32
  distinguisherMethod?          3 *FlowDistinguisherMethod
  rules?                        4 []PolicyRulesWithSubjects           atomic

type FlowSchemaStatus
  conditions?   1 []FlowSchemaCondition map(type)

type GroupSubject
  name!   1 string

type LimitResponse union
  type!      1 LimitResponseType     discriminator
  queuing?   2 *QueuingConfiguration

type LimitedPriorityLevelConfiguration
  assuredConcurrencyShares   1 int32
  limitResponse?             2 LimitResponse
  lendablePercent?           3 *int32
  borrowingLimitPercent?     4 *int32

type NonResourcePolicyRule
  verbs!             1 []string set
  nonResourceURLs!   6 []string set

type PolicyRulesWithSubjects
  subjects!           1 []Subject               atomic
  resourceRules?      2 []ResourcePolicyRule    atomic
  nonResourceRules?   3 []NonResourcePolicyRule atomic

type PriorityLevelConfiguration kind since(1.23) use(flowcontrol.apiserver.k8s.io/v1beta3/PriorityLevelConfiguration)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 PriorityLevelConfigurationSpec
  status?     3 PriorityLevelConfigurationStatus

type PriorityLevelConfigurationCondition
  type?                 1 PriorityLevelConfigurationConditionType
  status?               2 ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type PriorityLevelConfigurationList kind since(1.23) use(flowcontrol.apiserver.k8s.io/v1beta3/PriorityLevelConfigurationList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []PriorityLevelConfiguration

type PriorityLevelConfigurationReference
  name!   1 string

type PriorityLevelConfigurationSpec union
  type!      1 PriorityLevelEnablement            discriminator
  limited?   2 *LimitedPriorityLevelConfiguration
  exempt?    3 *ExemptPriorityLevelConfiguration

type PriorityLevelConfigurationStatus
  conditions?   1 []PriorityLevelConfigurationCondition map(type)

type QueuingConfiguration
  queues             1 int32
  handSize           2 int32
  queueLengthLimit   3 int32

type ResourcePolicyRule
  verbs!          1 []string set
  apiGroups!      2 []string set
  resources!      3 []string set
  clusterScope?   4 bool
  namespaces      5 []string set

type ServiceAccountSubject
  namespace!   1 string
  name!        2 string

type Subject union
  kind!             1 SubjectKind            discriminator
  user?             2 *UserSubject
  group?            3 *GroupSubject
  serviceAccount?   4 *ServiceAccountSubject

type UserSubject
  name!   1 string

package flowcontrol.v1beta3 io.k8s.api.flowcontrol.v1beta3 group(flowcontrol.apiserver.k8s.io) version(v1beta3) proto(k8s.io.api.flowcontrol.v1beta3) off

alias ConditionStatus = string
alias FlowDistinguisherMethodType = string
alias FlowSchemaConditionType = string
alias LimitResponseType = string
alias PriorityLevelConfigurationConditionType = string
alias PriorityLevelEnablement = string
alias SubjectKind = string

type ExemptPriorityLevelConfiguration
  nominalConcurrencyShares?   1 *int32
  lendablePercent?            2 *int32

type FlowDistinguisherMethod
  type!   1 FlowDistinguisherMethodType

type FlowSchema kind since(1.26) use(flowcontrol.apiserver.k8s.io/v1/FlowSchema)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 FlowSchemaSpec
  status?     3 FlowSchemaStatus

type FlowSchemaCondition
  type?                 1 FlowSchemaConditionType
  status?               2 ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type FlowSchemaList kind since(1.26) use(flowcontrol.apiserver.k8s.io/v1/FlowSchemaList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []FlowSchema

type FlowSchemaSpec
  priorityLevelConfiguration!   1 PriorityLevelConfigurationReference
  matchingPrecedence            2 int32
  distinguisherMethod?          3 *FlowDistinguisherMethod
  rules?                        4 []PolicyRulesWithSubjects           atomic

type FlowSchemaStatus
  conditions?   1 []FlowSchemaCondition map(type) merge(type)

type GroupSubject
  name!   1 string

type LimitResponse union
  type!      1 LimitResponseType     discriminator
  queuing?   2 *QueuingConfiguration

type LimitedPriorityLevelConfiguration
  nominalConcurrencyShares   1 int32
  limitResponse?             2 LimitResponse
  lendablePercent?           3 *int32
  borrowingLimitPercent?     4 *int32

type NonResourcePolicyRule
  verbs!             1 []string set
  nonResourceURLs!   6 []string set

type PolicyRulesWithSubjects
  subjects!           1 []Subject               atomic
  resourceRules?      2 []ResourcePolicyRule    atomic
  nonResourceRules?   3 []NonResourcePolicyRule atomic

type PriorityLevelConfiguration kind since(1.26) use(flowcontrol.apiserver.k8s.io/v1/PriorityLevelConfiguration)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 PriorityLevelConfigurationSpec
  status?     3 PriorityLevelConfigurationStatus

type PriorityLevelConfigurationCondition
  type?                 1 PriorityLevelConfigurationConditionType
  status?               2 ConditionStatus
  lastTransitionTime?   3 Time
  reason?               4 string
  message?              5 string

type PriorityLevelConfigurationList kind since(1.26) use(flowcontrol.apiserver.k8s.io/v1/PriorityLevelConfigurationList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []PriorityLevelConfiguration

type PriorityLevelConfigurationReference
  name!   1 string

type PriorityLevelConfigurationSpec union
  type!      1 PriorityLevelEnablement            discriminator
  limited?   2 *LimitedPriorityLevelConfiguration
  exempt?    3 *ExemptPriorityLevelConfiguration

type PriorityLevelConfigurationStatus
  conditions?   1 []PriorityLevelConfigurationCondition map(type) merge(type)

type QueuingConfiguration
  queues             1 int32
  handSize           2 int32
  queueLengthLimit   3 int32

type ResourcePolicyRule
  verbs!          1 []string set
  apiGroups!      2 []string set
  resources!      3 []string set
  clusterScope?   4 bool
  namespaces      5 []string set

type ServiceAccountSubject
  namespace!   1 string
  name!        2 string

type Subject union
  kind!             1 SubjectKind            discriminator
  user?             2 *UserSubject
  group?            3 *GroupSubject
  serviceAccount?   4 *ServiceAccountSubject

type UserSubject
  name!   1 string
