#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# The hooks with containers that run: installing, the ledger, builds, verify.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own

load helpers
load containers
load os-images

setup_file() {
    container_conf
    mount_sysroot xfs
    new_sysroot
    oracle_init
    shell_context /srv/image
    podman build -q -t localhost/shell /srv/image >/dev/null
    shell_context /srv/bound 'in the bootc-owned store'
    "$BOOTC_PODMAN" image build -q -t localhost/bound /srv/bound >/dev/null
}

teardown_file() {
    rm -f /etc/containers/containers.conf
    umount /sysroot
}

setup() { install_hooks; }

teardown() {
    umount -q /run/bootc-podman || true
    podman rm -fa -t 0 >/dev/null
    bp hooks uninstall
    rm -f /usr/share/containers/oci/hooks.d/* /etc/containers/oci/hooks.d/* /etc/containers/containers.conf.d/*
}

leases() { find /run/bootc-podman/leases -type f 2>/dev/null | wc -l; }

lease() { cat "/run/bootc-podman/leases/$(podman "${@:2}" container inspect --format '{{.Id}}' "$1").json"; }

no_leases() { [ "$(leases)" = 0 ]; }

# files - every file and directory below /etc, /usr/share and /run/bootc-podman,
# with modes and contents.
files() { find /etc /usr/share/containers -printf '%p %M %l ' \( -type f -exec sha256sum {} \; -o -printf '\n' \) | sort; }

@test "ledger: a lease is there while a container runs" {
    run -0 run_container -d --name app localhost/shell sleep 100
    run -0 lease app
    local lease=$output id
    id=$(podman image inspect --format '{{.Id}}' localhost/shell)
    assert "$(jq -r '.name, .image.id, .image.name, .image.digest, .store, .layers[0].store' <<<"$lease" | xargs)" == \
        "app $id localhost/shell:latest $(podman image inspect --format '{{.Digest}}' localhost/shell) /var/lib/containers/storage default"
    assert "$(jq -r .pid <<<"$lease")" == "$(podman container inspect --format '{{.State.Pid}}' app)"
    bp usage --format '{{.Name}} {{.Image}} {{.Stores}} {{.State}}'
    assert "$output" == "app localhost/shell:latest default running"
    podman stop -t 0 app
    wait_for no_leases
}

@test "ledger: the lease is gone after kill, rm -f, and the end by itself" {
    run_container -d --name killed localhost/shell sleep 100
    run_container -d --name removed localhost/shell sleep 100
    run_container -d --rm --name removes-itself localhost/shell sleep 100
    assert "$(leases)" == 3
    podman kill killed
    podman rm -f -t 0 removed
    podman stop -t 0 removes-itself
    run_container --name ends localhost/shell true
    wait_for no_leases
}

@test "hooks: what does not run is said where one looks" {
    # A container that runs unseen, as the hook was not there when it started.
    bp hooks uninstall
    run_container -d --name unseen localhost/shell sleep 100
    bp usage
    assert "$output" !~ unseen
    assert "$stderr" =~ 'the hook ledger does not run, containers are not recorded: not installed'
    bp usage --format json
    assert "$(jq -c '.ledger, .containers' <<<"$output" | xargs)" == '{installed:false,problem:not installed,since:null} []'
    bp status
    assert "$output" =~ 'Hooks: +none runs: not installed'
    local before
    before=$(date +%s)
    install_hooks
    bp usage
    assert "$output" !~ unseen
    assert "$stderr" =~ 'Containers are recorded since '
    bp usage --format json
    [ "$(date -d "$(jq -r .ledger.since <<<"$output")" +%s)" -ge "$before" ]
    bp status
    assert "$output" =~ 'Hooks: +ledger, mount-guard, bound-gate'
    # podman leaves out a gate whose program is gone, and prints nothing.
    mv /usr/lib/hooks-under-test/bootc-podman /srv/moved
    run -0 run_container --rm --annotation io.bootc-podman.require=bound localhost/shell cat /text
    assert "$output" == shell "podman starts it unchecked"
    bp status --format json
    assert "$(jq -r '.hooks[] | select(.name == "bound-gate") | .installed, .problem' <<<"$output" | xargs)" == \
        'false program /usr/lib/hooks-under-test/bootc-podman is missing'
    bp 1 hooks verify
    mv /srv/moved /usr/lib/hooks-under-test/bootc-podman
    bp hooks verify
}

@test "ledger: a restart makes a lease anew" {
    run_container -d --name again localhost/shell sleep 100
    local before
    before=$(lease again | jq .pid)
    podman restart -t 0 again
    wait_for bash -c "[ '$(leases)' = 1 ]"
    assert "$(lease again | jq .pid)" == "$(podman container inspect --format '{{.State.Pid}}' again)"
    assert "$(lease again | jq .pid)" != "$before"
    bp usage --format '{{.State}}'
    assert "$output" == running
}

@test "ledger: ten containers at once" {
    local i pids=()
    for i in {1..10}; do
        run_container -d --name "many$i" localhost/shell sleep 100 >/dev/null 3>&- &
        pids+=($!)
    done
    wait "${pids[@]}"
    assert "$(leases)" == 10
    bp usage --format '{{.Name}}'
    assert "$(sort <<<"$output" | xargs)" == "many1 many10 many2 many3 many4 many5 many6 many7 many8 many9"
    podman rm -fa -t 0 >/dev/null
    wait_for no_leases
}

@test "ledger: a container of another root, and one on the bootc-owned store" {
    local other=(--root /var/lib/containers/other --runroot /run/other)
    podman "${other[@]}" --storage-opt "additionalimagestore=$STORE" run --network none -d --name elsewhere localhost/bound sleep 100
    run -0 lease elsewhere "${other[@]}" --storage-opt "additionalimagestore=$STORE"
    assert "$(jq -r '.store, .layers[].store, .layers[].path' <<<"$output" | xargs)" == "/var/lib/containers/other bootc $STORE"
    bp usage --format '{{.Name}} {{.Stores}} {{.GraphRoot}}'
    assert "$output" == "elsewhere bootc /var/lib/containers/other"
    podman "${other[@]}" --storage-opt "additionalimagestore=$STORE" rm -f -t 0 elsewhere
    wait_for no_leases
    # That store has no other record of the container.
    rm -rf /run/other
}

@test "ledger: a container that ended without a poststop hook is gone" {
    run_container -d --name app localhost/shell sleep 100
    local conmon
    conmon=$(podman container inspect --format '{{.State.ConmonPid}}' app)
    kill -STOP "$conmon"
    kill -KILL "$(podman container inspect --format '{{.State.Pid}}' app)"
    bp usage
    assert "$output" !~ app
    bp usage --all --format '{{.Name}} {{.State}}'
    assert "$output" == "app gone"
    kill -CONT "$conmon"
    wait_for no_leases
}

# bats test_tags=oldest-and-newest
@test "ledger: a hundred containers leave nothing" {
    local i
    for i in {1..100}; do
        run_container --rm localhost/shell true
    done
    wait_for no_leases
    # No poststop hook runs for those that fail to start, nor for a file that is no lease.
    for i in {1..10}; do
        run ! run_container --rm localhost/shell no-such-command
    done
    assert "$(leases)" != 0 "the runtime tells now: this test is needed no more"
    echo '{' >/run/bootc-podman/leases/none.json
    bp usage
    assert "$output" !~ shell
    assert "$stderr" =~ none.json
    find /run/bootc-podman/leases -type f -exec touch -d '2 minutes ago' {} +
    run_container --rm localhost/shell true
    wait_for no_leases
    assert "$(find /run/bootc-podman -type f ! -name storage.conf)" == ""
}

@test "ledger: the journal has a record each way" {
    journal_start
    run_container --name told localhost/shell true
    wait_for grep -aq 'container told stopped' /srv/journal
    journal_stop
    assert "$(grep -a '^MESSAGE=' /srv/journal | head -1)" =~ "container told started, image localhost/shell:latest sha256:"
    assert "$(grep -ac '^CONTAINER_NAME=told' /srv/journal)" == 2
}

@test "hooks: a read-only or full state stops no container" {
    mkdir -p /run/bootc-podman
    mount -t tmpfs -o ro none /run/bootc-podman
    run -0 run_container localhost/shell cat /text
    assert "$output" == shell
    umount /run/bootc-podman
    mount -t tmpfs -o size=4k,mode=0755 none /run/bootc-podman
    mkdir -m 0700 /run/bootc-podman/leases
    head -c 8192 /dev/zero >/run/bootc-podman/fill || true
    run -0 run_container localhost/shell cat /text
    assert "$output" == shell
    assert "$(find /run/bootc-podman/leases -type f)" == ""
}

@test "hooks: a state that is none ends as the policy says" {
    truncate -s 100M /srv/large
    local state hook want
    for state in /dev/null /srv/large /srv/image/root/text; do
        for hook in ledger mount-guard bound-gate; do
            want=0
            [ "$hook" != bound-gate ] || want=1
            SECONDS=0
            run "-$want" timeout 10 "$BOOTC_PODMAN" hook "$hook" <"$state" >/dev/null
            [ "$SECONDS" -lt 5 ] || die "$hook took $SECONDS s"
        done
    done
}

@test "hooks: where they may write nothing they do nothing" {
    # As in rootless podman, which runs them too.
    journal_start
    echo '{"id": "x", "status": "creating", "pid": 1, "bundle": "/x"}' >/srv/state.json
    as_nobody hook ledger </srv/state.json
    assert "$status $output$stderr" == "0 "
    as_nobody hook mount-guard --mode deny </srv/state.json
    assert "$status $output" == "0 $(cat /srv/state.json)"
    as_nobody usage
    journal_stop
    assert "$(grep -a ^MESSAGE= /srv/journal)" !~ ledger
}

@test "hooks: podman build works with everything installed" {
    printf 'FROM localhost/shell\nRUN ["/bin/touch","/built"]\nRUN --mount=type=bind,from=localhost/shell,target=/mnt ["/bin/cat","/mnt/text"]\n' >/srv/image/Containerfile.run
    run -0 podman build --no-cache --isolation chroot -t localhost/built -f /srv/image/Containerfile.run /srv/image
    assert "$output" !~ "hook"
    run -0 podman build --no-cache --isolation oci --network none -t localhost/built -f /srv/image/Containerfile.run /srv/image
    assert "$output" !~ "hook"
    bp image build --no-cache --isolation oci --network none -t localhost/built -f /srv/bound/Containerfile /srv/bound
    run -0 run_container --rm localhost/built sh -c '[ -e /built ] && echo built'
    assert "$output" == built
    bp hooks verify
    assert "$output" == ""
}

@test "hooks install: twice is once, another mode replaces, uninstall leaves nothing" {
    bp hooks uninstall
    files >/srv/before
    install_hooks --mode deny
    assert "$stderr" == 'Installed the hooks in "/etc/bootc-podman/hooks.d"'
    files >/srv/deny
    install_hooks --mode deny
    assert "$stderr" == ""
    files | diff /srv/deny -
    install_hooks
    run -1 grep -r deny /etc/bootc-podman
    bp hooks uninstall
    assert "$stderr" == 'Removed the hooks in "/etc/bootc-podman/hooks.d"'
    files | diff /srv/before -
    bp hooks uninstall
    assert "$stderr" == ""
    files | diff /srv/before -
}

@test "hooks install: other directories stay, files of others too" {
    bp hooks uninstall
    printf '[engine]\nhooks_dir = ["/srv/theirs"]\n' >/etc/containers/containers.conf.d/10-theirs.conf
    install_hooks
    run -0 tail -n 1 /etc/containers/containers.conf.d/50-bootc-podman-hooks.conf
    assert "$output" == 'hooks_dir = ["/srv/theirs", "/etc/bootc-podman/hooks.d"]'
    bp hooks uninstall
    printf '[engine]\nhooks_dir = ["/srv/theirs"]\n' >/etc/containers/containers.conf.d/90-theirs.conf
    install_hooks 1
    assert "$stderr" =~ 'sets hooks_dir after'
    rm /etc/containers/containers.conf.d/*
    echo "# theirs" >/etc/containers/containers.conf.d/50-bootc-podman-hooks.conf
    install_hooks 1
    assert "$stderr" =~ 'was not installed by bootc-podman'
    assert "$(cat /etc/containers/containers.conf.d/*)" == "# theirs"
}

@test "hooks install: into an image in the making" {
    mkdir -p /srv/root/usr/bin
    cp "$BOOTC_PODMAN" /srv/root/usr/bin/bootc-podman
    bp hooks install --root /srv/root --program /usr/bin/bootc-podman --mode enforce
    bp hooks verify --root /srv/root
    assert "$(jq -r .hook.path /srv/root/etc/bootc-podman/hooks.d/*.json | sort -u)" == /usr/bin/bootc-podman
    bp hooks uninstall --root /srv/root
    assert "$(find /srv/root -mindepth 1 | sort | xargs)" == "/srv/root/usr /srv/root/usr/bin /srv/root/usr/bin/bootc-podman"
    bp 1 hooks install --root /srv/root --program /usr/bin/other
    assert "$stderr" =~ 'no such program: "/usr/bin/other" in "/srv/root"'
}

@test "hooks install: where directories are absolute links" {
    bp hooks uninstall
    local dir
    mkdir -p /var/lib/linked
    for dir in /etc/containers/containers.conf.d /etc/containers /etc/bootc-podman; do
        mkdir -p "$dir"
        mv "$dir" /var/lib/linked
        ln -s "/var/lib/linked/${dir##*/}" "$dir"
        printf '[engine]\nevents_logger = "none"\n' >/etc/containers/containers.conf.d/10-none.conf
        if [ "$(podman info --format '{{.Host.EventLogger}}')" != none ]; then
            # podman before 5.8 reads no directory of drop-ins that is a link.
            install_hooks 1
            assert "$stderr" =~ 'is a link, which podman .* does not follow'
            rm "$dir"
            mv "/var/lib/linked/${dir##*/}" "$dir"
            continue
        fi
        install_hooks
        # podman runs them.
        run_container -d --name linked localhost/shell sleep 100
        assert "$(leases)" == 1 "$dir is a link"
        podman rm -f -t 0 linked
        wait_for no_leases
        bp hooks verify
        bp hooks uninstall
        rm "$dir"
        mv "/var/lib/linked/${dir##*/}" "$dir"
    done
    # The directory of all of them, in another root.
    mkdir -p /srv/root2/usr/{etc,bin}
    ln -s /usr/etc /srv/root2/etc
    cp "$BOOTC_PODMAN" /srv/root2/usr/bin/
    bp hooks install --root /srv/root2 --program /usr/bin/bootc-podman
    assert "$(cd /srv/root2/usr/etc && echo *)" == "bootc-podman containers"
    bp hooks verify --root /srv/root2
}

