#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Pulls from a registry: how far they are, and what happens when the registry fails.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own

load helpers
load os-images

setup_file() {
    export PULLTEST=$BATS_TEST_DIRNAME/../bin/pulltest
    [ -x "$PULLTEST" ] || return 0
    mount_sysroot xfs
    ln -sfn sysroot/ostree /ostree
    new_proxy
    cd /srv || return 1
    # Two large layers and a small one.
    os_tree tree 42
    head -c 12000000 /dev/urandom >tree/usr/lib/blob
    head -c 8000000 /dev/urandom >second
    echo new >new
    printf 'FROM scratch\nCOPY tree /\nLABEL containers.bootc=1\nCOPY second /usr/lib/second\nCOPY new /usr/lib/new\n' >Containerfile
    scratch_podman build -q --layers -t "$REGISTRY/os:42" -f Containerfile . >/dev/null
    scratch_podman push -q "$REGISTRY/os:42"
    printf 'FROM scratch\nCOPY tree /\n' >Containerfile.base
    scratch_podman build -q --layers -t "$REGISTRY/os:base" -f Containerfile.base . >/dev/null
    scratch_podman push -q "$REGISTRY/os:base"
    skopeo copy -q --src-tls-verify=false "docker://$REGISTRY/os:42" dir:os42
    DIGEST=sha256:$(sha256sum <os42/manifest.json | cut -d' ' -f1)
    REF=docker_3A__2F__2F_127_2E_0_2E_0_2E_1_3A_${REGISTRY#*:}/os_3A_42
    BYTES=$(jq '[.layers[].size] | add' os42/manifest.json)
    # podman's service counts the image's configuration with the layers.
    CONFIG=0
    ! podman_at_least 6 || CONFIG=$(jq .config.size os42/manifest.json)
    # podman with another version in its output: its service, which then is used, reports
    # no bytes, or does not exist.
    cat >/srv/podman6 <<'EOF'
#!/bin/sh
[ "$*" != --version ] || { echo podman version 6.0.0; exit; }
[ ! -e /srv/no-service ] || case " $* " in *" system service "*) echo "Error: no service" >&2; exit 125 ;; esac
# podman 4 has no such option.
podman image pull --help | grep -q -- --retry || for arg; do shift; [ "$arg" = --retry=0 ] || set -- "$@" "$arg"; done
exec podman "$@"
EOF
    chmod +x /srv/podman6
    export DIGEST REF BYTES CONFIG
}

teardown_file() {
    kill "$(cat /srv/proxy.pid)" "$(cat /srv/registry.pid)" || true
    umount -q /proc/cmdline || true
    umount /sysroot || true
}

# A host that has booted the image of the registry.
setup() {
    [ -x "$PULLTEST" ] || skip "needs bin/pulltest, which make test-system builds"
    cd "$BATS_TEST_TMPDIR"
    umount -q /proc/cmdline || true
    rm -f /srv/control /srv/no-service
    podman rmi -af >/dev/null # which would lend layers
    new_sysroot
    COMMIT=$(os_import "$REF" /srv/os42)
    os_boot "$(os_deploy "$COMMIT" "ostree-unverified-registry:$REGISTRY/os:42")"
    mkdir spool
    export TMPDIR=$PWD/spool
    : >/srv/requests
}

# no_podman - no podman has a directory for layers of ours.
no_podman() { ! grep -lF "TMPDIR=$TMPDIR/" /proc/[0-9]*/environ 2>/dev/null; }

# nothing_left - no layers, no socket, no service, no mounts.
nothing_left() {
    assert "$(ls "$TMPDIR")" == ""
    assert "$(ls -d /run/bootc-podman/service 2>/dev/null)" == ""
    no_podman
    assert "$(mount_table | grep -c /run/bootc)" == 0
}

# check_lines FILE - a pull's lines of progress: as the schema says, never back, never
# above the total, and all of it in the end.
check_lines() {
    "$PULLTEST" validate "$BATS_TEST_DIRNAME/../docs/progress-v0.schema.json" "$1"
    jq -s '[.[] | select(.task == "pulling")]' "$1" >pulling
    jq -c '.[] | [.bytes, .bytesTotal, .bytesCached]' pulling
    assert "$(jq '[.[].bytes] | . == sort' pulling)" == true "never back"
    assert "$(jq 'all(.bytes <= .bytesTotal)' pulling)" == true "never above the total"
    assert "$(jq -c 'last | .bytes == .bytesTotal' pulling)" == true "all of it"
    assert "$(jq 'last.bytesTotal' pulling)" == $((BYTES + CONFIG))
}

# pull_slowly [ARG...] - bring the image, in about two seconds.
pull_slowly() {
    registry_does slow 5000000
    bp set-unified --from registry --progress-fd 7 "$@" 7> >(cat >json && touch end)
    wait_for test -e end
    check_lines json
    # There were many different counts on the way.
    [ "$(jq '[.[].bytes] | unique | length' pulling)" -ge 5 ]
    nothing_left
}

@test "pull: bytes as podman's files grow" {
    pull_slowly --quiet
    assert "$stderr" == ""
    # Halfway through the bytes, between a fifth and four fifths of the events.
    local half
    half=$(jq --argjson half $((BYTES / 2)) '([.[] | select(.bytes < $half)] | length) / length * 100 | floor' pulling)
    [ "$half" -ge 20 ] && [ "$half" -le 80 ]
}

