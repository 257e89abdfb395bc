# Defaulting: what a type sets where the client has not, before its members do the same. `PATH = JSON` sets a
# member that is absent (or zero, where it is no pointer); a missing pointer on the way is made only with `make`.
# `copy(PATH)` takes another member; `call` runs a named function of src/defaults/rules. Conditions: if(PATH),
# if(PATH=A|B), unless(PATH), gates(…). Resource lists are rounded up to thousandths wherever they stand. The
# default(…) markers of fields apply besides.

defaults core.v1.ReplicationController
  spec.selector = copy(spec.template.metadata.labels)
  metadata.labels = copy(spec.template.metadata.labels)

defaults core.v1.Volume
  call empty_volume_source
  call image_volume_pull_policy if(image)

defaults core.v1.Container
  call image_pull_policy
  terminationMessagePath = "/dev/termination-log"
  terminationMessagePolicy = "File"

defaults core.v1.EphemeralContainer
  as core.v1.Container

defaults core.v1.Service
  spec.sessionAffinity = "None"
  call session_affinity
  spec.type = "ClusterIP"
  spec.ports[].protocol = "TCP"
  call target_ports
  spec.externalTrafficPolicy = "Cluster" if(spec.type=NodePort|LoadBalancer)
  spec.externalTrafficPolicy = "Cluster" if(spec.type=ClusterIP) if(spec.externalIPs)
  spec.internalTrafficPolicy = "Cluster" if(spec.type=ClusterIP|NodePort|LoadBalancer)
  spec.allocateLoadBalancerNodePorts = true if(spec.type=LoadBalancer)
  call load_balancer_ip_mode if(spec.type=LoadBalancer)

defaults core.v1.Pod
  call container_requests
  call pod_level_hugepages gates(PodLevelResources)
  call pod_level_requests gates(PodLevelResources)
  spec.enableServiceLinks = true
  call host_ports if(spec.hostNetwork)
  call grace_of_pods

defaults core.v1.PodSpec
  dnsPolicy = "ClusterFirst"
  restartPolicy = "Always"
  securityContext = {}
  terminationGracePeriodSeconds = 30
  schedulerName = "default-scheduler"

defaults core.v1.Probe
  timeoutSeconds = 1
  periodSeconds = 10
  successThreshold = 1
  failureThreshold = 3

defaults core.v1.SecretVolumeSource
  defaultMode = 420

defaults core.v1.ConfigMapVolumeSource
  defaultMode = 420

defaults core.v1.DownwardAPIVolumeSource
  defaultMode = 420

defaults core.v1.ProjectedVolumeSource
  defaultMode = 420

defaults core.v1.ServiceAccountTokenProjection
  expirationSeconds = 3600

defaults core.v1.HostPathVolumeSource
  type = ""

defaults core.v1.Secret
  type = "Opaque"

defaults core.v1.PersistentVolume
  status.phase = "Pending"
  spec.persistentVolumeReclaimPolicy = "Retain"
  spec.volumeMode = "Filesystem"

defaults core.v1.PersistentVolumeClaim
  status.phase = "Pending"

defaults core.v1.PersistentVolumeClaimSpec
  volumeMode = "Filesystem"

defaults core.v1.Endpoints
  subsets[].ports[].protocol = "TCP"

defaults core.v1.HTTPGetAction
  path = "/"
  scheme = "HTTP"

defaults core.v1.Namespace
  call namespace_label

defaults core.v1.NamespaceStatus
  phase = "Active"

defaults core.v1.NodeStatus
  allocatable = copy(capacity)

defaults core.v1.ObjectFieldSelector
  apiVersion = "v1"

defaults core.v1.LimitRangeItem
  call limit_range_item if(type=Container)

defaults core.v1.PodLogOptions
  stream = "All" gates(PodLogsQuerySplitStreams)

defaults apps.v1.Deployment
  spec.replicas = 1
  spec.strategy.type = "RollingUpdate"
  spec.strategy.rollingUpdate.maxUnavailable = "25%" make if(spec.strategy.type=RollingUpdate)
  spec.strategy.rollingUpdate.maxSurge = "25%" make if(spec.strategy.type=RollingUpdate)
  spec.revisionHistoryLimit = 10
  spec.progressDeadlineSeconds = 600

defaults apps.v1.DaemonSet
  spec.updateStrategy.type = "RollingUpdate"
  spec.updateStrategy.rollingUpdate.maxUnavailable = 1 make if(spec.updateStrategy.type=RollingUpdate)
  spec.updateStrategy.rollingUpdate.maxSurge = 0 make if(spec.updateStrategy.type=RollingUpdate)
  spec.revisionHistoryLimit = 10

