package admissionregistration.v1 io.k8s.api.admissionregistration.v1 group(admissionregistration.k8s.io) version(v1) proto(k8s.io.api.admissionregistration.v1) served

resource mutatingadmissionpolicies MutatingAdmissionPolicy cluster served preferred categories(api-extensions) crud stored(LYmCf+UMVdg=) select() since(1.36)

resource mutatingadmissionpolicybindings MutatingAdmissionPolicyBinding cluster served preferred categories(api-extensions) crud stored(90V5FRZZ3Zg=) select() since(1.36)

resource mutatingwebhookconfigurations MutatingWebhookConfiguration cluster served preferred categories(api-extensions) crud stored(Sqi0GUgDaX0=) select() since(1.16)

resource validatingadmissionpolicies ValidatingAdmissionPolicy cluster served preferred categories(api-extensions) crud stored(6OxvlMmQ6is=) select() since(1.30)
  sub status ValidatingAdmissionPolicy get patch update

resource validatingadmissionpolicybindings ValidatingAdmissionPolicyBinding cluster served preferred categories(api-extensions) crud stored(v9715VZqakg=) select() since(1.30)

resource validatingwebhookconfigurations ValidatingWebhookConfiguration cluster served preferred categories(api-extensions) crud stored(B0wHjQmsGNk=) select() since(1.16)

alias FailurePolicyType = string enum(Fail,Ignore)
alias MatchPolicyType = string enum(Equivalent,Exact)
alias OperationType = string enum(*,CONNECT,CREATE,DELETE,UPDATE)
alias ParameterNotFoundActionType = string
alias PatchType = string enum(ApplyConfiguration,JSONPatch)
alias ReinvocationPolicyType = string enum(IfNeeded,Never)
alias ScopeType = string enum(*,Cluster,Namespaced)
alias SideEffectClass = string enum(None,NoneOnDryRun,Some,Unknown)
alias ValidationAction = string enum(Audit,Deny,Warn)

type ApplyConfiguration
  expression?   1 string

type AuditAnnotation
  key!               1 string
  valueExpression!   2 string

type ExpressionWarning
  fieldRef!   2 string
  warning!    3 string

type JSONPatch
  expression?   1 string

type MatchCondition
  name!         1 string
  expression!   2 string

type MatchResources atomic
  namespaceSelector?      1 *meta.v1.LabelSelector
  objectSelector?         2 *meta.v1.LabelSelector
  resourceRules?          3 []NamedRuleWithOperations atomic
  excludeResourceRules?   4 []NamedRuleWithOperations atomic
  matchPolicy?            7 *MatchPolicyType

type MutatingAdmissionPolicy kind since(1.36)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 MutatingAdmissionPolicySpec

type MutatingAdmissionPolicyBinding kind since(1.36)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 MutatingAdmissionPolicyBindingSpec

type MutatingAdmissionPolicyBindingList kind since(1.36)
  metadata?   1 meta.v1.ListMeta
  items!      2 []MutatingAdmissionPolicyBinding

type MutatingAdmissionPolicyBindingSpec
  policyName?       1 string
  paramRef?         2 *ParamRef
  matchResources?   3 *MatchResources

type MutatingAdmissionPolicyList kind since(1.36)
  metadata?   1 meta.v1.ListMeta
  items!      2 []MutatingAdmissionPolicy

type MutatingAdmissionPolicySpec
  paramKind?            1 *ParamKind
  matchConstraints?     2 *MatchResources
  variables?            3 []Variable             atomic
  mutations?            4 []Mutation             atomic
  failurePolicy?        5 *FailurePolicyType
  matchConditions?      6 []MatchCondition       map(name) merge(name)
  reinvocationPolicy?   7 ReinvocationPolicyType

type MutatingWebhook
  name!                      1 string
  clientConfig!              2 WebhookClientConfig
  rules?                     3 []RuleWithOperations    atomic
  failurePolicy?             4 *FailurePolicyType
  matchPolicy?               9 *MatchPolicyType
  namespaceSelector?         5 *meta.v1.LabelSelector
  objectSelector?           11 *meta.v1.LabelSelector
  sideEffects!               6 *SideEffectClass
  timeoutSeconds?            7 *int32
  admissionReviewVersions!   8 []string                atomic
  reinvocationPolicy?       10 *ReinvocationPolicyType
  matchConditions?          12 []MatchCondition        map(name) merge(name)

