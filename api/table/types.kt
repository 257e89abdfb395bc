package types io.k8s.apimachinery.pkg.types never

alias NodeName = string
alias UID = string
