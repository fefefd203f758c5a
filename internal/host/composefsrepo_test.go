// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The image in testdata/composefs, of which bootc 1.16.9 wrote the streams, and cfsctl 0.6.0
// those named "old".
const (
	composefsManifest = "sha256:a1fdedd92f48963e00efa0adcba10bba9c180a8bf141aa38570e3e9a0226a289"
	composefsConfig   = "sha256:3ff5cf818de37f56ad74ab1da079138cc3ff2c935a97360d46a626f5d133a6ca"
)

// composefsObjects are the names that both gave to manifest and configuration.
var composefsObjects = map[string]string{
	"manifest": "43/2242c863fff5882710d0c0da33a9e446d45c77014d0c341c5b02e7eb661bfc42cb3cd35df5a3c8bec2b2bbe472ae5b588a64b11f771add66c8618eeea6f5f3",
	"config":   "9a/f7a3eb86e94058ddc02e5451397059d5f65004b30fa7b84f687a14d6c2c5a3a18629421e43be49ff8d6993a3cbc47216fc30ee74720906f8726ff7a55cdeab",
}

func composefsFile(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/composefs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// streamObjects are the objects of the streams. How they are called does not matter.
var streamObjects = map[string]string{"manifest": "aa/" + strings.Repeat("a", 126), "config": "bb/" + strings.Repeat("b", 126)}

// addComposefsRepo makes the repository of the image; suffix is "-old" for that of cfsctl.
func addComposefsRepo(t *testing.T, dir, suffix string) {
	t.Helper()
	for kind, digest := range map[string]string{"manifest": composefsManifest, "config": composefsConfig} {
		writeFile(t, dir, "composefs/objects/"+streamObjects[kind], composefsFile(t, kind+suffix+".stream"))
		makeDirs(t, dir, "composefs/streams")
		if err := os.Symlink("../objects/"+streamObjects[kind], filepath.Join(dir, "composefs/streams/oci-"+kind+"-"+digest)); err != nil {
			t.Fatal(err)
		}
		writeFile(t, dir, "composefs/objects/"+composefsObjects[kind], composefsFile(t, kind+".json"))
	}
}

func TestReadSysrootReadsTheComposefsRepository(t *testing.T) {
	const none = ""
	remove := func(path string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, path)); err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func(path, content string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { writeFile(t, dir, path, content) }
	}
	stream := composefsFile(t, "manifest.stream")
	for _, tt := range []struct {
		name, suffix string
		change       func(t *testing.T, dir string)
		arch         string
		problem      string // none for none
	}{
		{name: "bootc 1.16.9", arch: "amd64"},
		{name: "cfsctl 0.6.0", suffix: "-old", arch: "amd64"},
		{name: "manifest that was collected", change: remove("composefs/streams/oci-manifest-" + composefsManifest), arch: none},
		{name: "manifest that was collected meanwhile", change: remove("composefs/objects/" + composefsObjects["manifest"]), arch: none},
		{name: "configuration that was collected", change: remove("composefs/objects/" + streamObjects["config"]), arch: none},
		{name: "stream of another form", change: write("composefs/objects/"+streamObjects["manifest"], "SplitStream2"+stream[12:]+stream), arch: none},
		{name: "stream cut short", change: write("composefs/objects/"+streamObjects["manifest"], stream[:120]), arch: none},
		{name: "empty stream", change: write("composefs/objects/"+streamObjects["manifest"], ""), arch: none},
		{
			name: "manifest of another digest", problem: "has the digest sha256:",
			change: write("composefs/objects/"+composefsObjects["manifest"], "{}"),
		},
		{
			name: "configuration of another digest", problem: "has the digest sha256:",
			change: write("composefs/objects/"+composefsObjects["config"], `{"architecture":"arm64"}`),
		},
		{
			name: "FIFO in place of a stream", problem: "not a regular file",
			change: func(t *testing.T, dir string) {
				remove("composefs/objects/"+streamObjects["manifest"])(t, dir)
				if err := syscall.Mkfifo(filepath.Join(dir, "composefs/objects/"+streamObjects["manifest"]), 0o600); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "collected, but written by an older bootc", arch: "s390x",
			change: func(t *testing.T, dir string) {
				remove("composefs/streams/oci-manifest-"+composefsManifest)(t, dir)
				writeFile(t, dir, "state/deploy/"+verityOf("a")+"/"+verityOf("a")+".imginfo", `{"config": {"architecture": "s390x", "created": "2023-11-14T22:13:20Z"}, "manifest": {}}`)
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := newComposefs(t)
			writeFile(t, dir, "state/deploy/"+verityOf("a")+"/"+verityOf("a")+".origin", composefsOriginOf+"[image]\nmanifest_digest = "+composefsManifest+"\n")
			addComposefsRepo(t, dir, tt.suffix)
			if tt.change != nil {
				tt.change(t, dir)
			}
			h, problems := ReadSysroot(At(dir))
			if tt.problem == none && len(problems) > 0 || tt.problem != none && (len(problems) != 1 || !strings.Contains(problems[0].Error(), tt.problem)) {
				t.Errorf("got problems %v, want %q", problems, tt.problem)
			}
			d := h.Deployments[0]
			var created time.Time
			if tt.arch != none {
				created = time.Unix(1700000000, 0).UTC()
			}
			if d.ManifestDigest != composefsManifest || d.Architecture != tt.arch || !d.Created.Equal(created) {
				t.Errorf("got %+v", d)
			}
		})
	}
}
