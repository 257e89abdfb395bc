package runtime io.k8s.apimachinery.pkg.runtime proto(k8s.io.apimachinery.pkg.runtime) never

type TypeMeta
  apiVersion?   1 string
  kind?         2 string

type Unknown
  &                  1 TypeMeta
  ~                  2 bytes
  ContentEncoding!   3 string
  ContentType!       4 string
