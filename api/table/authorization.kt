package authorization.v1 io.k8s.api.authorization.v1 group(authorization.k8s.io) version(v1) proto(k8s.io.api.authorization.v1) served

resource localsubjectaccessreviews LocalSubjectAccessReview namespaced served preferred verbs(create)

resource selfsubjectaccessreviews SelfSubjectAccessReview cluster served preferred verbs(create)

resource selfsubjectrulesreviews SelfSubjectRulesReview cluster served preferred verbs(create)

resource subjectaccessreviews SubjectAccessReview cluster served preferred verbs(create)

wrapper ExtraValue = []string

type FieldSelectorAttributes
  rawSelector?    1 string
  requirements?   2 []meta.v1.FieldSelectorRequirement atomic

type LabelSelectorAttributes
  rawSelector?    1 string
  requirements?   2 []meta.v1.LabelSelectorRequirement atomic

type LocalSubjectAccessReview kind since(1.19)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 SubjectAccessReviewSpec
  status?     3 SubjectAccessReviewStatus

type NonResourceAttributes
  path?   1 string
  verb?   2 string

type NonResourceRule
  verbs!             1 []string atomic
  nonResourceURLs?   2 []string atomic

type ResourceAttributes
  namespace?       1 string
  verb?            2 string
  group?           3 string
  version?         4 string
  resource?        5 string
  subresource?     6 string
  name?            7 string
  fieldSelector?   8 *FieldSelectorAttributes
  labelSelector?   9 *LabelSelectorAttributes

type ResourceRule
  verbs!           1 []string atomic
  apiGroups?       2 []string atomic
  resources?       3 []string atomic
  resourceNames?   4 []string atomic

type SelfSubjectAccessReview kind since(1.19)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 SelfSubjectAccessReviewSpec
  status?     3 SubjectAccessReviewStatus

type SelfSubjectAccessReviewSpec
  resourceAttributes?      1 *ResourceAttributes
  nonResourceAttributes?   2 *NonResourceAttributes

type SelfSubjectRulesReview kind since(1.19)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 SelfSubjectRulesReviewSpec
  status?     3 SubjectRulesReviewStatus

type SelfSubjectRulesReviewSpec
  namespace?   1 string

type SubjectAccessReview kind since(1.6)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 SubjectAccessReviewSpec
  status?     3 SubjectAccessReviewStatus

type SubjectAccessReviewSpec
  resourceAttributes?      1 *ResourceAttributes
  nonResourceAttributes?   2 *NonResourceAttributes
  user?                    3 string
  groups?                  4 []string               atomic
  extra?                   5 map[string]ExtraValue
  uid?                     6 string

type SubjectAccessReviewStatus
  allowed!           1 bool
  denied?            4 bool
  reason?            2 string
  evaluationError?   3 string

type SubjectRulesReviewStatus
  resourceRules!      1 []ResourceRule    atomic
  nonResourceRules!   2 []NonResourceRule atomic
  incomplete!         3 bool
  evaluationError?    4 string

package authorization.v1beta1 io.k8s.api.authorization.v1beta1 group(authorization.k8s.io) version(v1beta1) proto(k8s.io.api.authorization.v1beta1) never

wrapper ExtraValue = []string

type LocalSubjectAccessReview kind since(1.2) deprecated(1.19) use(authorization.k8s.io/v1/LocalSubjectAccessReview)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 SubjectAccessReviewSpec
  status?     3 SubjectAccessReviewStatus

type NonResourceAttributes
  path?   1 string
  verb?   2 string

type NonResourceRule
  verbs!             1 []string atomic
  nonResourceURLs?   2 []string atomic

type ResourceAttributes
  namespace?       1 string
  verb?            2 string
  group?           3 string
  version?         4 string
  resource?        5 string
  subresource?     6 string
  name?            7 string
  fieldSelector?   8 *authorization.v1.FieldSelectorAttributes
  labelSelector?   9 *authorization.v1.LabelSelectorAttributes

type ResourceRule
  verbs!           1 []string atomic
  apiGroups?       2 []string atomic
  resources?       3 []string atomic
  resourceNames?   4 []string atomic

type SelfSubjectAccessReview kind since(1.2) deprecated(1.19) use(authorization.k8s.io/v1/SelfSubjectAccessReview)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 SelfSubjectAccessReviewSpec
  status?     3 SubjectAccessReviewStatus

type SelfSubjectAccessReviewSpec
  resourceAttributes?      1 *ResourceAttributes
  nonResourceAttributes?   2 *NonResourceAttributes

type SelfSubjectRulesReview kind since(1.8) deprecated(1.19) use(authorization.k8s.io/v1/SelfSubjectRulesReview)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 SelfSubjectRulesReviewSpec
  status?     3 SubjectRulesReviewStatus

type SelfSubjectRulesReviewSpec
  namespace?   1 string

type SubjectAccessReview kind since(1.2) deprecated(1.19) use(authorization.k8s.io/v1/SubjectAccessReview)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 SubjectAccessReviewSpec
  status?     3 SubjectAccessReviewStatus

type SubjectAccessReviewSpec
  resourceAttributes?      1 *ResourceAttributes
  nonResourceAttributes?   2 *NonResourceAttributes
  user?                    3 string
  group?                   4 []string               atomic
  extra?                   5 map[string]ExtraValue
  uid?                     6 string

type SubjectAccessReviewStatus
  allowed!           1 bool
  denied?            4 bool
  reason?            2 string
  evaluationError?   3 string

type SubjectRulesReviewStatus
  resourceRules!      1 []ResourceRule    atomic
  nonResourceRules!   2 []NonResourceRule atomic
  incomplete!         3 bool
  evaluationError?    4 string
