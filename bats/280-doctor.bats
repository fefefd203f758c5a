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
    {
        D=$(os_deploy "$(os_image docker_3A__2F__2F_quay_2E_io/example/os_3A_42 42 tree)" ostree-unverified-registry:quay.io/example/os:42)
        os_boot "$D"
        cp -a tree/usr/lib/bootc tree/usr/share /usr/local/ && ln -sfn /usr/local/bootc /usr/lib/bootc
        mkdir -p /usr/share/containers && cp -a tree/usr/share/containers/systemd /usr/share/containers/
        ln -s ../../../sysroot/ostree/bootc/storage /usr/local/bootc/storage
        shell_context /srv/shell
        oracle build -q -t "$APP" /srv/shell
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

# fix - the command that fixes the first finding.
fix() { "$BOOTC_PODMAN" status --check --format json | jq -r '.findings[0].fix'; }

healthy() {
    bp status --check
    assert "$output" == ""
    assert "$stderr" == ""
}

@test "status --check: a healthy host gives no line, starts no program, and is left as it is" {
    healthy
    strace -f -o trace -e trace=file,process "$BOOTC_PODMAN" status --check
    ! grep -E 'O_(WRONLY|RDWR|CREAT|TRUNC)|^[0-9]+ +(unlink|rename|link|symlink|chmod|mkdir)' trace || die "it writes"
    assert "$(grep -c execve trace)" == 1
    bp status --check --format json
    assert "$(jq -c . <<<"$output")" == '{"schema":1,"findings":[]}'
    bp 2 status --check --format '{{.Kind}}'
}

@test "status --check: a bound image that is gone, and the command that brings it" {
    oracle tag "$APP" localhost/kept:1
    oracle untag "$APP" "$APP"
    finds bound-missing
    assert "$(fix)" == "bootc-podman image pull $APP"
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
    healthy
    storage_conf
    rm -rf /srv/none
}

@test "status --check: the store opened by another path first locks bootc out" {
    mv "$STORE" /srv/whole
    podman --root "$STORE" --runroot /run/other images >/dev/null
    refuses 'database .*mismatch' oracle images
    cp -a /srv/whole/overlay-images /srv/whole/overlay-layers /srv/whole/overlay "$STORE" # the images of the host
    finds database-paths
    umount -q "$STORE/overlay" || true
    rm -rf "$STORE"
    mv /srv/whole "$STORE"
    oracle images >/dev/null
    refuses 'database .*mismatch' podman --root "$STORE" --runroot /run/other images
    healthy
}

@test "status --check: another image under the name of a bound one, which podman prefers" {
    context other other
    podman build -q -t "$APP" other >/dev/null
    id=$(podman --storage-opt additionalimagestore="$STORE" image inspect --format '{{.Id}}' "$APP")
    assert "$id" != "$(oracle image inspect --format '{{.Id}}' "$APP")"
    finds bound-shadowed
    eval "$(fix)"
    assert "$(podman --storage-opt additionalimagestore="$STORE" image inspect --format '{{.Id}}' "$APP")" == "$(oracle image inspect --format '{{.Id}}' "$APP")"
    healthy
    podman rmi "$id" >/dev/null
}
