#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0

load helpers

setup_file() {
    mount_sysroot xfs
    local i
    for i in 0 1 2 3 4; do
        source_archive "source$i" "text $i"
    done
}

teardown_file() { umount /sysroot; }

setup() {
    new_sysroot
    cd "$BATS_TEST_TMPDIR"
}

@test "two hundred ls, pull and rm at once" {
    bp init
    local i n pids=()
    for i in {0..199}; do
        n=$((i % 5))
        case $((i / 5 % 4)) in
        0) set -- ls -q ;;
        1 | 3) set -- pull -q "docker-archive:/srv/source$n.tar" ;;
        2) set -- rm "localhost/source$n" ;;
        esac
        ("$BOOTC_PODMAN" image "$@" >/dev/null 2>"$i.err" || echo "exit status $?: image $*" >>"$i.err") 3>&- &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i"; done
    # Every failure is podman's, about an image, a layer or a file of one that
    # another command had just removed, never about the store or how it was opened.
    # podman by itself fails in the same words when it is run like this; and about
    # once in a thousand, with a temporary directory that a podman of 5.8 takes for
    # an abandoned one.
    local failed=0 missing='not known|identifier is not an? |not found|does not exist|no such file or directory'
    for i in {0..199}; do
        grep -q '^exit status' "$i.err" || continue
        grep '^Error:' "$i.err" | grep -vE 'bootc-owned|bootc store|namespace|run root|credentials|configuration|graph ?driver' |
            grep -qE "$missing" || { cat "$i.err" && failed=1; }
    done
    assert "$failed" == 0

    # What is there at the end is whole.
    for n in 0 1 2 3 4; do
        bp image pull -q "docker-archive:/srv/source$n.tar"
    done
    assert "$(oracle images -q | sort -u | wc -l)" == 5
    for n in $(oracle images -q); do
        oracle image inspect --format '{{.RootFS.Type}}' "$n"
        local mnt
        mnt=$("$BOOTC_PODMAN" exec -- sh -c 'grep -c "^text" "$(podman image mount "$1")/file"; podman image unmount "$1" >/dev/null' sh "$n")
        assert "$mnt" == 1
    done
}
