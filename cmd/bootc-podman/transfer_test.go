// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

func TestSourceNeedsATransport(t *testing.T) {
	stdout, stderr, code := newTestApp(t).onHost(t, "copy-to-storage", "--source", "quay.io/x:1")
	failure{
		code: 2, message: `copy-to-storage: read --source: parse image reference "quay.io/x:1": unknown transport "quay.io/x"`,
		hint: "name the image with its transport, as in docker://quay.io/example/os:42",
	}.check(t, stdout, stderr, code)
}

func TestTransferUsageErrors(t *testing.T) {
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd := fmt.Sprint(file.Fd())
	for _, tt := range []struct {
		message string
		args    []string
	}{
		{`set-unified: unknown source "oci": use default, registry, transport, ostree or composefs`, []string{"set-unified", "--from", "oci"}},
		// It is always looked at; nothing comes from there.
		{`set-unified: unknown source "bootc"`, []string{"set-unified", "--from", "bootc"}},
		{`set-unified: unknown format "yaml": use text or json`, []string{"set-unified", "--plan", "--format", "yaml"}},
		{`set-unified: unexpected argument "x"`, []string{"set-unified", "x"}},
		// A command line that asks for the form of a forecast is not meant to change anything.
		{"gc: --format is of --dry-run", []string{"gc", "--format", "json"}},
		{"-target", []string{"set-unified", "--target", "x"}},
		{"copy-to-storage: ", []string{"copy-to-storage", "--target", "Not A Name"}},
		{"copy-to-storage: ", []string{"copy-to-storage", "--target", ""}},
		{`copy-to-storage: target "localhost/x@sha256:` + strings.Repeat("a", 64) + `" has a digest`, []string{"copy-to-storage", "--target", "localhost/x@sha256:" + strings.Repeat("a", 64)}},
		{`copy-to-storage: unknown source "oci": use default, bootc, registry, ostree or composefs`, []string{"copy-to-storage", "--from", "oci"}},
		{`unset-unified: unexpected argument "x"`, []string{"unset-unified", "x"}},
		{`copy-to-storage: unexpected argument "x"`, []string{"copy-to-storage", "x"}},
		{"pull-from-default-storage: no image given", []string{"pull-from-default-storage"}},
		{"pull-from-default-storage: no image given", []string{"pull-from-default-storage", "--quiet"}},
		{"-force", []string{"unset-unified", "--force"}},
		{"set-unified: use file descriptor " + fd + " for progress: not a pipe", []string{"set-unified", "--progress-fd", fd}},
		{"copy-to-storage: ", []string{"copy-to-storage", "--progress-fd", "1"}},
		{"pull-from-default-storage: ", []string{"pull-from-default-storage", "--progress-fd", "-1", "x"}},
		{"-progress-fd", []string{"set-unified", "--progress-fd", "three"}},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			a := newTestApp(t)
			stdout, stderr, code := a.onHost(t, tt.args...)
			failure{code: 2, message: tt.message, hint: usageHintOf(tt.args[0])}.check(t, stdout, stderr, code)
			if len(a.runner.cmds) != 0 {
				t.Errorf("ran %v", a.runner.cmds)
			}
			if _, err := os.Stat(filepath.Dir(a.confPath)); err == nil {
				t.Error("made a directory for transfers")
			}
		})
	}
}

func TestTransferFailuresAreHintedAt(t *testing.T) {
	const (
		onHost = "run it on the bootc host itself, or name a host's root with --sysroot"
		listed = `"bootc-podman list --all-stores" shows the images of this host`
	)
	for _, tt := range []struct {
		name, sysroot, message, hint string
		noStore                      bool // of podman's own
		args                         []string
	}{
		{name: "in a container", message: inventory.ErrNotOnHost.Error(), hint: onHost, args: []string{"set-unified"}},
		{name: "plan in a container", message: inventory.ErrNotOnHost.Error(), hint: onHost, args: []string{"set-unified", "--plan"}},
		{name: "copy in a container", message: inventory.ErrNotOnHost.Error(), hint: onHost, args: []string{"copy-to-storage"}},
		{
			name: "no bootc host", sysroot: "bin", message: storageconf.ErrNotBootcHost.Error(), args: []string{"set-unified", "--plan"},
			hint: "name the root of a bootc host with --sysroot",
		},
		{name: "image that is not there", sysroot: "sysroot", message: `look up image "x": no such image`, hint: listed, args: []string{"pull-from-default-storage", "x"}},
		{name: "image without a store", sysroot: "sysroot", noStore: true, message: `copy image "x": no such image`, hint: listed, args: []string{"pull-from-default-storage", "x"}},
		{name: "not root", sysroot: "sysroot", message: "root is needed", hint: "run it as root, for example with sudo", args: []string{"pull-from-default-storage", "localhost/x:1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newTestApp(t)
			if tt.name != "not root" {
				a.euid = 0
			}
			if !tt.noStore {
				a.addDefaultStore(t)
			}
			sysroot := "/"
			if tt.sysroot != "" {
				sysroot = filepath.Join(a.dir, tt.sysroot)
			}
			stdout, stderr, code := a.start(t, append([]string{"--sysroot", sysroot}, tt.args...)...)
			failure{code: 1, message: tt.message, hint: tt.hint}.check(t, stdout, stderr, code)
		})
	}
}