@test "hooks verify: links stay below another root, and a FIFO is not waited for" {
    mkdir -p /srv/root3/usr/{lib/hooks,bin,share/containers/oci}
    cp "$BOOTC_PODMAN" /srv/root3/usr/bin/
    bp hooks install --root /srv/root3 --program /usr/bin/bootc-podman
    # A good hook is on this host, a broken one in the image.
    hook /usr/lib/hooks/theirs.json
    echo '{' >/srv/root3/usr/lib/hooks/theirs.json
    ln -s /usr/lib/hooks /srv/root3/usr/share/containers/oci/hooks.d
    bp 1 hooks verify --root /srv/root3
    assert "$output" =~ 'hooks.d/theirs.json: no container starts: parsing hook'
    bp hooks list --root /srv/root3
    assert "$output" =~ 'hooks.d/theirs.json +broken'
    rm -r /usr/lib/hooks
    rm /srv/root3/usr/lib/hooks/theirs.json
    mkfifo /srv/root3/usr/lib/hooks/x.json
    run -1 timeout 10 "$BOOTC_PODMAN" hooks verify --root /srv/root3
    assert "$output" =~ 'x.json: no container starts: not a regular file'
    run -0 timeout 10 "$BOOTC_PODMAN" hooks list --root /srv/root3
}

