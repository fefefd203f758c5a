#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Every example of the manual pages works as it stands there; a Go test compares those of
# --help with the pages. 196-readme.bats has README.md.
#
# bats file_tags=once

load helpers
load containers
load os-images
load examples

setup_file() { example_host; }

teardown_file() { example_end; }

@test "the examples of the manual pages work" {
    run_examples "$BATS_TEST_DIRNAME"/../contrib/man/*.8.md
}
