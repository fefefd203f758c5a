// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mattn/go-shellwords"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/testhost"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/loopback"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/internal/transfer/podman"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// fakePodman does to the bootc-owned store of a host what podman would, and keeps
// its command lines. Other programs are run.
type fakePodman struct {
	*scratchHost
	wrapper.System
	images []stored
	// arrives is the image that a pull or a push brings, fails the names that cannot
	// be pulled or pushed.
	arrives stored
	fails   []string
	ran     []string
	// kill, if not nil, is called before anything is done, and may fail it.
	kill func(verb string) error
	// spools are the values of $TMPDIR.
	spools []string
	// version is podman's, 4.3.1 if it is ""; service is what its service does.
	version string
	service func(ctx context.Context, cmd wrapper.Cmd) error
}

// heard implements Events with its functions, those that are not nil.
type heard struct {
	waiting  func()
	missed   func(source plan.Source, why error)
	retrying func(podman.Retry)
	fallback func(why error)
	journal  func(message string, fields map[string]string)
}

func (h *heard) Waiting() {
	if h.waiting != nil {
		h.waiting()
	}
}

func (h *heard) Missed(source plan.Source, why error) {
	if h.missed != nil {
		h.missed(source, why)
	}
}

func (h *heard) Retrying(retry podman.Retry) {
	if h.retrying != nil {
		h.retrying(retry)
	}
}

func (h *heard) Fallback(why error) {
	if h.fallback != nil {
		h.fallback(why)
	}
}

func (h *heard) Journal(message string, fields map[string]string) {
	if h.journal != nil {
		h.journal(message, fields)
	}
}

func (h *heard) Damaged(inventory.Damage)      {}
func (h *heard) NotLent(error)                 {}
func (h *heard) Hidden(*inventory.HiddenError) {}

// initialised is how podman makes its own store.
const initialised = "system info"

func (p *fakePodman) Run(ctx context.Context, cmd wrapper.Cmd) error {
	if filepath.Base(cmd.Path) == "bootc" {
		p.ran = append(p.ran, strings.Join(cmd.Args[2:], " "))
		return p.bootc()
	}
	if filepath.Base(cmd.Path) == clonejob.Program {
		return private(ctx, cmd)
	}
	if filepath.Base(cmd.Path) != "podman" {
		return p.System.Run(ctx, cmd)
	}
	if slices.Contains(cmd.Args, "service") {
		return p.service(ctx, cmd)
	}
	if slices.Contains(cmd.Args, "info") {
		p.ran = append(p.ran, initialised)
		p.store(defaultStorage)
		return nil
	}
	args := cmd.Args[slices.Index(cmd.Args, "image")+1:]
	p.ran = append(p.ran, strings.ReplaceAll(strings.Join(args, " "), p.Dir, "HOST"))
	verb, last := args[0], args[len(args)-1]
	if p.kill != nil {
		if err := p.kill(verb); err != nil {
			return err
		}
	}
	if verb == "pull" || verb == "push" {
		spool := wrapper.Getenv(cmd.Env, "TMPDIR")
		if _, err := os.Stat(spool); err != nil {
			p.Errorf("no directory for layers: %v", err)
		}
		p.spools = append(p.spools, spool)
	}
	if verb == "push" {
		_, last, _ = strings.Cut(last, "]")
	}
	if slices.Contains(p.fails, last) {
		return &wrapper.ExitError{Cmd: cmd, Code: 125}
	}
	find := func(name string) *stored {
		ids := p.save()
		for i := range p.images {
			if ids[i] == name || slices.Contains(p.images[i].names, name) {
				return &p.images[i]
			}
		}
		return nil
	}
	take := func(name string) {
		for i := range p.images {
			p.images[i].names = slices.DeleteFunc(slices.Clone(p.images[i].names), func(n string) bool { return n == name })
		}
	}
	switch verb {
	case "rm":
		if last == plan.ExportName { // of podman's own store
			p.store(defaultStorage)
			return nil
		}
		ids := p.save()
		i := slices.IndexFunc(p.images, func(img stored) bool { return slices.Contains(img.names, last) })
		if i >= 0 && len(p.images[i].names) > 1 {
			take(last)
			break
		}
		i = max(i, slices.Index(ids, last))
		p.images = slices.Delete(p.images, i, i+1)
	case "pull", "push":
		take(last)
		arrives := p.arrives
		// What this process serves says what it is an export of.
		if !strings.HasPrefix(args[1], "--authfile=") {
			arrives.of = ""
		}
		if arrives.names = []string{last}; strings.HasPrefix(last, "oci:") {
			arrives.names = []string{"localhost/42:latest"}
			fmt.Fprintln(cmd.Stdout, newHost(p.TB).store(bootcStorage, arrives)[0])
		}
		if i := slices.IndexFunc(p.images, func(img stored) bool { return img.digest == arrives.digest }); i >= 0 {
			p.images[i].names = append(p.images[i].names, arrives.names...)
		} else {
			p.images = append(p.images, arrives)
		}
	case "tag":
		img := find(args[1])
		if !strings.Contains(filepath.Base(last), ":") {
			last += ":latest"
		}
		take(last)
		if img == nil {
			return &wrapper.ExitError{Cmd: cmd, Code: 125}
		}
		img.names = append(img.names, last)
	case "untag":
		take(last)
	default:
		p.Errorf("podman ran %s", verb)
	}
	p.save()
	return nil
}

