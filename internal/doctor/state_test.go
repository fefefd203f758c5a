// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"reflect"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// figures are the parts of a state that do not depend on the filesystem.
type figures struct {
	roles            []host.Role
	unified          bool
	present, missing int
	images           map[inventory.StoreName]int
	hooks            map[string]bool
}

func figuresOf(s *State) figures {
	f := figures{unified: s.Unified != nil && *s.Unified, present: s.BoundPresent, missing: s.BoundMissing, images: map[inventory.StoreName]int{}, hooks: map[string]bool{}}
	for _, d := range s.Deployments {
		f.roles = append(f.roles, d.Role)
	}
	for _, u := range s.Stores {
		f.images[u.Store] = u.Images
	}
	for _, e := range s.Hooks {
		f.hooks[e.Hook] = e.Installed
	}
	return f
}

func TestStateOfAHost(t *testing.T) {
	healthy := func() figures {
		return figures{
			roles: []host.Role{host.Booted}, unified: true, present: 1,
			images: map[inventory.StoreName]int{inventory.BootcStore: 2, inventory.DefaultStore: 1},
			hooks:  map[string]bool{"ledger": false, "mount-guard": false, "bound-gate": false},
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*scratchHost)
		want   func(*figures)
	}{
		{"healthy", func(*scratchHost) {}, func(*figures) {}},
		{"bound image missing", func(h *scratchHost) { h.drop(1) }, func(f *figures) {
			f.present, f.missing, f.images[inventory.BootcStore] = 0, 1, 1
		}},
		{"not unified", func(h *scratchHost) { h.drop(0) }, func(f *figures) { f.unified, f.images[inventory.BootcStore] = false, 1 }},
		{"another deployment", func(h *scratchHost) { h.deploySecond(unit("quay.io/next:1")) }, func(f *figures) {
			f.roles, f.missing = append(f.roles, host.Rollback), 1
		}},
		{"hooks installed", installed, func(f *figures) {
			for name := range f.hooks {
				f.hooks[name] = true
			}
		}},
		{"no store", func(h *scratchHost) { h.remove(bootcStore) }, func(f *figures) {
			f.unified, f.present, f.missing = false, 0, 1
			delete(f.images, inventory.BootcStore)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, want := newHost(t), healthy()
			tt.change(h)
			tt.want(&want)
			_, state := ExamineState(t.Context(), h.options())
			if got := figuresOf(state); !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if state.Filesystem == nil || state.Filesystem.Size == 0 {
				t.Errorf("filesystem: %v", state.Filesystem)
			}
		})
	}
}

// TestWhatCannotBeReadIsNotInTheState: else a store that cannot be read is an alert that the
// host is not unified.
func TestWhatCannotBeReadIsNotInTheState(t *testing.T) {
	h := newHost(t)
	h.Write(bootcStore+"/overlay-images/images.json", "[{")
	_, s := ExamineState(t.Context(), h.options())
	if s.Unified != nil || !s.BoundUnknown || s.BoundPresent+s.BoundMissing != 0 || len(s.Stores) != 1 {
		t.Errorf("got %+v", s)
	}
}

func TestThereIsNoStateWithoutAHost(t *testing.T) {
	h := newHost(t)
	o := h.options()
	inside := &o.Options.Options // the two have an Env each
	inside.Env = append(inside.Env, "container=podman")
	problems, state := ExamineState(t.Context(), o)
	if state != nil || len(problems) == 0 {
		t.Errorf("got %v and %v", problems, state)
	}
}
