#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Making the store.

load helpers

setup_file() {
    mount_sysroot xfs
    source_archive source
}

teardown_file() { umount /sysroot; }

setup() {
    new_sysroot
    cd "$BATS_TEST_TMPDIR"
}

@test "init: bootc accepts the store" {
    bp init
    assert "$output" == ""
    oracle images
    context ctx
    bp image build -q -t localhost/a ctx
    oracle image exists localhost/a
}

@test "init: makes the files that bootc makes" {
    bp init
    (cd "$STORE" && find . -printf '%P %y %m\n' | sort) >ours
    rm -rf "$STORE"
    oracle_init
    (cd "$STORE" && find . -printf '%P %y %m\n' | sort) >bootcs
    diff bootcs ours
}

@test "init: the first command that brings an image, with any descriptors of the caller's" {
    local row open closed
    open=$(printf '%s</dev/null ' {3..9}) closed=$(printf '%s>&- ' {3..9})
    context ctx
    tar -C ctx -cf import.tar .
    for row in "$closed|pull docker-archive:/srv/source.tar" "$closed|load -i /srv/source.tar" "$closed|import import.tar" \
        "$closed|build ctx" "$open|load -i /srv/source.tar" "$closed 3</dev/null|load -i /srv/source.tar"; do
        new_sysroot
        # shellcheck disable=SC2086 # words
        run bash -c "exec ${row%|*}; exec \"\$BOOTC_PODMAN\" image \"\$@\"" bash ${row#*|}
        assert "$status" == 0 "$row: $output"
        assert "$(oracle images -q | wc -l)" == 1 "$row"
    done
}

@test "init: idempotent" {
    bp init
    local before
    before=$(stat -c %i:%Z "$STORE")
    bp init
    assert "$stderr" =~ 'already'
    assert "$(stat -c %i:%Z "$STORE")" == "$before"
}

@test "init: removes what an interrupted run left" {
    mkdir -p "$STORE.tmp/overlay" && touch "$STORE.tmp/overlay/file"
    bp init
    assert "$(ls "${STORE%/*}")" == storage
    oracle images
}

@test "init: does not remove what is mounted below an interrupted run's" {
    mkdir -p "$STORE.tmp/overlay" precious
    touch precious/file
    mount --bind precious "$STORE.tmp/overlay"
    bp 1 init
    assert "$stderr" =~ "$STORE.tmp/overlay"
    [ -e precious/file ]
    umount "$STORE.tmp/overlay"
    bp init
}

@test "image pull: makes the store with the host's own driver" {
    printf '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' >/etc/containers/storage.conf
    bp image pull docker-archive:/srv/source.tar
    rm /etc/containers/storage.conf
    oracle image exists localhost/source
    assert "$(ls "$STORE")" !~ overlay
}

@test "init: says what is in the way" {
    mkdir -p "${STORE%/*}"
    ln -s /nowhere "$STORE"
    bp 1 init
    assert "$stderr" =~ 'symbolic link to nothing'.*Hint:
    rm -r /sysroot/ostree/bootc
    ln -s ../composefs/bootc /sysroot/ostree/bootc
    bp 1 init
    assert "$stderr" =~ 'symbolic link to nothing'
}

@test "init: killed anywhere, the next run completes" {
    local i pid
    for i in 1 2 3 4 5 6 7 8; do
        rm -rf "$STORE"
        "$BOOTC_PODMAN" init 2>/dev/null 3>&- &
        pid=$!
        pause "0.0$((i * 2))"
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" || true
        [ ! -e "$STORE" ] || oracle images
        bp init
        oracle images
        assert "$(ls "${STORE%/*}")" == storage "after kill $i"
    done
}

@test "init: many at once make one store" {
    local i pids=()
    for i in {1..20}; do
        "$BOOTC_PODMAN" init 2>>log 3>&- &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i"; done
    assert "$(ls "${STORE%/*}")" == storage
    oracle images
}

@test "init: a full disk is an error that leaves nothing" {
    mkdir small && mount -t tmpfs -o size=64k,nr_inodes=12 small small
    mkdir -p small/ostree/repo
    bp 1 --sysroot small init
    assert "$stderr" =~ ^Error:
    assert "$(ls small/ostree/bootc)" == ""
    mount -o remount,size=32M,nr_inodes=10000 small
    bp --sysroot small init
    umount small
}

@test "init: on a composefs host the store lies below composefs, with bootc's link" {
    rm -rf /sysroot/ostree
    mkdir /sysroot/composefs
    bp init
    assert "$(readlink /sysroot/ostree/bootc)" == ../composefs/bootc
    assert "$(ls /sysroot/composefs/bootc)" == storage
    # The same store by bootc's path.
    oracle images
    bp exec -- stat -c %d:%i /run/bootc/storage
    assert "$output" == "$(stat -c %d:%i /sysroot/composefs/bootc/storage)"
}

@test "init: a dry run prints the commands and does nothing" {
    bp init --dry-run
    assert "$output" =~ 'podman --root /run/bootc/storage --runroot /proc/self/fd/3 images'
    bp --dry-run image pull docker-archive:/srv/source.tar
    assert "$output" =~ 'image pull docker-archive:/srv/source.tar'
    [ ! -e "$STORE" ]
    [ ! -e /run/bootc-podman ]
}

@test "image pull: makes a missing store first" {
    bp image pull -q docker-archive:/srv/source.tar
    local id=$output
    assert "$(oracle images -q --no-trunc)" == "sha256:$id"
}

@test "image build: makes a missing store on a named sysroot" {
    mkdir root && mount -t tmpfs root root
    ostree admin init-fs --modern root
    context ctx
    bp --sysroot root image build -q -t localhost/a ctx
    STORE=$PWD/root/ostree/bootc/storage oracle image exists localhost/a
    umount root
    # The path may be too long for a mount's option, or relative, or odd.
    mkdir -p $'odd "name"\n' && mount -t tmpfs odd $'odd "name"\n'
    mkdir -p $'odd "name"\n/ostree/repo'
    bp --sysroot $'odd "name"\n' init
    bp --sysroot $'odd "name"\n' image ls
    umount $'odd "name"\n'
}
