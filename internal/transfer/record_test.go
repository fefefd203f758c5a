// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

// killed runs SetUnified until podman runs a command; what comes after that
// has never been.
func (p *fakePodman) killed(o Options, verb string) {
	p.Helper()
	ctx, cancel := context.WithCancel(p.Context())
	defer cancel()
	var stored []stored
	var record []byte
	p.kill = func(now string) error {
		if ctx.Err() == nil && now == verb {
			cancel()
			stored = slices.Clone(p.images)
			for i := range stored {
				stored[i].names = slices.Clone(stored[i].names)
			}
			record, _ = os.ReadFile(p.Path(recordPath))
		}
		return ctx.Err()
	}
	_, err := SetUnified(ctx, o, plan.Choice{})
	if p.kill = nil; record == nil {
		p.Fatalf("not killed at %q: %v", verb, err)
	}
	p.images = stored
	p.save()
	p.Write(recordPath, string(record))
}

func (p *fakePodman) wantNames(want map[string]string) {
	p.Helper()
	if got := p.named(); !maps.Equal(got, want) {
		p.Errorf("the store has %v, want %v", got, want)
	}
}

func TestKilledRunIsCompleted(t *testing.T) {
	needNamespace(t)
	// The archive's own name is another image's.
	mine := stored{names: []string{"localhost/42:latest"}, digest: otherDigest}
	for image, name := range map[string]string{registryOrigin: imageName, "ostree-unverified-image:oci:/srv/os:42": "localhost/bootc:latest"} {
		for _, verb := range []string{"pull", "tag", "untag"} {
			if verb == "untag" && image != registryOrigin {
				continue // the name is given back by another tag
			}
			t.Run(fmt.Sprintf("%s at %s", image, verb), func(t *testing.T) {
				h, _ := booted(t, image, nil, nil)
				podman := &fakePodman{scratchHost: h, images: []stored{mine}, arrives: stored{digest: bootedDigest}}
				o := podman.options()
				podman.killed(o, verb)
				if _, err := SetUnified(t.Context(), o, plan.Choice{}); err != nil {
					t.Fatal(err)
				}
				podman.wantNames(map[string]string{name: bootedDigest, mine.names[0]: otherDigest})
				if r, err := o.readRecord(); err != nil || r.ID == "" || r.Names != nil {
					t.Errorf("record %+v, %v", r, err)
				}
				podman.ran = nil
				if p, err := SetUnified(t.Context(), o, plan.Choice{}); err != nil || p.Method != plan.Nothing || podman.ran != nil {
					t.Errorf("once more: %v, %v, ran %q", p, err, podman.ran)
				}
				if _, err := UnsetUnified(t.Context(), o); err != nil {
					t.Fatal(err)
				}
				podman.wantNames(map[string]string{mine.names[0]: otherDigest})
			})
		}
	}
}

func TestRunKilledBeforeItsEndIsRecorded(t *testing.T) {
	needNamespace(t)
	h, _ := booted(t, registryOrigin, nil, nil)
	podman := &fakePodman{scratchHost: h, arrives: stored{digest: bootedDigest}}
	o := podman.options()
	podman.killed(o, "untag")
	podman.images[0].names = []string{imageName}
	podman.save()
	podman.ran = nil
	if p, err := SetUnified(t.Context(), o, plan.Choice{}); err != nil || p.Method != plan.Nothing || podman.ran != nil {
		t.Errorf("%v, %v, ran %q", p, err, podman.ran)
	}
	if r, err := o.readRecord(); err != nil || r.ID != podman.save()[0] {
		t.Errorf("record %+v, %v", r, err)
	}
}

func TestNamesThatAnArchiveTookGoBack(t *testing.T) {
	needNamespace(t)
	h, _ := booted(t, "ostree-unverified-image:oci:/srv/os:42", nil, nil)
	podman := &fakePodman{
		scratchHost: h, arrives: stored{digest: bootedDigest},
		images: []stored{{names: []string{"localhost/42:latest"}, digest: otherDigest}},
	}
	if _, err := SetUnified(t.Context(), podman.options(), plan.Choice{}); err != nil {
		t.Fatal(err)
	}
	podman.wantNames(map[string]string{"localhost/bootc:latest": bootedDigest, "localhost/42:latest": otherDigest})
}

