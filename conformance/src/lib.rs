//! The black-box suite: any kubeconfig, real kubectl, real containers.
