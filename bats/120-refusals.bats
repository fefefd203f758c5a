#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# What cannot work is refused in one clear line and a hint.

load helpers

setup_file() { mount_sysroot xfs; }
teardown_file() { umount /sysroot; }

setup() {
    new_sysroot
    cd "$BATS_TEST_TMPDIR"
}

teardown() {
    mount -o remount,bind,rw /sysroot
    rm -f /etc/containers/storage.conf /.dockerenv
    [ ! -d medium ] || umount -q medium || true
    [ ! -e loop ] || losetup -d "$(cat loop)"
}

# refused RC ERROR HINT ARG... - one line "Error: " and one line "Hint: ".
refused() {
    local rc=$1 error=$2 hint=$3
    shift 3
    bp "$rc" "$@"
    assert "$output" == "" "standard output"
    assert "$(grep -c . <<<"$stderr")" == 2 "lines"
    [[ $stderr == Error:*"$error"*$'\n'Hint:*"$hint"* ]] || die "message"
}

@test "refusal: not root" {
    oracle_init
    for command in 'image ls' 'exec true'; do
        # shellcheck disable=SC2086
        as_nobody $command
        assert "$status" == 125
        assert "$stderr" =~ 'root is needed'
        assert "$stderr" =~ 'Hint: '
    done
    rm -rf "$STORE"
    for command in init set-unified unset-unified copy-to-storage 'pull-from-default-storage x' dedup; do
        # shellcheck disable=SC2086
        as_nobody $command
        assert "$status" == 1
        assert "$(sed -n 1p <<<"$stderr")" =~ ^Error:.*:\ root\ is\ needed$ "$command"
        assert "$stderr" =~ 'Hint: '
    done
    [ ! -e /run/bootc-podman ] || die "something was made"
    assert "$(find "${STORE%/*}" -mindepth 1)" == ""
}

@test "help of podman needs neither root nor a store" {
    for command in 'image --help' 'image trust show --help' 'images -a --help' 'image rm x --help'; do
        # shellcheck disable=SC2086
        as_nobody $command
        assert "$status" == 0 "$command"
        assert "$output" =~ Usage: "$command"
    done
}

@test "refusal: a disk that is full" {
    for command in help --help 'help list' version list; do
        # shellcheck disable=SC2016,SC2086
        run -1 bash -c '"$BOOTC_PODMAN" "$@" >/dev/full' sh $command
        assert "$output" =~ 'no space left' "$command"
    done
}

@test "refusal: root without the capability to mount" {
    oracle_init
    run --separate-stderr setpriv --bounding-set -sys_admin --inh-caps -sys_admin "$BOOTC_PODMAN" image ls
    assert "$status" == 125
    assert "$stderr" =~ CAP_SYS_ADMIN.*Hint:
}

@test "storage-conf: works without permission to see the store" {
    oracle_init
    chmod 0700 "${STORE%/*}"
    as_nobody storage-conf
    assert "$status" == 0
    assert "$output" =~ 'driver = "overlay"'
}

@test "refusal: inside a container" {
    container=podman refused 125 '$container is set' --sysroot image ls
    touch /.dockerenv
    refused 125 '/.dockerenv' --sysroot image ls
    refused 1 '/.dockerenv' --sysroot init
}

@test "refusal: not a bootc host" {
    mkdir root
    refused 125 'no ostree or composefs directory' --sysroot --sysroot root image ls
    refused 125 'no such file' --sysroot --sysroot nonexistent image ls
    assert "$(ls root)" == ""
}

@test "refusal: no store, and reading makes none" {
    for command in 'image ls' 'image rm x' 'image prune -f' 'images' 'exec true' 'image --log-level debug pull x'; do
        # shellcheck disable=SC2086
        refused 125 'no bootc-owned store' 'bootc-podman init' $command
    done
    assert "$(ls /sysroot/ostree)" !~ bootc
}

@test "refusal: a read-only medium, and a filesystem mounted read-only" {
    truncate -s 64M disk
    mkfs.ext4 -q disk
    mkdir medium
    mount -o loop disk medium
    ostree admin init-fs --modern medium
    bp --sysroot medium init
    umount medium

    mount -o ro,loop disk medium
    refused 125 'read-only medium' 'install the host first' --sysroot medium image ls
    rm -rf "$STORE"
    umount medium

    losetup -f --show disk >loop
    mount -o ro "$(cat loop)" medium
    refused 125 'mounted read-only' 'remount,rw' --sysroot medium image ls
    local before
    before=$(mount_table)
    refused 125 'mounted read-only' 'remount,rw' --sysroot medium exec true
    assert "$(mount_table)" == "$before"
    umount medium
}

# without_podman - PATH with everything but podman, and the empty folder bin.
without_podman() {
    local dir program
    mkdir bin others
    for dir in /usr/sbin /usr/bin; do
        for program in "$dir"/*; do
            [[ $program == */podman ]] || ln -sf "$program" others/
        done
    done
    PATH=$PWD/bin:$PWD/others
}

