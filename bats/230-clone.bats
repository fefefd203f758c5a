#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Images that bootc-podman-store clones from one store to another, as podman sees them.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own

load helpers
load layers

STORE_PROGRAM=${STORE_PROGRAM:-$(dirname "$BOOTC_PODMAN")/bootc-podman-store}
[ -x "$STORE_PROGRAM" ] || STORE_PROGRAM=$(dirname "$BOOTC_PODMAN")/../libexec/bootc-podman/bootc-podman-store

setup_file() {
    mount_sysroot xfs
    own_store containers
    new_registry /srv
    cd /srv || return 1
    hard_image
}

teardown_file() {
    kill "$(cat /srv/registry.pid)" || true
    umount -l /var/lib/containers/storage /sysroot
}

setup() {
    cd "$BATS_TEST_TMPDIR"
    new_sysroot
    podman rmi -af >/dev/null 2>&1 || true
    podman pull -q "$REGISTRY/hard:1" >/dev/null
}

teardown() { [ -z "${CLONE-}" ] || kill -KILL "$CLONE" 2>/dev/null || true; }

# hard_image - an image at the registry of three layers, with what is hard to copy.
hard_image() {
    hard_trees "$STORE_PROGRAM"
    truncate -s 1M hard/d/sparse
    tar --xattrs --xattrs-include='*' --format=posix -C hard -cf 1.tar .
    tar --format=posix -C upper -cf 2.tar .
    head -c 100 /dev/urandom >another
    tar -cf 3.tar another
    image_of_layers gzip 1.tar 2.tar 3.tar
    skopeo copy -q --dest-tls-verify=false dir:dir "docker://$REGISTRY/hard:1"
}

# job FROM TO [VERIFY] - the job that clones the hard image between "default" and "bootc".
job() {
    local -A stores=(
        [default]='{"graph_root":"/var/lib/containers/storage","run_root":"/run/containers/storage","driver":"overlay"}'
        [bootc]='{"graph_root":"/run/bootc/storage","run_root":"/proc/self/fd/3","driver":"overlay"}')
    bp init
    jq -nc --argjson from "${stores[$1]}" --argjson to "${stores[$2]}" --arg id "$(id_of)" --arg name "$REGISTRY/hard:1" --arg verify "${3:-metadata}" \
        '{source: $from, destination: $to, image: $id, names: [$name], verify: $verify}' >job
}

# clone FROM TO [VERIFY] - do such a job.
clone() {
    job "$@"
    # bp has no standard input.
    "$BOOTC_PODMAN" exec -- "$STORE_PROGRAM" <job >answers
    RESULT=$(tail -n 1 answers)
    jq -e .result <<<"$RESULT" >/dev/null || die "clone: $RESULT"
}

# no_leftovers - nothing is left of staging that an old podman would take for a layer.
no_leftovers() {
    local left
    left=$(ls -d "$STORE"/bootc-podman.staging "$STORE"/overlay/{staging,tempdirs} 2>/dev/null || true)
    [ -z "$left" ] || die "left: $left"
}

# held_clone - a clone into the bootc-owned store that waits when it has staged layers,
# since its answers are not read; CLONE is its process.
held_clone() {
    mkfifo pipe
    exec 7<>pipe
    head -c 65536 /dev/zero | tr '\0' '\n' >&7
    "$BOOTC_PODMAN" exec -- "$STORE_PROGRAM" <job >&7 7>&- 3>&- &
    CLONE=$!
    wait_for compgen -G "$STORE/bootc-podman.staging/*/dir/*" >/dev/null
}

# release_clone - let it go on, to its end.
release_clone() {
    cat pipe >answers 7>&- &
    exec 7>&-
    wait "$CLONE"
    wait $!
}

id_of() { jq -r .config.digest /srv/dir/manifest.json | cut -d: -f2; }

@test "clone: the bootc-owned store has what podman pulled, without its bytes" {
    local before
    bp init
    before=$(used)
    clone default bootc
    [ $(($(used) - before)) -lt 2000000 ] || die "the filesystem grew by $(($(used) - before)) bytes"
    assert "$(jq '[.result.layers[] | .copied] | add' <<<"$RESULT")" == 0
    same_layers /var/lib/containers/storage "$STORE" 3
    assert "$(oracle images --digests --format '{{.Repository}}:{{.Tag}} {{.Digest}}')" == \
        "$REGISTRY/hard:1 sha256:$(sha256sum </srv/dir/manifest.json | cut -d' ' -f1)"
    no_leftovers
}

@test "clone: layers are those of podman's own push" {
    clone default bootc
    mkdir -p /sysroot/pushed
    podman push -q --remove-signatures "$REGISTRY/hard:1" "containers-storage:[overlay@/sysroot/pushed+/run/pushed]$REGISTRY/hard:1"
    local layer
    for layer in $(jq -r '.[].id' "$STORE/overlay-layers/layers.json"); do
        same_layer "$STORE" /sysroot/pushed "$layer"
    done
    # A push forgets the compressed blobs.
    diff <(jq -S 'map(del(.created, .compression, ."compressed-size", ."compressed-diff-digest")) | sort_by(.id)' "$STORE/overlay-layers/layers.json") \
        <(jq -S 'map(del(.created, .compression, ."compressed-size", ."compressed-diff-digest")) | sort_by(.id)' /sysroot/pushed/overlay-layers/layers.json)
    umount -q /sysroot/pushed/overlay || true
    rm -rf /sysroot/pushed
}

