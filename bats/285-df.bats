#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# What df counts is what the filesystem has in use, whatever the stores share.
#
# bats file_tags=oldest-and-newest

load helpers
load os-images

OWN=/var/lib/containers/storage

setup() {
    mkdir -p /srv/df
    cd /srv/df
    rm -rf ./*
}

teardown() {
    umount -q "$OWN/overlay" "$OWN" /proc/cmdline || true
    umount -q /sysroot || true
}

# blobs DIR N - a directory of N MB in 50 files.
blobs() {
    local i
    mkdir -p "$1"
    for i in {1..50}; do
        head -c $(($2 * 20000 + i * 331)) /dev/urandom >"$1/$i"
    done
}

# new_host FSTYPE - a host that boots an image of the ostree repository, with all stores on a
# filesystem; $EMPTY is what the filesystem needs without them.
new_host() {
    mount_sysroot "$1"
    EMPTY=$(used)
    new_sysroot
    os_tree tree 42
    blobs tree/usr/share/blobs 40
    os_boot "$(os_deploy "$(os_image docker_3A__2F__2F_quay_2E_io_2F_os_3A_42 42 tree)" ostree-unverified-registry:quay.io/os:42)"
    own_store "ostree/deploy/default$OWN"
}

# near A B NAME - the numbers differ by at most 2 percent.
near() {
    echo "$3: $1, expected $2"
    local apart=$(($1 - $2))
    [ $((${apart#-} * 50)) -le "$2" ] || die "$3: $1, expected $2"
}

# counted ARG... - jq on the report.
counted() { jq "$@" <<<"$report"; }

# agrees - df agrees with the filesystem, and for each store with du.
agrees() {
    local path
    bp df --format json
    report=$output
    near "$(counted .total.disk_bytes)" $(($(used) - EMPTY)) "${1-total}"
    while read -r path; do
        near "$(counted ".stores[] | select(.paths[0] == \"$path\").allocated_bytes")" "$(du -s -B1 "$path" | cut -f1)" "$path"
    done < <(counted -r '.stores[].paths[0]')
}

# agrees_with_filesystem FSTYPE
agrees_with_filesystem() {
    local before freed
    new_host "$1"
    agrees "the ostree repository"
    assert "$(counted -r '.stores[].store' | xargs)" == "ostree default"
    # Clones of the ostree repository.
    bp set-unified --quiet --from ostree --skip-upgrade-check
    agrees "with clones"
    assert "$(counted '[.stores[] | select(.store == "ostree" or .store == "bootc").shared_with_stores_bytes > 40000000] | all')" == true
    assert "$(counted '.total.shared_with_stores_bytes > 40000000')" == true
    # Copies, which dedup shares.
    blobs app/blobs 15
    printf 'FROM scratch\nCOPY blobs /blobs\n' >app/Containerfile
    podman build -q -t localhost/app app
    podman build -q -t localhost/app2 --annotation a=b app
    oracle_push localhost/app
    agrees "with copies"
    local reclaimable
    reclaimable=$(counted '.stores[] | select(.store == "bootc").reclaimable_bytes')
    assert "$(counted '.stores[] | select(.store == "bootc").reclaimable_at_upgrade_bytes')" == "$reclaimable"
    before=$(used)
    bp gc
    freed=$((before - $(used)))
    near "$reclaimable" "$freed" "what gc frees"
    [ "$freed" -gt 14000000 ]
    oracle_push localhost/app
    bp dedup
    agrees "with shared files"
    [ "$(counted '.stores[] | select(.store == "bootc").reclaimable_bytes')" -lt 500000 ]
    assert "$(counted '.stores[] | select(.store == "default") | .reclaimable_bytes, .shared_with_stores_bytes > 15000000' | xargs)" == "null true"
    # An image that no deployment needs any more.
    rm -rf tree
    os_tree tree 43
    blobs tree/usr/share/others 12
    os_image docker_3A__2F__2F_quay_2E_io_2F_os_3A_43 43 tree
    agrees "with an old image"
    reclaimable=$(counted '.stores[] | select(.store == "ostree") | select(.estimate).reclaimable_at_upgrade_bytes')
    before=$(used)
    os_ostree refs --delete ostree/container/image/docker_3A__2F__2F_quay_2E_io_2F_os_3A_43
    os_ostree refs --delete "$(os_layer_refs)"
    os_ostree prune --refs-only
    near "$reclaimable" $((before - $(used))) "what the cleanup of the repository frees"
}

@test "df: xfs" { agrees_with_filesystem xfs; }
@test "df: btrfs" { agrees_with_filesystem btrfs; }

@test "df: as text, on a terminal with bars, without extents, without root; nothing is written" {
    new_host xfs
    bp set-unified --quiet --from ostree --skip-upgrade-check
    mount -o remount,bind,ro /sysroot
    find /sysroot /var/lib/containers -printf '%p %T@ %C@ %s\n' | sort >before
    bp df
    assert "$stderr" == ""
    assert "${lines[0]}" == "STORE    FILES  LOGICAL  ALLOCATED  ON DISK  SHARED   RECLAIMABLE  AT UPGRADE"
    local want='^bootc  .* 0 B +0 B *$'
    assert "${lines[2]}" =~ "$want"
    assert "${lines[4]}" =~ "^total "
    want='^Filesystem of ostree, bootc, default: xfs, .* available$'
    assert "${lines[5]}" =~ "$want"
    bp df --no-extents --format json
    assert "$(jq -c '[.extents, .total.disk_bytes, .total.shared_bytes]' <<<"$output")" == '[false,null,null]'
    TERM=xterm script -qec "'$BOOTC_PODMAN' df" /dev/null >terminal
    want='\[=+#* *\]'
    assert "$(cat terminal)" =~ "$want"
    as_nobody df
    echo "$output" "$stderr"
    assert "$status" == 1
    assert "$stderr" =~ "permission denied"
    assert "$output" =~ "ostree "
    as_nobody df --lenient
    assert "$status" == 0
    cd /srv/df
    find /sysroot /var/lib/containers -printf '%p %T@ %C@ %s\n' | sort | diff before -
}