// addDefaultStore makes podman's own store, with the image localhost/x:1.
func (a *testApp) addDefaultStore(t *testing.T) {
	t.Helper()
	a.writeFile(t, "root/etc/containers/storage.conf", 0o644, "[storage]\ndriver = \"overlay\"\ngraphroot = \"/store\"\nrootless_storage_path = \"/store\"\n")
	id := strings.Repeat("1", 64)
	for path, content := range map[string]string{
		"overlay-images/images.json":             `[{"id":"` + id + `","names":["localhost/x:1"],"layer":"` + id + `"}]`,
		"overlay/" + id + "/diff/file":           "",
		"overlay/" + id + "/link":                "L",
		"overlay-layers/" + id + ".tar-split.gz": "recipe",
		"overlay-layers/layers.json":             `[{"id":"` + id + `","diff-digest":"sha256:` + id + `","diff-size":1}]`,
	} {
		a.writeFile(t, "root/store/"+path, 0o644, content)
	}
}

func TestDryRunOfPullFromDefaultStorage(t *testing.T) {
	a := newTestApp(t)
	a.addDefaultStore(t)
	for _, name := range []string{"localhost/x:1", "x:1", strings.Repeat("1", 12)} {
		got := a.dryRun(t, "pull-from-default-storage", name)
		want := " image push --remove-signatures -- localhost/x:1 'containers-storage:[overlay@/run/bootc/storage+/proc/self/fd/3]localhost/x:1'"
		if !strings.HasSuffix(got, want) {
			t.Errorf("%s: got %q, want it to end in %q", name, got, want)
		}
	}
	if len(a.runner.cmds) != 0 {
		t.Errorf("ran %v", a.runner.cmds)
	}
}

// fullPlan is a plan in which nothing is left out.
func fullPlan() *plan.Plan {
	return &plan.Plan{
		Schema: 1, Image: "docker://quay.io/example/os:42", Name: "quay.io/example/os:42", Role: host.Booted, Digest: "sha256:0123",
		Source: plan.FromRegistry, Reason: "no store of this host has what is booted", Take: "quay.io/example/os@sha256:0123",
		Method: plan.Pull, Fetch: 1_230_000_000, Write: new(int64(4_560_000_000)), Available: 78_900_000_000, Reflink: inventory.Yes,
		Exact: true, Identity: plan.SameImage, Kept: true, Replaces: strings.Repeat("fedcba9876543210", 4), Time: plan.TimeNetwork,
		Alternatives: []plan.Alternative{
			{Source: plan.FromDefault, Choose: "--from default --accept-newer", Digest: "sha256:4567", Identity: plan.OtherImage, Method: plan.Copy, Write: new(int64(5_000_000)), Time: plan.TimeDisk},
			{Source: plan.FromOSTree, Choose: "--from ostree", Identity: plan.FromFiles, Method: plan.Clone, Write: new(int64), Time: plan.TimeMetadata},
			{Source: plan.FromRegistry, Choose: "--from registry", Exact: true, Identity: plan.SameImage, Method: plan.Pull, WriteReason: "no manifest", Time: plan.TimeNetwork},
			{Source: plan.FromRegistry, Choose: "--from registry", Exact: true, Identity: plan.SameImage, Method: plan.Pull, Fetch: 341_000_000, Write: new(int64(5_000_000)), Time: plan.TimeNetwork},
		},
		Refused: []plan.Refusal{{Source: plan.FromTransport, Reason: "open \x1b: no such file"}},
		Steps:   []plan.Step{{Name: plan.StepPull, Description: "pull it"}, {Name: plan.StepVerify, Description: "verify it"}},
	}
}

