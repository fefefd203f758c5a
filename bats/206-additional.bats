#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# What podman's own store only sees in an additional image store is not in it.

load helpers
load os-images

OWN=/var/lib/containers/storage

setup_file() {
    mount_sysroot xfs
    ln -sfn sysroot/ostree /ostree
    cd /srv || return 1
    os_tree tree 42
    printf 'FROM scratch\nCOPY tree /\nLABEL containers.bootc=1 version=42\n' >Containerfile
    scratch_podman build -q -t localhost/os:42 -f Containerfile . >/dev/null
    scratch_podman push -q --compress localhost/os:42 dir:os42
    new_sysroot
    COMMIT=$(os_import docker_3A__2F__2F_quay_2E_io/os_3A_42 /srv/os42)
    os_boot "$(os_deploy "$COMMIT" ostree-unverified-registry:quay.io/os:42)"
    DIGEST=sha256:$(sha256sum <os42/manifest.json | cut -d' ' -f1)
    export COMMIT DIGEST
}

teardown_file() {
    umount -q /proc/cmdline || true
    umount /sysroot
}

# A bootc store that has the booted image, and podman's own store that sees it.
setup() {
    cd "$BATS_TEST_TMPDIR" || return
    rm -rf "$STORE" /run/bootc /run/bootc-podman /var/lib/bootc-podman /etc/containers/storage.conf
    podman rmi -af >/dev/null 2>&1 || true
    oracle_init
    oracle pull -q dir:/srv/os42 >/dev/null 2>&1
    oracle tag "$(oracle images -aq)" quay.io/os:42
    see "$STORE"
}

# see STORE - podman's own store sees another one.
see() {
    cat >/etc/containers/storage.conf <<EOF2
[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "$OWN"
[storage.options]
additionalimagestores = ["$1"]
[storage.options.overlay]
mountopt = "nodev"
EOF2
}

# own ARG... - podman that sees its own store only.
own() { podman --storage-opt= "$@"; }

# whole NAME - podman's own store has an image with the booted digest and all its files,
# now that no other store has them.
whole() {
    local dir
    oracle rmi -af >/dev/null
    rm -f /etc/containers/storage.conf
    podman images >/dev/null
    assert "$(podman images --digests --format '{{.Digest}}' "$1" | sort -u)" == "$DIGEST"
    dir=$(podman image mount "$1")
    diff -r --no-dereference /srv/tree "$dir"
    podman image umount "$1" >/dev/null
    podman push -q "$1" dir:pushed
    assert "$(jq -r '.layers[].digest' pushed/manifest.json | wc -l)" == 1
}

@test "additional stores: a copy to podman's own store is one" {
    own images >/dev/null
    podman image exists quay.io/os:42
    bp copy-to-storage
    assert "$output" =~ "Copied docker://quay.io/os:42 from bootc to containers-storage:localhost/bootc: same image, digest kept"
    bp copy-to-storage --target localhost/again
    assert "$output" =~ "from default to containers-storage:localhost/again"
    whole localhost/bootc
    whole localhost/again
}

@test "additional stores: a copy by podman is one" {
    bp copy-to-storage --method podman
    whole localhost/bootc
}

@test "additional stores: an export by podman is one" {
    # The layers of an export are there already, too.
    bp copy-to-storage --from ostree --target localhost/exported
    own image save -q --format oci-archive -o exported.tar localhost/exported
    own rmi -af >/dev/null
    oracle load -q -i exported.tar
    bp copy-to-storage --from ostree --method podman
    oracle rmi -af >/dev/null
    rm /etc/containers/storage.conf
    podman images >/dev/null
    podman image mount localhost/bootc
    podman image umount localhost/bootc
}

@test "additional stores: any other is no more than the bootc store" {
    local other=/var/lib/containers/other
    podman --root "$other" --runroot /run/other pull -q dir:/srv/os42 >/dev/null 2>&1
    podman --root "$other" --runroot /run/other tag "$(podman --root "$other" --runroot /run/other images -aq)" localhost/bootc:latest quay.io/os:42
    see "$other"
    podman image exists localhost/bootc:latest
    bp copy-to-storage
    podman --root "$other" --runroot /run/other rmi -af >/dev/null
    whole localhost/bootc
}

@test "additional stores: a record without layers that podman made is repaired" {
    podman tag quay.io/os:42 localhost/bootc
    assert "$(jq -r '.[].names[]' "$OWN/overlay-images/images.json" | grep -c localhost/bootc)" == 1
    bp copy-to-storage
    whole localhost/bootc
}
