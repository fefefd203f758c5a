#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0

load helpers

@test "version: prints one line on standard output" {
    bp --version
    assert "$output" =~ ^bootc-podman\ version\ [0-9]+\.[0-9]+\.[0-9]+$
    local line=$output
    bp version
    assert "${#lines[@]}" == 1
    assert "${output#"$line ("}" =~ ^.*go1\.[^,]*,\ linux/[a-z0-9]+\)$
    assert "$stderr" == ""
}

@test "help: names every command" {
    bp help
    for verb in image images exec env init storage-conf version; do
        assert "$output" =~ [[:space:]]"$verb"[[:space:]] "$verb"
    done
}

@test "own verbs: do not shadow podman image commands" {
    # "images" is meant to be podman's own.
    run podman image --help
    for verb in exec env init storage-conf version; do
        assert "$output" !~ $'\n  '"$verb " "$verb"
    done
}

@test "image --help: is podman's, without store and root" {
    as_nobody --sysroot /nonexistent image ls --help
    assert "$status" == 0
    assert "$output" =~ 'podman image list'
}