defaults apps.v1.StatefulSet
  call claim_templates
  spec.podManagementPolicy = "OrderedReady"
  spec.updateStrategy.rollingUpdate = {} unless(spec.updateStrategy.type)
  spec.updateStrategy.type = "RollingUpdate"
  spec.updateStrategy.rollingUpdate.partition = 0 if(spec.updateStrategy.type=RollingUpdate)
  spec.updateStrategy.rollingUpdate.maxUnavailable = 1 if(spec.updateStrategy.type=RollingUpdate) gates(MaxUnavailableStatefulSet)
  spec.persistentVolumeClaimRetentionPolicy.whenDeleted = "Retain" make
  spec.persistentVolumeClaimRetentionPolicy.whenScaled = "Retain" make
  spec.replicas = 1
  spec.revisionHistoryLimit = 10

defaults apps.v1.ReplicaSet
  spec.replicas = 1

defaults batch.v1.Job
  spec.completions = 1 unless(spec.parallelism)
  spec.parallelism = 1
  spec.backoffLimit = 2147483647 if(spec.backoffLimitPerIndex)
  spec.backoffLimit = 6
  metadata.labels = copy(spec.template.metadata.labels)
  spec.completionMode = "NonIndexed"
  spec.suspend = false
  spec.podReplacementPolicy = "Failed" if(spec.podFailurePolicy)
  spec.podReplacementPolicy = "TerminatingOrFailed"
  spec.manualSelector = false

defaults batch.v1.CronJob
  spec.concurrencyPolicy = "Allow"
  spec.suspend = false
  spec.successfulJobsHistoryLimit = 3
  spec.failedJobsHistoryLimit = 1

defaults batch.v1.PodFailurePolicyOnPodConditionsPattern
  status = "True"

defaults autoscaling.v1.HorizontalPodAutoscaler
  spec.minReplicas = 1
  call cpu_target

