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
# shellcheck source=bats/registry.bash
. "$BATS_TEST_DIRNAME/registry.bash"

# bp [RC] ARG... - run bootc-podman, expect exit status RC (default 0; "?" for
# any), within $BP_LIMIT seconds. Leaves $output (standard output), $stderr and $status.
bp() {
    local want=0 expect=()
    if [[ $1 =~ ^([0-9]+|\?)$ ]]; then
        want=$1
        shift
    fi
    echo "\$ bootc-podman $*"
    # bats warns of a status of 127 that the test does not expect.
    [ "$want" = '?' ] || expect=("-$want")
    run "${expect[@]}" --separate-stderr timeout "${BP_LIMIT:-120}" "$BOOTC_PODMAN" "$@" || true
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