func TestUnsetUnifiedTakesNothingAfterARunThatBroughtNothing(t *testing.T) {
	needNamespace(t)
	mine := stored{names: []string{imageName}, digest: otherDigest}
	t.Run("failed", func(t *testing.T) {
		h, _ := booted(t, registryOrigin, nil, nil)
		podman := &fakePodman{scratchHost: h, images: []stored{mine}, fails: []string{exactOf(bootedDigest)}}
		o := podman.options()
		if _, err := SetUnified(t.Context(), o, plan.Choice{From: plan.FromRegistry}); err == nil {
			t.Error("no error")
		}
		if _, err := UnsetUnified(t.Context(), o); !errors.Is(err, ErrNotOnboarded) {
			t.Errorf("got %v, want ErrNotOnboarded", err)
		}
		podman.wantNames(map[string]string{imageName: otherDigest})
	})
	t.Run("killed", func(t *testing.T) {
		h, _ := booted(t, registryOrigin, nil, nil)
		podman := &fakePodman{scratchHost: h, images: []stored{mine}}
		o := podman.options()
		podman.killed(o, "pull")
		if r, err := UnsetUnified(t.Context(), o); err != nil || r.ID != "" || r.Replaced != "" {
			t.Errorf("took %+v, %v", r, err)
		}
		podman.wantNames(map[string]string{imageName: otherDigest})
	})
	t.Run("failed after one that brought another version", func(t *testing.T) {
		h, _ := booted(t, registryOrigin, nil, nil)
		podman := &fakePodman{scratchHost: h, images: []stored{mine}, fails: []string{exactOf(bootedDigest)}}
		o := podman.options()
		earlier := plan.Record{Schema: 1, Image: imageName, Name: imageName, Digest: otherDigest, ID: podman.save()[0]}
		if err := o.remember(&earlier); err != nil {
			t.Fatal(err)
		}
		if _, err := SetUnified(t.Context(), o, plan.Choice{From: plan.FromRegistry}); err == nil {
			t.Error("no error")
		}
		if _, err := UnsetUnified(t.Context(), o); err != nil {
			t.Error(err)
		}
		podman.wantNames(map[string]string{})
	})
}

func TestUnsetUnifiedBringsNoEarlierVersionBack(t *testing.T) {
	needNamespace(t)
	h, _ := booted(t, registryOrigin, nil, nil)
	earlier := stored{names: []string{imageName}, digest: otherDigest}
	podman := &fakePodman{scratchHost: h, images: []stored{earlier}, arrives: stored{digest: bootedDigest}}
	o := podman.options()
	if err := o.remember(&plan.Record{Schema: 1, Image: imageName, Name: imageName, Digest: otherDigest, ID: podman.save()[0]}); err != nil {
		t.Fatal(err)
	}
	if _, err := SetUnified(t.Context(), o, plan.Choice{}); err != nil {
		t.Fatal(err)
	}
	if r, err := UnsetUnified(t.Context(), o); err != nil || r.Replaced != "" {
		t.Errorf("got %+v, %v", r, err)
	}
	podman.wantNames(map[string]string{})
}

func TestFailedCloneLeavesItToTheNextSource(t *testing.T) {
	for kind, want := range map[clonejob.Kind]bool{
		clonejob.NotVerified: true, clonejob.Changed: true, clonejob.NotFound: true, clonejob.Failed: true,
		clonejob.NoSpace: false, clonejob.Canceled: false, clonejob.Damaged: false,
	} {
		err := fmt.Errorf("clone: %w", &clonejob.Failure{Kind: kind})
		if got := nextMayDo(&plan.Plan{Source: plan.FromDefault}, err); got != want {
			t.Errorf("%s: %t, want %t", kind, got, want)
		}
	}
}

func TestPodmanCopiesWhatItCan(t *testing.T) {
	for kind, want := range map[clonejob.Kind]bool{
		clonejob.Unsupported: true, clonejob.Changed: true, clonejob.NotVerified: true,
		clonejob.NoSpace: false, clonejob.Canceled: false, clonejob.Damaged: false, clonejob.NotFound: false, clonejob.Failed: false,
	} {
		var why error
		copied := false
		err := (&Options{Events: &heard{fallback: func(err error) { why = err }}}).cloneOr(t.Context(),
			func() error { return fmt.Errorf("clone: %w", &clonejob.Failure{Kind: kind, Message: "layer 1"}) },
			func() error { copied = true; return nil })
		failed := &clonejob.Failure{Kind: kind}
		if wanted := want || kind == clonejob.NotFound || kind == clonejob.Damaged; nextMayCopy(failed) != wanted {
			t.Errorf("%s: another source may copy: %t, want %t", kind, !wanted, wanted)
		}
		if copied != want || (err == nil) != want || (why != nil) != want {
			t.Errorf("%s: copied %t, error %v, reason %v; want %t", kind, copied, err, why, want)
		}
	}
}
