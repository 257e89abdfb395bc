# API groups in discovery order, with their versions in order of preference.

group core preferred(v1)
  version v1 served priority(18000,1)

group apiregistration.k8s.io preferred(v1)
  version v1 served

group apps preferred(v1)
  version v1 served priority(17800,15)

group events.k8s.io preferred(v1)
  version v1 served priority(17750,15)

group authentication.k8s.io preferred(v1)
  version v1 served priority(17700,15)

group authorization.k8s.io preferred(v1)
  version v1 served priority(17600,15)

group autoscaling preferred(v2)
  version v2 served priority(17500,30)
  version v1 served priority(17500,15)

group batch preferred(v1)
  version v1 served priority(17400,15)

group certificates.k8s.io preferred(v1)
  version v1 served priority(17300,15)
  version v1beta1 priority(17300,9)
  version v1alpha1 priority(17300,1)

group networking.k8s.io preferred(v1)
  version v1 served priority(17200,15)
  version v1beta1 priority(17200,9)

group policy preferred(v1)
  version v1 served priority(17100,15)

group rbac.authorization.k8s.io preferred(v1)
  version v1 served priority(17000,15)

group storage.k8s.io preferred(v1)
  version v1 served priority(16800,15)
  version v1beta1 priority(16800,9)

group admissionregistration.k8s.io preferred(v1)
  version v1 served priority(16700,15)
  version v1beta1 priority(16700,12)
  version v1alpha1 priority(16700,9)

group apiextensions.k8s.io preferred(v1)
  version v1 served priority(16700,15)

group scheduling.k8s.io preferred(v1)
  version v1 served priority(16600,15)
  version v1alpha2 priority(16600,2)

group coordination.k8s.io preferred(v1)
  version v1 served priority(16500,15)
  version v1beta1 priority(16500,13)
  version v1alpha2 priority(16500,12)

group node.k8s.io preferred(v1)
  version v1 served priority(16300,15)

group discovery.k8s.io preferred(v1)
  version v1 served priority(16200,15)

group resource.k8s.io preferred(v1)
  version v1 served priority(16200,21)
  version v1beta2 priority(16200,15)
  version v1beta1 priority(16200,9)
  version v1alpha3 priority(16200,1)

group flowcontrol.apiserver.k8s.io preferred(v1)
  version v1 served priority(16100,21)

group internal.apiserver.k8s.io
  version v1alpha1 priority(16000,9)

group storagemigration.k8s.io
  version v1beta1 priority(15800,9)
