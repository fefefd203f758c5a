# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# A registry on the loopback interface of a scratch host, and images in it.

die() {
    echo "FAILED: $*" >&2
    return 1
}

# pause SECONDS - for tests that need moments in time, never to synchronise.
pause() { read -rt "$1" <> <(:) || true; }

# wait_for CONDITION... - poll until the command succeeds, at most 30 s.
wait_for() {
    local deadline=$((SECONDS + 30))
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || die "timed out waiting for: $*"
        pause 0.02
    done
}

# new_registry DIR - start a registry that keeps everything in DIR, on the loopback
# interface at $REGISTRY; podman and skopeo use HTTP for it.
new_registry() {
    export REGISTRY=127.0.0.1:$((20000 + $$ % 10000))
    insecure_registry "$REGISTRY"
    start_registry "$1" "$REGISTRY"
}

# insecure_registry ADDRESS - have podman and skopeo use HTTP for a registry.
insecure_registry() {
    mkdir -p /etc/containers/registries.conf.d
    printf '[[registry]]\nlocation = "%s"\ninsecure = true\n' "$1" >/etc/containers/registries.conf.d/000-test.conf
}

# start_registry DIR ADDRESS [LINES] - start a registry with more lines of configuration.
# Its process ID is in DIR/registry.pid.
start_registry() {
    local server
    printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s/registry}}\nhttp: {addr: "%s"}\n%s\n' "$1" "$2" "${3-}" >"$1/registry.yml"
    server=$(command -v docker-registry || command -v registry || command -v distribution)
    "$server" serve "$1/registry.yml" >"$1/registry.log" 2>&1 3>&- &
    echo $! >"$1/registry.pid"
    wait_for bash -c "exec 9<>/dev/tcp/${2/://}" 2>/dev/null
}

# app_images SERVER BYTES NUMBER - the images app:1 to app:NUMBER in a registry: a layer of so
# many random bytes that all have, and a small one of its own.
app_images() {
    local i
    mkdir -p /srv/base
    head -c "$2" /dev/urandom >/srv/base/shared
    tar --owner=0 --group=0 --mtime=@0 -C /srv/base -cf /srv/base.tar .
    for ((i = 1; i <= $3; i++)); do
        app_image "$1" "$i"
    done
}

# app_image SERVER TAG [TEXT] - one of them, or another one under its tag.
app_image() {
    local dir=/srv/app.$2 layer blob layers='[]' diffs='[]'
    rm -rf "$dir"
    mkdir -p "$dir/tree"
    cp /srv/base.tar "$dir/base"
    echo "app $2 ${3-}" >"$dir/tree/app"
    tar --owner=0 --group=0 --mtime=@0 -C "$dir/tree" -cf "$dir/own" .
    for layer in base own; do
        diffs=$(jq -c --arg d "sha256:$(sha256sum <"$dir/$layer" | cut -d' ' -f1)" '. + [$d]' <<<"$diffs")
        gzip -n "$dir/$layer"
        blob=$(sha256sum <"$dir/$layer.gz" | cut -d' ' -f1)
        mv "$dir/$layer.gz" "$dir/$blob"
        layers=$(jq -c --arg d "sha256:$blob" --argjson s "$(stat -c %s "$dir/$blob")" \
            '. + [{mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: $d, size: $s}]' <<<"$layers")
    done
    jq -nc --argjson diffs "$diffs" '{architecture: "amd64", os: "linux", config: {}, rootfs: {type: "layers", diff_ids: $diffs}}' >"$dir/config"
    blob=$(sha256sum <"$dir/config" | cut -d' ' -f1)
    jq -nc --argjson layers "$layers" --arg d "sha256:$blob" --argjson s "$(stat -c %s "$dir/config")" '{
        schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $d, size: $s}, layers: $layers}' >"$dir/manifest.json"
    mv "$dir/config" "$dir/$blob"
    rm -r "$dir/tree"
    printf 'Directory Transport Version: 1.1\n' >"$dir/version"
    skopeo copy -q --dest-tls-verify=false "dir:$dir" "docker://$1/app:$2"
}

# app_digest TAG - the digest of such an image.
app_digest() { echo "sha256:$(sha256sum <"/srv/app.$1/manifest.json" | cut -d' ' -f1)"; }

# new_proxy - a registry at $SERVER, and a proxy in front of it at $REGISTRY, which podman and
# skopeo use; it needs bin/pulltest. Its process ID is in /srv/proxy.pid.
new_proxy() {
    export REGISTRY=127.0.0.1:$((20000 + $$ % 10000)) SERVER=127.0.0.1:$((30000 + $$ % 10000))
    insecure_registry "$REGISTRY"
    start_registry /srv "$SERVER"
    "$PULLTEST" proxy "$REGISTRY" "$SERVER" /srv/control /srv/requests 3>&- &
    echo $! >/srv/proxy.pid
    wait_for bash -c "exec 9<>/dev/tcp/${REGISTRY/://}" 2>/dev/null
}

# registry_does ORDER... - what the proxy does from now on: see internal/pulltest.
registry_does() {
    echo "$*" >/srv/control.new
    mv /srv/control.new /srv/control
}

# asked PATTERN - how many requests the proxy had.
asked() { grep -cE "$1" /srv/requests || true; }
