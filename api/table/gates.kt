# Feature gates: on or off by default, their stage, and whether the value is locked.

gate APIResponseCompression on beta
gate APIServerIdentity on beta
gate APIServerTracing on ga locked
gate APIServingWithRoutine off alpha
gate AggregatedDiscoveryRemoveBetaType on deprecated locked
gate AllowDNSOnlyNodeCSR off deprecated
gate AllowInsecureKubeletCertificateSigningRequests off deprecated
gate AllowOverwriteTerminationGracePeriodSeconds off deprecated locked
gate AllowParsingUserUIDFromCertAuth on beta
gate AllowServiceExternalIPs on ga
gate AllowUnsafeMalformedObjectDeletion off alpha
gate AnonymousAuthConfigurableEndpoints on ga locked
gate AnyVolumeDataSource on ga locked
gate AuthorizeNodeWithSelectors on ga locked
gate AuthorizePodWebsocketUpgradeCreatePermission on beta
gate AuthorizeWithSelectors on ga locked
gate BtreeWatchCache on ga locked
gate CBORServingAndStorage off alpha
gate CPUCFSQuotaPeriod on ga
gate CPUManagerPolicyAlphaOptions off alpha
gate CPUManagerPolicyBetaOptions on beta
gate CPUManagerPolicyOptions on ga locked
gate CRDObservedGenerationTracking on beta
gate CRDValidationRatcheting on ga locked
gate CRIListStreaming off alpha
gate CSIServiceAccountTokenSecrets on ga locked
gate CSIVolumeHealth off alpha
gate ChangeContainerStatusOnKubeletRestart off deprecated
gate ClearingNominatedNodeNameAfterBinding on beta
gate CloudControllerManagerWatchBasedRoutesReconciliation off alpha
gate CloudControllerManagerWebhook off alpha
gate ClusterTrustBundle off beta
gate ClusterTrustBundleProjection off beta
gate ComponentFlagz on beta
gate ComponentStatusz on beta
gate ConcurrentWatchObjectDecode off beta
gate ConsistentListFromCache on ga locked
gate ConstrainedImpersonation on beta
gate ContainerCheckpoint on beta
gate ContainerRestartRules on beta
gate ContainerStopSignals off alpha
gate ContextualLogging on beta
gate ControllerManagerReleaseLeaderElectionLockOnExit off alpha
gate CoordinatedLeaderElection off beta
gate CrossNamespaceVolumeDataSource off alpha
gate CustomResourceFieldSelectors on ga locked
gate DRAAdminAccess on ga locked
gate DRAConsumableCapacity on beta
gate DRADeviceBindingConditions on beta
gate DRADeviceTaintRules off beta
gate DRADeviceTaints on beta
gate DRAExtendedResource on beta
gate DRAListTypeAttributes off alpha
gate DRANodeAllocatableResources off alpha
gate DRAPartitionableDevices on beta
gate DRAPrioritizedList on ga
gate DRAResourceClaimDeviceStatus on beta
gate DRAResourceClaimGranularStatusAuthorization on beta
gate DRAResourcePoolStatus off alpha
gate DRASchedulerFilterTimeout on beta
gate DRAWorkloadResourceClaims off alpha
gate DeclarativeValidation on ga locked
gate DeclarativeValidationBeta on beta
gate DeclarativeValidationTakeover off deprecated
gate DeploymentReplicaSetTerminatingReplicas on beta
gate DetectCacheInconsistency on beta
gate DisableAllocatorDualWrite on ga locked
gate DisableCPUQuotaWithExclusiveCPUs on deprecated
gate DisableNodeKubeProxyVersion on deprecated locked
gate DynamicResourceAllocation on ga locked
gate EnvFiles on beta
gate EventedPLEG off alpha
gate ExecProbeTimeout on ga locked
gate ExtendWebSocketsToKubelet on beta
gate ExternalServiceAccountTokenSigner on ga locked
gate GangScheduling off alpha
gate GenericWorkload off alpha
gate GitRepoVolumeDriver off deprecated locked
gate GracefulNodeShutdown on beta
gate GracefulNodeShutdownBasedOnPodPriority on beta
gate HPAConfigurableTolerance on beta
gate HPAScaleToZero off alpha
gate HostnameOverride on beta
gate ImageMaximumGCAge on ga locked
gate ImageVolume on ga locked
gate ImageVolumeWithDigest off alpha
gate InPlacePodLevelResourcesVerticalScaling on beta
gate InPlacePodVerticalScaling on ga locked
gate InPlacePodVerticalScalingExclusiveCPUs off alpha
gate InPlacePodVerticalScalingExclusiveMemory off alpha
gate InPlacePodVerticalScalingInitContainers on beta
gate JobBackoffLimitPerIndex on ga locked
gate JobManagedBy on ga locked
gate JobPodReplacementPolicy on ga locked
gate JobSuccessPolicy on ga locked
gate KMSv1 off deprecated
gate KubeletCgroupDriverFromCRI on ga locked
gate KubeletCrashLoopBackOffMax on beta
gate KubeletEnsureSecretPulledImages on beta
gate KubeletFineGrainedAuthz on ga locked
gate KubeletInUserNamespace off alpha
gate KubeletPSI on ga locked
gate KubeletPodResourcesDynamicResources on ga locked
gate KubeletPodResourcesGet on ga locked
gate KubeletPodResourcesListUseActivePods on deprecated
gate KubeletRegistrationGetOnExistsOnly off deprecated
gate KubeletSeparateDiskGC on beta
gate KubeletServiceAccountTokenForCredentialProviders on beta
gate KubeletTracing on ga locked
gate ListFromCacheSnapshot on beta
gate LocalStorageCapacityIsolationFSQuotaMonitoring off beta
gate LogarithmicScaleDown on ga locked
gate LoggingAlphaOptions off alpha
gate LoggingBetaOptions on beta
gate ManifestBasedAdmissionControlConfig off alpha
gate MatchLabelKeysInPodAffinity on ga locked
gate MatchLabelKeysInPodTopologySpread on beta
gate MatchLabelKeysInPodTopologySpreadSelectorMerge on beta
gate MaxUnavailableStatefulSet off beta
gate MemoryQoS off alpha
gate MultiCIDRServiceAllocator on ga locked
gate MutableCSINodeAllocatableCount on ga locked
gate MutablePVNodeAffinity off alpha
gate MutablePodResourcesForSuspendedJobs on beta
gate MutableSchedulingDirectivesForSuspendedJobs on beta
gate MutatingAdmissionPolicy on ga
gate NFTablesProxyMode on ga locked
gate NativeHistograms off alpha
gate NodeDeclaredFeatures on beta
gate NodeInclusionPolicyInPodTopologySpread on ga locked
gate NodeLogQuery on ga locked
gate NodeSwap on ga locked
gate NominatedNodeNameForExpectation on beta
gate OpenAPIEnums on beta
gate OpportunisticBatching on beta
gate OrderedNamespaceDeletion on ga locked
gate PLEGOnDemandRelist on beta
gate PersistentVolumeClaimUnusedSinceTime off alpha
gate PodAndContainerStatsFromCRI off alpha
gate PodCertificateRequest off beta
gate PodDeletionCost on beta
gate PodLevelResourceManagers off alpha
gate PodLevelResources on beta
gate PodLifecycleSleepAction on ga locked
gate PodLifecycleSleepActionAllowZero on ga locked
gate PodLogsQuerySplitStreams off alpha
gate PodObservedGenerationTracking on ga locked
gate PodReadyToStartContainersCondition on beta
gate PodSchedulingReadiness on ga locked
gate PodTopologyLabelsAdmission on beta
gate PodsAPI off alpha
gate PortForwardWebsockets on beta
gate PreferSameTrafficDistribution on ga locked
gate PreventStaticPodAPIReferences on beta
gate ProcMountType on ga locked
gate QOSReserved off alpha
gate RecoverVolumeExpansionFailure on ga locked
gate RecursiveReadOnlyMounts on ga locked
gate ReduceDefaultCrashLoopBackOffDecay off alpha
gate RelaxedDNSSearchValidation on ga locked
gate RelaxedEnvironmentVariableValidation on ga locked
gate RelaxedServiceNameValidation on beta
gate ReloadKubeletClientCAFile on beta
gate ReloadKubeletServerCertificateFile on beta
gate RemoteRequestHeaderUID on beta
gate ResilientWatchCacheInitialization on ga locked
gate ResourceHealthStatus on beta
gate ResourceHealthStatusMessage on beta
gate RestartAllContainersOnContainerExits on beta
gate RetryGenerateName on ga locked
gate RotateKubeletServerCertificate on beta
gate RuntimeClassInImageCriAPI off alpha
gate SELinuxChangePolicy on ga locked
gate SELinuxMount off beta
gate SELinuxMountReadWriteOncePod on ga locked
gate SchedulerAsyncAPICalls off beta
gate SchedulerAsyncPreemption on beta
gate SchedulerPopFromBackoffQ on beta
gate SchedulerQueueingHints on ga locked
gate SeparateCacheWatchRPC off deprecated locked
gate SeparateTaintEvictionController on ga locked
gate ServiceAccountNodeAudienceRestriction on beta
gate ServiceAccountTokenJTI on ga locked
gate ServiceAccountTokenNodeBinding on ga locked
gate ServiceAccountTokenNodeBindingValidation on ga locked
gate ServiceAccountTokenPodNodeInfo on ga locked
gate ServiceCIDRStatusFieldWiping on deprecated
gate ShardedListAndWatch off alpha
gate SidecarContainers on ga locked
gate SizeBasedListCostEstimate on beta
gate StaleControllerConsistencyDaemonSet on beta
gate StaleControllerConsistencyJob on beta
gate StaleControllerConsistencyReplicaSet on beta
gate StaleControllerConsistencyStatefulSet on beta
gate StatefulSetSemanticRevisionComparison on beta
gate StorageCapacityScoring off alpha
gate StorageNamespaceIndex on deprecated
gate StorageVersionAPI off alpha
gate StorageVersionHash on beta
gate StorageVersionMigrator off beta
gate StreamingCollectionEncodingToJSON on ga locked
gate StreamingCollectionEncodingToProtobuf on ga locked
gate StrictIPCIDRValidation on beta
gate StructuredAuthenticationConfiguration on ga locked
gate StructuredAuthenticationConfigurationEgressSelector on beta
gate StructuredAuthenticationConfigurationJWKSMetrics on beta
gate SupplementalGroupsPolicy on ga locked
gate SystemdWatchdog on ga locked
gate TaintTolerationComparisonOperators off alpha
gate TokenRequestServiceAccountUIDValidation on beta
gate TopologyAwareWorkloadScheduling off alpha
gate TopologyManagerPolicyAlphaOptions off alpha
gate TopologyManagerPolicyBetaOptions on beta
gate TopologyManagerPolicyOptions on ga locked
gate TranslateStreamCloseWebsocketRequests on beta
gate UnauthenticatedHTTP2DOSMitigation on beta
gate UnknownVersionInteroperabilityProxy on beta
gate UserNamespacesHostNetworkSupport off alpha
gate UserNamespacesSupport on ga locked
gate VolumeAttributesClass on ga locked
gate VolumeLimitScaling off alpha
gate WatchCacheInitializationPostStartHook on beta
gate WatchList on beta
gate WinDSR on ga locked
gate WinOverlay on ga locked
gate WindowsCPUAndMemoryAffinity off alpha
gate WindowsGracefulNodeShutdown on beta
gate WindowsHostNetwork off deprecated
gate WorkloadAwarePreemption off alpha
gate WorkloadWithJob off alpha
