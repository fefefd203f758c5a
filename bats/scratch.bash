# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What tests, demo and benchmark put on a scratch host (see scratch-host): they
# may write anywhere.

# Noise of test machines, not ours.
export PODMAN_IGNORE_CGROUPSV1_WARNING=1

STORE=/sysroot/ostree/bootc/storage

# oracle ARG... - podman on the store in the way bootc does it, by other means
# than ours: bootc's crates/lib/src/podstorage.rs in a few lines of shell.
oracle() {
    mkdir -p /run/bootc/storage
    unshare --mount --propagation slave bash -c '
        store=$1 cwd=$PWD && shift
        [ -w "$store" ] || mount -o remount,bind,rw /sysroot
        exec 3</run/bootc/storage
        cd "$store" && mount --bind . /run/bootc/storage && cd "$cwd"
        exec podman --root /run/bootc/storage --runroot /proc/self/fd/3 "$@"' \
        oracle "$STORE" "$@"
}

# oracle_init - make the store as bootc does, without bootc-podman.
oracle_init() {
    local STORE=/sysroot/ostree/bootc/storage.tmp
    mkdir -p "$STORE"
    oracle images >/dev/null
    mv "$STORE" "${STORE%.tmp}"
}

# oracle_push NAME - copy an image from podman's own store to the bootc-owned one by podman
# alone, as bootc does.
oracle_push() {
    unshare --mount --propagation slave bash -c '
        [ -w "$1" ] || mount -o remount,bind,rw /sysroot
        exec 3</run/bootc/storage
        cd "$1" && mount --bind . /run/bootc/storage && cd /
        exec podman image push -q --remove-signatures "$2" "containers-storage:[overlay@/run/bootc/storage+/proc/self/fd/3]$2"' \
        sh "$STORE" "$1"
}

# new_sysroot - a bootc host without a store: /sysroot as ostree makes it.
new_sysroot() {
    rm -rf /sysroot/ostree /sysroot/composefs /sysroot/boot /run/bootc /run/bootc-podman
    ostree admin init-fs --modern /sysroot
}

# mount_sysroot [FSTYPE] - a real filesystem in a loop device on /sysroot.
mount_sysroot() {
    local image=/var/lib/containers/sysroot.img
    umount -q /sysroot || true
    rm -f "$image"
    truncate -s 512M "$image"
    "mkfs.${1:-xfs}" -q "$image"
    mount -o loop "$image" /sysroot
}

# used - bytes in use on the filesystem of /sysroot. XFS frees the blocks of removed files
# later; a freeze waits for it.
used() {
    sync -f /sysroot
    fsfreeze --freeze /sysroot && fsfreeze --unfreeze /sysroot
    df -B1 --output=used /sysroot | tail -1
}

# own_store DIR - podman's own store is in a directory of the filesystem of /sysroot.
own_store() {
    mkdir -p "/sysroot/$1" /var/lib/containers/storage
    mount --bind "/sysroot/$1" /var/lib/containers/storage
}

# ostree_host - an ostree host with an empty bootc-owned store, on XFS.
ostree_host() {
    mount_sysroot xfs
    new_sysroot
    oracle_init
    ln -sfn sysroot/ostree /ostree
}

# context DIR [TEXT] - a build context for a small image without a base.
context() {
    mkdir -p "$1"
    echo "${2:-hello}" >"$1/file"
    printf 'FROM scratch\nCOPY file /file\nLABEL test="%s"\n' "${2:-hello}" >"$1/Containerfile"
}

# scratch_podman ARG... - podman on a store of its own, to make images in.
scratch_podman() { podman --storage-driver vfs --root /srv/scratch.root --runroot /srv/scratch.runroot "$@"; }

# source_archive NAME [TEXT] - the image localhost/NAME in /srv/NAME.tar, made in
# a store of its own.
source_archive() {
    context "/srv/$1.context" "${2-}"
    scratch_podman build -q -t "localhost/$1" "/srv/$1.context" >/dev/null
    rm -f "/srv/$1.tar"
    scratch_podman save -q -o "/srv/$1.tar" "localhost/$1"
}
