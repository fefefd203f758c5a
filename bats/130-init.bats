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
    assert "$stderr" == ''
    assert "$(stat -c %i:%Z "$STORE")" == "$before"
}

@test "init: removes what an interrupted run left, and of bootc only after an hour" {
    local own=$STORE.bootc-podman.tmp
    mkdir -p "$own/overlay" "$STORE.tmp/overlay" precious
    touch "$own/overlay/file" "$STORE.tmp/db.sql"
    touch -d '2 hours ago' "$STORE.tmp" "$STORE.tmp/overlay"
    bp init
    # bootc may be filling it: a file in it is young.
    assert "$(cd "${STORE%/*}" && ls)" == $'storage\nstorage.tmp'
    rm -r "$STORE"
    touch -d '2 hours ago' "$STORE.tmp/db.sql" "$STORE.tmp"
    bp init
    assert "$(ls "${STORE%/*}")" == storage
    # A mount there is somebody's.
    rm -r "$STORE"
    mkdir -p "$own/overlay"
    touch precious/file
    mount --bind precious "$own/overlay"
    bp 1 init
    assert "$stderr" =~ "$own/overlay"
    [ -e precious/file ]
    umount "$own/overlay"
    bp init
}

@test "init: modes are the same whatever the umask" {
    local mask
    rm -rf /run/bootc /run/bootc-podman
    for mask in 0777 0000; do
        rm -rf "${STORE%/*}" /run/bootc /run/bootc-podman
        (umask "$mask" && bp init)
        assert "$(stat -c %a /run/bootc /run/bootc/storage /run/bootc-podman "${STORE%/*}" "$STORE" | tr '\n' ' ')" == '755 755 755 755 755 '
        bp exec -- true
        assert "$(stat -c %a /run/bootc-podman/storage.conf)" == 600
        oracle images
    done
}

@test "state: a full /run stops no command that bootc's podman can run" {
    oracle_init
    # shellcheck disable=SC2016 # the other shell's
    run unshare --mount --propagation private bash -euc '
        . "$0"
        mount -t tmpfs -o size=1M,mode=0755 full /run
        mkdir -p /run/lock
        oracle image ls
        cat /dev/zero >/run/full 2>/dev/null || true
        [ "$(df --output=avail /run | tail -n 1 | tr -d " ")" = 0 ]
        oracle image ls && oracle image prune -f
        "$BOOTC_PODMAN" image ls && "$BOOTC_PODMAN" image prune -f && "$BOOTC_PODMAN" images' "$BATS_TEST_DIRNAME/scratch.bash"
    assert "$status" == 0 "$output"
}

@test "state: a directory in /run that another user could write is not used" {
    bp init
    local owner
    for owner in nobody:0755 root:0777; do
        rm -rf /run/bootc-podman
        mkdir /run/bootc-podman
        chown "${owner%:*}" /run/bootc-podman
        chmod "${owner#*:}" /run/bootc-podman
        bp 125 exec -- true
        assert "$stderr" =~ /run/bootc-podman.*Hint:\ ls\ -ld "$owner"
        assert "$(ls -A /run/bootc-podman)" == ""
    done
    rm -rf /run/bootc-podman
    mkdir other && ln -s "$PWD/other" /run/bootc-podman
    bp 125 image ls
    assert "$(ls -A other)" == ""
    rm /run/bootc-podman
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
    assert "$(sed "s/ the .*//" log)" == Created
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
