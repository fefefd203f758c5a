# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The examples of manual pages and other documents, and a scratch host on which they work.
#
# In a manual page an example is an indented block of the section EXAMPLES, in another
# document a fenced block of the kind "console". A line that begins with "# " is a command
# of root, one with "$ " of any user. It goes on in the next line after "|", "\", "&&" or
# "||", and in lines that begin with "> ". All other lines are output: each has to be in the
# real one, in this order, whatever its numbers, digests, sizes, ages and blanks are; "..."
# stands for lines that are left out.

# example_blocks FILE DIR - the blocks of a document, each a file in DIR named by its line.
example_blocks() {
    awk -v dir="$2" -v page="$([[ $1 != *.8.md ]] || echo 1)" '
        function leave() { if (block) close(block); block = "" }
        function enter() { block = sprintf("%s/%04d", dir, NR) }
        page && /^## /                    { leave(); section = $0; next }
        page && section !~ /^## EXAMPLES/ { next }
        page && /^    / && $0 ~ /[^ ]/    { if (!block) enter(); print substr($0, 5) >block; next }
        page                              { leave(); next }
        /^```console$/                    { enter(); fenced = 1; next }
        /^```/                            { leave(); fenced = 0; next }
        fenced                            { print >block }' "$1"
}

# example_script BLOCK - the commands of a block as a script that prints a line "@@N" before
# the output of each.
example_script() {
    awk '
        more && !/^> /          { sub(/^    /, "") }
        !more && /^[#$] /       { printf "echo @@%d\n", ++n; sub(/^[#$] /, ""); command = 1 }
        !more && /^> /          { command = 1 }
        /^> /                   { sub(/^> /, ""); command = 1 }
        more || command         { print }
        { more = (more || command) && /(\||\\|&&)$/; command = 0 }' "$1"
}

# example_output BLOCK - the lines of output in a block, after "@@N" of their command.
example_output() {
    awk '
        !more && /^[#$] / { printf "@@%d\n", ++n; command = 1 }
        /^> /             { command = 1 }
        !more && !command { print }
        { more = (more || command) && /(\||\\|&&)$/; command = 0 }' "$1"
}

# example_shape - standard input without what differs from run to run.
example_shape() {
    sed -E '/^@@/! {
        s/[0-9a-f]{12,64}/H/g
        s/[0-9]+(\.[0-9]+)? ?(B|kB|MB|GB)\b/SIZE/g
        s/([0-9]+|About an?|Less than a) (second|minute|hour|day|week|month|year)s?\b/AGE/g
        s/[0-9]+/N/g
        s/ +/ /g
        s/ $//
    }'
}

# example_missing BLOCK OUTPUT - the lines of output in a block that the real one lacks.
example_missing() {
    awk 'NR == FNR { want[++wants] = $0; next }
        $0 == want[got + 1] { got++ }
        END { for (i = got + 1; i <= wants; i++) print want[i] }' \
        <(example_output "$1" | grep -vxE '|\.\.\.' | example_shape) <(example_shape <"$2")
}

# run_example FILE BLOCK - run a block in the current directory; print its commands with their
# output. A command that fails ends it.
run_example() {
    local status=0 as=()
    # All of a block are of the same user.
    [[ $(head -c 2 "$2") != '$ ' ]] || as=(setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/srv/any)
    example_script "$2" >/srv/script
    "${as[@]}" timeout 60 bash -euo pipefail /srv/script >/srv/output 2>/srv/errors </dev/null || status=$?
    printf -- '--- %s:%d\n' "${1##*/}" "$((10#${2##*/}))"
    cat "$2"
    printf -- '---\n'
    cat /srv/output /srv/errors
    if [ "$status" != 0 ]; then
        echo "FAILED: exit status $status"
        return 1
    fi
    example_missing "$2" /srv/output >/srv/missing
    if [ -s /srv/missing ]; then
        echo "FAILED: not in the output:"
        grep -v '^@@' /srv/missing
        return 1
    fi
}

# run_examples FILE... - run all examples of documents in their order. Before those of
# bootc-podman-NAME.8.md runs prepare_NAME, where there is that function.
run_examples() {
    local file block name failed=0
    for file; do
        name=${file##*/bootc-podman-}
        name=prepare_${name%.8.md}
        rm -rf /srv/blocks && mkdir /srv/blocks
        cd /srv/work || return
        example_blocks "$file" /srv/blocks
        ! declare -F "${name//-/_}" >/dev/null || "${name//-/_}" >/srv/prepared 2>&1 || {
            cat /srv/prepared
            echo "FAILED: ${name//-/_}"
            failed=1
        }
        for block in /srv/blocks/*; do
            [ -e "$block" ] || continue
            run_example "$file" "$block" || failed=1
        done
    done
    return "$failed"
}

# example_registry - the registries registry.example and quay.io, both one on the loopback
# interface.
example_registry() {
    local name
    new_registry /srv
    for name in registry.example quay.io; do
        printf '[[registry]]\nprefix = "%s"\nlocation = "%s"\ninsecure = true\n' "$name" "$REGISTRY"
    done >>/etc/containers/registries.conf.d/000-test.conf
}

# example_image NAME TEXT - make an image of a shell and the program agent, and push it.
example_image() {
    shell_context "/srv/images/$2" "$2"
    printf '#!/bin/sh\necho agent 1.0\n' >"/srv/images/$2/root/bin/agent"
    chmod +x "/srv/images/$2/root/bin/agent"
    scratch_podman build -q -t "$1" "/srv/images/$2"
    example_push "$1"
}

# example_push NAME - push an image: podman does not look for another location then.
example_push() { scratch_podman push -q "$1" "docker://$REGISTRY/${1#*/}"; }

# example_programs - bootc-podman as it is installed, and systemctl, which checks that we have
# the units it is called with.
example_programs() {
    install -D -m 0755 "$BOOTC_PODMAN" /usr/bin/bootc-podman
    install -D -m 0755 "${BOOTC_PODMAN%/*}/bootc-podman-store" /usr/libexec/bootc-podman/bootc-podman-store
    cat >/usr/local/bin/systemctl <<END
#!/bin/sh
for word; do
    case \$word in
    bootc-podman*) ls "$(realpath "$BATS_TEST_DIRNAME/../contrib/systemd")/\$word"* >/dev/null || exit ;;
    esac
done
END
    chmod +x /usr/local/bin/systemctl
}

# example_host - a host that boots registry.example/os:42 with app:1 and agent:1 of
# registry.example bound, and has os:43 staged, which binds web:1, too.
example_host() {
    local booted
    example_start
    example_systems 42 43
    example_bind os43 web
    example_os 42
    example_os 43
    booted=$(example_deploy 42)
    os_stage "$(example_deploy 43)"
    example_booted "$booted" os42
    # Another host's root.
    mkdir -p /sysroot/other
    mount --bind /sysroot/other /mnt
    ostree admin init-fs --modern /mnt
    example_work
}

# readme_host - a host that boots registry.example/os:42, after 41, with app:1, agent:1 and
# web:1 of registry.example bound; the bootc-owned store lacks web:1, and tool:3 lies in the
# registry and in podman's own store.
readme_host() {
    example_start
    example_image registry.example/tool:3 tool
    example_systems 41 42
    example_bind os42 web
    example_os 41
    example_os 42
    example_deploy 41 >/dev/null
    example_booted "$(example_deploy 42)" os42
    podman pull -q registry.example/tool:3
    mount -o remount,bind,ro /sysroot
    example_work
}

# example_start - a host with nothing but an empty bootc-owned store, and a registry.
example_start() {
    local tree
    example_programs
    container_conf
    # Not each machine has what podman needs to make a network.
    sed -i 's/^\[containers\]$/&\nnetns = "none"/' /etc/containers/containers.conf
    ostree_host
    own_store ostree/deploy/default/var/lib/containers/storage
    example_registry
    mkdir -p /srv/work /srv/any
    chmod 1777 /srv/work /srv/any
    for tree in app agent web; do example_image "registry.example/$tree:1" "$tree"; done
    scratch_podman tag registry.example/app:1 quay.io/example/app:1
    example_push quay.io/example/app:1
}

# example_systems VERSION... - the trees osVERSION in /srv, with app:1 and agent:1 bound.
example_systems() {
    local version
    cd /srv || return
    for version; do
        os_tree "os$version" "$version"
        example_bind "os$version" app
        example_bind "os$version" agent
    done
}

# example_booted DEPLOYMENT TREE - what the host boots; app:1 and agent:1 are fetched.
example_booted() {
    os_boot "$1"
    cp -a "$2/usr/lib/bootc" "$2/usr/share" /usr/local/
    ln -sfn /usr/local/bootc /usr/lib/bootc
    ln -sfn "$STORE" /usr/local/bootc/storage
    mkdir -p /usr/share/containers
    cp -a "$2/usr/share/containers/systemd" /usr/share/containers/
    oracle pull -q registry.example/app:1
    oracle pull -q registry.example/agent:1
}

# example_work - make the working directory.
example_work() {
    cd /srv/work || return
    echo text >file
    printf 'ARG base=scratch\nFROM $base\nCOPY file /file\n' >Containerfile
}

# example_bind TREE NAME - bind registry.example/NAME:1 to a system, as it is recommended.
example_bind() {
    os_bind "$1" "registry.example/$2:1" "$2.container"
    echo GlobalArgs=--storage-opt=additionalimagestore=/usr/lib/bootc/storage >>"$1/usr/share/containers/systemd/$2.container"
}

# example_os VERSION - push registry.example/os:VERSION, and copy it to /srv/osVERSION.dir.
example_os() {
    printf 'FROM scratch\nCOPY os%s /\nLABEL containers.bootc=1\n' "$1" >/srv/Containerfile
    scratch_podman build -q -t "registry.example/os:$1" -f /srv/Containerfile /srv
    example_push "registry.example/os:$1"
    skopeo copy -q "docker://registry.example/os:$1" "dir:/srv/os$1.dir"
}

# example_deploy VERSION - deploy what example_os made; prints the deployment.
example_deploy() {
    os_deploy "$(os_import "docker_3A__2F__2F_registry_2E_example/os_3A_$1" "/srv/os$1.dir")" \
        "ostree-unverified-registry:registry.example/os:$1"
}

# What an example needs that the host has not, by its page.
prepare_bootc_podman() { bootc-podman --sysroot /mnt init; }
prepare_bound() {
    cp -a /srv/os42 rootfs
    mkdir -p /mnt/images
    # What refresh brings.
    example_image registry.example/app:1 app.newer
}
prepare_doctor() { mkdir -p /var/lib/prometheus/node-exporter; }
prepare_completion() { mkdir -p /usr/share/zsh/site-functions /etc/fish/completions; }
prepare_hook() {
    jq -n '{ociVersion: "1.0.2", root: {path: "rootfs"}, mounts: [
        {destination: "/boot", type: "bind", source: "/sysroot/ostree", options: ["rbind", "rw"]}]}' >config.json
}
prepare_image() {
    bootc-podman --sysroot /mnt image pull -q registry.example/app:1
    skopeo copy -q docker://registry.example/app:1 docker-archive:app.tar:localhost/loaded:1
}
# The example of gc removes it.
prepare_inspect() { bootc-podman image pull -q quay.io/example/app:1; }
prepare_rmi() { bootc-podman image tag registry.example/app:1 localhost/derived; }
prepare_unset_unified() { bootc-podman set-unified --quiet; }

# example_end - what example_host started ends.
example_end() {
    local mounted
    kill "$(cat /srv/registry.pid)" || true
    umount -q /proc/cmdline || true
    for mounted in /mnt /var/lib/containers/storage /sysroot; do umount -q "$mounted" || true; done
}