type MutatingWebhookConfiguration kind since(1.16)
  metadata?   1 meta.v1.ObjectMeta
  webhooks?   2 []MutatingWebhook  map(name) merge(name)

type MutatingWebhookConfigurationList kind since(1.16)
  metadata?   1 meta.v1.ListMeta
  items!      2 []MutatingWebhookConfiguration

type Mutation
  patchType!            2 PatchType           discriminator
  applyConfiguration?   3 *ApplyConfiguration
  jsonPatch?            4 *JSONPatch

type NamedRuleWithOperations atomic
  resourceNames?   1 []string           atomic
  &                2 RuleWithOperations

type ParamKind atomic
  apiVersion?   1 string
  kind?         2 string

type ParamRef atomic
  name?                      1 string
  namespace?                 2 string
  selector?                  3 *meta.v1.LabelSelector
  parameterNotFoundAction?   4 *ParameterNotFoundActionType

type Rule
  apiGroups?     1 []string   atomic
  apiVersions?   2 []string   atomic
  resources?     3 []string   atomic
  scope?         4 *ScopeType

type RuleWithOperations
  operations?   1 []OperationType atomic
  &             2 Rule

type ServiceReference
  namespace!   1 string
  name!        2 string
  path?        3 *string
  port?        4 *int32

type TypeChecking
  expressionWarnings?   1 []ExpressionWarning atomic

type ValidatingAdmissionPolicy kind since(1.30)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 ValidatingAdmissionPolicySpec
  status?     3 ValidatingAdmissionPolicyStatus

type ValidatingAdmissionPolicyBinding kind since(1.30)
  metadata?   1 meta.v1.ObjectMeta
  spec?!      2 ValidatingAdmissionPolicyBindingSpec

type ValidatingAdmissionPolicyBindingList kind since(1.30)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ValidatingAdmissionPolicyBinding

type ValidatingAdmissionPolicyBindingSpec
  policyName?!          1 string
  paramRef?             2 *ParamRef
  matchResources?       3 *MatchResources
  validationActions?!   4 []ValidationAction set

type ValidatingAdmissionPolicyList kind since(1.30)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ValidatingAdmissionPolicy

type ValidatingAdmissionPolicySpec
  paramKind?          1 *ParamKind
  matchConstraints?   2 *MatchResources
  validations?        3 []Validation       atomic
  failurePolicy?      4 *FailurePolicyType
  auditAnnotations?   5 []AuditAnnotation  atomic
  matchConditions?    6 []MatchCondition   map(name) merge(name)
  variables?          7 []Variable         map(name) merge(name)

type ValidatingAdmissionPolicyStatus
  observedGeneration?   1 int64
  typeChecking?         2 *TypeChecking
  conditions?           3 []meta.v1.Condition map(type)

type ValidatingWebhook
  name!                      1 string
  clientConfig!              2 WebhookClientConfig
  rules?                     3 []RuleWithOperations   atomic
  failurePolicy?             4 *FailurePolicyType
  matchPolicy?               9 *MatchPolicyType
  namespaceSelector?         5 *meta.v1.LabelSelector
  objectSelector?           10 *meta.v1.LabelSelector
  sideEffects!               6 *SideEffectClass
  timeoutSeconds?            7 *int32
  admissionReviewVersions!   8 []string               atomic
  matchConditions?          11 []MatchCondition       map(name) merge(name)

type ValidatingWebhookConfiguration kind since(1.16)
  metadata?   1 meta.v1.ObjectMeta
  webhooks?   2 []ValidatingWebhook map(name) merge(name)

type ValidatingWebhookConfigurationList kind since(1.16)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ValidatingWebhookConfiguration

type Validation
  expression!          1 string
  message?             2 string
  reason?              3 *meta.v1.StatusReason
  messageExpression?   4 string

type Variable atomic
  name!         1 string
  expression!   2 string

type WebhookClientConfig
  url?        3 *string
  service?    1 *ServiceReference
  caBundle?   2 bytes

package admissionregistration.v1alpha1 io.k8s.api.admissionregistration.v1alpha1 group(admissionregistration.k8s.io) version(v1alpha1) proto(k8s.io.api.admissionregistration.v1alpha1) off

