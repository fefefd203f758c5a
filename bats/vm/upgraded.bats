#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# The third boot: the upgrade runs, and what it replaced is cleaned up.

load vm

setup_file() { mounts >/run/mounts; }

setup() { cd "$BATS_TEST_TMPDIR" || return; }

@test "upgrade: the second deployment runs, the first is the rollback" {
    good_host
    assert "$(version)" == 2
    bp status --format json
    assert "$(jq -c '[.booted.version, .rollback.version, .staged, .bound_images.present]' <<<"$output")" == '["2","1",null,1]'
    assert "$(jq -r .booted.id <<<"$output")" == "default/$(booted).0"
    ostree admin status | note
    run -0 bootc-podman run --rm --network none registry.example/app:2 cat /text
    assert "$output" == "application 2"
}

@test "set-unified: the new image shares the layers that the old one has" {
    local before
    before=$(used)
    bp set-unified --from ostree --quiet
    note <<<"$stderr"
    echo "used $(($(used) - before)) bytes more" | note
    [ $(($(used) - before)) -lt 10000000 ]
    bp list
    note <<<"$output"
}

@test "cleanup: what bootc's rules remove is what was forecast, and the rest runs" {
    # Its content is no other image's, so it has no name of theirs.
    context unneeded
    bp image build -q -t localhost/unneeded:1 unneeded
    bp gc --dry-run
    note <<<"$output"
    bp gc --dry-run --format json
    jq -r '.images[].id' <<<"$output" | sort >forecast
    jq -r '.refs[]' <<<"$output" | sort >forecast.refs
    all_images >before
    bootc_cleanup | sort >removed.refs
    diff forecast <(all_images | comm -23 before -)
    diff forecast.refs removed.refs
    oracle image exists registry.example/app:1
    oracle images | note
    bp bound check
    bp gc --dry-run --format json
    assert "$(jq -c '[.images, .refs]' <<<"$output")" == '[[],[]]'
}

@test "doctor: the copy of the image before, in podman's own store, is what upgrades would find; the fix that it names works" {
    bp 1 doctor
    note <<<"$output"
    assert "$output" =~ "\"podman untag $OS $OS\" fixes it"
    podman untag "$OS" "$OS"
    bp '?' doctor
    note <<<"$output"
    assert "$output" !~ "podman untag"
}

@test "rollback: status says that the first deployment boots next" {
    ostree admin set-default 1
    bp status --format json
    assert "$(jq -c '[.rollback_queued, .booted.version, .rollback.version]' <<<"$output")" == '[true,"2","1"]'
}

@test "mounts: none is left" {
    diff /run/mounts <(mounts)
}
