package admission.v1 io.k8s.api.admission.v1 group(admission.k8s.io) version(v1) proto(k8s.io.api.admission.v1) never

alias Operation = string
alias PatchType = string

type AdmissionRequest
  uid                   1 types.UID
  kind                  2 meta.v1.GroupVersionKind
  resource              3 meta.v1.GroupVersionResource
  subResource?          4 string
  requestKind?         13 *meta.v1.GroupVersionKind
  requestResource?     14 *meta.v1.GroupVersionResource
  requestSubResource?  15 string
  name?                 5 string
  namespace?            6 string
  operation             7 Operation
  userInfo              8 authentication.v1.UserInfo
  object?               9 RawExtension
  oldObject?           10 RawExtension
  dryRun?              11 *bool
  options?             12 RawExtension

type AdmissionResponse
  uid                 1 types.UID
  allowed             2 bool
  status?             3 *meta.v1.Status
  patch?              4 bytes
  patchType?          5 *PatchType
  auditAnnotations?   6 map[string]string
  warnings?           7 []string          atomic

type AdmissionReview kind since(1.19)
  request?    1 *AdmissionRequest
  response?   2 *AdmissionResponse

package admission.v1beta1 io.k8s.api.admission.v1beta1 group(admission.k8s.io) version(v1beta1) proto(k8s.io.api.admission.v1beta1) never

alias Operation = string
alias PatchType = string

type AdmissionRequest
  uid                   1 types.UID
  kind                  2 meta.v1.GroupVersionKind
  resource              3 meta.v1.GroupVersionResource
  subResource?          4 string
  requestKind?         13 *meta.v1.GroupVersionKind
  requestResource?     14 *meta.v1.GroupVersionResource
  requestSubResource?  15 string
  name?                 5 string
  namespace?            6 string
  operation             7 Operation
  userInfo              8 authentication.v1.UserInfo
  object?               9 RawExtension
  oldObject?           10 RawExtension
  dryRun?              11 *bool
  options?             12 RawExtension

type AdmissionResponse
  uid                 1 types.UID
  allowed             2 bool
  status?             3 *meta.v1.Status
  patch?              4 bytes
  patchType?          5 *PatchType
  auditAnnotations?   6 map[string]string
  warnings?           7 []string          atomic

type AdmissionReview kind since(1.9) deprecated(1.19) use(admission.k8s.io/v1/AdmissionReview)
  request?    1 *AdmissionRequest
  response?   2 *AdmissionResponse
