package certificates.v1 io.k8s.api.certificates.v1 group(certificates.k8s.io) version(v1) proto(k8s.io.api.certificates.v1) served

resource certificatesigningrequests CertificateSigningRequest cluster served preferred short(csr) crud stored(95fRKMXA+00=) unconditional select(metadata.name,spec.signerName) since(1.19)
  sub approval CertificateSigningRequest get patch update
  sub status CertificateSigningRequest get patch update

alias KeyUsage = string enum(any,cert sign,client auth,code signing,content commitment,crl sign,data encipherment,decipher only,digital signature,email protection,encipher only,ipsec end system,ipsec tunnel,ipsec user,key agreement,key encipherment,microsoft sgc,netscape sgc,ocsp signing,s/mime,server auth,signing,timestamping)
alias RequestConditionType = string
wrapper ExtraValue = []string

type CertificateSigningRequest kind since(1.19)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 CertificateSigningRequestSpec
  status?     3 CertificateSigningRequestStatus

type CertificateSigningRequestCondition
  type!                 1 RequestConditionType
  status!               6 core.v1.ConditionStatus
  reason?               2 string
  message?              3 string
  lastUpdateTime?       4 Time
  lastTransitionTime?   5 Time

type CertificateSigningRequestList kind since(1.19)
  metadata?   1 meta.v1.ListMeta
  items!      2 []CertificateSigningRequest

type CertificateSigningRequestSpec
  request!             1 bytes
  signerName!          7 string
  expirationSeconds?   8 *int32
  usages?              5 []KeyUsage            atomic
  username?            2 string
  uid?                 3 string
  groups?              4 []string              atomic
  extra?               6 map[string]ExtraValue

type CertificateSigningRequestStatus
  conditions?    1 []CertificateSigningRequestCondition map(type)
  certificate?   2 bytes

package certificates.v1alpha1 io.k8s.api.certificates.v1alpha1 group(certificates.k8s.io) version(v1alpha1) proto(k8s.io.api.certificates.v1alpha1) off

resource clustertrustbundles ClusterTrustBundle cluster crud stored(v5yhuVertL4=,certificates.k8s.io/v1beta1/ClusterTrustBundle) select(metadata.name,spec.signerName) since(1.26) removed(1.37)

type ClusterTrustBundle kind since(1.26) deprecated(1.34)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 ClusterTrustBundleSpec

type ClusterTrustBundleList kind since(1.26) deprecated(1.34)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ClusterTrustBundle

type ClusterTrustBundleSpec
  signerName?    1 string
  trustBundle!   2 string

package certificates.v1beta1 io.k8s.api.certificates.v1beta1 group(certificates.k8s.io) version(v1beta1) proto(k8s.io.api.certificates.v1beta1) off

resource clustertrustbundles ClusterTrustBundle cluster crud stored(v5yhuVertL4=) select(metadata.name,spec.signerName) since(1.33) removed(1.39)

resource podcertificaterequests PodCertificateRequest namespaced crud stored(wYA9yXQH8fg=) select(metadata.name,spec.signerName,spec.podName,spec.nodeName) since(1.35) removed(1.39)
  sub status PodCertificateRequest get patch update

alias KeyUsage = string
alias RequestConditionType = string
wrapper ExtraValue = []string

type CertificateSigningRequest kind since(1.12) deprecated(1.19) use(certificates.k8s.io/v1/CertificateSigningRequest)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 CertificateSigningRequestSpec
  status?     3 CertificateSigningRequestStatus

type CertificateSigningRequestCondition
  type!                 1 RequestConditionType
  status                6 core.v1.ConditionStatus
  reason?               2 string
  message?              3 string
  lastUpdateTime?       4 Time
  lastTransitionTime?   5 Time

type CertificateSigningRequestList kind since(1.12) deprecated(1.19) use(certificates.k8s.io/v1/CertificateSigningRequestList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []CertificateSigningRequest

type CertificateSigningRequestSpec
  request!             1 bytes
  signerName?          7 *string
  expirationSeconds?   8 *int32
  usages?              5 []KeyUsage            atomic
  username?            2 string
  uid?                 3 string
  groups?              4 []string              atomic
  extra?               6 map[string]ExtraValue

type CertificateSigningRequestStatus
  conditions?    1 []CertificateSigningRequestCondition map(type)
  certificate?   2 bytes

type ClusterTrustBundle kind since(1.33) deprecated(1.37)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 ClusterTrustBundleSpec

type ClusterTrustBundleList kind since(1.33) deprecated(1.37)
  metadata?   1 meta.v1.ListMeta
  items!      2 []ClusterTrustBundle

type ClusterTrustBundleSpec
  signerName?    1 string
  trustBundle!   2 string

type PodCertificateRequest kind since(1.35)
  metadata?   1 meta.v1.ObjectMeta
  spec!       2 PodCertificateRequestSpec
  status?     3 PodCertificateRequestStatus

type PodCertificateRequestList kind since(1.35)
  metadata?   1 meta.v1.ListMeta
  items!      2 []PodCertificateRequest

type PodCertificateRequestSpec
  signerName!                  1 string
  podName!                     2 string
  podUID!                      3 types.UID
  serviceAccountName!          4 string
  serviceAccountUID!           5 types.UID
  nodeName!                    6 types.NodeName
  nodeUID!                     7 types.UID
  maxExpirationSeconds?        8 *int32            default(86400)
  pkixPublicKey                9 bytes
  proofOfPossession           10 bytes
  stubPKCS10Request!          12 bytes
  unverifiedUserAnnotations?  11 map[string]string

type PodCertificateRequestStatus
  conditions?         1 []meta.v1.Condition map(type) merge(type)
  certificateChain?   2 string
  notBefore?          4 *Time
  beginRefreshAt?     5 *Time
  notAfter?           6 *Time
