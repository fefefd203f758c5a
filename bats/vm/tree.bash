# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The trees that test-vm boots: Debian sid with a kernel, an initramfs that finds ostree's
# deployment, podman and ostree. They are made once, in $VM, from the root of podman-matrix.

# What is not there yet: the kernel that is small and has its drivers for qemu, and what
# makes a tree boot out of ostree.
vm_packages=(linux-image-cloud-amd64 systemd systemd-sysv udev dbus dracut dracut-core ostree-boot kmod busybox-static)
vm_selinux_packages=(selinux-policy-default policycoreutils selinux-utils semodule-utils)

# The kernel modules of root disk, its filesystems, and composefs; what no boot in qemu needs.
vm_drivers="virtio_blk virtio_pci xfs ext4 erofs overlay loop"
vm_omitted="plymouth drm bluetooth lvm mdraid crypt dm multipath btrfs dmsquash-live i18n terminfo nvdimm qemu virtfs virtiofs pcmcia memstrack resume"

# vm_in TREE COMMAND... - run a command in a tree that can be written to, as a package's
# scripts expect it. The mounts end with the namespace. No service starts.
vm_in() {
    local tree=$1
    shift
    # shellcheck disable=SC2016 # words of the inner shell
    unshare --mount --propagation private sh -ec '
        mount -t proc proc "$1/proc"
        mount --rbind /sys "$1/sys"
        mount --rbind /dev "$1/dev"
        mount -t tmpfs run "$1/run"
        mount -t tmpfs tmp "$1/tmp"
        printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d"
        chmod 0755 "$1/usr/sbin/policy-rc.d"
        tree=$1
        shift
        exec env INITRD=No DEBIAN_FRONTEND=noninteractive LC_ALL=C chroot "$tree" "$@"' sh "$tree" "$@"
    rm -f "$tree/usr/sbin/policy-rc.d"
}

# vm_install TREE PACKAGE... - install packages, and keep no lists of them.
vm_install() {
    local tree=$1
    shift
    vm_in "$tree" apt-get -q -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none update
    vm_in "$tree" apt-get -qy -o Dpkg::Options::=--force-unsafe-io --no-install-recommends install "$@"
    vm_in "$tree" apt-get clean
    rm -rf "$tree"/var/lib/apt/lists/*
}

# vm_kernel TREE - the version of its kernel.
vm_kernel() { ls "$1/usr/lib/modules"; }

# vm_plain TREE - make the tree without SELinux.
vm_plain() {
    [ -d build/matrix/sid ] || bats/podman-matrix --make-root sid
    cp -a --reflink=auto build/matrix/sid "$1"
    vm_install "$1" "${vm_packages[@]}"
    # dracut copies it into the initramfs. composefs is a kernel argument of one boot.
    mkdir -p "$1/usr/lib/ostree"
    printf '[sysroot]\nreadonly=true\n\n[composefs]\nenabled=no\n' >"$1/usr/lib/ostree/prepare-root.conf"
    vm_in "$1" dracut --force --no-hostonly --reproducible --add "ostree systemd" --add-drivers "$vm_drivers" \
        --omit "$vm_omitted" --compress gzip /boot/initramfs.img "$(vm_kernel "$1")"
}

# vm_selinux TREE - make the tree with Debian's SELinux policy. The policy's own script fails
# on a module that its package lists and does not have, so the modules are loaded here.
vm_selinux() {
    cp -a --reflink=auto "$VM/tree-plain" "$1"
    vm_install "$1" "${vm_selinux_packages[@]}" || true
    # shellcheck disable=SC2016 # words of the inner shell
    vm_in "$1" sh -ec 'cd /usr/share/selinux/default
        semodule -X 100 -s default -n -i base.pp.bz2 $(ls *.pp.bz2 | grep -vE "^(base|likewise)\.pp")'
    printf 'SELINUX=permissive\nSELINUXTYPE=default\n' >"$1/etc/selinux/config"
}

# vm_make_tree FLAVOUR - make $VM/tree-FLAVOUR, unless it is there, made in this way.
vm_make_tree() {
    local flavour=$1 tree=$VM/tree-$1 recipe status
    [ "$flavour" = plain ] || vm_make_tree plain
    recipe=$(sha256sum <bats/vm/tree.bash)
    [ "$(cat "$tree.recipe" 2>/dev/null)" != "$recipe" ] || return 0
    echo "# the $flavour tree: debootstrap and apt-get, log in $tree.log"
    rm -rf "$tree" "$tree.tmp" "$tree.recipe"
    # A group with || after it would not stop at an error.
    set +e
    (
        set -e
        "vm_$flavour" "$tree.tmp"
    ) >"$tree.log" 2>&1
    status=$?
    set -e
    [ "$status" = 0 ] || {
        tail -n 5 "$tree.log" >&2
        return 1
    }
    mv "$tree.tmp" "$tree"
    echo "$recipe" >"$tree.recipe"
}
