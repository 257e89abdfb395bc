package apidiscovery.v2 io.k8s.api.apidiscovery.v2 group(apidiscovery.k8s.io) version(v2) proto(k8s.io.api.apidiscovery.v2) never

alias DiscoveryFreshness = string
alias ResourceScope = string

type APIGroupDiscovery kind since(1.30)
  metadata?   1 meta.v1.ObjectMeta
  versions?   2 []APIVersionDiscovery map(version)

type APIGroupDiscoveryList kind since(1.30)
  metadata?   1 meta.v1.ListMeta
  items!      2 []APIGroupDiscovery

type APIResourceDiscovery
  resource!           1 string
  responseKind?       2 *meta.v1.GroupVersionKind
  scope!              3 ResourceScope
  singularResource!   4 string
  verbs!              5 []string                  set
  shortNames?         6 []string                  set
  categories?         7 []string                  set
  subresources?       8 []APISubresourceDiscovery map(subresource)

type APISubresourceDiscovery
  subresource!     1 string
  responseKind?    2 *meta.v1.GroupVersionKind
  acceptedTypes?   3 []meta.v1.GroupVersionKind map(group,version,kind)
  verbs!           4 []string                   set

type APIVersionDiscovery
  version!     1 string
  resources?   2 []APIResourceDiscovery map(resource)
  freshness?   3 DiscoveryFreshness

package apidiscovery.v2beta1 io.k8s.api.apidiscovery.v2beta1 group(apidiscovery.k8s.io) version(v2beta1) proto(k8s.io.api.apidiscovery.v2beta1) never

alias DiscoveryFreshness = string
alias ResourceScope = string

type APIGroupDiscovery kind since(1.26) deprecated(1.32) removed(1.35)
  metadata?   1 meta.v1.ObjectMeta
  versions?   2 []APIVersionDiscovery map(version)

type APIGroupDiscoveryList kind since(1.26) deprecated(1.32) removed(1.35)
  metadata?   1 meta.v1.ListMeta
  items!      2 []APIGroupDiscovery

type APIResourceDiscovery
  resource!           1 string
  responseKind?       2 *meta.v1.GroupVersionKind
  scope!              3 ResourceScope
  singularResource!   4 string
  verbs!              5 []string                  set
  shortNames?         6 []string                  set
  categories?         7 []string                  set
  subresources?       8 []APISubresourceDiscovery map(subresource)

type APISubresourceDiscovery
  subresource!     1 string
  responseKind?    2 *meta.v1.GroupVersionKind
  acceptedTypes?   3 []meta.v1.GroupVersionKind map(group,version,kind)
  verbs!           4 []string                   set

type APIVersionDiscovery
  version!     1 string
  resources?   2 []APIResourceDiscovery map(resource)
  freshness?   3 DiscoveryFreshness
