// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

func TestUnsetUnifiedTakesAwayWhatWasBrought(t *testing.T) {
	needNamespace(t)
	exact := stored{names: []string{imageName}, digest: bootedDigest}
	newer := stored{names: []string{imageName}, digest: otherDigest}
	elsewise := stored{names: []string{"localhost/other:1"}, digest: bootedDigest}
	ids := newHost(t).store(bootcStorage, exact, newer)
	exactID, newerID := ids[0], ids[1]
	for _, tt := range []struct {
		name   string
		before []stored
		// after changes the store between set-unified and unset-unified.
		after   func(p *fakePodman)
		want    []string
		removal Removal
		names   map[string]string
	}{
		{name: "the image", want: []string{"rm -- " + imageName}, removal: Removal{Name: imageName, ID: exactID}, names: map[string]string{}},
		{
			name: "only the name", before: []stored{elsewise}, want: []string{"rm -- " + imageName},
			removal: Removal{Name: imageName, ID: exactID}, names: map[string]string{"localhost/other:1": bootedDigest},
		},
		{
			name: "the name goes back", before: []stored{newer}, want: []string{"tag " + newerID + " " + imageName, "rm -- " + exactID},
			removal: Removal{Name: imageName, ID: exactID, Replaced: newerID}, names: map[string]string{imageName: otherDigest},
		},
		{
			name: "it is gone", after: func(p *fakePodman) { p.images = nil; p.save() },
			removal: Removal{Name: imageName}, names: map[string]string{},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := booted(t, registryOrigin, nil, nil)
			podman := &fakePodman{scratchHost: h, images: tt.before, arrives: exact}
			o := podman.options()
			if _, err := UnsetUnified(t.Context(), o); !errors.Is(err, ErrNotOnboarded) {
				t.Errorf("at first: got %v, want ErrNotOnboarded", err)
			}
			if _, err := SetUnified(t.Context(), o, plan.Choice{}); err != nil {
				t.Fatal(err)
			}
			if tt.after != nil {
				tt.after(podman)
			}
			podman.ran = nil
			unset := func(o Options) error { _, err := UnsetUnified(t.Context(), o); return err }
			if explained := explain(t, podman, o, unset); len(explained) > len(tt.want) || !slices.Equal(explained, tt.want[:len(explained)]) {
				t.Errorf("explained %q, want %q", explained, tt.want)
			}
			got, err := UnsetUnified(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if *got != tt.removal || !slices.Equal(podman.ran, tt.want) {
				t.Errorf("got %+v, ran %q; want %+v, %q", got, podman.ran, tt.removal, tt.want)
			}
			names := podman.named()
			for name, digest := range tt.names {
				if names[name] != digest {
					t.Errorf("%s is %q, want %q", name, names[name], digest)
				}
			}
			if len(names) != len(tt.names) {
				t.Errorf("left %v, want %v", names, tt.names)
			}
			if _, err := UnsetUnified(t.Context(), o); !errors.Is(err, ErrNotOnboarded) {
				t.Errorf("again: got %v, want ErrNotOnboarded", err)
			}
		})
	}
}

func TestUnsetUnifiedLeavesWhatADeploymentNeeds(t *testing.T) {
	needNamespace(t)
	exact := stored{names: []string{imageName}, digest: bootedDigest}
	for _, tt := range []struct {
		name, origin, want string
		prepare            func(h *scratchHost, commit string)
		// given is what makes it unneeded.
		given func(h *scratchHost)
	}{
		{
			name: "bound", origin: registryOrigin, want: " has it bound",
			prepare: func(h *scratchHost, commit string) {
				root := "sysroot/ostree/deploy/default/deploy/" + commit + ".0/"
				h.Write(root+"usr/share/app.image", "[Image]\nImage="+imageName+"\n")
				makeDir(h, h.Path(root+"usr/lib/bootc/bound-images.d"))
				if err := os.Symlink("/usr/share/app.image", h.Path(root+"usr/lib/bootc/bound-images.d/app.image")); err != nil {
					h.Fatal(err)
				}
			},
		},
		{
			name: "local image", origin: "ostree-unverified-image:containers-storage:" + imageName, want: "which podman's own store does not have",
			prepare: func(h *scratchHost, _ string) { h.store(defaultStorage, exact) },
			given:   func(h *scratchHost) { h.store(defaultStorage, exact) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, commit := booted(t, tt.origin, nil, nil)
			tt.prepare(h, commit)
			podman := &fakePodman{scratchHost: h, arrives: exact}
			o := podman.options()
			if _, err := SetUnified(t.Context(), o, plan.Choice{}); err != nil {
				t.Fatal(err)
			}
			if tt.given != nil {
				h.store(defaultStorage)
			}
			podman.ran = nil
			_, err := UnsetUnified(t.Context(), o)
			if !errors.Is(err, ErrNeeded) || !strings.Contains(err.Error(), tt.want) || podman.ran != nil {
				t.Errorf("got %v, ran %q; want ErrNeeded, %q", err, podman.ran, tt.want)
			}
			if tt.given == nil {
				return
			}
			tt.given(h)
			if _, err := UnsetUnified(t.Context(), o); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRecordThatIsNoJSONNamesItsFile(t *testing.T) {
	h, _ := booted(t, registryOrigin, nil, nil)
	h.Write(recordPath, "{")
	o := (&fakePodman{scratchHost: h}).options()
	for name, err := range map[string]error{
		"plan":  func() error { _, err := PlanUnified(t.Context(), o, plan.Choice{}); return err }(),
		"unset": func() error { _, err := UnsetUnified(t.Context(), o); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), h.Path(recordPath)) || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%s: got %v, want the file's name and what to do", name, err)
		}
	}
}

func TestSetUnifiedWritesToTheJournalAsBootcDoes(t *testing.T) {
	needNamespace(t)
	exact := stored{names: []string{imageName}, digest: bootedDigest}
	for _, kind := range []host.Kind{host.OSTree, host.Composefs} {
		h := newHost(t)
		id := messageOSTree
		if kind == host.Composefs {
			id = messageComposefs
			h.bootComposefs(bootedDigest)
		} else {
			h.boot(h.commit(), follow(registryOrigin))
		}
		podman := &fakePodman{scratchHost: h, arrives: exact}
		o := podman.options()
		var statuses []string
		o.Events.(*heard).journal = func(message string, fields map[string]string) {
			statuses = append(statuses, fields["BOOTC_STATUS"])
			if fields["MESSAGE_ID"] != id || fields["BOOTC_IMAGE_REFERENCE"] != imageName || fields["BOOTC_IMAGE_TRANSPORT"] != "registry" || !strings.Contains(message, imageName) {
				t.Errorf("%s: wrote %q, %v", kind, message, fields)
			}
		}
		for range 2 {
			if _, err := SetUnified(t.Context(), o, plan.Choice{}); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{unifying, unified, alreadyUnified}
		if !slices.Equal(statuses, want) {
			t.Errorf("%s: wrote %q, want %q", kind, statuses, want)
		}
	}
}