resource mutatingadmissionpolicies MutatingAdmissionPolicy cluster categories(api-extensions) crud stored(LYmCf+UMVdg=,admissionregistration.k8s.io/v1/MutatingAdmissionPolicy) select() since(1.32) removed(1.38)

resource mutatingadmissionpolicybindings MutatingAdmissionPolicyBinding cluster categories(api-extensions) crud stored(90V5FRZZ3Zg=,admissionregistration.k8s.io/v1/MutatingAdmissionPolicyBinding) select() since(1.32) removed(1.38)

alias FailurePolicyType = string enum(Fail,Ignore)
alias MatchPolicyType = string enum(Equivalent,Exact)
alias ParameterNotFoundActionType = string enum(Allow,Deny)
alias PatchType = string enum(ApplyConfiguration,JSONPatch)
alias ValidationAction = string enum(Audit,Deny,Warn)

type ApplyConfiguration
  expression?   1 string

type AuditAnnotation
  key!               1 string
  valueExpression!   2 string

type ExpressionWarning
  fieldRef!   2 string
  warning!    3 string

type JSONPatch
  expression?   1 string

type MatchCondition served
  name!         1 string
  expression!   2 string

type MatchResources atomic
  namespaceSelector?      1 *meta.v1.LabelSelector
  objectSelector?         2 *meta.v1.LabelSelector
  resourceRules?          3 []NamedRuleWithOperations atomic
  excludeResourceRules?   4 []NamedRuleWithOperations atomic
  matchPolicy?            7 *MatchPolicyType

type MutatingAdmissionPolicy kind since(1.32)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 MutatingAdmissionPolicySpec

type MutatingAdmissionPolicyBinding kind since(1.32)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 MutatingAdmissionPolicyBindingSpec

type MutatingAdmissionPolicyBindingList kind since(1.32)
  metadata?   1 meta.v1.ListMeta
  items!      2 []MutatingAdmissionPolicyBinding

type MutatingAdmissionPolicyBindingSpec
  policyName?       1 string
  paramRef?         2 *ParamRef
  matchResources?   3 *MatchResources

type MutatingAdmissionPolicyList kind since(1.32)
  metadata?   1 meta.v1.ListMeta
  items!      2 []MutatingAdmissionPolicy

type MutatingAdmissionPolicySpec
  paramKind?            1 *ParamKind
  matchConstraints?     2 *MatchResources
  variables?            3 []Variable                                      atomic
  mutations?            4 []Mutation                                      atomic
  failurePolicy?        5 *FailurePolicyType
  matchConditions?      6 []MatchCondition                                map(name) merge(name)
  reinvocationPolicy?   7 admissionregistration.v1.ReinvocationPolicyType

type Mutation
  patchType!            2 PatchType           discriminator
  applyConfiguration?   3 *ApplyConfiguration
  jsonPatch?            4 *JSONPatch

type NamedRuleWithOperations atomic
  resourceNames?   1 []string                                    atomic
  &                2 admissionregistration.v1.RuleWithOperations

type ParamKind atomic
  apiVersion?   1 string
  kind?         2 string

type ParamRef atomic
  name?                      1 string
  namespace?                 2 string
  selector?                  3 *meta.v1.LabelSelector
  parameterNotFoundAction?   4 *ParameterNotFoundActionType

type TypeChecking
  expressionWarnings?   1 []ExpressionWarning atomic

type ValidatingAdmissionPolicy kind since(1.26)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 ValidatingAdmissionPolicySpec
  status?     3 ValidatingAdmissionPolicyStatus

type ValidatingAdmissionPolicyBinding kind since(1.26)
  metadata?   1 meta.v1.ObjectMeta
  spec?!      2 ValidatingAdmissionPolicyBindingSpec

type ValidatingAdmissionPolicyBindingList kind since(1.26)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ValidatingAdmissionPolicyBinding

type ValidatingAdmissionPolicyBindingSpec
  policyName?!          1 string
  paramRef?             2 *ParamRef
  matchResources?       3 *MatchResources
  validationActions?!   4 []ValidationAction set

type ValidatingAdmissionPolicyList kind since(1.26)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ValidatingAdmissionPolicy