@test "clone: podman pushes the clone with its digest, and removes it" {
    clone default bootc
    podman push -q --digestfile want "$REGISTRY/hard:1" "docker://$REGISTRY/original:1"
    oracle push -q --digestfile "$PWD/digest" "$REGISTRY/hard:1" "docker://$REGISTRY/clone:1"
    assert "$(cat digest)" == "$(cat want)"
    bp exec -- bash -c 'dir=$(podman image mount "$1") && ls "$dir" "$dir/opaque"' bash "$REGISTRY/hard:1"
    assert "${output//$'\n'/ }" =~ "another bin d opaque"
    assert "${output//$'\n'/ }" !~ "removed|old"
    oracle rmi "$REGISTRY/hard:1"
    assert "$(oracle images -q)" == ""
    assert "$(jq length "$STORE/overlay-layers/layers.json")" == 0
}

@test "clone: a container runs of an image that came out of the bootc-owned store" {
    clone default bootc full
    podman rmi -f "$REGISTRY/hard:1"
    [ ! -e "/var/lib/containers/storage/overlay-images/$(id_of)" ]
    clone bootc default full
    same_layers /var/lib/containers/storage "$STORE" 3
    printf '[containers]\ndefault_ulimits=["nofile=4096:4096","nproc=4096:4096"]\npids_limit = 0\n' >containers.conf
    # The program, in the container, finds no job.
    CONTAINERS_CONF=$PWD/containers.conf podman run --rm --runtime runc --network none "$REGISTRY/hard:1" </dev/null >out
    assert "$(jq -r .failure.kind out)" == failed
    podman rmi "$REGISTRY/hard:1"
}

@test "clone: a pull after it transfers nothing, and keeps the digest" {
    clone default bootc
    : >/srv/registry.log
    bp image pull -q "$REGISTRY/hard:1"
    run ! grep -q 'GET /v2/hard/blobs/sha256:'"$(jq -r '.layers[0].digest' /srv/dir/manifest.json | cut -d: -f2)" /srv/registry.log
    assert "$(oracle images --digests --format '{{.Digest}}')" == "sha256:$(sha256sum </srv/dir/manifest.json | cut -d' ' -f1)"
}

@test "clone: podman's commands do not disturb a clone that stages" {
    job default bootc
    held_clone
    # As podman before version 5 cleans up, whatever the command.
    oracle images >/dev/null
    oracle ps -a >/dev/null
    oracle image prune -f >/dev/null
    release_clone
    tail -n 1 answers | jq -e .result >/dev/null || die "clone: $(tail -n 1 answers)"
    same_layers /var/lib/containers/storage "$STORE" 3
    [ ! -e "$STORE/bootc-podman.staging" ]
}

@test "clone: a layer that differs from its headers is left to podman, which restores it" {
    local setuid whiteout
    setuid=$(echo /var/lib/containers/storage/overlay/*/diff/d/setuid)
    whiteout=$(echo /var/lib/containers/storage/overlay/*/diff/dir.removed)
    chmod u-s "$setuid"
    bp init
    bp 1 pull-from-default-storage --method clone "$REGISTRY/hard:1"
    assert "$stderr" =~ 'not verified: "d/setuid" has mode 2755 instead of 6755'
    assert "$(jq length "$STORE/overlay-layers/layers.json" 2>/dev/null || echo 0)" == 0
    for whiteout in $whiteout; do
        [ ! -c "$whiteout" ] || rm "$whiteout"
    done
    bp pull-from-default-storage "$REGISTRY/hard:1"
    assert "$stderr" =~ "podman copies it: .*not verified"
    assert "$(stat -c %a "$STORE"/overlay/*/diff/d/setuid)" == 6755
    assert "$(stat -c %F "$STORE"/overlay/*/diff/dir.removed | grep -c 'character special')" == 1
}

@test "clone: layers of a chunked pull have their headers" {
    podman_at_least 5 || skip "podman before version 5 pulls no chunks"
    podman push -q --compression-format zstd:chunked --force-compression "$REGISTRY/hard:1" "docker://$REGISTRY/chunked:1"
    podman rmi -f "$REGISTRY/hard:1"
    podman pull -q "$REGISTRY/chunked:1"
    clone default bootc full
    same_layers /var/lib/containers/storage "$STORE" 3
}

@test "clone: podman repairs its links after a clone that was killed, and one that was not" {
    job default bootc
    held_clone
    kill -KILL "$CLONE"
    wait "$CLONE" || true
    exec 7>&-
    clone default bootc
    no_leftovers
    rm "$STORE"/overlay/l/*
    bp exec -- podman image mount "$REGISTRY/hard:1"
}

@test "clone: what was killed is completed, and podman collects the leftovers" {
    bp init
    mkdir -p "$STORE/overlay/staging/1234/dir/file"
    touch "$STORE/overlay/staging/1234/staging.lock"
    clone default bootc
    [ ! -e "$STORE/overlay/staging/1234" ]
    mkdir -p "$STORE/overlay/staging/1234/dir/file"
    touch "$STORE/overlay/staging/1234/staging.lock"
    oracle rmi "$REGISTRY/hard:1"
    if podman_at_least 5; then
        [ ! -e "$STORE/overlay/staging/1234" ]
    fi
    clone default bootc
    [ ! -e "$STORE/overlay/staging/1234" ]
}