// private does what the private program would with a job that needs no store.
func private(ctx context.Context, cmd wrapper.Cmd) error {
	job, err := clonejob.ReadJob(cmd.Stdin)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	answer := func(a clonejob.Answer) error {
		mu.Lock()
		defer mu.Unlock()
		return json.NewEncoder(cmd.Stdout).Encode(a)
	}
	if job.Pull != nil {
		err = loopback.Pull(ctx, *job.Pull, answer)
	} else {
		err = loopback.Export(ctx, job, answer)
	}
	if err == nil {
		return answer(clonejob.Answer{Result: &clonejob.Result{}})
	}
	kind := clonejob.Failed
	if errors.Is(err, clonejob.ErrNoService) {
		kind = clonejob.NoService
	}
	return answer(clonejob.Answer{Failure: &clonejob.Failure{Kind: kind, Message: err.Error()}})
}

// installPrivate makes the private program be found.
func (p *fakePodman) installPrivate() {
	p.addProgram("bootc-podman")
	p.addProgram(clonejob.Program)
}

// bootc does what "bootc image copy-to-storage" would.
func (p *fakePodman) bootc() error {
	arrives := p.arrives
	arrives.names = []string{plan.ExportName}
	p.store(defaultStorage, arrives)
	return nil
}

func (p *fakePodman) Output(ctx context.Context, cmd wrapper.Cmd) ([]byte, error) {
	if filepath.Base(cmd.Path) == "podman" {
		if slices.Contains(cmd.Args, "info") {
			return []byte("[overlay@/store+/run/store]\n"), nil
		}
		if cmd.Args[len(cmd.Args)-1] != "--version" {
			p.Errorf("podman ran: %s", cmd)
		}
		return []byte("podman version " + cmp.Or(p.version, "4.3.1") + "\n"), nil
	}
	return p.System.Output(ctx, cmd)
}

func (p *fakePodman) save() (ids []string) { return p.store(bootcStorage, p.images...) }

// named are the names of the images in the store, with their digests.
func (p *fakePodman) named() map[string]string {
	all := map[string]string{}
	for _, img := range p.images {
		for _, name := range img.names {
			all[name] = img.digest
		}
	}
	return all
}

// options are those of transfers on a host whose podman is p.
func (p *fakePodman) options() Options {
	p.Helper()
	p.save()
	query := p.query()
	p.addProgram("podman")
	query.Runner = p
	reporter := progress.New()
	p.Cleanup(func() {
		if err := reporter.Close(); err != nil {
			p.Error(err)
		}
	})
	return Options{
		Options: query, Dir: p.Path("run/bootc-podman"), Progress: reporter,
		Host: wrapper.Host{
			Env: query.Env, Euid: 0, Self: p.Path("bin/bootc-podman"), Root: p.Dir, Sysroot: p.Dir,
			ConfPath: p.Path("run/bootc-podman/storage.conf"), Runner: p,
		},
		Events: &heard{missed: func(source plan.Source, why error) { p.Errorf("source %s was missed: %v", source, why) }},
	}
}

