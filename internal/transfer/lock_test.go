// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"errors"
	"strings"
	"testing"
)

func TestPlansThatDoNotFitAreRefused(t *testing.T) {
	const vast = 1 << 60
	o := Options{}
	o.Env = []string{"TMPDIR=" + t.TempDir()}
	for _, tt := range []struct {
		name  string
		plan  Plan
		force bool
		want  string
	}{
		{name: "nothing is known", plan: Plan{Available: 1}},
		{name: "fits", plan: Plan{Fetch: 10, Write: new(int64(100)), Available: 100}},
		{name: "fetched", plan: Plan{Name: "os:1", Fetch: 101, Available: 100}, want: "put os:1, 101 bytes, into the bootc-owned store: not enough free space: 100 bytes are free"},
		{name: "written", plan: Plan{Fetch: 10, Write: new(int64(101)), Available: 100}, want: "101 bytes"},
		{name: "temporary files", plan: Plan{Fetch: vast, Available: vast}, want: " into \"" + o.spoolDir() + "\": not enough free space"},
		{name: "by force", plan: Plan{Fetch: vast, Available: 100}, force: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o.Force = tt.force
			err := o.checkPlan(&tt.plan)
			if (err != nil) != (tt.want != "") || err != nil && (!errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestSpaceIsThatOfTheFilesystemOfADirectory(t *testing.T) {
	o := Options{}
	dir := t.TempDir()
	for _, tt := range []struct {
		dir  string
		need int64
		is   error
	}{
		{dir, 0, nil},
		{dir + "/missing", 1 << 60, nil}, // podman makes it
		{dir, 1 << 60, ErrNoSpace},
		{"/proc", 1, ErrNoSpace},
	} {
		if err := o.checkSpace(tt.dir, tt.need); !errors.Is(err, tt.is) {
			t.Errorf("%d bytes into %s: got %v, want %v", tt.need, tt.dir, err, tt.is)
		}
	}
}