func TestPlanAsText(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		change     func(p *plan.Plan)
	}{
		{name: "everything", change: func(*plan.Plan) {}, want: `Image:   docker://quay.io/example/os:42, booted
Digest:  sha256:0123
Source:  registry: no store of this host has what is booted
Method:  pull
Fetch:   1.23 GB at most
Write:   4.56 GB at least
Time:    network: its bytes are fetched
Free:    78.9 GB, reflinks: yes
After:   quay.io/example/os:42 in the bootc-owned store: same image, digest kept; bootc keeps it
Upgrade: through the bootc store
Warning: image fedcba987654 has this name now, and will lose it
Step 1:  pull it
Step 2:  verify it
Or:      --from default --accept-newer: copy, no fetch, write 5 MB at least, time: disk, another image of this name, sha256:4567
Or:      --from ostree: clone, no fetch, write 0 B at least, time: metadata, same files, new digest (ostree does not keep the archive)
Or:      --from registry: pull, fetch not known, write not known, time: network, same image, digest kept
Or:      --from registry: pull, fetch 341 MB at most, write 5 MB at least, time: network, same image, digest kept
Not:     transport: open \x1b: no such file
`},
		{name: "least", change: func(p *plan.Plan) {
			p.Fetch, p.Write, p.Exact, p.Kept, p.Replaces, p.Steps, p.Time = 0, nil, false, false, "", nil, plan.TimeInstant
			p.Identity = plan.FromFiles
			p.Alternatives, p.Refused = nil, nil
			p.WriteReason = "of unknown size"
			p.Upgrade, p.UpgradeReason = plan.UpgradeOrigin, "bootc looks for \x1b, not for quay.io/example/os:42"
			p.Source, p.Method, p.Reason, p.Reflink = plan.FromOSTree, plan.Reexport, "as\x1basked\nfor", inventory.Unknown
		}, want: `Image:   docker://quay.io/example/os:42, booted
Digest:  sha256:0123
Source:  ostree: as\x1basked\nfor
Method:  export
Write:   not known: of unknown size
Time:    instant
Free:    78.9 GB, reflinks: unknown
After:   quay.io/example/os:42 in the bootc-owned store: same files, new digest (ostree does not keep the archive); bootc will remove it: podman stores it under another name than the deployment's
Upgrade: not through the bootc store: bootc looks for \x1b, not for quay.io/example/os:42
`},
		{name: "upgrade fails", change: func(p *plan.Plan) {
			p.Upgrade, p.UpgradeReason, p.Replaces, p.Steps = plan.UpgradeFails, "skopeo ignores it", "", nil
			p.Alternatives, p.Refused = nil, nil
		}, want: `Image:   docker://quay.io/example/os:42, booted
Digest:  sha256:0123
Source:  registry: no store of this host has what is booted
Method:  pull
Fetch:   1.23 GB at most
Write:   4.56 GB at least
Time:    network: its bytes are fetched
Free:    78.9 GB, reflinks: yes
After:   quay.io/example/os:42 in the bootc-owned store: same image, digest kept; bootc keeps it
Upgrade: bootc upgrade fails: skopeo ignores it
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := fullPlan()
			tt.change(p)
			var out, errs bytes.Buffer
			a := &app{stdout: &out, stderr: &errs}
			if err := a.printPlan(p, "text"); err != nil {
				t.Fatal(err)
			}
			if out.String() != tt.want || errs.Len() != 0 {
				t.Errorf("got\n%s%s\nwant\n%s", &out, &errs, tt.want)
			}
		})
	}
}

func TestPlanAsJSONIsThePlan(t *testing.T) {
	var out bytes.Buffer
	p := fullPlan()
	if err := (&app{stdout: &out}).printPlan(p, "json"); err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Compact(&got, out.Bytes()); err != nil || got.String() != string(want) {
		t.Errorf("got %s, %v, want %s", &got, err, want)
	}
}

func TestSetUnifiedSaysWhatWasDone(t *testing.T) {
	const (
		done     = "Unified storage enabled for quay.io/example/os:42.\n"
		there    = "Image quay.io/example/os:42 is already in bootc storage.\n"
		without  = "Image quay.io/example/os:42 is in bootc storage. Unified storage is off: bootc looks for oci:/\\x1b.\n"
		lost     = "Warning: image fedcba987654 had this name, and lost it\n"
		unkept   = "Warning: bootc will remove the image again, as podman stores it under another name than the deployment's, docker://quay.io/example/os\n"
		exported = "Note: same files, new digest (ostree does not keep the archive): sha256:89ab\n"
		replaced = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	)
	on := inventory.Unification{On: true, Reason: "the bootc-owned store has it"}
	off := inventory.Unification{Reason: "bootc looks for oci:/\x1b"}
	for _, tt := range []struct {
		name           string
		plan           plan.Plan
		now            inventory.Unification
		stdout, stderr string
		quiet          bool
	}{
		{name: "done", plan: plan.Plan{Method: plan.Pull, Kept: true}, now: on, stdout: done},
		{name: "exported", plan: plan.Plan{Method: plan.Clone, Kept: true, Identity: plan.FromFiles, ResultDigest: "sha256:89ab"}, now: on, stdout: done, stderr: exported},
		{name: "exported, quietly", plan: plan.Plan{Method: plan.Clone, Kept: true, Identity: plan.FromFiles, ResultDigest: "sha256:89ab"}, now: on, stdout: done, quiet: true},
		{name: "another image had the name", plan: plan.Plan{Method: plan.Copy, Kept: true, Replaces: replaced}, now: on, stdout: done, stderr: lost},
		{name: "not kept", plan: plan.Plan{Method: plan.Tag}, now: on, stdout: done, stderr: unkept},
		{name: "both", plan: plan.Plan{Method: plan.Reexport, Replaces: replaced}, now: on, stdout: done, stderr: unkept + lost},
		{name: "nothing to do", plan: plan.Plan{Method: plan.Nothing, Kept: true}, now: on, stdout: there},
		{name: "nothing to do, and not kept", plan: plan.Plan{Method: plan.Nothing}, now: on, stdout: there, stderr: unkept},
		{name: "done, and off", plan: plan.Plan{Method: plan.Pull, Kept: true}, now: off, stdout: without},
		{name: "nothing to do, and off", plan: plan.Plan{Method: plan.Nothing, Kept: true}, now: off, stdout: without},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			tt.plan.Identity = cmp.Or(tt.plan.Identity, plan.SameImage)
			tt.plan.Name, tt.plan.Image = "quay.io/example/os:42", "docker://quay.io/example/os"
			if err := (&app{stdout: &out, stderr: &errs}).printUnified(&tt.plan, tt.now, tt.quiet); err != nil {
				t.Fatal(err)
			}
			if out.String() != tt.stdout || errs.String() != tt.stderr {
				t.Errorf("got %q, %q, want %q, %q", &out, &errs, tt.stdout, tt.stderr)
			}
		})
	}
}

func TestTransferLeavesTheContextThatItFound(t *testing.T) {
	a := newTestApp(t)
	a.euid = 0
	c := cli.NewContext(cli.NewApp(), flag.NewFlagSet("", flag.ContinueOnError), nil)
	c.Context, c.Command = t.Context(), &cli.Command{Name: "doctor"}
	during := c.Context
	if err := a.transfer(c, &options{}, func(transfer.Options) error {
		during = c.Context
		return during.Err()
	}); err != nil {
		t.Fatal(err)
	}
	// doctor looks again after what it fixed.
	if c.Context != t.Context() || during == c.Context || during.Err() == nil {
		t.Errorf("after the transfer the context is %v, during it was %v", c.Context, during)
	}
}

func TestErrorsNameTheSignal(t *testing.T) {
	ended, release := signal.NotifyContext(t.Context(), syscall.SIGUSR1)
	defer release()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	<-ended.Done()
	cause := context.Cause(ended)
	closed, stop := context.WithCancel(t.Context())
	stop()
	failed := fmt.Errorf("lock store: %w", context.Canceled)
	for _, tt := range []struct {
		name string
		ctx  context.Context
		err  error
		want string
	}{
		{name: "a signal", ctx: ended, err: failed, want: "lock store: user defined signal 1 signal received"},
		{name: "another error after a signal", ctx: ended, err: errors.New("disk full"), want: "disk full"},
		{name: "without a signal", ctx: closed, err: failed, want: "lock store: context canceled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := nameSignal(context.Cause(tt.ctx), tt.err)
			if got.Error() != tt.want || !errors.Is(got, tt.err) {
				t.Errorf("got %v, want %q", got, tt.want)
			}
		})
	}
	if got := nameSignal(context.Cause(ended), failed); !errors.Is(got, cause) || !errors.Is(got, context.Canceled) {
		t.Errorf("%v is not both errors", got)
	}
	if got := messages(nameSignal(cause, errors.Join(failed, errors.New("disk full"), failed))); len(got) != 2 || got[0] != "lock store: "+cause.Error() {
		t.Errorf("of three errors, two of them equal: got %q", got)
	}
	if err := nameSignal(context.Cause(ended), nil); err != nil {
		t.Errorf("got %v for no error", err)
	}
}

func TestPulledImagesHaveALineUnlessTheyFailed(t *testing.T) {
	plans := []*plan.Plan{
		{Name: "a", Method: plan.Clone, Identity: plan.SameImage, Changed: true},
		{Name: "b", Method: plan.Nothing},
		{Name: "c", Method: plan.Clone, Changed: true, Failed: true}, // a damaged one was removed
		{Name: "d", Method: plan.Clone},
	}
	var out bytes.Buffer
	if err := (&app{stdout: &out}).printPulled(plans, "text"); err != nil || out.String() != "Copied a to bootc storage: same image, digest kept\n" {
		t.Errorf("printed %q, %v", &out, err)
	}
}
