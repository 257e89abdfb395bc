package imagepolicy.v1alpha1 io.k8s.api.imagepolicy.v1alpha1 group(imagepolicy.k8s.io) version(v1alpha1) proto(k8s.io.api.imagepolicy.v1alpha1) never

type ImageReview kind
  metadata?   1 meta.v1.ObjectMeta
  spec        2 ImageReviewSpec
  status?     3 ImageReviewStatus

type ImageReviewContainerSpec
  image?   1 string

type ImageReviewSpec
  containers?    1 []ImageReviewContainerSpec atomic
  annotations?   2 map[string]string
  namespace?     3 string

type ImageReviewStatus
  allowed             1 bool
  reason?             2 string
  auditAnnotations?   3 map[string]string
