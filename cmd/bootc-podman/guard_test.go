// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/removal"
)

// storePodman is a podman on the store of a testApp that lists and removes images by ID.
type storePodman struct {
	*testing.T
	*testApp
	images []string
	// calls are the arguments, all in one string.
	calls []string
	// before runs before a call.
	before func(call string)
	// stuck is an image that it fails to remove.
	stuck string
}

var errStuck = errors.New("image is in use")

// idOf makes the ID of an image out of a character.
func idOf(c string) string { return strings.Repeat(c, 64) }

// newStorePodman makes a store with images; a container uses those of used.
func newStorePodman(t *testing.T, images []string, used ...string) *storePodman {
	t.Helper()
	p := &storePodman{T: t, testApp: newTestApp(t), images: images}
	p.write()
	p.use(used...)
	return p
}

func (p *storePodman) write() {
	list := []string{}
	for _, id := range p.images {
		list = append(list, fmt.Sprintf(`{"id":%q,"layer":"","names":["quay.io/%c:1"]}`, id, id[0]))
	}
	p.writeFile(p.T, "sysroot/ostree/bootc/storage/overlay-images/images.json", 0o644, "["+strings.Join(list, ",")+"]")
}

// use gives each image a container.
func (p *storePodman) use(images ...string) {
	containers := []map[string]any{}
	for _, id := range images {
		containers = append(containers, map[string]any{"id": idOf("e"), "image": id, "layer": idOf("d"), "names": []string{"c"}})
	}
	content, err := json.Marshal(containers)
	if err != nil {
		p.Fatal(err)
	}
	p.writeFile(p.T, "sysroot/ostree/bootc/storage/overlay-containers/containers.json", 0o644, string(content))
}

func (p *storePodman) run(_ context.Context, out io.Writer, args ...string) error {
	call := strings.Join(args, " ")
	if p.before != nil {
		p.before(call)
	}
	p.calls = append(p.calls, call)
	switch {
	case strings.HasPrefix(call, "image ls "):
		fmt.Fprintln(out, strings.Join(p.images, "\n"))
	case strings.HasPrefix(call, "image rm "):
		p.images = slices.DeleteFunc(p.images, func(id string) bool { return id != p.stuck && slices.Contains(args, id) })
		p.write()
		if slices.Contains(args, p.stuck) {
			return errStuck
		}
	}
	return nil
}

// pruner is the pruner of a command line that runs this podman. answer is standard input.
func (p *storePodman) pruner(answer string, args ...string) (pr *pruner, stdout *strings.Builder) {
	p.Helper()
	c, ok := removal.Parse(args)
	if !ok {
		p.Fatalf("not recognised: %q", args)
	}
	stdout = &strings.Builder{}
	p.stdin, p.stdout, p.stderr = strings.NewReader(answer), stdout, io.Discard
	pr = p.newPruner(&options{sysroot: p.sysroot}, c)
	pr.podman = p.run
	return pr, stdout
}

// pruned prunes by a command line and returns standard output.
func (p *storePodman) pruned(answer string, args ...string) (stdout string, err error) {
	p.Helper()
	pr, out := p.pruner(answer, args...)
	view := removal.Look(p.Context(), p.query(pr.options))
	defer view.Close()
	if view.Err != nil || view.Absent != nil {
		p.Fatal(view.Err, view.Absent)
	}
	err = pr.run(p.Context(), view.Needs)
	return out.String(), err
}

func TestPruneLooksAgainBeforeItRemoves(t *testing.T) {
	p := newStorePodman(t, []string{idOf("1"), idOf("2"), idOf("3")}, idOf("1"))
	// The question takes long enough for a container to start.
	listed := 0
	p.before = func(call string) {
		if strings.HasPrefix(call, "image ls ") {
			if listed++; listed == 1 {
				p.use(idOf("1"), idOf("2"))
			}
		}
	}
	stdout, err := p.pruned("y\n", "image", "prune", "-a")
	if err != nil || !slices.Equal(p.images, []string{idOf("1"), idOf("2")}) || !strings.HasSuffix(stdout, "[y/N] "+idOf("3")+"\n") {
		t.Errorf("left %v, %q, %v", p.images, stdout, err)
	}
}

func TestPruneFailsWhereASecondLookFails(t *testing.T) {
	p := newStorePodman(t, []string{idOf("1"), idOf("2")}, idOf("1"))
	p.before = func(string) {
		p.writeFile(t, "sysroot/ostree/bootc/storage/overlay-containers/containers.json", 0o644, "{")
	}
	if _, err := p.pruned("", "image", "prune", "-af"); !errors.As(err, new(*removal.UnknownError)) || len(p.images) != 2 {
		t.Errorf("left %v: %v", p.images, err)
	}
}

func TestPrunePrintsWhatIsGone(t *testing.T) {
	p := newStorePodman(t, []string{idOf("1"), idOf("2"), idOf("3")}, idOf("1"))
	p.stuck = idOf("2")
	if stdout, err := p.pruned("", "image", "prune", "-af"); !errors.Is(err, errStuck) || stdout != idOf("3")+"\n" {
		t.Errorf("%q, %v", stdout, err)
	}
}

