package authentication.v1 io.k8s.api.authentication.v1 group(authentication.k8s.io) version(v1) proto(k8s.io.api.authentication.v1) served

resource selfsubjectreviews SelfSubjectReview cluster served preferred verbs(create)

resource tokenreviews TokenReview cluster served preferred verbs(create)

wrapper ExtraValue = []string

type BoundObjectReference
  kind?         1 string
  apiVersion?   2 string
  name?         3 string
  uid?          4 types.UID

type SelfSubjectReview kind since(1.28)
  metadata?   1 meta.v1.ObjectMeta
  status?     2 SelfSubjectReviewStatus

type SelfSubjectReviewStatus
  userInfo?   1 UserInfo

type TokenRequest kind since(1.10)
  metadata?   1 meta.v1.ObjectMeta
  spec        2 TokenRequestSpec
  status?     3 TokenRequestStatus

type TokenRequestSpec
  audiences           1 []string              atomic
  expirationSeconds   4 *int64
  boundObjectRef      3 *BoundObjectReference

type TokenRequestStatus
  token                 1 string
  expirationTimestamp   2 Time

type TokenReview kind since(1.6)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 TokenReviewSpec
  status?     3 TokenReviewStatus

type TokenReviewSpec
  token?!      1 string
  audiences?   2 []string atomic

type TokenReviewStatus
  authenticated?   1 bool
  user?            2 UserInfo
  audiences?       4 []string atomic
  error?           3 string

type UserInfo
  username?   1 string
  uid?        2 string
  groups?     3 []string              atomic
  extra?      4 map[string]ExtraValue

package authentication.v1alpha1 io.k8s.api.authentication.v1alpha1 group(authentication.k8s.io) version(v1alpha1) proto(k8s.io.api.authentication.v1alpha1) off

type SelfSubjectReview kind since(1.26)
  metadata?   1 meta.v1.ObjectMeta
  status?     2 SelfSubjectReviewStatus

type SelfSubjectReviewStatus
  userInfo?   1 authentication.v1.UserInfo

package authentication.v1beta1 io.k8s.api.authentication.v1beta1 group(authentication.k8s.io) version(v1beta1) proto(k8s.io.api.authentication.v1beta1) off

wrapper ExtraValue = []string

type SelfSubjectReview kind since(1.27)
  metadata?   1 meta.v1.ObjectMeta
  status?     2 SelfSubjectReviewStatus

type SelfSubjectReviewStatus
  userInfo?   1 authentication.v1.UserInfo

type TokenReview kind since(1.4) deprecated(1.19) use(authentication.k8s.io/v1/TokenReview)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 TokenReviewSpec
  status?     3 TokenReviewStatus

type TokenReviewSpec
  token?!      1 string
  audiences?   2 []string atomic

type TokenReviewStatus
  authenticated?   1 bool
  user?            2 UserInfo
  audiences?       4 []string atomic
  error?           3 string

type UserInfo
  username?   1 string
  uid?        2 string
  groups?     3 []string              atomic
  extra?      4 map[string]ExtraValue