type ValidatingAdmissionPolicySpec
  paramKind?          1 *ParamKind
  matchConstraints?   2 *MatchResources
  validations?        3 []Validation       atomic
  failurePolicy?      4 *FailurePolicyType
  auditAnnotations?   5 []AuditAnnotation  atomic
  matchConditions?    6 []MatchCondition   map(name) merge(name)
  variables?          7 []Variable         map(name) merge(name)

type ValidatingAdmissionPolicyStatus
  observedGeneration?   1 int64
  typeChecking?         2 *TypeChecking
  conditions?           3 []meta.v1.Condition map(type)

type Validation
  expression!          1 string
  message?             2 string
  reason?              3 *meta.v1.StatusReason
  messageExpression?   4 string

type Variable
  name!         1 string
  expression!   2 string

package admissionregistration.v1beta1 io.k8s.api.admissionregistration.v1beta1 group(admissionregistration.k8s.io) version(v1beta1) proto(k8s.io.api.admissionregistration.v1beta1) off

resource mutatingadmissionpolicies MutatingAdmissionPolicy cluster categories(api-extensions) crud stored(LYmCf+UMVdg=,admissionregistration.k8s.io/v1/MutatingAdmissionPolicy) select() since(1.34) removed(1.40)

resource mutatingadmissionpolicybindings MutatingAdmissionPolicyBinding cluster categories(api-extensions) crud stored(90V5FRZZ3Zg=,admissionregistration.k8s.io/v1/MutatingAdmissionPolicyBinding) select() since(1.34) removed(1.40)

alias FailurePolicyType = string
alias MatchPolicyType = string
alias ParameterNotFoundActionType = string
alias PatchType = string enum(ApplyConfiguration,JSONPatch)
alias SideEffectClass = string
alias ValidationAction = string enum(Audit,Deny,Warn)

type ApplyConfiguration
  expression?   1 string

type AuditAnnotation
  key!               1 string
  valueExpression!   2 string

type ExpressionWarning
  fieldRef!   2 string
  warning!    3 string

type JSONPatch
  expression?   1 string

type MatchCondition
  name!         1 string
  expression!   2 string

type MatchResources atomic
  namespaceSelector?      1 *meta.v1.LabelSelector
  objectSelector?         2 *meta.v1.LabelSelector
  resourceRules?          3 []NamedRuleWithOperations atomic
  excludeResourceRules?   4 []NamedRuleWithOperations atomic
  matchPolicy?            7 *MatchPolicyType

type MutatingAdmissionPolicy kind since(1.34) use(admissionregistration.k8s.io/v1/MutatingAdmissionPolicy)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 MutatingAdmissionPolicySpec

type MutatingAdmissionPolicyBinding kind since(1.34) use(admissionregistration.k8s.io/v1/MutatingAdmissionPolicyBinding)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 MutatingAdmissionPolicyBindingSpec

