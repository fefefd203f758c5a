#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# gc where there is no bootc-owned store, names that our own verbs give, and a store that is
# opened by another path.

load helpers
load os-images

setup_file() {
    ostree_host
    cd /srv || return 1
    os_tree tree 1
    local commit
    commit=$(os_image docker_3A__2F__2F_quay_2E_io_2F_os_3A_1 1 tree)
    os_boot "$(os_deploy "$commit" ostree-unverified-registry:quay.io/os:1)"
    os_tree old 0
    os_image docker_3A__2F__2F_quay_2E_io_2F_os_3A_0 0 old >/dev/null
}

teardown_file() {
    umount -q /proc/cmdline || true
    umount -l /sysroot
}

setup() { cd /srv || return 1; }

# several - the images of the bootc-owned store that nothing needs and that have several names.
several() {
    "$BOOTC_PODMAN" gc --dry-run --format json >forecast
    jq -c '.unneeded[] | select((.names | length) > 1) | .names | sort' forecast
}

@test "gc, df: without a bootc-owned store, the ostree repository counts" {
    mv "$STORE" "$STORE.away"
    bp gc --dry-run
    assert "$output" =~ "There is no bootc-owned store."
    assert "$output" =~ "bootc's next cleanup removes 1 image and 1 layer of the ostree repository."
    assert "$output" =~ "docker://quay.io/os:0"
    bp gc --dry-run --format json
    assert "$(jq -c '[.kind, .collects, .collects_refs, .refs, (.layers | length), .unneeded]' <<<"$output")" == \
        '["ostree",false,true,["docker://quay.io/os:0"],1,[]]'
    bp gc
    assert "$output,$stderr" == ",There is no bootc-owned store; \"bootc-podman gc --dry-run\" prints what bootc removes of the host."
    bp df --format json
    assert "$(jq -r '.stores[] | "\(.store) \(.reclaimable_at_upgrade_bytes > 0)"' <<<"$output" | grep ostree)" == "ostree true"
    [ ! -e "$STORE" ] || die 'the store was made'
    mv "$STORE.away" "$STORE"
    mkdir -p nohost
    bp 1 --sysroot /srv/nohost gc --dry-run
    assert "$stderr" =~ 'no ostree or composefs directory'
}

@test "E2: a storage.conf with the real paths of the store" {
    context /srv/app
    oracle build -q -t localhost/app:1 /srv/app
    printf '[storage]\ndriver = "overlay"\ngraphroot = "%s"\nrunroot = "/run/elsewhere"\n' "$STORE" >elsewhere.conf
    # podman takes the paths of its database, which are those of a namespace.
    run env CONTAINERS_STORAGE_CONF=/srv/elsewhere.conf podman images -q
    echo "$output"
    assert "$status" != 0
    assert "$output" =~ '/proc/self/fd/3|database configuration mismatch'
    local want
    want=$(oracle images -q --no-trunc)
    [ -n "$want" ]
    CONTAINERS_STORAGE_CONF=/srv/elsewhere.conf bp image ls -q --no-trunc
    assert "$output" == "$want"
    CONTAINERS_STORAGE_CONF=/srv/elsewhere.conf bp exec -- podman images -q --no-trunc
    assert "$output" == "$want"
    CONTAINERS_STORAGE_CONF=/srv/elsewhere.conf bp list
    assert "$output" =~ localhost/app
    bp rmi localhost/app:1
}

@test "names: our own verbs leave no second name on an image that nothing needs" {
    bp set-unified --from ostree
    bp set-unified
    bp copy-to-storage
    bp copy-to-storage --target localhost/mine:1
    assert "$(jq -c '[.[].names]' "$STORE/overlay-images/images.json")" == '[["quay.io/os:1"]]'
    # Of an image with several names in podman's own store, the one that was given.
    context /srv/own
    podman build -q -t localhost/a:1 -t localhost/a:2 /srv/own >/dev/null
    bp pull-from-default-storage localhost/a:1
    bp pull-from-default-storage localhost/a:1
    assert "$(several)" == "" pull-from-default-storage
    # A copy that is damaged is brought again under another name first.
    rm -rf "$STORE/overlay/$(jq -r '.[] | select(.names == ["localhost/a:1"]) | .layer' "$STORE/overlay-images/images.json")/diff"
    bp pull-from-default-storage localhost/a:1
    assert "$(several)" == "" "a damaged copy"
    bp image exists localhost/a:1
    # A second name on purpose is in the forecast, and gc removes both.
    bp pull-from-default-storage localhost/a:2
    assert "$(several)" == '["localhost/a:1","localhost/a:2"]'
    assert "$(jq -c '[.fails, (.images[] | .blocked)]' forecast)" == '[true,"several-names"]'
    bp gc
    assert "$(jq -c '[.[].names]' "$STORE/overlay-images/images.json")" == '[["quay.io/os:1"]]'
}

@test "gc: an image with a name that podman finds invalid" {
    context /srv/odd
    oracle build -q -t localhost/odd:1 -t localhost/odd:2 /srv/odd
    local others
    others=$(jq -c '[.[].names | select(. and (index("localhost/odd:1") | not))]' "$STORE/overlay-images/images.json")
    jq -c '(.[] | select(.names | index("localhost/odd:1")) | .names) += ["localhost/Odd:3"]' "$STORE/overlay-images/images.json" >records
    cat records >"$STORE/overlay-images/images.json"
    run oracle image rm localhost/odd:1 localhost/odd:2 localhost/Odd:3
    assert "$status" != 0
    assert "$output" =~ 'must be lowercase'
    bp gc
    assert "$(jq -c '[.[].names]' "$STORE/overlay-images/images.json")" == "$others"
}
