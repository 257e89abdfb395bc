package batch.v1 io.k8s.api.batch.v1 group(batch) version(v1) proto(k8s.io.api.batch.v1) served

resource cronjobs CronJob namespaced served preferred short(cj) categories(all) crud stored(sd5LIXh4Fjs=) unconditional select() since(1.21)
  sub status CronJob get patch update

resource jobs Job namespaced served preferred categories(all) crud stored(mudhfqk/qZY=) unconditional orphan select(metadata.name,metadata.namespace,status.successful) since(1.2)
  sub status Job get patch update

alias CompletionMode = string enum(Indexed,NonIndexed)
alias ConcurrencyPolicy = string enum(Allow,Forbid,Replace)
alias JobConditionType = string
alias PodFailurePolicyAction = string enum(Count,FailIndex,FailJob,Ignore)
alias PodFailurePolicyOnExitCodesOperator = string enum(In,NotIn)
alias PodReplacementPolicy = string enum(Failed,TerminatingOrFailed)

type CronJob kind since(1.21)
  metadata?   1 meta.v1.ObjectMeta
  spec?!      2 CronJobSpec
  status?     3 CronJobStatus

type CronJobList kind since(1.21)
  metadata?   1 meta.v1.ListMeta
  items!      2 []CronJob

type CronJobSpec
  schedule!                     1 string
  timeZone?                     8 *string
  startingDeadlineSeconds?      2 *int64
  concurrencyPolicy?            3 ConcurrencyPolicy
  suspend?                      4 *bool
  jobTemplate!                  5 JobTemplateSpec
  successfulJobsHistoryLimit?   6 *int32
  failedJobsHistoryLimit?       7 *int32

type CronJobStatus
  active?               1 []core.v1.ObjectReference atomic
  lastScheduleTime?     4 *Time
  lastSuccessfulTime?   5 *Time

type Job kind since(1.2)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 JobSpec
  status?     3 JobStatus

type JobCondition
  type!                 1 JobConditionType
  status!               2 core.v1.ConditionStatus
  lastProbeTime?        3 Time
  lastTransitionTime?   4 Time
  reason?               5 string
  message?              6 string

type JobList kind since(1.2)
  metadata?   1 meta.v1.ListMeta
  items!      2 []Job

type JobSpec
  parallelism?               1 *int32
  completions?               2 *int32
  activeDeadlineSeconds?     3 *int64
  podFailurePolicy?         11 *PodFailurePolicy
  successPolicy?            16 *SuccessPolicy
  backoffLimit?              7 *int32
  backoffLimitPerIndex?     12 *int32
  maxFailedIndexes?         13 *int32
  selector?                  4 *meta.v1.LabelSelector
  manualSelector?            5 *bool
  template!                  6 core.v1.PodTemplateSpec
  ttlSecondsAfterFinished?   8 *int32
  completionMode?            9 *CompletionMode
  suspend?                  10 *bool
  podReplacementPolicy?     14 *PodReplacementPolicy
  managedBy?                15 *string

type JobStatus
  conditions?                1 []JobCondition           atomic merge(type)
  startTime?                 2 *Time
  completionTime?            3 *Time
  active?                    4 int32
  succeeded?                 5 int32
  failed?                    6 int32
  terminating?              11 *int32
  completedIndexes?          7 string
  failedIndexes?            10 *string
  uncountedTerminatedPods?   8 *UncountedTerminatedPods
  ready?                     9 *int32

type JobTemplateSpec
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 JobSpec

type PodFailurePolicy
  rules!   1 []PodFailurePolicyRule atomic

type PodFailurePolicyOnExitCodesRequirement
  containerName?   1 *string
  operator!        2 PodFailurePolicyOnExitCodesOperator
  values!          3 []int32                             set

type PodFailurePolicyOnPodConditionsPattern
  type!    1 core.v1.PodConditionType
  status   2 core.v1.ConditionStatus

type PodFailurePolicyRule
  action!            1 PodFailurePolicyAction
  onExitCodes?       2 *PodFailurePolicyOnExitCodesRequirement
  onPodConditions?   3 []PodFailurePolicyOnPodConditionsPattern atomic

type SuccessPolicy
  rules!   1 []SuccessPolicyRule atomic

type SuccessPolicyRule
  succeededIndexes?   1 *string
  succeededCount?     2 *int32

type UncountedTerminatedPods
  succeeded?   1 []types.UID set
  failed?      2 []types.UID set

package batch.v1beta1 io.k8s.api.batch.v1beta1 group(batch) version(v1beta1) proto(k8s.io.api.batch.v1beta1) never

alias ConcurrencyPolicy = string

type CronJob kind since(1.8) deprecated(1.21) removed(1.25) use(batch/v1/CronJob)
  metadata?   1 meta.v1.ObjectMeta
  spec?!      2 CronJobSpec
  status?     3 CronJobStatus

type CronJobList kind since(1.8) deprecated(1.21) removed(1.25) use(batch/v1/CronJobList)
  metadata?   1 meta.v1.ListMeta
  items!      2 []CronJob

type CronJobSpec
  schedule!                     1 string
  timeZone?                     8 *string
  startingDeadlineSeconds?      2 *int64
  concurrencyPolicy?            3 ConcurrencyPolicy
  suspend?                      4 *bool
  jobTemplate!                  5 JobTemplateSpec
  successfulJobsHistoryLimit?   6 *int32
  failedJobsHistoryLimit?       7 *int32

type CronJobStatus
  active?               1 []core.v1.ObjectReference atomic
  lastScheduleTime?     4 *Time
  lastSuccessfulTime?   5 *Time

type JobTemplateSpec
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 batch.v1.JobSpec