type MutatingAdmissionPolicyBindingList kind since(1.34) use(admissionregistration.k8s.io/v1/MutatingAdmissionPolicyBindingList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []MutatingAdmissionPolicyBinding

type MutatingAdmissionPolicyBindingSpec
  policyName?       1 string
  paramRef?         2 *ParamRef
  matchResources?   3 *MatchResources

type MutatingAdmissionPolicyList kind since(1.34) use(admissionregistration.k8s.io/v1/MutatingAdmissionPolicyList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []MutatingAdmissionPolicy

type MutatingAdmissionPolicySpec
  paramKind?            1 *ParamKind
  matchConstraints?     2 *MatchResources
  variables?            3 []Variable                                      atomic
  mutations?            4 []Mutation                                      atomic
  failurePolicy?        5 *FailurePolicyType
  matchConditions?      6 []MatchCondition                                map(name) merge(name)
  reinvocationPolicy?   7 admissionregistration.v1.ReinvocationPolicyType

type MutatingWebhook
  name!                      1 string
  clientConfig!              2 WebhookClientConfig
  rules?                     3 []admissionregistration.v1.RuleWithOperations    atomic
  failurePolicy?             4 *FailurePolicyType
  matchPolicy?               9 *MatchPolicyType
  namespaceSelector?         5 *meta.v1.LabelSelector
  objectSelector?           11 *meta.v1.LabelSelector
  sideEffects?               6 *SideEffectClass
  timeoutSeconds?            7 *int32
  admissionReviewVersions?   8 []string                                         atomic
  reinvocationPolicy?       10 *admissionregistration.v1.ReinvocationPolicyType
  matchConditions?          12 []MatchCondition                                 map(name) merge(name)

type MutatingWebhookConfiguration kind since(1.9) deprecated(1.16) removed(1.22) use(admissionregistration.k8s.io/v1/MutatingWebhookConfiguration)
  metadata?   1 meta.v1.ObjectMeta
  webhooks?   2 []MutatingWebhook  map(name) merge(name)

type MutatingWebhookConfigurationList kind since(1.9) deprecated(1.16) removed(1.22) use(admissionregistration.k8s.io/v1/MutatingWebhookConfigurationList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []MutatingWebhookConfiguration

type Mutation
  patchType!            2 PatchType           discriminator
  applyConfiguration?   3 *ApplyConfiguration
  jsonPatch?            4 *JSONPatch

type NamedRuleWithOperations atomic
  resourceNames?   1 []string                                    atomic
  &                2 admissionregistration.v1.RuleWithOperations

type ParamKind atomic
  apiVersion?   1 string
  kind?         2 string

type ParamRef atomic
  name?                      1 string
  namespace?                 2 string
  selector?                  3 *meta.v1.LabelSelector
  parameterNotFoundAction?   4 *ParameterNotFoundActionType

type ServiceReference
  namespace!   1 string
  name!        2 string
  path?        3 *string
  port?        4 *int32

type TypeChecking
  expressionWarnings?   1 []ExpressionWarning atomic

type ValidatingAdmissionPolicy kind since(1.28)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 ValidatingAdmissionPolicySpec
  status?     3 ValidatingAdmissionPolicyStatus

type ValidatingAdmissionPolicyBinding kind since(1.28)
  metadata?   1 meta.v1.ObjectMeta
  spec?!      2 ValidatingAdmissionPolicyBindingSpec

type ValidatingAdmissionPolicyBindingList kind since(1.28)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ValidatingAdmissionPolicyBinding

type ValidatingAdmissionPolicyBindingSpec
  policyName?!          1 string
  paramRef?             2 *ParamRef
  matchResources?       3 *MatchResources
  validationActions?!   4 []ValidationAction set

type ValidatingAdmissionPolicyList kind since(1.28)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ValidatingAdmissionPolicy

type ValidatingAdmissionPolicySpec
  paramKind?          1 *ParamKind
  matchConstraints?   2 *MatchResources
  validations?        3 []Validation       atomic
  failurePolicy?      4 *FailurePolicyType
  auditAnnotations?   5 []AuditAnnotation  atomic
  matchConditions?    6 []MatchCondition   map(name) merge(name)
  variables?          7 []Variable         map(name) merge(name)

type ValidatingAdmissionPolicyStatus
  observedGeneration?   1 int64
  typeChecking?         2 *TypeChecking
  conditions?           3 []meta.v1.Condition map(type)

type ValidatingWebhook
  name!                      1 string
  clientConfig!              2 WebhookClientConfig
  rules?                     3 []admissionregistration.v1.RuleWithOperations atomic
  failurePolicy?             4 *FailurePolicyType
  matchPolicy?               9 *MatchPolicyType
  namespaceSelector?         5 *meta.v1.LabelSelector
  objectSelector?           10 *meta.v1.LabelSelector
  sideEffects?               6 *SideEffectClass                              atomic
  timeoutSeconds?            7 *int32
  admissionReviewVersions?   8 []string                                      atomic
  matchConditions?          11 []MatchCondition                              map(name) merge(name)

type ValidatingWebhookConfiguration kind since(1.9) deprecated(1.16) removed(1.22) use(admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration)
  metadata?   1 meta.v1.ObjectMeta
  webhooks?   2 []ValidatingWebhook map(name) merge(name)

type ValidatingWebhookConfigurationList kind since(1.9) deprecated(1.16) removed(1.22) use(admissionregistration.k8s.io/v1/ValidatingWebhookConfigurationList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ValidatingWebhookConfiguration

type Validation
  expression!          1 string
  message?             2 string
  reason?              3 *meta.v1.StatusReason
  messageExpression?   4 string

type Variable atomic
  name!         1 string
  expression!   2 string

type WebhookClientConfig
  url?        3 *string
  service?    1 *ServiceReference
  caBundle?   2 bytes
