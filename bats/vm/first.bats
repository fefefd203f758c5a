#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# The first boot of a bootc host: our package is in its image, and nothing else of ours.

load vm

setup_file() { mounts >/run/mounts; }

setup() { cd "$BATS_TEST_TMPDIR" || return; }

@test "host: systemd runs, /sysroot is read-only, no unit failed" {
    good_host
    findmnt -no OPTIONS /usr | grep -q '^ro'
    { ostree admin status && podman --version && uname -r; } | note
}

@test "status, list: the deployment is that which ostree booted" {
    bp status
    note <<<"$output"
    bp status --format json
    assert "$(jq -r '[.kind, .booted.image, .rollback, .unified.on, .filesystem.reflink] | @json' <<<"$output")" == \
        "[\"ostree\",\"docker://$OS\",null,false,\"yes\"]"
    assert "$(jq -r .booted.id <<<"$output")" == "default/$(booted).0"
    bp list
    note <<<"$output"
    assert "$output" =~ "registry.example/os"
    bp 125 image ls
}

@test "bound fetch: the application comes from a directory on another disk" {
    bp 1 bound check
    bp bound fetch --from "oci:$IMAGES"
    oracle image exists registry.example/app:1
    bp bound check
}

@test "set-unified: the image is cloned out of ostree, and takes no space" {
    local before after file
    bp set-unified --from ostree --plan
    note <<<"$output"
    before=$(used)
    bp set-unified --from ostree --quiet
    note <<<"$output"
    after=$(used)
    echo "used before: $before, after: $after bytes; the image has $(oracle image inspect --format '{{.Size}}' "$OS") bytes" | note
    [ $((after - before)) -lt 60000000 ]
    file=$(echo "$STORE"/overlay/*/diff/usr/bin/podman)
    filefrag -v "$file" | note
    filefrag -v "$file" | grep -q shared
    assert "$(extents "$file")" == "$(extents /usr/bin/podman)"
    bp status --format json
    assert "$(jq .unified.on <<<"$output")" == true
}

@test "copy-to-storage: the image runs as a container" {
    bp copy-to-storage --quiet
    podman image ls | note
    run -0 podman run --rm --network none localhost/bootc cat /usr/lib/os-release
    assert "$output" =~ VERSION_ID=1
}

@test "run: a container of the bootc-owned store's image, also when podman's own store has it by another name" {
    run -0 bootc-podman run --rm --network none registry.example/app:1 cat /text
    assert "$output" == "application 1"
    skopeo copy -q "oci:$IMAGES:registry.example/app:1" containers-storage:localhost/other:name
    run -0 bootc-podman run --rm --network none registry.example/app:1 cat /text
    assert "$output" == "application 1"
    bp storage-conf --apps
    echo "$output" >apps.conf
    run -0 env CONTAINERS_STORAGE_CONF="$PWD/apps.conf" podman run --rm --network none localhost/other:name cat /text
    assert "$output" == "application 1"
}

@test "hooks: a lease comes and goes with a container, of crun and of runc" {
    local runtime lease
    bp hooks install
    bp hooks verify
    for runtime in crun runc; do
        run -0 podman --runtime "$runtime" run -d --name "with-$runtime" --network none localhost/other:name sleep 1000
        lease=/run/bootc-podman/leases/$(podman container inspect --format '{{.Id}}' "with-$runtime").json
        assert "$(jq -r .name "$lease")" == "with-$runtime"
        bp usage
        note <<<"$output"
        podman container inspect --format '{{.OCIRuntime}} {{.State.CgroupPath}}' "with-$runtime" | note
        note <"/proc/$(podman container inspect --format '{{.State.Pid}}' "with-$runtime")/cgroup"
        podman rm -f -t 0 "with-$runtime"
        [ ! -e "$lease" ]
    done
    journalctl -t bootc-podman --no-pager -o cat | note
    [ "$(journalctl -t bootc-podman --no-pager -o cat | grep -c started)" -ge 2 ]
}

@test "dedup: what podman copied shares its place afterwards" {
    local copy
    copy=$(podman image inspect --format '{{.GraphDriver.Data.UpperDir}}' localhost/other:name)
    bp dedup
    note <<<"$output"
    assert "$(extents "$copy/data")" == "$(extents "$STORE"/overlay/*/diff/data)"
}

@test "doctor: nothing is wrong" {
    bp doctor
    note <<<"$output"
}

@test "gc: nothing would be removed" {
    bp gc --dry-run
    note <<<"$output"
}

@test "mounts: none is left" {
    diff /run/mounts <(mounts)
}