func TestPruneRemovesOnlyWhatIsConfirmed(t *testing.T) {
	for answer, removes := range map[string]bool{"y\n": true, "Yes\n": true, "n\n": false, "\n": false, "no y\n": false} {
		p := newStorePodman(t, []string{idOf("1"), idOf("2")}, idOf("1"))
		stdout, err := p.pruned(answer, "image", "prune", "-a")
		if err != nil || (len(p.images) == 1) != removes || !strings.Contains(stdout, "[y/N]") {
			t.Errorf("%q: left %v, %q, %v", answer, p.images, stdout, err)
		}
	}
	p := newStorePodman(t, []string{idOf("1"), idOf("2")}, idOf("1"))
	if _, err := p.pruned("", "image", "prune", "-a"); !errors.Is(err, io.EOF) || len(p.images) != 2 {
		t.Errorf("without an answer: left %v, %v", p.images, err)
	}
	stdout, err := p.pruned("", "image", "prune", "-af")
	if err != nil || len(p.images) != 1 || strings.Contains(stdout, "[y/N]") {
		t.Errorf("with --force: left %v, %q, %v", p.images, stdout, err)
	}
}

// TestPruneOfTheBuildCacheRemovesNoImage: podman prunes images along with it, of which the
// host may need some.
func TestPruneOfTheBuildCacheRemovesNoImage(t *testing.T) {
	for _, args := range [][]string{{"image", "prune", "-af", "--build-cache"}, {"image", "prune", "-af"}} {
		p := newStorePodman(t, []string{idOf("1"), idOf("2")}, idOf("1"))
		if _, err := p.pruned("", args...); err != nil {
			t.Fatal(err)
		}
		cache := slices.ContainsFunc(p.calls, func(call string) bool { return strings.Contains(call, "--build-cache") })
		if cache != slices.Contains(args, "--build-cache") {
			t.Errorf("%q: podman ran with %q", args, p.calls)
		}
		for _, call := range p.calls {
			if strings.HasPrefix(call, "image prune ") && !strings.HasSuffix(call, "--filter label=io.bootc-podman.no-image") {
				t.Errorf("%q: podman ran with %q", args, call)
			}
		}
	}
}

func TestGCRemovesWhatNothingNeeds(t *testing.T) {
	p := newStorePodman(t, []string{idOf("1"), idOf("2"), idOf("3")}, idOf("1"))
	pr, _ := p.pruner("", "image", "prune")
	view := removal.Look(t.Context(), p.query(pr.options))
	defer view.Close()
	if err := pr.collect(t.Context(), view.Needs); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.calls, []string{"image rm --no-prune --ignore -- " + idOf("2") + " " + idOf("3")}) {
		t.Errorf("podman ran with %q", p.calls)
	}
}

// TestWhatIsNeededIsRefusedInEveryCommand has the commands that lead to podman, by whatever
// name: nothing becomes podman.
func TestWhatIsNeededIsRefusedInEveryCommand(t *testing.T) {
	id := idOf("1")
	for line, code := range map[string]int{
		"gc": 1, "rmi ID": 125, "image rm ID": 125, "--log-level info rmi ID": 125, "exec podman rmi ID": 125, "exec -- podman rmi ID": 125,
		"exec podman system reset": 125,
	} {
		p := newStorePodman(t, []string{id}, id)
		// No namespace is entered where the guard fails.
		p.euid, p.confPath = 0, "/proc/none/storage.conf"
		if line == "gc" { // it refuses only where something cannot be read
			p.writeFile(t, "sysroot/ostree/bootc/storage/overlay-containers/containers.json", 0o644, "{")
		}
		stdout, stderr, got := p.onHost(t, strings.Fields(strings.ReplaceAll(line, "ID", id))...)
		want := "needed by the container"
		switch {
		case line == "gc":
			want = "determine which images the host needs"
		case strings.HasSuffix(line, "reset"):
			want = "not confirmed"
		}
		if got != code || stdout != "" || !strings.Contains(stderr, want) || len(p.execer.cmds) > 0 {
			t.Errorf("%s: exit status %d, %q, %q, became %v", line, got, stdout, stderr, p.execer.cmds)
		}
	}
}

// TestWhatIsOfAnotherStoreIsNotRefused: the images of a podman service and of another graph root.
func TestWhatIsOfAnotherStoreIsNotRefused(t *testing.T) {
	id := idOf("1")
	p := newStorePodman(t, []string{id}, id)
	p.euid, p.stderr = 0, io.Discard
	for line, refused := range map[string]bool{
		"podman rmi ": true, "podman --remote rmi ": false, "podman --connection x rmi ": false, "podman --remote=0 rmi ": true,
		"podman --root /proc/none rmi ": false, "podman --root " + p.sysroot + "/ostree/bootc/storage rmi ": true,
	} {
		_, err := p.guardProgram(t.Context(), &options{sysroot: p.sysroot}, strings.Fields(line+id))
		if errors.As(err, new(*removal.NeededError)) != refused || err != nil && !refused {
			t.Errorf("%s: got %v", line, err)
		}
	}
}

func TestRmiIsImageRm(t *testing.T) {
	for name, run := range map[string]func(a *testApp) (string, string, int){
		"first":           func(a *testApp) (string, string, int) { return a.start(t, "rmi", "--help") },
		"after an option": func(a *testApp) (string, string, int) { return a.onHost(t, "rmi", "--help") },
	} {
		a := newTestApp(t)
		_, stderr, code := run(a)
		if code != 0 || len(a.execer.cmds) != 1 || !slices.Equal(a.execer.cmds[0].Args[1:], []string{"image", "rm", "--help"}) {
			t.Errorf("%s: exit status %d, %q, became %v", name, code, stderr, a.execer.cmds)
		}
	}
}
