#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Images of the bootc-owned store that run in podman's own: the verb run, and the
# configuration that "storage-conf --apps" prints for units.

load helpers
load containers

setup_file() {
    container_conf
    ostree_host
    shell_context /srv/app 'of the bootc store'
    bp image build -q -t localhost/app:1 /srv/app
    shell_context /srv/embedded 'of the distribution'
    podman --root /sysroot/distribution --runroot /run/distribution --storage-driver overlay build -q -t localhost/embedded:1 /srv/embedded >/dev/null
    umount -q /sysroot/distribution/overlay || true
}

teardown_file() {
    umount /sysroot
}

setup() {
    cat >/etc/containers/storage.conf <<'END'
[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
[storage.options]
additionalimagestores = ["/sysroot/distribution"]
[storage.options.pull_options]
enable_partial_images = "false"
[storage.options.overlay]
mountopt = "nodev"
END
}

teardown() {
    rm -rf /etc/containers/storage.conf /etc/containers/storage.conf.d /run/bootc-podman
    podman rm -fa -t 0 >/dev/null
    podman rmi -fa >/dev/null
}

# options [ENV...] - the storage options of podman, as it reports them.
options() { env "$@" podman info --format '{{json .Store.GraphOptions}}' 2>/dev/null; }

# stores OPTIONS - the additional image stores among them; podman 4.3 reports the last.
stores() { jq -c '[.[keys[] | select(test("additionalimagestores$"; "i"))]] | flatten' <<<"$1"; }

# root_mount - the options of a container's root in its mountinfo, from standard input.
root_mount() { awk '$5 == "/" { print $6 }'; }

@test "run: input, output and exit status are podman's" {
    run -7 "$BOOTC_PODMAN" run --rm -i --network none localhost/app:1 sh -c 'cat /text -; exit 7' <<<typed
    assert "$output" == "of the bootc store"$'\n'typed
    run ! podman image exists localhost/app:1
}

@test "run: the host's options and stores stay in effect" {
    # The way of bootc's manual loses them.
    local plain=(podman --storage-opt "additionalimagestore=$STORE" run --rm --network none)
    run "${plain[@]}" localhost/app:1 cat /proc/self/mountinfo
    assert "$(root_mount <<<"$output")" !~ nodev
    run -125 "${plain[@]}" --pull=never localhost/embedded:1 true
    run -0 "$BOOTC_PODMAN" run --rm --network none localhost/app:1 cat /proc/self/mountinfo
    assert "$(root_mount <<<"$output")" =~ nodev
    run -0 "$BOOTC_PODMAN" run --rm --network none localhost/embedded:1 cat /text
    assert "$output" == "of the distribution"
}

@test "run: what podman inherits otherwise, by its own words" {
    mkdir -p /etc/containers/storage.conf.d
    printf '[storage.options]\nadditionalimagestores = ["/srv/extra", {append=true}]\n' >/etc/containers/storage.conf.d/10-extra.conf
    mkdir -p /srv/extra
    printf '[storage.options.future]\nkey = 1\n' >>/etc/containers/storage.conf
    bp init # podman's rules are determined
    "$BOOTC_PODMAN" storage-conf --apps >/srv/apps.conf
    local before after
    before=$(options)
    after=$(options CONTAINERS_STORAGE_CONF=/srv/apps.conf)
    diff <(jq -S 'del(.[keys[] | select(test("imagestore"; "i"))])' <<<"$before") \
        <(jq -S 'del(.[keys[] | select(test("imagestore"; "i"))])' <<<"$after")
    [ "$(stores "$before")" = '[]' ] || assert "$(stores "$after")" == "$(stores "$before" | jq -c ". + [\"$STORE\"]")"
    assert "$(grep -c nodev <<<"$after")" == 1
    # podman 4.3 and 5.4 read no drop-in.
    local stores='"/sysroot/distribution", "/sysroot/ostree/bootc/storage"'
    [ ! -s /run/bootc-podman/podman.json ] || ! jq -e '.[] | .rules.drop_ins' /run/bootc-podman/podman.json >/dev/null ||
        stores='"/sysroot/distribution", "/srv/extra", "/sysroot/ostree/bootc/storage"'
    assert "$(grep '^additionalimagestores' /srv/apps.conf)" == "additionalimagestores = [$stores]"
    assert "$(grep -A1 'storage.options.future' /srv/apps.conf)" == $'[storage.options.future]\nkey = 1'
    assert "$(podman info --format '{{.Store.GraphRoot}}')" == "$(CONTAINERS_STORAGE_CONF=/srv/apps.conf podman info --format '{{.Store.GraphRoot}}')"
}

@test "run: without a storage.conf, and with STORAGE_OPTS" {
    rm /etc/containers/storage.conf
    run -0 "$BOOTC_PODMAN" run --rm --network none localhost/app:1 cat /text
    assert "$output" == "of the bootc store"
    run -0 env STORAGE_OPTS=overlay.mountopt=nodev "$BOOTC_PODMAN" run --rm --network none localhost/app:1 cat /proc/self/mountinfo
    assert "$(root_mount <<<"$output")" =~ nodev
}

@test "run: the configuration of a unit runs the image, and later starts of its container" {
    "$BOOTC_PODMAN" storage-conf --apps >/srv/apps.conf
    export CONTAINERS_STORAGE_CONF=/srv/apps.conf
    run -0 podman run --name unit --network none localhost/app:1 cat /text
    assert "$output" == "of the bootc store"
    run -0 podman start --attach unit
    assert "$output" == "of the bootc store"
    podman rm unit
    # The store is not listed twice.
    "$BOOTC_PODMAN" storage-conf --apps >/srv/again.conf
    diff /srv/apps.conf /srv/again.conf
}

@test "run: an image that podman's own store has by another name only is found by its name here" {
    oracle save -q -o /srv/app.tar localhost/app:1
    podman load -q -i /srv/app.tar
    podman tag localhost/app:1 localhost/other:name
    podman untag localhost/app:1 localhost/app:1
    run -0 --separate-stderr "$BOOTC_PODMAN" run --rm -i --network none localhost/app:1 sh -c 'cat /text'
    assert "$output,$stderr" == "of the bootc store,"
    bp --dry-run run --rm --name app:1 app:1 cat app:1
    local id switches
    id=$(podman image inspect --format '{{.Id}}' localhost/other:name)
    assert "$output" =~ "--rm --name app:1 $id cat app:1"
    # The image is found behind all options that take no value, by podman's own help.
    mapfile -t switches < <(podman run --help | sed -n '/^Options/,$p' | sed -nE 's/^ +(-., )?(--[a-z-]+)   .*/\2/p' | grep -vxE -e '--(help|rootfs)')
    [ "${#switches[@]}" -gt 15 ]
    bp --dry-run run "${switches[@]}" -dit --env-file file -e A=B -eC -tiv app:1 app:1
    assert "$output" =~ " -tiv app:1 $id\$"
    "$BOOTC_PODMAN" storage-conf --apps >/srv/apps.conf
    run -0 env CONTAINERS_STORAGE_CONF=/srv/apps.conf podman run --rm --network none localhost/other:name cat /text
    assert "$output" == "of the bootc store"
}

@test "run: a missing image is not pulled" {
    run -125 "$BOOTC_PODMAN" run --rm localhost/missing:1
    assert "$output" =~ "localhost/missing:1"
    assert "$output" !~ "registry"
}

@test "run: a missing store is named; podman fails with it otherwise" {
    mv "$STORE" "$STORE.away"
    run -125 podman --storage-opt "additionalimagestore=$STORE" images
    bp 125 run localhost/app:1
    assert "$stderr" =~ "no bootc-owned store"$'\n'"Hint: \"bootc-podman init\""
    bp 1 storage-conf --apps
    mv "$STORE.away" "$STORE"
}

@test "run: a damaged storage.conf, and a driver without additional stores, are named" {
    echo '[storage' >/etc/containers/storage.conf
    bp 125 run localhost/app:1
    assert "$stderr" =~ "storage.conf"
    printf '[storage]\ndriver = "vfs"\nrunroot = "/run/v"\ngraphroot = "/srv/v"\n' >/etc/containers/storage.conf
    bp 125 run localhost/app:1
    assert "$stderr" =~ 'the storage driver "vfs"'
    rm -f /etc/containers/storage.conf
}

@test "run: the store is not written, on a read-only /sysroot too" {
    local before
    before=$(cd "$STORE" && find . -printf '%p %i %s %T@ %m\n' | sort)
    mount -o remount,bind,ro /sysroot 2>/dev/null || mount -o remount,ro /sysroot
    run -0 "$BOOTC_PODMAN" run --rm --network none localhost/app:1 sh -c 'echo new >/text; cat /text'
    mount -o remount,rw /sysroot
    assert "$output" == new
    assert "$(cd "$STORE" && find . -printf '%p %i %s %T@ %m\n' | sort)" == "$before"
}

@test "run: --dry-run prints a command line that does the same" {
    "$BOOTC_PODMAN" run --rm --network none localhost/app:1 true
    run -0 "$BOOTC_PODMAN" --dry-run run --rm --network none localhost/app:1 cat /text
    run -0 sh -c "$output"
    assert "$output" == "of the bootc store"
}

@test "run: an image of the same name in podman's own store runs, with a warning" {
    shell_context /srv/other 'of podman itself'
    podman build -q -t localhost/app:1 /srv/other >/dev/null
    run -0 --separate-stderr "$BOOTC_PODMAN" run --rm --network none localhost/app:1 cat /text
    assert "$output" == "of podman itself"
    assert "$stderr" =~ ^"Warning: image localhost/app:1 of podman's own store, ".*" runs instead of "
    # By its ID it is the one of the bootc store.
    run -0 --separate-stderr "$BOOTC_PODMAN" run --rm --network none "$(oracle images -q --no-trunc localhost/app:1)" cat /text
    assert "$output$stderr" == "of the bootc store"
    run -0 "$BOOTC_PODMAN" run --rm --network none localhost/embedded:1 cat /text
    assert "$output" == "of the distribution"
}

@test "run: podman completes its options, and images of both stores" {
    podman build -q -t localhost/own:1 /srv/other >/dev/null
    bp __complete run --netw
    assert "$output" =~ "--network"
    bp __complete run --rm localhost/
    assert "$output" =~ localhost/app
    assert "$output" =~ localhost/own
}
