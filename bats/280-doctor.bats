#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# What is wrong with a host is found, and only that: faults are made with plain podman, and
# podman itself says that they are faults.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own

load helpers
load containers
load os-images

APP=localhost/app:1

# storage_conf [STORE...] - podman's configuration, with additional image stores.
storage_conf() {
    printf '[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' >/etc/containers/storage.conf
    [ $# = 0 ] || printf '[storage.options]\nadditionalimagestores = ["%s"]\n' "$@" >>/etc/containers/storage.conf
}

setup_file() {
    ostree_host
    container_conf
    storage_conf
    cd /srv || return 1
    os_tree tree 42
    os_bind tree "$APP" app.container
    echo GlobalArgs=--storage-opt=additionalimagestore=/usr/lib/bootc/storage >>tree/usr/share/containers/systemd/app.container
    {
        D=$(os_deploy "$(os_image docker_3A__2F__2F_quay_2E_io/example/os_3A_42 42 tree)" ostree-unverified-registry:quay.io/example/os:42)
        os_boot "$D"
        cp -a tree/usr/lib/bootc tree/usr/share /usr/local/ && ln -sfn /usr/local/bootc /usr/lib/bootc
        mkdir -p /usr/share/containers && cp -a tree/usr/share/containers/systemd /usr/share/containers/
        ln -s ../../../sysroot/ostree/bootc/storage /usr/local/bootc/storage
        shell_context /srv/shell
        oracle build -q --layers=false -t "$APP" /srv/shell
        podman info
    } >/dev/null
    export D
}

setup() { cd "$BATS_TEST_TMPDIR"; }

teardown_file() {
    umount /proc/cmdline
    umount /sysroot
}

# refuses PATTERN COMMAND... - podman fails on the fault, and says PATTERN.
refuses() {
    local pattern=$1
    shift
    run "$@"
    [ "$status" -ne 0 ] || die "no error of $*: $output"
    assert "$output" =~ "$pattern"
}

# finds RULE... - status --check reports these rules, and no other.
finds() {
    bp 1 status --check --format json
    assert "$(jq -r '[.findings[].rule] | join(" ")' <<<"$output")" == "$*"
    bp 1 status --check
    assert "${#lines[@]}" == $#
}

# doctor_finds RULE... - doctor reports these rules, and no other; nothing changes.
doctor_finds() {
    tree >before
    bp 1 doctor --format json
    assert "$(jq -r '[.findings[] | select(.severity != "information").rule] | join(" ")' <<<"$output")" == "$*"
    bp 1 doctor --fix --dry-run
    tree | diff before -
}

# tree - all files of both stores, by another program, but for lock files.
tree() {
    find "$STORE" /sysroot/ostree/bootc /var/lib/containers/storage /var/lib/bootc-podman \( -name '*.lock' -o -name merged \) -prune -o -printf '%p %y %m %s %T@ %l\n' 2>/dev/null |
        grep -v '/db.sql' | LC_ALL=C sort
}

# clean_after_fix - doctor --fix leaves nothing to find.
clean_after_fix() {
    bp doctor --fix --format json
    assert "$(jq .changed <<<"$output")" == true
    bp doctor
    assert "$output" == ""
}

# fix - the command that fixes the first finding.
fix() { "$BOOTC_PODMAN" status --check --format json | jq -r '.findings[0].fix'; }

healthy() {
    bp status --check
    assert "$output" == ""
    assert "$stderr" == ""
    bp doctor
    assert "$output" == ""
}

@test "status --check: a healthy host gives no line, starts no program, and is left as it is" {
    healthy
    strace -f -o trace -e trace=file,process "$BOOTC_PODMAN" status --check
    ! grep -E 'O_(WRONLY|RDWR|CREAT|TRUNC)|^[0-9]+ +(unlink|rename|link|symlink|chmod|mkdir)' trace || die "it writes"
    assert "$(grep -c execve trace)" == 1
    bp status --check --format json
    assert "$(jq -c . <<<"$output")" == '{"schema":1,"changed":false,"findings":[]}'
    bp 2 status --check --format '{{.Kind}}'
}

@test "status --check: a bound image that is gone, and the command that brings it" {
    oracle tag "$APP" localhost/kept:1
    oracle untag "$APP" "$APP"
    finds bound-missing
    assert "$(fix)" == "bootc-podman bound fetch"
    oracle tag localhost/kept:1 "$APP"
    oracle untag localhost/kept:1 localhost/kept:1
    healthy
}

@test "status --check: an additional store that is missing, on which podman fails" {
    storage_conf /srv/none
    refuses /srv/none podman images
    finds additional-missing
    eval "$(fix)"
    podman images >/dev/null
    bp status --check
    storage_conf
    rm -rf /srv/none
    healthy
}

@test "status --check: the store opened by another path first locks bootc out" {
    mv "$STORE" /srv/whole
    podman --root "$STORE" --runroot /run/other images >/dev/null
    refuses 'database .*mismatch' oracle images
    cp -a /srv/whole/overlay-images /srv/whole/overlay-layers /srv/whole/overlay "$STORE" # the images of the host
    finds database-paths
    umount -q "$STORE/overlay" || true
    doctor_finds database-paths
    assert "$stderr" =~ 'Would move podman'
    clean_after_fix
    assert "$(oracle images -q | wc -l)" == 1
    refuses 'database .*mismatch' podman --root "$STORE" --runroot /run/other images
    [ -n "$(find "$STORE" -maxdepth 2 -name '*.bak')" ] || die "no backup"
    umount -q "$STORE/overlay" || true
    rm -rf "$STORE"
    mv /srv/whole "$STORE"
    healthy
}

@test "status --check: another image under the name of a bound one, which podman prefers" {
    context other other
    podman build -q --layers=false -t "$APP" other >/dev/null
    id=$(podman --storage-opt additionalimagestore="$STORE" image inspect --format '{{.Id}}' "$APP")
    assert "$id" != "$(oracle image inspect --format '{{.Id}}' "$APP")"
    finds bound-shadowed
    doctor_finds bound-shadowed
    eval "$(fix)"
    assert "$(podman --storage-opt additionalimagestore="$STORE" image inspect --format '{{.Id}}' "$APP")" == "$(oracle image inspect --format '{{.Id}}' "$APP")"
    healthy
    podman rmi "$id" >/dev/null
}

@test "doctor: a name that podman cannot read, and the image stays" {
    id=$(oracle image inspect --format '{{.Id}}' "$APP")
    jq -c '.[0].names += ["localhost/MyOrg:1"]' "$STORE/overlay-images/images.json" >records
    cp records "$STORE/overlay-images/images.json"
    refuses 'must be lowercase' oracle images
    refuses 'must be lowercase' oracle untag "$id" localhost/MyOrg:1
    doctor_finds name-unreadable
    clean_after_fix
    assert "$(oracle images --format '{{.Repository}}:{{.Tag}} {{.ID}}' --no-trunc)" == "$APP sha256:$id"
}

@test "doctor: what killed processes left in both stores" {
    local layer=1111111111111111111111111111111111111111111111111111111111111111 dir
    context left left
    podman build -q --layers=false -t localhost/left left >/dev/null
    oracle tag "$APP" localhost/bootc-podman-unfinished:x
    for dir in "$STORE" /var/lib/containers/storage; do
        jq -c --arg id "$layer" '. + [.[0] + {id: $id, parent: "", flags: {incomplete: true}}]' "$dir/overlay-layers/layers.json" >records
        cp records "$dir/overlay-layers/layers.json"
        mkdir -p "$dir/overlay/${layer//1/2}/diff" "$dir/overlay/$layer/diff" "$dir/bootc-podman.staging/x"
        touch -d yesterday "$dir/bootc-podman.staging/x/staging.lock" "$dir/overlay-images/.tmp-images.json1" "$dir/bootc-podman.staging/x"
    done
    mkdir "$STORE.tmp"
    doctor_finds layer-incomplete layer-unknown layer-incomplete layer-unknown \
        leftover leftover leftover leftover leftover leftover
    clean_after_fix
    for dir in "$STORE" /var/lib/containers/storage; do
        [ ! -e "$dir/overlay/$layer" ] && [ ! -e "$dir/overlay/${layer//1/2}" ] || die "a layer stays in $dir"
        [ ! -e "$dir/bootc-podman.staging" ] && [ ! -e "$dir/overlay-images/.tmp-images.json1" ] || die "a file stays in $dir"
    done
    assert "$(oracle images --format '{{.Repository}}:{{.Tag}}')" == "$APP"
    podman run --rm localhost/left /x 2>/dev/null || true # the layers are mounted
    podman rmi -f localhost/left >/dev/null
    healthy
}

@test "doctor: an old database, on which podman 6 fails" {
    cp "$BATS_TEST_DIRNAME/../storageconf/testdata/podman-4.3.1.bolt_state.db" bolt
    if ! podman_at_least 6; then
        healthy
        return
    fi
    mkdir -p "$STORE/libpod"
    cp bolt "$STORE/libpod/bolt_state.db"
    refuses BoltDB oracle images
    doctor_finds database-old
    clean_after_fix
    oracle images >/dev/null
    rm -f "$STORE"/libpod/*.bak
}

@test "doctor: the units of bound images, as bound lint judges them" {
    local unit=/usr/share/containers/systemd/app.container
    cp "$unit" unit
    sed -i 's/:1$/:%i/' "$unit"
    doctor_finds bound-specifier
    assert "$(jq -r '.findings[] | .where' <<<"$("$BOOTC_PODMAN" doctor --format json)")" == "$unit:4"
    assert "$("$BOOTC_PODMAN" bound lint --format json | jq -r '[.findings[].rule] | join(" ")')" == bound-specifier
    cp unit "$unit"
    healthy
}

@test "doctor: a second name on which bootc's cleanup fails, as gc forecasts" {
    context spare spare
    oracle build -q --layers=false -t localhost/spare:1 spare >/dev/null
    oracle tag localhost/spare:1 localhost/spare:2
    id=$(oracle image inspect --format '{{.Id}}' localhost/spare:1)
    assert "$("$BOOTC_PODMAN" gc --dry-run --format json | jq -c '[.images[].blocked]')" == '["several-names"]'
    refuses 'more than one tag|multiple tags|tagged in multiple|must be forced' oracle image rm "$id"
    doctor_finds cleanup-blocked
    PATH=$(dirname "$BOOTC_PODMAN"):$PATH bash -c "$("$BOOTC_PODMAN" doctor --format json | jq -r '.findings[0].fix')"
    bp doctor
    oracle create --name web --network none "$id" sleep 100 >/dev/null
    assert "$("$BOOTC_PODMAN" gc --dry-run --format json | jq -c '[.images[].blocked]')" == '["in-use"]'
    doctor_finds cleanup-blocked
    PATH=$(dirname "$BOOTC_PODMAN"):$PATH bash -c "$("$BOOTC_PODMAN" doctor --format json | jq -r '.findings[0].fix')" >/dev/null
    oracle image rm "$id" >/dev/null
    healthy
}

@test "localize: an image whose layers lie in the bootc store survives their removal" {
    context child child
    oracle build -q --layers=false -t localhost/lender child >/dev/null
    oracle image save -q --format oci-dir -o /srv/lender.oci localhost/lender >/dev/null 2>&1
    podman --storage-opt additionalimagestore="$STORE" pull -q oci:/srv/lender.oci >/dev/null
    id=$(jq -r '.[].id' /var/lib/containers/storage/overlay-images/images.json)
    [ "$(du -s /var/lib/containers/storage/overlay | cut -f1)" -lt 100 ] || die "nothing is borrowed"
    before=$(jq -c '[.[].names]' /var/lib/containers/storage/overlay-images/images.json "$STORE/overlay-images/images.json")
    doctor_finds layers-borrowed
    name=$("$BOOTC_PODMAN" doctor --format json | jq -r '.findings[] | select(.rule == "layers-borrowed").fix')
    PATH=$(dirname "$BOOTC_PODMAN"):$PATH bash -c "$name"
    bp doctor
    bp localize "$id"
    assert "$output" =~ "is whole in podman's own store.\$"
    assert "$(jq -c '[.[].names]' /var/lib/containers/storage/overlay-images/images.json "$STORE/overlay-images/images.json")" == "$before"
    oracle rmi -f localhost/lender >/dev/null
    assert "$(podman images --format '{{.ID}}' --no-trunc)" == "sha256:$id"
    podman push -q "$id" "dir:$PWD/pushed" >/dev/null # compares the files with their checksums
    podman rmi -f "$id" >/dev/null
    healthy
}

@test "doctor: a container whose layers were removed in the other store" {
    shell_context shell2 two
    oracle build -q --layers=false -t localhost/two shell2 >/dev/null
    id=$(podman --storage-opt additionalimagestore="$STORE" create --name web --network none localhost/two sleep 100)
    doctor_finds container-unkept
    PATH=$(dirname "$BOOTC_PODMAN"):$PATH bash -c "$("$BOOTC_PODMAN" doctor --format json | jq -r '.findings[0].fix')"
    doctor_finds container-unkept
    assert "$("$BOOTC_PODMAN" doctor --format json | jq -r '.findings[] | .fix + .what')" =~ ^runs.*'make the container again'$
    podman rmi -f localhost/two >/dev/null # and the container
    id=$(podman --storage-opt additionalimagestore="$STORE" create --name web --network none localhost/two sleep 100)
    oracle rmi -f localhost/two >/dev/null # podman sees no user
    doctor_finds container-damaged
    podman rm -f "$id" >/dev/null
    healthy
}

@test "repair: from podman's own store, by a clone" {
    "$BOOTC_PODMAN" exec -- podman image save -q -o app.tar "$APP"
    podman load -q -i app.tar >/dev/null
    layer=$(jq -r '.[0].id' "$STORE/overlay-layers/layers.json")
    oracle tag "$APP" localhost/second:1
    rm -rf "$STORE/overlay/$layer/diff"
    bp 1 status --check
    doctor_finds image-damaged
    PATH=$(dirname "$BOOTC_PODMAN"):$PATH bash -c "$("$BOOTC_PODMAN" doctor --format json | jq -r '.findings[0].fix')"
    assert "$(oracle images --format '{{.Repository}}:{{.Tag}}' | sort | tr '\n' ' ')" == "$APP localhost/second:1 "
    oracle push -q "$APP" "dir:$PWD/pushed" >/dev/null
    oracle untag localhost/second:1 localhost/second:1
    podman rmi -f "$APP" >/dev/null
    bp repair "$APP"
    assert "$output" == "Image $APP is whole."
    healthy
}

@test "repair: from a registry, by the digest; content that was changed is found with --deep" {
    mkdir registry
    new_registry "$PWD"
    oracle push -q --remove-signatures "$APP" "$REGISTRY/app:1" >/dev/null
    oracle pull -q "$REGISTRY/app:1" >/dev/null
    for file in "$STORE"/overlay/*/diff/text; do echo changed >"$file"; done
    bp doctor
    bp 1 doctor --deep --format json
    assert "$(jq -r '[.findings[].rule] | unique | join(" ")' <<<"$output")" == content-differs
    oracle untag "$APP" "$APP" # all its names come back
    oracle tag "$REGISTRY/app:1" "$APP"
    kill "$(cat registry.pid)"
    bp 1 repair --again "$REGISTRY/app:1" # nothing is removed before a source is found
    oracle image exists "$REGISTRY/app:1"
    start_registry "$PWD" "$REGISTRY"
    bp repair --again "$REGISTRY/app:1"
    assert "$output" =~ 'it came from registry'
    kill "$(cat registry.pid)"
    bp doctor --deep
    assert "$(oracle images --format '{{.Repository}}:{{.Tag}}' | sort | tr '\n' ' ')" == "$REGISTRY/app:1 $APP "
    oracle untag "$REGISTRY/app:1" "$REGISTRY/app:1"
    healthy
}

@test "doctor: podman at work in both stores, which is no fault" {
    local i
    context peer peer
    (for i in {1..12}; do podman build -q --layers=false -t localhost/peer:1 peer && podman rmi -f localhost/peer:1; done >/dev/null 2>&1) &
    (for i in {1..12}; do oracle build -q --layers=false -t localhost/peer:2 peer && oracle rmi -f localhost/peer:2; done >/dev/null 2>&1) &
    while [ -n "$(jobs -r)" ]; do
        bp doctor
        bp doctor --fix
    done
    wait
    assert "$(oracle images --format '{{.Repository}}:{{.Tag}}')" == "$APP"
    healthy
}

@test "doctor: a filesystem that cannot be written is examined, and --fix says so" {
    mkdir "$STORE.tmp"
    sync -f /sysroot
    mount -o remount,ro /sysroot
    run "$BOOTC_PODMAN" doctor
    local found=$output
    run --separate-stderr "$BOOTC_PODMAN" doctor --fix
    mount -o remount,rw /sysroot
    assert "$found" == "$output"
    assert "$output" =~ ^'risk: /sysroot/ostree/bootc/storage.tmp: '
    assert "$stderr" =~ 'mounted read-only'
    clean_after_fix
}

@test "doctor --fix: killed at any moment, the next run finishes" {
    local i layer=3333333333333333333333333333333333333333333333333333333333333333
    cp -a "$STORE" /srv/whole
    for i in {1..20}; do
        jq -c '.[0].names += ["localhost/MyOrg:1"]' "$STORE/overlay-images/images.json" >records
        cp records "$STORE/overlay-images/images.json"
        jq -c --arg id "${layer//3/4}" '. + [.[0] + {id: $id, parent: "", flags: {incomplete: true}}]' "$STORE/overlay-layers/layers.json" >records
        cp records "$STORE/overlay-layers/layers.json"
        mkdir -p "$STORE/overlay/$layer/diff/dir" "$STORE/overlay/${layer//3/4}/diff" "$STORE.tmp"
        sed 's,/run/bootc/storage,/srv/bootc/storage,g' "$BATS_TEST_DIRNAME/../storageconf/testdata/podman-5.8.6.db.sql" >"$STORE/db.sql"
        rm -rf "$STORE/libpod"
        timeout --foreground -s KILL "0.$(printf %03d $((i * 12)))" "$BOOTC_PODMAN" doctor --fix >/dev/null 2>&1 || true
        bp doctor --fix
        assert "$output" == ""
        bp doctor
        assert "$(oracle images --format '{{.Repository}}:{{.Tag}}')" == "$APP"
    done
    oracle push -q "$APP" "dir:$PWD/pushed" >/dev/null
}
