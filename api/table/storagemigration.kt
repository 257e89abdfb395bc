package storagemigration.v1beta1 io.k8s.api.storagemigration.v1beta1 group(storagemigration.k8s.io) version(v1beta1) proto(k8s.io.api.storagemigration.v1beta1) off

resource storageversionmigrations StorageVersionMigration cluster preferred crud stored(pCjmmKOkLy4=) select() since(1.35) removed(1.41)
  sub status StorageVersionMigration get patch update

type StorageVersionMigration kind since(1.35)
  metadata?   1 meta.v1.ObjectMeta
  spec?       2 StorageVersionMigrationSpec
  status?     3 StorageVersionMigrationStatus

type StorageVersionMigrationList kind since(1.35)
  metadata?   1 meta.v1.ListMeta
  items!      2 []StorageVersionMigration

type StorageVersionMigrationSpec
  resource!   1 meta.v1.GroupResource

type StorageVersionMigrationStatus
  conditions?        1 []meta.v1.Condition map(type) merge(type)
  resourceVersion?   2 string
