#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# The second boot, with composefs as root: what the first boot left, and an upgrade.

load vm

setup_file() { mounts >/run/mounts; }

setup() { cd "$BATS_TEST_TMPDIR" || return; }

@test "host: the root is composefs, /sysroot is read-only, no unit failed" {
    good_host
    assert "$(findmnt -no SOURCE,FSTYPE / | xargs)" == "composefs overlay"
    assert "$(version)" == 1
}

@test "reboot: images of both stores, unified storage and hooks are there" {
    bp status
    note <<<"$output"
    bp status --format json
    assert "$(jq -c '[.booted.image, .unified.on, .bound_images.present, [.hooks[].installed]]' <<<"$output")" == \
        "[\"docker://$OS\",true,1,[true,true,true]]"
    assert "$(jq -r .booted.id <<<"$output")" == "default/$(booted).0"
    oracle image exists "$OS"
    podman image exists localhost/bootc
}

@test "hooks, run: a lease comes and goes with a container of the bootc-owned store's image" {
    local id
    run -0 --separate-stderr bootc-podman run -d --name app --network none registry.example/app:1 sleep 1000
    id=$output
    assert "$(jq -r .name "/run/bootc-podman/leases/$id.json")" == app
    run -0 podman exec app cat /text
    assert "$output" == "application 1"
    podman rm -f -t 0 app
    [ ! -e "/run/bootc-podman/leases/$id.json" ]
}

@test "set-unified, copy-to-storage: there is nothing to do" {
    local before
    before=$(used)
    bp set-unified --quiet
    bp copy-to-storage --quiet
    [ $(($(used) - before)) -lt 1000000 ]
}

@test "upgrade: the new deployment is staged, the forecast shows what bootc removes, and its application is fetched" {
    upgrade
    bp status --format json
    assert "$(jq -r .staged.version <<<"$output")" == 2
    bp 1 bound check --deployment staged
    bp bound fetch --staged --from "oci:$IMAGES"
    bp bound check
    bp list
    note <<<"$output"
    bp gc --dry-run
    note <<<"$output"
}

@test "mounts: none is left" {
    diff /run/mounts <(mounts)
}
