#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Every example of README.md and of two other documents works as it stands there, one after
# the other, and every message of README.md's table of trouble is one that a user can meet.
#
# bats file_tags=once

load helpers
load containers
load os-images
load examples

setup_file() { readme_host; }

teardown_file() { example_end; }

@test "the examples of README.md work" {
    run_examples "$BATS_TEST_DIRNAME/../README.md"
}

@test "the examples of docs work" {
    mkdir -p /srv/mnt/images
    mount --bind /srv/mnt /mnt
    # What refresh brings.
    example_image registry.example/app:1 app.newer
    run_examples "$BATS_TEST_DIRNAME"/../docs/{bound-images,hooks}.md
    rm /run/bootc-podman/gate-off
    podman rm -f -t 0 agent
    bp hooks uninstall
    umount /mnt
}

# provoked - "MESSAGE|COMMAND" lines: what prints each message in README.md's table of trouble.
# Where there is no command, the program's source has the message.
provoked() {
    cat <<'END'
no bootc-owned store|bootc-podman --sysroot /mnt image ls
no ostree or composefs directory|bootc-podman --sysroot /srv image ls
running inside a container|env container=podman bootc-podman image ls
database configuration mismatch|unshare --mount sh -c 'mount -o remount,bind,rw /sysroot; podman --root /usr/lib/bootc/storage images'
was made with graph root|podman --root /mnt/ostree/bootc/storage --runroot /run/other images; bootc-podman --sysroot /mnt image ls
needed by the|bootc-podman image rm registry.example/app:1
image not known|bootc-podman run registry.example/absent:1
not what is booted|podman tag registry.example/tool:3 registry.example/os:42; bootc-podman set-unified --from default
skopeo ignores the bootc store|mv /usr/share/containers/storage.conf .; bootc-podman set-unified
does not resolve to an image ID|STORAGE_OPTS=additionalimagestore=/usr/lib/bootc/storage skopeo inspect containers-storage:registry.example/app:1
not enough free space|unshare --mount sh -c 'mount -o remount,bind,rw /sysroot; fallocate -l $(($(df -B1 --output=avail /sysroot | tail -n 1) - 2000000)) /sysroot/fill'; bootc-podman pull-from-default-storage --method podman registry.example/tool:3
the filesystem cannot share extents between files|
another transfer is at work|flock /run/bootc-podman/transfer.lock bootc-podman unset-unified --no-wait
executing [bootc-podman hook|bootc-podman hooks install --program /usr/bin/bootc-podman; bootc-podman run --network none --annotation io.bootc-podman.require=bound registry.example/tool:3
END
}

@test "the messages of README.md's table of trouble are real" {
    local message command
    sed -n '/^## Trouble/,/^## [^T]/s/^| `\([^`]*\)` .*/\1/p' "$BATS_TEST_DIRNAME/../README.md" >messages
    provoked | cut -d'|' -f1 | diff messages -
    # As before the examples.
    bp '?' unset-unified --quiet
    podman rmi -fa >/dev/null
    podman pull -q registry.example/tool:3
    mount -o remount,bind,rw /sysroot
    mkdir -p /sysroot/other
    mount --bind /sysroot/other /mnt
    ostree admin init-fs --modern /mnt
    mount -o remount,bind,ro /sysroot
    while IFS='|' read -r message command; do
        echo "$message"
        if [ -z "$command" ]; then
            grep -rFq --include='*.go' --exclude='*_test.go' "$message" "$BATS_TEST_DIRNAME"/../{cmd,internal,wrapper,storageconf,hooks}
            continue
        fi
        run bash -c "$command" </dev/null
        echo "$output"
        [[ $status != 0 && $output == *"$message"* ]]
    done < <(provoked)
}