// explain returns what do says it would run of podman or bootc, as fakePodman keeps
// it. Nothing is changed meanwhile.
func explain(t *testing.T, podman *fakePodman, o Options, do func(Options) error) (commands []string) {
	t.Helper()
	var out strings.Builder
	o.Host.DryRun = &out
	before := testhost.Run(t, "find", podman.Dir, "-newermt", "@1", "-printf", "%p %s %T@\n")
	if err := do(o); err != nil {
		t.Fatalf("explain: %v", err)
	}
	if after := testhost.Run(t, "find", podman.Dir, "-newermt", "@1", "-printf", "%p %s %T@\n"); after != before {
		t.Errorf("explaining changed the host:\n%s\nto\n%s", before, after)
	}
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		words, err := shellwords.Parse(line)
		if slices.Contains(words, "info") {
			commands = append(commands, initialised)
			continue
		}
		i := slices.Index(words, "image")
		if err != nil || i < 0 {
			t.Fatalf("no command line: %q: %v", line, err)
		}
		commands = append(commands, strings.ReplaceAll(strings.Join(words[i+1:], " "), podman.Dir, "HOST"))
	}
	return commands
}

// needNamespace skips a test that runs podman where the store is mounted.
func needNamespace(t *testing.T) {
	t.Helper()
	testhost.Need(t, "ostree")
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		done <- unix.Unshare(unix.CLONE_NEWNS)
	}()
	if err := <-done; err != nil {
		t.Skipf("needs a mount namespace of its own: %v", err)
	}
}

// pushed is the command that copies the booted image from podman's own store.
const pushed = "push --remove-signatures -- " + imageName + " containers-storage:[overlay@/run/bootc/storage+/proc/self/fd/3]" + imageName

// onboarded are the commands that bring an image from the registry.
func onboarded() []string {
	exact := exactOf(bootedDigest)
	return []string{"pull -- " + exact, "tag " + exact + " " + imageName, "untag " + imageName + " " + exact}
}

func TestSetUnifiedRunsTheStepsOfItsPlan(t *testing.T) {
	needNamespace(t)
	exact := stored{names: []string{imageName}, digest: bootedDigest}
	newer := stored{names: []string{imageName}, digest: otherDigest}
	exactID := newHost(t).store(bootcStorage, exact)[0]
	pulled := onboarded()
	for _, tt := range []struct {
		name, image   string
		bootc, podman []stored
		arrives       stored
		choice        plan.Choice
		force         bool
		want          []string
		digest        string
		// unexplained are how many of the last commands depend on those before.
		unexplained int
	}{
		{name: "new name", bootc: []stored{{names: []string{"localhost/x:1"}, digest: bootedDigest}}, want: []string{"tag " + exactID + " " + imageName}},
		{name: "copy", podman: []stored{exact}, arrives: exact, want: []string{pushed}},
		{name: "copy of a newer one", podman: []stored{newer}, arrives: newer, choice: plan.Choice{AcceptNewer: true}, want: []string{pushed}, digest: otherDigest},
		{name: "copy of too much by force", podman: []stored{{names: exact.names, digest: bootedDigest, size: 1 << 60}}, arrives: exact, force: true, want: []string{pushed}},
		{name: "pull", arrives: exact, want: pulled},
		{name: "pull of what is damaged", bootc: []stored{{names: []string{imageName}, digest: bootedDigest, damaged: true}}, arrives: exact, want: append([]string{"rm --force " + exactID}, pulled...)},
		{name: "pull where another has the name", bootc: []stored{newer}, arrives: exact, want: pulled},
		{name: "pull from an OCI layout", image: "ostree-unverified-image:oci:/srv/os:42", arrives: exact, want: []string{
			"pull --quiet -- oci:/srv/os:42", "tag IMAGE localhost/bootc:latest", "untag localhost/bootc:latest localhost/42:latest",
		}, unexplained: 1},
		{name: "pull of a newer one", arrives: newer, choice: plan.Choice{AcceptNewer: true}, want: []string{"pull -- " + imageName}, digest: otherDigest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := booted(t, cmp.Or(tt.image, registryOrigin), nil, tt.podman)
			podman := &fakePodman{scratchHost: h, images: tt.bootc, arrives: tt.arrives}
			o := podman.options()
			o.Force = tt.force
			planned, err := PlanUnified(t.Context(), o, tt.choice)
			if err != nil || len(podman.ran) != 0 {
				t.Fatalf("planning: %v, ran %q", err, podman.ran)
			}
			if explained := explain(t, podman, o, func(o Options) error { _, err := SetUnified(t.Context(), o, tt.choice); return err }); !slices.Equal(explained, tt.want[:len(tt.want)-tt.unexplained]) {
				t.Errorf("explained\n%s\nwant\n%s", strings.Join(explained, "\n"), strings.Join(tt.want, "\n"))
			}
			done, err := SetUnified(t.Context(), o, tt.choice)
			if err != nil {
				t.Fatal(err)
			}
			if tt.image != "" { // the ID is not known before
				for i := range podman.ran {
					podman.ran[i] = regexp.MustCompile("[0-9a-f]{64}").ReplaceAllString(podman.ran[i], "IMAGE")
				}
			}
			if !slices.Equal(podman.ran, tt.want) {
				t.Errorf("ran\n%s\nwant\n%s", strings.Join(podman.ran, "\n"), strings.Join(tt.want, "\n"))
			}
			var steps, verbs []string
			for _, step := range planned.Steps {
				steps = append(steps, string(step.Name))
			}
			for _, ran := range podman.ran {
				verb, _, _ := strings.Cut(ran, " ")
				verbs = append(verbs, strings.NewReplacer("push", "copy", "rm", "discard").Replace(verb))
			}
			if verbs = append(verbs, "verify"); !slices.Equal(steps, verbs) || !slices.Equal(done.Steps, planned.Steps) {
				t.Errorf("planned %q, did %q, returned %v", steps, verbs, done.Steps)
			}
			want := tt.digest
			if want == "" {
				want = bootedDigest
			}
			if got := podman.named()[done.Stored.String()]; got != want {
				t.Errorf("the store has %q, want %q", got, want)
			}
			for _, spool := range podman.spools {
				if _, err := os.Stat(spool); filepath.Dir(spool) != h.Path("tmp") || !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("directory for layers %q: %v, want it gone", spool, err)
				}
			}
			// Once more there is nothing left to do.
			podman.ran = nil
			if p, err := SetUnified(t.Context(), o, tt.choice); tt.digest == "" && (err != nil || p.Method != plan.Nothing || podman.ran != nil) {
				t.Errorf("again: %v, %v, ran %q", p, err, podman.ran)
			}
		})
	}
}