@test "hooks install: a program that others can replace, or that not all can run, is refused" {
    local program=/srv/program/bootc-podman
    # change COMMAND... - the program would be another user's, or no user's.
    change() {
        rm -rf /srv/program
        install -D -m 0755 "$BOOTC_PODMAN" "$program"
        chmod 0755 /srv /srv/program
        bp hooks install --program "$program"
        bp hooks verify
        "$@"
        bp 1 hooks verify
        assert "$output" =~ "$want"
        bp 1 hooks install --program "$program"
        assert "$stderr" =~ "$want"
        chown root:root /srv
        chmod 0755 /srv
    }
    local want='a user other than root can replace program'
    change chmod 0775 "$program"
    change chown 65534 /srv/program
    change chmod 1777 /srv
    want='not every user can execute program'
    change chmod 0750 /srv/program
    # Any user's attempt agrees.
    chmod 0700 "$program"
    run ! setpriv --reuid 65534 --regid 65534 --clear-groups sh -c "$program version"
    want='is on a filesystem that is mounted noexec'
    noexec() { mount -t tmpfs -o noexec,mode=0755 none /srv/program && install -m 0755 "$BOOTC_PODMAN" "$program"; }
    change noexec
    umount /srv/program
}

# hook FILE [JQ] - a hook configuration of somebody's, changed by a jq program.
hook() {
    mkdir -p "${1%/*}"
    jq -n '{version: "1.0.0", hook: {path: "/bin/true", args: ["true"], timeout: 5}, when: {always: true}, stages: ["createRuntime"]}' |
        jq "${2-.}" >"$1"
}

