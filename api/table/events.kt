package events.v1 io.k8s.api.events.v1 group(events.k8s.io) version(v1) proto(k8s.io.api.events.v1) served

resource events Event namespaced served preferred short(ev) crud stored(r2yiGXH7wu8=,/v1/Event) upsert unconditional select(reason,regarding.kind,regarding.namespace,regarding.name,regarding.uid,regarding.apiVersion,regarding.resourceVersion,regarding.fieldPath,reportingController,type,metadata.namespace,metadata.name) aliases(regarding.kind=involvedObject.kind,regarding.namespace=involvedObject.namespace,regarding.name=involvedObject.name,regarding.uid=involvedObject.uid,regarding.apiVersion=involvedObject.apiVersion,regarding.resourceVersion=involvedObject.resourceVersion,regarding.fieldPath=involvedObject.fieldPath,reportingController=reportingComponent) since(1.19)

type Event kind since(1.19)
  metadata                    1 meta.v1.ObjectMeta
  eventTime!                  2 MicroTime
  series?                     3 *EventSeries
  reportingController?        4 string
  reportingInstance?          5 string
  action?                     6 string
  reason?                     7 string
  regarding?                  8 core.v1.ObjectReference
  related?                    9 *core.v1.ObjectReference
  note?                      10 string
  type?                      11 string
  deprecatedSource?          12 core.v1.EventSource
  deprecatedFirstTimestamp?  13 Time
  deprecatedLastTimestamp?   14 Time
  deprecatedCount?           15 int32

type EventList kind since(1.19)
  metadata?   1 meta.v1.ListMeta
  items!      2 []Event

type EventSeries
  count!              1 int32
  lastObservedTime!   2 MicroTime

package events.v1beta1 io.k8s.api.events.v1beta1 group(events.k8s.io) version(v1beta1) proto(k8s.io.api.events.v1beta1) never

type Event kind since(1.8) deprecated(1.22)
  metadata                    1 meta.v1.ObjectMeta
  eventTime!                  2 MicroTime
  series?                     3 *EventSeries
  reportingController?        4 string
  reportingInstance?          5 string
  action?                     6 string
  reason?                     7 string
  regarding?                  8 core.v1.ObjectReference
  related?                    9 *core.v1.ObjectReference
  note?                      10 string
  type?                      11 string
  deprecatedSource?          12 core.v1.EventSource
  deprecatedFirstTimestamp?  13 Time
  deprecatedLastTimestamp?   14 Time
  deprecatedCount?           15 int32

type EventList kind since(1.8) deprecated(1.22)
  metadata?   1 meta.v1.ListMeta
  items!      2 []Event

type EventSeries
  count!              1 int32
  lastObservedTime!   2 MicroTime
