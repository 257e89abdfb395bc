# For the scripts of this folder: a cluster of their own with the test images, removed at the end.
#   with_cluster KNARR NAME [FLAG...]   sets KUBECONFIG
with_cluster() {
    local knarr=$1 name=$2
    shift 2
    KUBECONFIG=$(mktemp)
    export KUBECONFIG
    # shellcheck disable=SC2064 # the values of now
    trap "result=\$?; [ \$result = 0 ] || '$knarr' export-logs --name '$name' 'target/failed-$name'; '$knarr' down --name '$name'; rm -f '$KUBECONFIG'; exit \$result" EXIT
    "$knarr" up --name "$name" --kubeconfig "$KUBECONFIG" "$@"
    "$knarr" image load --name "$name" target/images/testbox-1.tar target/images/testbox-2.tar
}

# eventually SECONDS COMMAND...   until it succeeds
eventually() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || { echo "waited in vain: $*" >&2; return 1; }
        read -rt 0.2 <> <(:) || true # what is looked at lies behind other programs: nothing to wait on
    done
}

# same FOUND EXPECTED
same() {
    [ "$1" = "$2" ] || { echo "found '$1', expected '$2'" >&2; return 1; }
}