defaults autoscaling.v2.HorizontalPodAutoscaler
  spec.minReplicas = 1
  spec.metrics = [{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":80}}}]
  spec.behavior.scaleUp.stabilizationWindowSeconds = 0 make if(spec.behavior)
  spec.behavior.scaleUp.selectPolicy = "Max" make if(spec.behavior)
  spec.behavior.scaleUp.policies = [{"type":"Pods","value":4,"periodSeconds":15},{"type":"Percent","value":100,"periodSeconds":15}] make if(spec.behavior)
  spec.behavior.scaleDown.selectPolicy = "Max" make if(spec.behavior)
  spec.behavior.scaleDown.policies = [{"type":"Percent","value":100,"periodSeconds":15}] make if(spec.behavior)

defaults networking.v1.NetworkPolicyPort
  protocol = "TCP"

defaults networking.v1.NetworkPolicy
  spec.policyTypes = ["Ingress","Egress"] if(spec.egress)
  spec.policyTypes = ["Ingress"]

defaults networking.v1.IngressClass
  spec.parameters.scope = "Cluster"

defaults storage.v1.StorageClass
  reclaimPolicy = "Delete"
  volumeBindingMode = "Immediate"

defaults storage.v1.CSIDriver
  spec.attachRequired = true
  spec.podInfoOnMount = false
  spec.storageCapacity = false
  spec.fsGroupPolicy = "ReadWriteOnceWithFSType"
  spec.volumeLifecycleModes = ["Persistent"]
  spec.requiresRepublish = false
  spec.seLinuxMount = false gates(SELinuxMountReadWriteOncePod)
  spec.preventPodSchedulingIfMissing = false gates(VolumeLimitScaling)

defaults networking.v1beta1.HTTPIngressPath
  pathType = "ImplementationSpecific"

defaults storage.v1beta1.StorageClass
  as storage.v1.StorageClass

defaults storage.v1beta1.CSIDriver
  as storage.v1.CSIDriver

defaults rbac.v1.ClusterRoleBinding
  roleRef.apiGroup = "rbac.authorization.k8s.io"

defaults rbac.v1.RoleBinding
  roleRef.apiGroup = "rbac.authorization.k8s.io"

defaults rbac.v1.Subject
  apiGroup = "rbac.authorization.k8s.io" if(kind=User|Group)

defaults scheduling.v1.PriorityClass
  preemptionPolicy = "PreemptLowerPriority"

defaults discovery.v1.EndpointPort
  name = ""
  protocol = "TCP"

defaults authentication.v1.TokenRequestSpec
  expirationSeconds = 3600

defaults certificates.v1beta1.CertificateSigningRequestSpec
  usages = ["digital signature","key encipherment"]

defaults certificates.v1beta1.CertificateSigningRequestCondition
  status = "True"

defaults flowcontrol.v1.FlowSchemaSpec
  matchingPrecedence = 1000

defaults flowcontrol.v1.ExemptPriorityLevelConfiguration
  nominalConcurrencyShares = 0
  lendablePercent = 0

defaults flowcontrol.v1.LimitedPriorityLevelConfiguration
  nominalConcurrencyShares = 30
  lendablePercent = 0

defaults flowcontrol.v1.QueuingConfiguration
  handSize = 8
  queues = 64
  queueLengthLimit = 50

defaults admissionregistration.v1.ValidatingWebhook
  failurePolicy = "Fail"
  matchPolicy = "Equivalent"
  namespaceSelector = {}
  objectSelector = {}
  timeoutSeconds = 10

defaults admissionregistration.v1.MutatingWebhook
  failurePolicy = "Fail"
  matchPolicy = "Equivalent"
  namespaceSelector = {}
  objectSelector = {}
  timeoutSeconds = 10
  reinvocationPolicy = "Never"

defaults admissionregistration.v1.Rule
  scope = "*"

defaults admissionregistration.v1.ServiceReference
  port = 443

defaults admissionregistration.v1.ValidatingAdmissionPolicySpec
  failurePolicy = "Fail"

defaults admissionregistration.v1.MutatingAdmissionPolicySpec
  failurePolicy = "Fail"

defaults admissionregistration.v1.MatchResources
  matchPolicy = "Equivalent"
  namespaceSelector = {}
  objectSelector = {}

defaults admissionregistration.v1beta1.MutatingAdmissionPolicySpec
  as admissionregistration.v1.MutatingAdmissionPolicySpec

defaults admissionregistration.v1beta1.ValidatingAdmissionPolicySpec
  as admissionregistration.v1.ValidatingAdmissionPolicySpec

defaults admissionregistration.v1beta1.MatchResources
  as admissionregistration.v1.MatchResources

defaults admissionregistration.v1beta1.ServiceReference
  as admissionregistration.v1.ServiceReference

defaults admissionregistration.v1beta1.ValidatingWebhook
  failurePolicy = "Ignore"
  matchPolicy = "Exact"
  namespaceSelector = {}
  objectSelector = {}
  sideEffects = "Unknown"
  timeoutSeconds = 30
  admissionReviewVersions = ["v1beta1"]

defaults admissionregistration.v1beta1.MutatingWebhook
  as admissionregistration.v1beta1.ValidatingWebhook
  reinvocationPolicy = "Never"

defaults admissionregistration.v1alpha1.MutatingAdmissionPolicySpec
  as admissionregistration.v1.MutatingAdmissionPolicySpec

defaults admissionregistration.v1alpha1.ValidatingAdmissionPolicySpec
  as admissionregistration.v1.ValidatingAdmissionPolicySpec

defaults admissionregistration.v1alpha1.MatchResources
  as admissionregistration.v1.MatchResources

defaults admissionregistration.v1alpha1.ParamRef
  parameterNotFoundAction = "Deny"

defaults resource.v1.ExactDeviceRequest
  allocationMode = "ExactCount"
  count = 1 if(allocationMode=ExactCount)

defaults resource.v1.DeviceSubRequest
  as resource.v1.ExactDeviceRequest

defaults resource.v1.DeviceTaint
  call time_added

defaults resource.v1.Device
  nodeAllocatableResourceMappings[*].allocationMultiplier = "1"

defaults resource.v1beta2.ExactDeviceRequest
  as resource.v1.ExactDeviceRequest

defaults resource.v1beta2.DeviceSubRequest
  as resource.v1.ExactDeviceRequest

defaults resource.v1beta2.DeviceTaint
  as resource.v1.DeviceTaint

defaults resource.v1beta2.Device
  as resource.v1.Device

defaults resource.v1beta1.DeviceRequest
  allocationMode = "ExactCount" if(deviceClassName)
  count = 1 if(deviceClassName) if(allocationMode=ExactCount)

defaults resource.v1beta1.DeviceSubRequest
  as resource.v1.ExactDeviceRequest

defaults resource.v1beta1.DeviceTaint
  as resource.v1.DeviceTaint

defaults resource.v1beta1.BasicDevice
  as resource.v1.Device

defaults resource.v1alpha3.DeviceTaint
  as resource.v1.DeviceTaint

defaults resource.v1alpha3.ResourcePoolStatusRequestSpec
  limit = 100

defaults apiextensions.v1.CustomResourceDefinition
  call stored_versions

defaults apiextensions.v1.CustomResourceDefinitionSpec
  call derived_names
  conversion = {"strategy":"None"}

defaults apiextensions.v1.ServiceReference
  port = 443

defaults apiregistration.v1.ServiceReference
  port = 443
