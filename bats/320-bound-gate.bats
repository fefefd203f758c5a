#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# The hook bound-gate: containers that run only as what is bound to the booted
# deployment; and the identity of the host.

load helpers
load containers
load os-images

setup_file() {
    container_conf
    mount_sysroot xfs
    new_sysroot
    oracle_init
    ln -sfn sysroot/ostree /ostree
    cd /srv || return 1
    os_tree tree 42
    os_bind tree localhost/app:1 app.container
    os_bind tree localhost/missing:1 missing.container
    local commit
    commit=$(os_image docker_3A__2F__2F_quay_2E_io_2F_os_3A_42 42 tree)
    os_boot "$(os_deploy "$commit" ostree-unverified-registry:quay.io/os:42)"
    shell_context /srv/app 'the bound one'
    bp image build -q -t localhost/app:1 /srv/app
    shell_context /srv/unbound 'not bound'
    bp image build -q -t localhost/unbound:1 /srv/unbound
    shell_context /srv/other 'something else'
}

teardown_file() {
    rm -f /etc/containers/containers.conf
    umount -q /proc/cmdline || true
    umount /sysroot
}

setup() { bp hooks install; }

teardown() {
    with_bound rm -fa -t 0 >/dev/null
    podman rmi -fa >/dev/null
    bp hooks uninstall
    rm -f /run/bootc-podman/gate-off /etc/bootc-podman/bound.lock
}

# with_bound ARG... - podman on its own store, with the bootc-owned one beside it.
with_bound() { podman --storage-opt "additionalimagestore=$STORE" "$@"; }

# start IMAGE [VALUE] - run a container that asks for the gate, from podman's own
# store with the bootc-owned one beside it, as a quadlet of a bound image does.
start() {
    run with_bound run --name app --network none \
        --annotation "io.bootc-podman.require=${2-bound}" "$1" cat /text
    echo "$output"
}

# refused PATTERN - the container was not started, for a reason that is told.
refused() {
    assert "$status" != 0 "started"
    local id file
    id=$(with_bound container inspect --format '{{.Id}}' app)
    file=/run/bootc-podman/denied/$id.json
    assert "$(jq -r .reason "$file")" =~ "$1"
    assert "$(jq -r .hook,.name "$file" | xargs)" == "bound-gate app"
}

@test "bound-gate: the bound image starts" {
    start localhost/app:1
    assert "$status $output" == "0 the bound one"
    with_bound rm app
    # Others are not asked.
    run -0 with_bound run --network none localhost/unbound:1 cat /text
    assert "$output" == "not bound"
}

@test "bound-gate: an image that is not bound does not start" {
    start localhost/unbound:1
    refused 'image localhost/unbound:1, [0-9a-f]{12}, is not bound to the booted deployment'
}

@test "bound-gate: a value that is misspelt opens nothing" {
    start localhost/app:1 Bound
    refused 'annotation io.bootc-podman.require is "Bound"'
}

@test "bound-gate: an image of the same name in podman's own store shadows" {
    podman build -q -t localhost/app:1 /srv/other >/dev/null
    start localhost/app:1
    refused 'image localhost/app:1 is shadowed: /var/lib/containers/storage has another of its name'
    with_bound rm -f app
    with_bound rmi localhost/app:1
    # A copy of the same one lies where others may write.
    bp image save -o /srv/app.tar localhost/app:1
    podman load -q -i /srv/app.tar
    rm /srv/app.tar
    start localhost/app:1
    refused 'is shadowed'
}

@test "bound-gate: an image that is bound but not there does not start by another name" {
    podman build -q -t localhost/missing:1 /srv/other >/dev/null
    start localhost/missing:1
    refused 'image localhost/missing:1, .* is not bound|shadowed'
}

@test "bound-gate: a lock pins the digest" {
    local digest
    digest=$(oracle image inspect --format '{{.Digest}}' localhost/app:1)
    echo "{\"schema\": 1, \"images\": {\"localhost/app:1\": \"$digest\"}}" >/etc/bootc-podman/bound.lock
    start localhost/app:1
    assert "$status $output" == "0 the bound one"
    with_bound rm app
    echo '{"schema": 1, "images": {"localhost/app:1": "sha256:0"}}' >/etc/bootc-podman/bound.lock
    start localhost/app:1
    refused 'but sha256:0 is in /etc/bootc-podman/bound.lock'
    with_bound rm app
    echo '{"schema": 1, "images": {}}' >/etc/bootc-podman/bound.lock
    start localhost/app:1
    refused 'is not in /etc/bootc-podman/bound.lock'
    with_bound rm app
    echo '{' >/etc/bootc-podman/bound.lock
    start localhost/app:1
    refused 'decode /etc/bootc-podman/bound.lock'
}

@test "bound-gate: bound lock writes what is there" {
    bp 1 bound lock
    assert "$stderr" =~ 'lock bound image "localhost/missing:1"'
    bp image tag localhost/app:1 localhost/missing:1
    bp bound lock
    bp image untag localhost/app:1 localhost/missing:1
    assert "$(jq -c .images /etc/bootc-podman/bound.lock)" == \
        "$(oracle image inspect --format '{"localhost/app:1":"{{.Digest}}","localhost/missing:1":"{{.Digest}}"}' localhost/app:1)"
    start localhost/app:1
    assert "$status" == 0
}

@test "bound-gate: the break-glass file opens it" {
    touch /run/bootc-podman/gate-off
    journal_start
    start localhost/unbound:1
    journal_stop
    assert "$status $output" == "0 not bound"
    assert "$(grep -a ^MESSAGE= /srv/journal)" =~ 'starts since the gate is off: image localhost/unbound:1'
}

@test "bound-gate: bound-warn only warns" {
    rm -f /srv/journal
    journal_start
    start localhost/unbound:1 bound-warn
    journal_stop
    assert "$status $output" == "0 not bound"
    assert "$(grep -a ^MESSAGE= /srv/journal)" =~ 'would not start: image localhost/unbound:1'
}

@test "bound-gate: on a host that booted nothing, nothing starts" {
    umount /proc/cmdline
    start localhost/app:1
    mount --bind /run/cmdline /proc/cmdline
    refused 'no deployment is booted here'
}

@test "bound-gate: hooks explain says the reason" {
    start localhost/unbound:1 bound-warn
    local id
    id=$(with_bound container inspect --format '{{.Id}}' app)
    jq '.annotations["io.bootc-podman.require"] = "bound"' "/var/lib/containers/storage/overlay-containers/$id/userdata/config.json" >/srv/config.json
    bp hooks explain /srv/config.json
    assert "$output" =~ 'does not let the container start: image localhost/unbound:1'
}

@test "identity: what the host booted is there for containers" {
    rm -f /run/bootc-podman/host.json
    bp hooks identity
    run -0 with_bound run --network none -v /run/bootc-podman/host.json:/run/bootc-host.json:ro \
        localhost/app:1 cat /run/bootc-host.json
    assert "$(jq -r '.kind, .image, .version' <<<"$output" | xargs)" == "ostree docker://quay.io/os:42 42"
    assert "$(jq -r .digest <<<"$output")" =~ ^sha256:
    # The ledger knows it, and status refreshes it.
    run -0 with_bound run -d --name app --network none localhost/app:1 sleep 100
    [[ $output =~ ^[0-9a-f]{64}$ ]]
    assert "$(jq -r .booted_digest "/run/bootc-podman/leases/$output.json")" == "$(jq -r .digest /run/bootc-podman/host.json)"
    rm /run/bootc-podman/host.json
    bp status
    assert "$(jq -r .version /run/bootc-podman/host.json)" == 42
}