@test "refusal: podman absent or not executable" {
    oracle_init
    local path=$PATH
    without_podman
    refused 127 'run "podman"' 'install podman' image ls
    printf 'no program' >bin/podman
    refused 126 'permission denied' 'chmod +x' image ls
    chmod +x bin/podman
    refused 126 'exec format error' '#!' image ls
    # A link to ourselves is not podman.
    ln -sf "$BOOTC_PODMAN" bin/podman
    bp 127 image ls
    PATH=$PWD/bin:$path bp image ls
}

@test "refusal: podman absent while making a store leaves nothing" {
    without_podman
    bp 1 init
    bp 127 image pull oci:/nonexistent
    # One that starts and fails.
    printf '#!/bin/sh\necho some reason >&2\nexit 1\n' >bin/podman
    chmod +x bin/podman
    bp 1 init
    assert "$stderr" =~ 'some reason'
    assert "$(ls /sysroot/ostree/bootc)" == ""
}

@test "refusal: a podman database made with other paths, and the hint fixes it" {
    mkdir -p "$STORE"
    podman --root "$STORE" --runroot "$PWD/run" images
    run oracle images
    assert "$output" =~ 'database configuration mismatch' "podman itself"
    refused 125 "\"$STORE" 'mv ' image ls
    assert "$stderr" =~ '"/run/bootc/storage"'
    # As usual on a host, which the hint has to reckon with.
    mount -o remount,bind,ro /sysroot
    refused 125 "\"$STORE" 'unshare --mount' image ls
    local fix before
    before=$(mount_table)
    # A path with a newline would be escaped; this one is as it is.
    fix=$(sed -n 's/^Hint: \(.*\), if the store has no containers.*/\1/p' <<<"$stderr")
    bash -c "$fix"
    assert "$(mount_table)" == "$before"
    bp image ls
    oracle images
}

@test "refusal: only the database that podman uses matters" {
    oracle_init
    local fixtures=../storageconf/testdata
    fixtures=$(realpath "$BATS_TEST_DIRNAME/$fixtures")
    # The other kind, made with another run root.
    if [ -e "$STORE/db.sql" ]; then
        mkdir -p "$STORE/libpod"
        sed 's|/proc/self/fd/3|/run/containers|g' "$fixtures/podman-4.3.1.bolt_state.db" >"$STORE/libpod/bolt_state.db"
    else
        sed 's|/proc/self/fd/3|/run/containers|g' "$fixtures/podman-5.8.6.db.sql" >"$STORE/db.sql"
    fi
    # It depends on the release, and we say what podman says.
    run oracle images
    bp "$status" image ls
    assert "$stderr" !~ 'Hint: another tool'
}

@test "refusal: a malformed host storage.conf is named with its line" {
    oracle_init
    printf '[storage]\ndriver = "overlay"\n[storage.options.overlay]\nmountopt = nodev\n' >/etc/containers/storage.conf
    refused 125 'line 4' 'fix that file' image ls
    assert "$stderr" =~ /etc/containers/storage.conf
    bp 1 status
    assert "$(grep -c '^Error: .*line 4' <<<"$stderr")" == 1 "once"
    bp 1 storage-conf
    assert "$stderr" =~ 'line 4'
    printf '[storage.options.overlay]\nmountopt = [1]\n' >/etc/containers/storage.conf
    bp 125 image ls
    assert "$stderr" =~ 'line 2'
}

@test "refusal: a damaged podman database is podman's to report" {
    oracle_init
    local db
    for db in "$STORE/db.sql" "$STORE/libpod/bolt_state.db"; do
        [ ! -e "$db" ] || head -c 30000 /dev/urandom >"$db"
    done
    bp '?' image ls
    assert "$status" != 0
    assert "$stderr" !~ panic
}

@test "refusal: the store is a file" {
    mkdir -p "${STORE%/*}"
    touch "$STORE"
    bp 125 image ls
    assert "$stderr" =~ "$STORE"
}