func TestSetUnifiedGoesOnWithTheNextSource(t *testing.T) {
	needNamespace(t)
	const original = "sha256:original"
	// An image that can be exported for real.
	export := func(t *testing.T) *fakePodman {
		h := newHost(t)
		commit := h.exportable(map[string]string{"usr/bin/sh": "shell"})
		h.boot(commit, follow(registryOrigin))
		p := &fakePodman{scratchHost: h, arrives: stored{digest: otherDigest, of: original}, fails: []string{exactOf(original)}}
		p.installPrivate()
		return p
	}
	options := func(podman *fakePodman) Options {
		o := podman.options()
		o.Method = plan.ByPodman
		return o
	}
	t.Run("ostree after the registry", func(t *testing.T) {
		podman := export(t)
		o := options(podman)
		var missed []plan.Source
		o.Events.(*heard).missed = func(source plan.Source, why error) {
			missed = append(missed, source)
			if !errors.As(why, new(*wrapper.ExitError)) {
				t.Errorf("missed because of %v", why)
			}
		}
		p, err := SetUnified(t.Context(), o, plan.Choice{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Source != plan.FromOSTree || p.Exact || !slices.Equal(missed, []plan.Source{plan.FromRegistry}) {
			t.Errorf("from %s, exact %t, missed %v", p.Source, p.Exact, missed)
		}
		if len(podman.ran) != 2 || podman.ran[0] != "pull -- "+exactOf(original) ||
			!strings.HasPrefix(podman.ran[1], "pull --authfile=HOST/run/bootc-podman/export/auth.json ") || !strings.HasSuffix(podman.ran[1], " -- "+imageName) {
			t.Errorf("ran %q", podman.ran)
		}
		if left, _ := filepath.Glob(filepath.Join(o.Dir, "export")); left != nil || podman.named()[imageName] != otherDigest {
			t.Errorf("left %q, the store has %v", left, podman.named())
		}
	})
	t.Run("not when the registry was chosen", func(t *testing.T) {
		podman := export(t)
		_, err := SetUnified(t.Context(), options(podman), plan.Choice{From: plan.FromRegistry})
		if !errors.As(err, new(*wrapper.ExitError)) || len(podman.ran) != 1 || len(podman.named()) != 0 {
			t.Errorf("got %v, ran %q", err, podman.ran)
		}
	})
	t.Run("not when the last has failed", func(t *testing.T) {
		podman := export(t)
		podman.fails = append(podman.fails, imageName)
		o := options(podman)
		var missed []plan.Source
		o.Events.(*heard).missed = func(source plan.Source, _ error) { missed = append(missed, source) }
		_, err := SetUnified(t.Context(), o, plan.Choice{})
		if !errors.As(err, new(*wrapper.ExitError)) || len(podman.ran) != 2 || !slices.Equal(missed, []plan.Source{plan.FromRegistry}) {
			t.Errorf("got %v, ran %q, missed %v", err, podman.ran, missed)
		}
	})
}

func TestSetUnifiedUndoesWhatIsNotTheBootedImage(t *testing.T) {
	needNamespace(t)
	wrong := stored{digest: "sha256:" + strings.Repeat("d", 64)}
	ids := newHost(t).store(bootcStorage, wrong, stored{digest: otherDigest})
	wrongID, otherID := ids[0], ids[1]
	other := stored{names: []string{imageName}, digest: otherDigest}
	kept := stored{names: []string{"localhost/kept:1"}, digest: wrong.digest}
	for _, tt := range []struct {
		name  string
		bootc []stored
		undo  []string
		want  string
	}{
		{name: "new image", undo: []string{"rm --force " + wrongID}},
		{name: "name is given back", bootc: []stored{other}, undo: []string{"rm --force " + wrongID, "tag " + otherID + " " + imageName}, want: otherDigest},
		{name: "image that was there before loses the name", bootc: []stored{kept}, undo: []string{"untag " + wrongID + " " + imageName}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := booted(t, registryOrigin, nil, nil)
			podman := &fakePodman{scratchHost: h, images: tt.bootc, arrives: wrong}
			_, err := SetUnified(t.Context(), podman.options(), plan.Choice{})
			if !errors.Is(err, ErrNotVerified) || !strings.Contains(err.Error(), wrong.digest+" instead of "+bootedDigest) {
				t.Errorf("got %v, want ErrNotVerified", err)
			}
			if want := append(onboarded(), tt.undo...); !slices.Equal(podman.ran, want) {
				t.Errorf("ran %q, want %q", podman.ran, want)
			}
			if got := podman.named()[imageName]; got != tt.want {
				t.Errorf("the name is that of %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSetUnifiedStopsBeforePodman(t *testing.T) {
	exact := []stored{{names: []string{imageName}, digest: bootedDigest}}
	vast := []stored{{names: []string{imageName}, digest: bootedDigest, size: 1 << 60}}
	for _, tt := range []struct {
		name          string
		bootc, podman []stored
		choice        plan.Choice
		want          error
		method        plan.Method
	}{
		{name: "nothing to do", bootc: exact, method: plan.Nothing},
		{name: "no space", podman: vast, want: ErrNoSpace, method: plan.Copy},
		{name: "no source", choice: plan.Choice{From: plan.FromDefault}, want: plan.ErrNoSource},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := booted(t, registryOrigin, nil, tt.podman)
			podman := &fakePodman{scratchHost: h, images: tt.bootc}
			p, err := SetUnified(t.Context(), podman.options(), tt.choice)
			if !errors.Is(err, tt.want) || len(podman.ran) != 0 || (p == nil) != (tt.method == "") || p != nil && p.Method != tt.method {
				t.Errorf("got %+v, %v, ran %q; want %q, %v", p, err, podman.ran, tt.method, tt.want)
			}
		})
	}
}

func TestTransfersTakeTurns(t *testing.T) {
	h, _ := booted(t, registryOrigin, nil, nil)
	podman := &fakePodman{scratchHost: h, images: []stored{{names: []string{imageName}, digest: bootedDigest}}}
	o := podman.options()
	unlock, err := o.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, transfer := range map[string]func(context.Context, Options) error{
		"set-unified": func(ctx context.Context, o Options) error { _, err := SetUnified(ctx, o, plan.Choice{}); return err },
		"copy-to-storage": func(ctx context.Context, o Options) error {
			_, err := CopyToStorage(ctx, o, plan.CopyChoice{Target: "localhost/x"})
			return err
		},
		"unset-unified": func(ctx context.Context, o Options) error { _, err := UnsetUnified(ctx, o); return err },
		"pull-from-default-storage": func(ctx context.Context, o Options) error {
			_, err := PullFromDefault(ctx, o, []string{"x"})
			return err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		busy := o
		busy.NoWait, busy.Events = true, &heard{waiting: cancel}
		if err := transfer(ctx, busy); !errors.Is(err, ErrBusy) {
			t.Errorf("%s: got %v, want ErrBusy", name, err)
		}
		waits := 0
		waiting := o
		waiting.Events = &heard{waiting: func() { waits++; cancel() }}
		if err := transfer(ctx, waiting); !errors.Is(err, context.Canceled) || waits != 1 {
			t.Errorf("%s: got %v after %d messages, want the end of the context after one", name, err, waits)
		}
	}
	// It goes on when the other one ends.
	o.Events.(*heard).waiting = unlock
	if p, err := SetUnified(t.Context(), o, plan.Choice{}); err != nil || p.Method != plan.Nothing {
		t.Errorf("got %v, %v", p, err)
	}
	if len(podman.ran) != 0 {
		t.Errorf("ran %q", podman.ran)
	}
}

func TestTransferClearsAwayWhatAKilledOneLeft(t *testing.T) {
	h := newHost(t)
	o := (&fakePodman{scratchHost: h}).options()
	for _, path := range []string{"run/bootc-podman/export/auth.json", "run/bootc-podman/storage.conf", "run/bootc-podman/exports/x", "tmp/bootc-podman-spool-1/layer", "tmp/container_images_1"} {
		h.Write(path, "")
	}
	unlock, err := o.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	left := []string{}
	for _, dir := range []string{"run/bootc-podman", "tmp"} {
		entries, err := os.ReadDir(h.Path(dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			left = append(left, entry.Name())
		}
	}
	if want := []string{"exports", "storage.conf", "transfer.lock", "container_images_1"}; !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
}

// TestSpoolOfAnotherUserStopsNoTransfer: any user can make and mount directories in
// /var/tmp, which only FUSE may let that user remove.
func TestSpoolOfAnotherUserStopsNoTransfer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for mounts")
	}
	h := newHost(t)
	for _, name := range []string{"user/file", "mount/file", "own/file"} {
		h.Write("tmp/bootc-podman-spool-"+name, "")
	}
	user, mount := h.Path("tmp/bootc-podman-spool-user"), h.Path("tmp/bootc-podman-spool-mount")
	if err := os.Chown(user, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(mount, mount, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("needs mounts: %v", err)
	}
	defer func() { _ = unix.Unmount(mount, unix.MNT_DETACH) }()
	o := (&fakePodman{scratchHost: h}).options()
	unlock, err := o.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if _, err := os.Stat(filepath.Join(user, "file")); err != nil {
		t.Errorf("another user's directory: %v", err)
	}
	if _, err := os.Stat(h.Path("tmp/bootc-podman-spool-own")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory of a killed transfer: %v", err)
	}
}

func TestNameOfUnfinishedClonesIsRefused(t *testing.T) {
	const name = "localhost/bootc-podman-unfinished:x"
	h, _ := booted(t, registryOrigin, nil, []stored{{names: []string{name}, digest: otherDigest}})
	podman := &fakePodman{scratchHost: h}
	if _, err := PullFromDefault(t.Context(), podman.options(), []string{name}); err == nil || !strings.Contains(err.Error(), "unfinished clones") {
		t.Errorf("pull-from-default-storage: %v", err)
	}
	if _, err := CopyToStorage(t.Context(), podman.options(), plan.CopyChoice{Target: name}); err == nil || !strings.Contains(err.Error(), "unfinished clones") {
		t.Errorf("copy-to-storage: %v", err)
	}
	if len(podman.ran) != 0 {
		t.Errorf("ran %q", podman.ran)
	}
}

func TestNameOfIsTheNameThatWasMeant(t *testing.T) {
	const id = "0123456789ab"
	digest := "@" + otherDigest
	names := []string{"quay.io/a/os" + digest, "quay.io/a/os:1", "quay.io/a/os:latest", "localhost/other:1", "quay.io/xos:1"}
	for _, tt := range []struct {
		meant, want string
		names       []string
	}{
		{meant: "quay.io/a/os:1", want: "quay.io/a/os:1"},
		{meant: "quay.io/a/os", want: "quay.io/a/os:latest"},
		{meant: "a/os:1", want: "quay.io/a/os:1"},
		{meant: "os", want: "quay.io/a/os:latest"},
		{meant: "other:1", want: "localhost/other:1"},
		{meant: "quay.io/a/os:1" + digest, want: "quay.io/a/os:1"},
		{meant: "xos:1", want: "quay.io/xos:1"},
		{meant: id, want: "quay.io/a/os:1"},
		{meant: id, names: []string{"quay.io/a/os" + digest}, want: "quay.io/a/os" + digest},
		{meant: id, names: []string{}},
		{meant: "quay.io/a/os:2" + digest, want: "quay.io/a/os:2"},
		{meant: "quay.io/a/os:2" + digest, names: []string{}, want: "quay.io/a/os:2"},
		{meant: "quay.io/a/os" + digest, want: "quay.io/a/os" + digest},
		{meant: "quay.io/b/os" + digest, want: "quay.io/b/os" + digest},
		{meant: "a/os" + digest, want: "quay.io/a/os" + digest},
		{meant: "other" + digest, want: "localhost/other" + digest},
		{meant: "quay.io/a/os" + digest, names: []string{}, want: "quay.io/a/os" + digest},
		{meant: "os:2" + digest, names: []string{}},
	} {
		if tt.names == nil {
			tt.names = names
		}
		got, err := nameOf(cstorage.Match{Names: tt.names}, tt.meant)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("nameOf(%q of %q) = %q, %v, want %q", tt.meant, tt.names, got, err, tt.want)
		}
	}
}

func TestSetUnifiedLetsBootcExportOnComposefsHosts(t *testing.T) {
	needNamespace(t)
	h := newHost(t)
	h.bootComposefs(bootedDigest)
	h.addProgram("bootc")
	podman := &fakePodman{scratchHost: h, arrives: stored{digest: otherDigest}}
	o := podman.options()
	from := plan.Choice{From: plan.FromComposefs}
	want := []string{
		initialised,
		"copy-to-storage --source docker://" + imageName + " --target localhost/bootc-podman/export",
		"push --remove-signatures -- " + plan.ExportName + " containers-storage:[overlay@/run/bootc/storage+/proc/self/fd/3]" + imageName,
		"rm -- " + plan.ExportName,
	}
	set := func(o Options) error { _, err := SetUnified(t.Context(), o, from); return err }
	if explained := explain(t, podman, o, set); !slices.Equal(explained, want) {
		t.Errorf("explained %q, want %q", explained, want)
	}
	if err := set(o); err != nil || !slices.Equal(podman.ran, want) {
		t.Fatalf("got %v, ran %q, want %q", err, podman.ran, want)
	}
	// The digest is another, but it is known what the image is.
	if p, err := SetUnified(t.Context(), o, plan.Choice{}); err != nil || p.Method != plan.Nothing || p.Exact {
		t.Errorf("again: got %+v, %v", p, err)
	}
	// When the copy fails, what bootc exported is removed all the same.
	if _, err := UnsetUnified(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	podman.fails, podman.ran = []string{imageName}, nil
	if err := set(o); !errors.As(err, new(*wrapper.ExitError)) || !slices.Equal(podman.ran, want[1:]) {
		t.Errorf("got %v, ran %q, want it to fail and to clean up", err, podman.ran)
	}
}

func TestSetUnifiedGoesOnWhereAnArchiveHasAnotherImage(t *testing.T) {
	needNamespace(t)
	h := newHost(t)
	commit := h.exportable(map[string]string{"usr/bin/sh": "shell"})
	h.boot(commit, follow("ostree-unverified-image:oci-archive:/srv/os.tar:42"))
	h.Write("srv/os.tar", "")
	// What the archive has is not known to be an export of what is booted.
	podman := &fakePodman{scratchHost: h, arrives: stored{digest: otherDigest, of: "sha256:original"}}
	podman.installPrivate()
	o := podman.options()
	o.Method = plan.ByPodman
	missed := 0
	o.Events.(*heard).missed = func(source plan.Source, why error) {
		missed++
		if source != plan.FromTransport || !errors.Is(why, ErrNotVerified) || len(podman.images) != 0 {
			t.Errorf("source %s was missed: %v, left %v", source, why, podman.images)
		}
	}
	p, err := SetUnified(t.Context(), o, plan.Choice{})
	if err != nil || p.Source != plan.FromOSTree || missed != 1 {
		t.Errorf("got %+v, %v, %d sources missed", p, err, missed)
	}
}
