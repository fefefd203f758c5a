#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# The fourth boot: the first deployment again, which finds its application.

load vm

setup_file() { mounts >/run/mounts; }

@test "rollback: the first deployment runs, with its application" {
    good_host
    assert "$(version)" == 1
    bp status
    note <<<"$output"
    bp status --format json
    assert "$(jq -c '[.booted.version, .rollback.version, .rollback_queued, .bound_images.present]' <<<"$output")" == '["1","2",false,1]'
    run -0 bootc-podman run --rm --network none registry.example/app:1 cat /text
    assert "$output" == "application 1"
    bp bound check
    # What has the host's name is of the deployment before; which advice that needs is in the log.
    bp '?' doctor
    note <<<"$output"
    assert "$output" !~ "bound image"
}

@test "mounts: none is left" {
    diff /run/mounts <(mounts)
}
