# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Helpers for the tests inside the virtual machine (see test-vm).

load helpers

# shellcheck disable=SC2034 # for the tests
IMAGES=/var/mnt/images
OS=registry.example/os:latest

# note - put standard input into the log, whatever the result.
note() { sed 's/^/#   /' >&3; }

# booted - the commit of the running deployment, by ostree.
booted() { ostree admin status | sed -n 's/^\* default \([0-9a-f]*\)\..*/\1/p'; }

# version - that of the image which runs.
version() { sed -n 's/^VERSION_ID=//p' /usr/lib/os-release; }

# extents FILE - where its content is on the disk, in blocks.
extents() { filefrag -v "$1" | awk '/^ *[0-9]+:/ { print $4 $5 }'; }

# mounts - the mount table without IDs; an automount of the kernel's own is mounted by anyone.
mounts() { sed 's/^[0-9]* [0-9]* //' /proc/self/mountinfo | grep -v binfmt_misc | sort; }

# state - how this boot differs from a good one: failed units, and a sysroot that can be
# written to.
good_host() {
    assert "$(findmnt -no OPTIONS /sysroot)" =~ '^ro(,|$)'
    run ! touch /sysroot/file
    assert "$(systemctl list-units --failed --plain --no-legend)" == ""
    [ -e /sys/fs/cgroup/cgroup.controllers ]
    [ "$(cat /proc/1/comm)" = systemd ]
    findmnt -no TARGET,SOURCE,FSTYPE,OPTIONS / | note
    findmnt -no TARGET,SOURCE,FSTYPE,OPTIONS /sysroot | note
}

# upgrade - what "bootc upgrade" leaves: the refs of the new image, and a staged deployment.
upgrade() {
    local commit origin=/run/os.origin
    commit=$(ostree rev-parse vm/next/image)
    ostree refs --force --create=ostree/container/image/docker_3A__2F__2F_registry_2E_example/os_3A_latest vm/next/image
    ostree refs --create="$(cat /var/mnt/next-layer)" vm/next/layer
    ostree refs --delete vm/next >/dev/null
    printf '[origin]\ncontainer-image-reference=ostree-unverified-registry:%s\n' "$OS" >"$origin"
    ostree admin deploy --stage --os=default --origin-file="$origin" "$commit"
}

# roots - the images that bootc keeps of the bootc-owned store: those that a deployment
# follows or has bound.
roots() {
    local deployment unit
    for deployment in /sysroot/ostree/deploy/default/deploy/*.?; do
        sed -n 's/^container-image-reference=ostree-unverified-registry://p' "$deployment.origin"
        for unit in "$deployment"/usr/lib/bootc/bound-images.d/*; do
            sed -n 's/^Image=//p' "$deployment$(readlink "$unit")"
        done
    done
}

# bootc_cleanup - what bootc does after an upgrade, by other means than ours: it removes the
# images that "podman image list" has and of which no name equals a root, and the images of
# the ostree repository that no deployment follows. Prints the latter.
bootc_cleanup() {
    local id names ref image
    roots >kept
    for id in $(oracle image list -q --no-trunc | sort -u | sed 's/^sha256://'); do
        names=$(oracle image inspect --format '{{join .RepoTags "\n"}}' "$id")
        [ -n "$names" ] && grep -qxFf <(echo "$names") kept && continue
        oracle image rm "$id" >/dev/null 2>&1
    done
    for ref in $(ostree refs --list ostree/container/image); do
        image=$(sed -e 's/_3A_/:/g' -e 's/_2F_/\//g' -e 's/_2E_/./g' <<<"${ref#ostree/container/image/}")
        grep -qxF "${image#docker://}" kept && continue
        ostree refs --delete "$ref"
        echo "$image"
    done
    ostree admin cleanup >/dev/null
}

# all_images - the IDs of all images of the bootc-owned store, by podman.
all_images() { oracle image list -aq --no-trunc | sed 's/^sha256://' | sort -u; }

# used - bytes in use on the filesystem of /sysroot, which is also the root here: to freeze it,
# as the other tests do, would stop what unfreezes it.
used() {
    sync -f /sysroot
    df -B1 --output=used /sysroot | tail -1
}
