#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0

load helpers

setup() { cd "$BATS_TEST_TMPDIR"; }
teardown() { umount -q /sysroot || true; }

# works_on FSTYPE - a store there works, for us and for bootc.
works_on() {
    mount_sysroot "$1"
    new_sysroot
    mount -o remount,bind,ro /sysroot
    context ctx
    bp image build -q -t localhost/a ctx
    oracle image exists localhost/a
    bp image rm localhost/a
    bp exec -- podman info --format '{{.Store.GraphDriverName}} {{index .Store.GraphStatus "Backing Filesystem"}}'
    assert "$output" =~ ^[a-z]+\ [a-z]+$
    assert "$(oracle images -q)" == ""
}

@test "filesystem: ext4" { works_on ext4; }
@test "filesystem: xfs" { works_on xfs; }
@test "filesystem: btrfs" { works_on btrfs; }

@test "driver: a store that podman made with vfs" {
    mount_sysroot ext4
    new_sysroot
    printf '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' >/etc/containers/storage.conf
    oracle_init
    context ctx
    bp image build -q -t localhost/a ctx
    bp storage-conf
    rm /etc/containers/storage.conf
    assert "$output" =~ 'driver = "vfs"'
    bp image exists localhost/a
    oracle image exists localhost/a
}
