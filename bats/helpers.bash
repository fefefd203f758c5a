# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Helpers for the system tests, which run in a scratch host (see scratch-host):
# they may write anywhere.

bats_require_minimum_version 1.5.0

# The program under test; packagers name the installed one.
BOOTC_PODMAN=${BOOTC_PODMAN:-$(realpath "$BATS_TEST_DIRNAME/../bin/bootc-podman")}
export BOOTC_PODMAN

# shellcheck source=bats/scratch.bash
. "$BATS_TEST_DIRNAME/scratch.bash"

die() {
    echo "FAILED: $*" >&2
    return 1
}

# bp [RC] ARG... - run bootc-podman, expect exit status RC (default 0; "?" for
# any). Leaves $output (standard output), $stderr and $status.
bp() {
    local want=0 expect=()
    if [[ $1 =~ ^([0-9]+|\?)$ ]]; then
        want=$1
        shift
    fi
    echo "\$ bootc-podman $*"
    # bats warns of a status of 127 that the test does not expect.
    [ "$want" = '?' ] || expect=("-$want")
    run "${expect[@]}" --separate-stderr timeout 120 "$BOOTC_PODMAN" "$@" || true
    echo "$output"
    echo "$stderr"
    [ "$want" = '?' ] || [ "$status" -eq "$want" ] || die "exit status $status, expected $want"
}

# assert ACTUAL OP EXPECTED [NAME] - OP is one of == != =~ !~. A pattern with
# blanks or parentheses goes through a variable.
assert() {
    case $2 in
    ==) [ "$1" == "$3" ] ;;
    !=) [ "$1" != "$3" ] ;;
    =~) [[ $1 =~ $3 ]] ;;
    !~) ! [[ $1 =~ $3 ]] ;;
    *) die "BUG: assert $2" ;;
    esac || die "${4:-assert}: '$1' $2 '$3'"
}

# as_nobody ARG... - run bootc-podman, from where anybody may, without root.
as_nobody() {
    install -m 0755 "$BOOTC_PODMAN" /srv/bootc-podman
    cd /
    run --separate-stderr setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/tmp /srv/bootc-podman "$@"
}

podman_at_least() { [ "$(podman --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')" -ge "$1" ]; }

mount_table() { cat /proc/self/mountinfo; }

# pause SECONDS - for tests that need moments in time, never to synchronise.
pause() { read -rt "$1" <> <(:) || true; }

# wait_for CONDITION... - poll until the command succeeds, at most 30 s.
wait_for() {
    local deadline=$((SECONDS + 30))
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || die "timed out waiting for: $*"
        pause 0.02
    done
}

# new_registry DIR - start a registry that keeps everything in DIR, on the loopback
# interface at $REGISTRY; podman and skopeo use HTTP for it.
new_registry() {
    export REGISTRY=127.0.0.1:$((20000 + $$ % 10000))
    insecure_registry "$REGISTRY"
    start_registry "$1" "$REGISTRY"
}

# insecure_registry ADDRESS - have podman and skopeo use HTTP for a registry.
insecure_registry() {
    mkdir -p /etc/containers/registries.conf.d
    printf '[[registry]]\nlocation = "%s"\ninsecure = true\n' "$1" >/etc/containers/registries.conf.d/000-test.conf
}

# start_registry DIR ADDRESS [LINES] - start a registry with more lines of configuration.
# Its process ID is in DIR/registry.pid.
start_registry() {
    local server
    printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s/registry}}\nhttp: {addr: "%s"}\n%s\n' "$1" "$2" "${3-}" >"$1/registry.yml"
    server=$(command -v docker-registry || command -v registry || command -v distribution)
    "$server" serve "$1/registry.yml" >"$1/registry.log" 2>&1 3>&- &
    echo $! >"$1/registry.pid"
    wait_for bash -c "exec 9<>/dev/tcp/${2/://}" 2>/dev/null
}
