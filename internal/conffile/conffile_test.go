// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package conffile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.podman.io/storage/pkg/configfile"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

func TestCheckRefusesOnlyWhatTheLibraryWouldWaitFor(t *testing.T) {
	const (
		user   = "home/.config/containers/x.conf"
		admin  = "etc/containers/x.conf"
		vendor = "usr/share/containers/x.conf"
		dropIn = admin + ".d/a.conf"
		later  = vendor + ".d/a.conf"
	)
	for name, tc := range map[string]struct {
		fifos, files []string
		// named is the file of the variable, and override that of the variable for one more.
		named, override string
		want            string
	}{
		"nothing":               {},
		"files":                 {files: []string{admin, dropIn}},
		"main file":             {fifos: []string{admin}, want: admin},
		"vendor's file":         {fifos: []string{vendor}, want: vendor},
		"main file not read":    {fifos: []string{vendor}, files: []string{admin}},
		"user's file":           {fifos: []string{user}, files: []string{admin}, want: user},
		"drop-in":               {fifos: []string{dropIn}, want: dropIn},
		"replaced drop-in":      {fifos: []string{later}, files: []string{dropIn}},
		"drop-in, by extension": {fifos: []string{admin + ".d/README"}},
		"file of a variable":    {fifos: []string{"srv/x"}, named: "srv/x", want: "srv/x"},
		"variable for another":  {fifos: []string{admin, dropIn}, files: []string{"srv/x"}, named: "srv/x"},
		"override":              {fifos: []string{"srv/y"}, files: []string{admin, dropIn}, override: "srv/y", want: "srv/y"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			t.Setenv("HOME", filepath.Join(root, "home"))
			t.Setenv("XDG_CONFIG_HOME", filepath.Join(root, "home/.config"))
			place := func(file string) string {
				path := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				return path
			}
			for _, file := range tc.fifos {
				if err := unix.Mkfifo(place(file), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, file := range tc.files {
				if err := os.WriteFile(place(file), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for variable, file := range map[string]string{"TEST_X_CONF": tc.named, "TEST_X_CONF_OVERRIDE": tc.override} {
				if file != "" {
					t.Setenv(variable, place(file))
				}
			}
			err := Check(&configfile.File{Name: "x", Extension: "conf", EnvironmentName: "TEST_X_CONF", RootForImplicitAbsolutePaths: root})
			if tc.want == "" {
				if err != nil {
					t.Errorf("want no error, got %v", err)
				}
				return
			}
			if want := "read " + filepath.Join(root, tc.want) + ": " + rooted.ErrNotRegular.Error(); err == nil || err.Error() != want || !errors.Is(err, rooted.ErrNotRegular) {
				t.Errorf("want %q, got %v", want, err)
			}
		})
	}
}

func TestCheckFile(t *testing.T) {
	dir := t.TempDir()
	huge := filepath.Join(dir, "huge")
	if err := os.WriteFile(huge, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, MaxSize+1); err != nil {
		t.Fatal(err)
	}
	masked := filepath.Join(dir, "masked")
	if err := os.Symlink(os.DevNull, masked); err != nil {
		t.Fatal(err)
	}
	for file, good := range map[string]bool{huge: false, "/dev/zero": false, masked: true, os.DevNull: true, dir: true, dir + "/none": true} {
		if err := CheckFile(file); (err == nil) != good {
			t.Errorf("%s: got %v", file, err)
		}
	}
}