@test "pull: through podman's service" {
    BOOTC_PODMAN_PODMAN=/srv/podman6 pull_slowly
    # A line for each layer is podman's, or ours.
    assert "$stderr" =~ "Copying blob|Pulling $REGISTRY/os@$DIGEST: layer [0-9a-f]{12}: done"
    oracle image exists "$REGISTRY/os:42"
}

@test "pull: through podman's service, with the host's credentials" {
    registry_does auth
    # These are plain podman's.
    mkdir -p /run/containers/0
    printf '{"auths":{"%s":{"auth":"dXNlcjpwYXNz"}}}' "$REGISTRY" >/run/containers/0/auth.json
    podman pull -q "$REGISTRY/os:base"
    BOOTC_PODMAN_PODMAN=/srv/podman6 bp 1 set-unified --from registry
    assert "$stderr" =~ "authentication required|unauthorized|401"
    assert "$stderr" !~ "trying again"
    mv /run/containers/0/auth.json .
    BOOTC_PODMAN_PODMAN=/srv/podman6 bp --authfile "$PWD/auth.json" set-unified --from registry
    assert "$output" == "Unified storage enabled for $REGISTRY/os:42."
    nothing_left
}

@test "pull: without podman's service, when that does not start" {
    touch /srv/no-service
    BOOTC_PODMAN_PODMAN=/srv/podman6 bp --log-level=debug set-unified --from registry
    assert "$stderr" =~ "Pulling without podman's service: .*no service"
    assert "$output" == "Unified storage enabled for $REGISTRY/os:42."
    nothing_left
}

@test "pull: layers that are there are not fetched, and not counted" {
    local layer size
    read -r layer size < <(jq -r '.layers[0] | "\(.digest) \(.size)"' /srv/os42/manifest.json)
    bp image pull -q "$REGISTRY/os:base"
    : >/srv/requests
    bp set-unified --from registry --quiet --progress-fd 7 7> >(cat >json && touch end)
    assert "$(asked "GET .*/blobs/$layer")" == 0
    wait_for test -e end
    BYTES=$((BYTES - size)) check_lines json
    assert "$(jq -c '[.[].bytesCached] | unique' pulling)" == "[$size]"
}

@test "pull: a signal ends it, and nothing is left" {
    registry_does slow 1000000
    local podman pid
    for podman in podman /srv/podman6; do
        rm -f err # that of the run before has the line, too
        BOOTC_PODMAN_PODMAN=$podman "$BOOTC_PODMAN" set-unified --from registry >out 2>err 3>&- &
        pid=$!
        wait_for grep -qs "Copying blob" err
        kill -TERM "$pid"
        wait "$pid" && die "it went on"
        nothing_left
        # Killed, it takes podman with it, and the next one clears away the rest.
        rm -f err # that of the run before has the line, too
        BOOTC_PODMAN_PODMAN=$podman "$BOOTC_PODMAN" set-unified --from registry >out 2>err 3>&- &
        pid=$!
        wait_for grep -qs "Copying blob" err
        kill -KILL "$pid"
        wait "$pid" || true
        wait_for no_podman
    done
    rm /srv/control
    bp set-unified --from registry
    nothing_left
}

@test "pull: a registry that dies in the middle of a layer and comes back" {
    registry_does cut 3000000
    "$BOOTC_PODMAN" set-unified --from registry --retry 5 --progress-fd 7 7> >(cat >json && touch end) >out 2>err 3>&- &
    local pid=$!
    wait_for grep -q "trying again in" err
    rm /srv/control
    wait "$pid"
    cat err
    grep -q "Unified storage enabled" out
    grep -qE "^Warning: pull $REGISTRY/os@$DIGEST: .*; trying again in [0-9]+ s \([1-5] of 5\)$" err
    wait_for test -e end
    check_lines json
    nothing_left
}

@test "pull: a registry that fails for good" {
    registry_does status 503
    bp 1 set-unified --from registry --retry 1
    assert "$(grep -c 'trying again in 1 s (1 of 1)' <<<"$stderr")" == 1
    assert "$(asked '/v2/$')" == 2
    nothing_left
    : >/srv/requests
    bp 1 set-unified --from registry --retry 0
    assert "$stderr" !~ "trying again"
    assert "$(asked '/v2/$')" == 1
    nothing_left
    # podman 4 has tried three times by itself, and has no option against that.
    registry_does down
    bp 1 set-unified --from registry --retry 1
    if podman_at_least 5; then
        assert "$(grep -c 'trying again in' <<<"$stderr")" == 1
    else
        assert "$stderr" !~ "trying again in"
    fi
    nothing_left
}

@test "pull: what will not go away is not tried again" {
    local blob
    blob=$(jq -r '.layers[1].digest | ltrimstr("sha256:")' /srv/os42/manifest.json)
    blob=/srv/registry/docker/registry/v2/blobs/sha256/${blob:0:2}/$blob/data
    mv "$blob" blob
    head -c 100000 blob | cat - <(tail -c +100001 blob | tr a-f A-F) >"$blob"
    bp 1 set-unified --from registry
    mv blob "$blob"
    assert "$stderr" =~ "did not match|corrupt"
    assert "$stderr" !~ "trying again"
    nothing_left
    new_sysroot
    COMMIT=$(os_import "${REF%42}41" /srv/os42)
    os_boot "$(os_deploy "$COMMIT" "ostree-unverified-registry:$REGISTRY/os:41")"
    bp 1 set-unified --from registry --accept-newer
    assert "$stderr" =~ "manifest unknown"
    assert "$stderr" !~ "trying again"
    nothing_left
    bp 2 set-unified --retry -1
}
