# For the scripts of this folder. A command that fails says where.
trap 'echo "$0:$LINENO: failed: $BASH_COMMAND" >&2' ERR

# A cluster of their own with the test images, removed at the end; then tidy is called, if there is such a function.
#   with_cluster KNARR NAME [FLAG...]   sets KUBECONFIG
with_cluster() {
    local knarr=$1 name=$2
    shift 2
    KUBECONFIG=$(mktemp)
    export KUBECONFIG
    # shellcheck disable=SC2064 # the values of now
    trap "result=\$?; [ \$result = 0 ] || '$knarr' export-logs --name '$name' 'target/failed-$name'; '$knarr' down --name '$name'; rm -f '$KUBECONFIG'; ! declare -F tidy >/dev/null || tidy; exit \$result" EXIT
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

# traces NAME   what a cluster has on this host, one thing a line: everything is named after it
traces() {
    ps -eo args= | grep -E "^[^ ]*(knarr|containerd)[^ ]* .*(/$1/|--name $1( |\$))"
    ip -o link | awk -F': ' '{print $2}' | grep -F "kn-$1"
    [ "$(id -u)" != 0 ] || nft list tables | grep -F "knarr-$1"
    awk '{print $5}' /proc/self/mountinfo | grep -F "/$1/"
    ls -d "${KNARR_HOME:-/var/lib/knarr}/$1" "/run/knarr/$1" 2>/dev/null
    find /sys/fs/cgroup -maxdepth 2 -name "knarr-$1"
    true
}

# gone NAME   nothing of the cluster is left
gone() { same "$(traces "$1")" ""; }

# refused TEXT COMMAND...   ends with code 1 and one line on standard error that holds the text, and prints nothing else
refused() {
    local text=$1 result=0 said
    shift
    said=$("$@" 2>&1) || result=$?
    same "$result" 1 && [[ $said == "error: "*"$text"* && $said != *$'\n'* ]] ||
        { echo "'$*' ended with $result and said: $said; expected a line with '$text'" >&2; return 1; }
}

# field PATH   a value of the JSON on standard input, by a Python expression on it: field '["components"][0]["pid"]'
field() { python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }

# free_port   a TCP port of this host on which nobody listens
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'; }

# fetch URL   what it serves
fetch() { python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=3).read().decode().strip())' "$1" 2>/dev/null; }