# finds TEXT - verify finds something, and podman run indeed does not work, or
# does not run the hook.
finds() {
    bp 1 hooks verify
    assert "$output" =~ "$1"
}

@test "hooks verify: finds what is wrong" {
    local theirs=/usr/share/containers/oci/hooks.d/theirs.json private=/etc/bootc-podman/hooks.d/90-x.json
    bp hooks verify
    hook "$theirs"
    bp hooks verify

    echo '{' >"$theirs"
    finds "$theirs: no container starts: parsing hook"
    run -126 run_container localhost/shell true
    hook "$theirs" '.stages = ["later"]'
    finds "$theirs: no container starts: unknown stage"
    run -126 run_container localhost/shell true
    hook "$theirs" '.hook.path = "/bin/missing"'
    finds "$theirs: program \"/bin/missing\" is missing"
    run -0 run_container localhost/shell true
    hook "$theirs" '.hook.path = "true"'
    finds "$theirs: the program \"true\" is no absolute path"
    hook "$theirs" 'del(.hook.timeout)'
    finds "$theirs: no timeout"
    rm "$theirs"

    hook "$private" '.stages = ["precreate"] | .hook = {path: "/bin/cat", args: ["cat"], timeout: 5}'
    bp hooks verify
    local dir
    for dir in /usr/share/containers/oci/hooks.d /etc/containers/oci/hooks.d; do
        mkdir -p "$dir"
        cp "$private" "$dir/theirs.json"
        finds "$dir/theirs.json: a precreate hook in a default directory makes every podman build fail"
        run podman build --no-cache --isolation oci --network none -f /srv/image/Containerfile.run /srv/image
        assert "$status" != 0 "builds with a precreate hook in $dir"
        rm "$dir/theirs.json"
    done
    rm "$private"

    printf '[engine]\nhooks_dir = ["/usr/share/containers/oci/hooks.d"]\n' >/etc/containers/containers.conf.d/90-theirs.conf
    finds "90-theirs.conf: hooks_dir replaces the one in"
    run_container -d localhost/shell sleep 100
    no_leases
    rm /etc/containers/containers.conf.d/90-theirs.conf
    bp hooks uninstall
    finds "no containers.conf file names /etc/bootc-podman/hooks.d"
}

