#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Pulling from a registry that requires a password.

load helpers

setup_file() {
    mount_sysroot xfs
    source_archive source
    # user "user", password "secret"
    echo 'user:$2a$04$s.7oatXgfj4lBSfz3g0sCOg4V8EZs9ExldytZtMi6y/kh5M6.HnGu' >/srv/htpasswd
    REGISTRY=127.0.0.1:$((20000 + $$ % 10000))
    export REGISTRY
    start_registry /srv "$REGISTRY" 'auth: {htpasswd: {realm: test, path: /srv/htpasswd}}'
    printf '{"auths":{"%s":{"auth":"%s"}}}' "$REGISTRY" "$(printf user:secret | base64)" >/srv/auth.json
    scratch_podman push -q \
        --authfile /srv/auth.json --tls-verify=false localhost/source "docker://$REGISTRY/os/image:1"
}

teardown_file() {
    kill "$(cat /srv/registry.pid)"
    umount /sysroot
}

setup() {
    new_sysroot
    rm -rf /run/ostree /etc/ostree /run/containers/0
    cd "$BATS_TEST_TMPDIR"
    PULL=(image pull -q --tls-verify=false "$REGISTRY/os/image:1")
}

teardown() { rm -rf /run/ostree /etc/ostree /run/containers/0; }

@test "registry: pulls with bootc's credentials" {
    mkdir -p /etc/ostree && cp /srv/auth.json /etc/ostree/
    bp "${PULL[@]}"
    oracle image exists "$REGISTRY/os/image:1"
}

@test "registry: pulls with --authfile" {
    bp --authfile /srv/auth.json "${PULL[@]}"
}

@test "registry: podman's own login is not used, as bootc does not" {
    mkdir -p /run/containers/0 && cp /srv/auth.json /run/containers/0/
    bp 125 "${PULL[@]}"
    assert "$stderr" =~ auth
}

@test "registry: a broken credentials file is podman's to report" {
    mkdir -p /etc/ostree && echo '{' >/etc/ostree/auth.json
    bp 125 "${PULL[@]}"
    bp image ls
}

@test "registry: the host's pull options are in effect" {
    podman_at_least 5 || skip "podman before 5 converts no images"
    printf '[storage]\nrunroot="/run/containers/storage"\ngraphroot="/var/lib/containers/storage"\n[storage.options.pull_options]\n%s\n%s\n' \
        'enable_partial_images = "true"' 'convert_images = "true"' >/etc/containers/storage.conf
    bp --authfile /srv/auth.json "${PULL[@]}"
    rm /etc/containers/storage.conf
    # Only an image converted on the way has this record in its layer's folder.
    assert "$(find "$STORE/overlay-layers" -name "=$(printf zstd-chunked-manifest | base64)*")" != ""
    oracle image exists "$REGISTRY/os/image:1"
}

@test "registry: no secret on a command line or in a log" {
    mkdir -p /etc/ostree && cp /srv/auth.json /etc/ostree/
    bp --log-level trace --dry-run "${PULL[@]}"
    assert "$output$stderr" !~ "$(printf user:secret | base64)"
}