@test "hooks verify: an appended list on an old podman" {
    printf '[engine]\nhooks_dir = ["/srv/theirs", {append=true}]\n' >/etc/containers/containers.conf.d/60-theirs.conf
    if podman version >/dev/null 2>&1; then
        bp hooks verify
    else
        bp 1 hooks verify
    fi
}

@test "hooks verify: a dangling link among the drop-ins, where podman fails on it" {
    local link=/etc/containers/containers.conf.d/20-x.conf
    ln -s /nowhere "$link"
    if podman info >/dev/null 2>&1; then
        bp hooks verify
    else
        bp 1 hooks verify
        assert "$output" =~ "$link: is a link to nothing"
    fi
    rm "$link"
}

@test "hooks install: another program is refused" {
    bp 1 hooks install --program /bin/sh
    assert "$stderr" =~ 'program "/bin/sh" is not bootc-podman'
}

@test "hooks explain: says what a container would meet" {
    install_hooks --mode enforce
    run_container --name app -v /sysroot/ostree/repo:/m localhost/shell true
    local id
    id=$(podman container inspect --format '{{.Id}}' app)
    cp "/var/lib/containers/storage/overlay-containers/$id/userdata/config.json" /srv/config.json
    jq '(.mounts[] | select(.destination == "/m") | .options) |= map(if . == "ro" then "rw" else . end)' /srv/config.json >/srv/rw.json
    bp hooks explain /srv/rw.json
    assert "$output" =~ '50-bootc-podman-bound-gate.json: does not run'
    assert "$output" =~ 'ledger.json: runs at createRuntime, poststop'
    assert "$output" =~ 'makes read-only the mount of "/sysroot/ostree/repo" on "/m", which is in /sysroot/ostree'
    bp hooks list
    assert "$output" =~ 'createRuntime,poststop'
}
