// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// guardHost is a host whose directories are guarded by their paths.
func guardHost(t *testing.T) *testHost {
	h := newTestHost(t)
	for _, dir := range []string{"sysroot/ostree/repo", "boot/efi", "srv/plain", "etc", "var/lib", "sysroot/state/deploy/x/etc"} {
		h.Mkdir(dir)
	}
	h.Link("sysroot/ostree", "ostree")
	h.Link("/sysroot/ostree/repo", "srv/link")
	h.Link("/sysroot/ostree/deploy", "srv/deploy")
	h.Mkdir("sysroot/ostree/deploy/default")
	return h
}

const guardConfig = `{"ociVersion":"1.0.2","root":{"path":"/x"},"annotations":{"a":"b"},
 "mounts": [ {"destination":"/m","type":"bind","source":%q,"options":["rw","rbind","rprivate"]},
  {"destination":"/proc","type":"proc","source":"proc"} ],
 "unknown":{"number":12345678901234567890.10e+3,"html":"<&>"}}`

func TestMountGuardByMode(t *testing.T) {
	config := fmt.Sprintf(guardConfig, "/sysroot/ostree/repo")
	for _, tt := range []struct {
		name string
		args []string
		want string
		code int
		told string
	}{
		{name: "no mode", want: config, told: "is writable"},
		{name: "warn", args: []string{"--mode", "warn"}, want: config, told: "is writable"},
		{name: "in one word", args: []string{"--mode=warn"}, want: config, told: "is writable"},
		{name: "enforce", args: []string{"--mode", "enforce"}, want: strings.Replace(config, `"rw","rbind","rprivate"`, `"rbind","rprivate","ro"`, 1), told: "was made read-only"},
		{name: "deny", args: []string{"--mode", "deny"}, code: 1, told: "may not start"},
		{name: "unknown", args: []string{"--mode", "of-tomorrow"}, want: config, told: "unknown options"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := guardHost(t)
			code, out := h.run(config, append([]string{MountGuard}, tt.args...)...)
			if code != tt.code || out != tt.want {
				t.Errorf("exit status %d, got\n%s\nwant\n%s", code, out, tt.want)
			}
			if !strings.Contains(h.journal.text(), tt.told) {
				t.Errorf("journal %q, want %q", h.journal.text(), tt.told)
			}
		})
	}
}

func TestMountGuardFindsSources(t *testing.T) {
	for source, want := range map[string]string{
		"/sysroot/ostree": "/sysroot/ostree", "/ostree/repo": "/sysroot/ostree", "/boot": "/boot", "/boot/efi": "/boot/efi",
		"/srv/link":      "/sysroot/ostree",
		"/sysroot/state": "", "/sysroot/state/deploy/x/etc": "/sysroot/state/deploy",
		"/srv/deploy/../repo":  "/sysroot/ostree", // for the kernel not /srv/repo
		"/srv/plain":           "",
		"/":                    "",
		"/sysroot":             "",
		"/sysroot/ostree/none": "",
		"relative":             "",
	} {
		t.Run(source, func(t *testing.T) {
			h := guardHost(t)
			v, _ := h.invocation("")
			verdict, err := v.judge(fmt.Appendf(nil, guardConfig, source), Warn)
			got := ""
			if len(verdict.found) > 0 {
				got = verdict.found[0].Protected
			}
			if err != nil || got != want || verdict.doubts != nil {
				t.Errorf("got %q, %v, %v, want %q", got, err, verdict.doubts, want)
			}
		})
	}
}

func TestMountGuardKnowsWhatCanBeWritten(t *testing.T) {
	for _, tt := range []struct {
		name, mount string
		want        string // the options when enforced, "" for no change
	}{
		{name: "podman's", mount: `"type":"bind","options":["rbind","rprivate"]`, want: `["rbind","rprivate","ro"]`},
		{name: "read-only", mount: `"type":"bind","options":["rbind","ro"]`},
		{name: "recursively so", mount: `"type":"bind","options":["rbind","rro"]`},
		{name: "the last word counts", mount: `"type":"bind","options":["ro","rbind","rw"]`, want: `["rbind","ro"]`},
		{name: "and may be recursive", mount: `"type":"bind","options":["ro","rbind","rrw"]`, want: `["rbind","ro"]`},
		{name: "no options", mount: `"type":"bind"`, want: `["ro"]`},
		{name: "null", mount: `"type":"bind","options":null`, want: `["ro"]`},
		{name: "empty", mount: `"type":"bind","options":[]`, want: `["ro"]`},
		{name: "bind by its option", mount: `"type":"none","options":["bind"]`, want: `["bind","ro"]`},
		{name: "another case", mount: `"Type":"bind","Options":["bind"]`, want: `["bind","ro"]`},
		{name: "not a bind mount", mount: `"type":"overlay","options":["x"]`},
		{name: "an overlay of another place", mount: `"type":"overlay","options":["lowerdir=/boot","upperdir=/srv/plain"]`},
		{name: "an overlay's upper directory", mount: `"type":"overlay","options":["lowerdir=/srv/plain","upperdir=/boot"]`, want: `["lowerdir=/srv/plain","upperdir=/boot","ro"]`},
		{name: "a read-only overlay", mount: `"type":"overlay","options":["upperdir=/boot","ro"]`},
		{name: "an overlay's work directory", mount: `"type":"overlay","options":["upperdir=/srv/plain","workdir=/boot"]`, want: `["upperdir=/srv/plain","workdir=/boot","ro"]`},
		{name: "both", mount: `"type":"overlay","options":["upperdir=/boot","workdir=/boot/efi"]`, want: `["upperdir=/boot","workdir=/boot/efi","ro"]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := guardHost(t)
			config := `{"mounts":[{"destination":"/m","source":"/boot",` + tt.mount + `}]}`
			code, out := h.run(config, MountGuard, "--mode", "enforce")
			var got struct {
				Mounts []struct{ Options json.RawMessage }
			}
			if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
				t.Fatalf("exit status %d, %q: %v", code, out, err)
			}
			switch {
			case tt.want == "" && out != config:
				t.Errorf("changed to %s", out)
			case tt.want != "" && string(got.Mounts[0].Options) != tt.want:
				t.Errorf("got %s, want %s", got.Mounts[0].Options, tt.want)
			}
		})
	}
}

func TestMountGuardFindsWhatIsWritableBelow(t *testing.T) {
	for _, tt := range []struct {
		name, options, mount string
		found                bool
	}{
		{"read-only", `["ro","rbind"]`, "/boot/efi rw,nosuid - vfat dev rw", true},
		{"recursively so", `["rro","rbind"]`, "/boot/efi rw - vfat dev rw", false},
		{"without what is below", `["ro","bind"]`, "/boot/efi rw - vfat dev rw", false},
		{"read-only below", `["ro","rbind"]`, "/boot/efi ro - vfat dev rw", false},
		{"not yet mounted", `["ro","rbind"]`, "/boot/efi rw - autofs dev rw", false},
		{"elsewhere", `["ro","rbind"]`, "/boot2/efi rw - vfat dev rw", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := guardHost(t)
			h.Write("proc/self/mountinfo", "99 1 8:2 / "+h.Dir+tt.mount+"\n")
			config := `{"mounts":[{"destination":"/m","source":"/boot","type":"bind","options":` + tt.options + `}]}`
			code, _ := h.run(config, MountGuard, "--mode", "deny")
			if (code != 0) != tt.found {
				t.Errorf("exit status %d, %s", code, h.journal.text())
			}
			if tt.found && !strings.Contains(h.journal.text(), "/boot/efi\" below the read-only mount of \"/boot\"") {
				t.Errorf("journal %q", h.journal.text())
			}
		})
	}
}

// TestMountGuardTellsOfParents: they pass in each mode, and leave a record.
func TestPreviewsAreSentences(t *testing.T) {
	h := guardHost(t)
	for mode, want := range map[Mode]string{
		Warn:    `warns of the mount of "/boot" on "/m", which is in /boot`,
		Enforce: `makes read-only the mount of "/boot" on "/m", which is in /boot`,
		Deny:    `does not let the container start: the mount of "/boot" on "/m", which is in /boot, is writable`,
	} {
		got := Preview(h.Dir, []byte(`{"mounts":[{"type":"bind","source":"/boot","destination":"/m"}]}`), MountGuard, []string{ModeOption, string(mode)})
		if !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got %q, want %q", mode, got, want)
		}
	}
}

func TestMountGuardTellsOfParents(t *testing.T) {
	for source, want := range map[string]string{
		"/": "/sysroot/ostree, /sysroot/state/deploy, /boot", "/sysroot": "/sysroot/ostree, /sysroot/state/deploy", "/sysroot/state": "/sysroot/state/deploy", "/srv": "", "/etc": "", "/sysroot/ostree": "",
	} {
		t.Run(source, func(t *testing.T) {
			h := guardHost(t)
			config := fmt.Sprintf(guardConfig, source)
			mode := "deny"
			if source == "/sysroot/ostree" { // is protected itself
				mode = "warn"
			}
			if code, out := h.run(config, MountGuard, "--mode", mode); code != 0 || out != config {
				t.Errorf("exit status %d, %q", code, out)
			}
			got := ""
			for _, r := range h.journal.records {
				got += r.fields["BOOTC_PODMAN_CONTAINS"]
			}
			if got != want {
				t.Errorf("reported %q, want %q: %s", got, want, h.journal.text())
			}
			h.journal.records = nil
			if h.run(strings.Replace(config, `"rw"`, `"ro"`, 1), MountGuard); len(h.journal.records) > 0 {
				t.Errorf("reported a read-only mount: %s", h.journal.text())
			}
		})
	}
}

func TestMountGuardFindsBootPartitions(t *testing.T) {
	const esp, other = "E:ID_PART_ENTRY_TYPE=c12a7328-f81f-11d2-ba4b-00a0c93ec93b\n", "E:ID_PART_ENTRY_TYPE=ebd0a0a2-b9e5-4433-87c0-68b6b72699c7\n"
	for _, tt := range []struct {
		name, mount, udev string
		dir               string
		guarded           bool
	}{
		{"by its directory", "/srv/esp rw - vfat dev rw", "", "EFI", true},
		{"without it", "/srv/esp rw - vfat dev rw", "", "files", false},
		{"of another file system", "/srv/esp rw - ext4 dev rw", "", "EFI", false},
		{"by its type", "/srv/esp rw - vfat dev rw", "S:disk/x\n" + esp, "files", true},
		{"by the type of a DOS partition", "/srv/esp rw - vfat dev rw", "S:x\nE:ID_PART_ENTRY_TYPE=0xEF\nE:X=y\n", "files", true},
		{"of another type", "/srv/esp rw - vfat dev rw", "S:disk/x\n" + other, "EFI", false},
		{"of no type", "/srv/esp rw - vfat dev rw", "S:disk/x\n", "EFI", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := guardHost(t)
			h.Mkdir("srv/esp/" + tt.dir)
			h.Write("proc/self/mountinfo", "99 1 8:2 / "+h.Dir+tt.mount+"\n")
			if tt.udev != "" {
				h.Write("run/udev/data/b8:2", tt.udev)
			}
			code, _ := h.run(fmt.Sprintf(guardConfig, "/srv/esp/"+tt.dir), MountGuard, "--mode", "deny")
			if (code != 0) != tt.guarded || tt.guarded && !strings.Contains(h.journal.text(), "which is in /srv/esp,") {
				t.Errorf("exit status %d, journal %q", code, h.journal.text())
			}
		})
	}
}

func TestMountGuardTakesNoAnnotationFromAnImage(t *testing.T) {
	manifest := `{"annotations":{"` + AllowHostRW + `":"true"}}`
	for _, tt := range []struct {
		name, store, file, manifest string
		code                        int
	}{
		{"its user's", podmans, "manifest", `{"annotations":{"a":"b"}}`, 0},
		{"the image's", podmans, "manifest", manifest, 1},
		{"the image's, in the other store", bootcRoot, "manifest", manifest, 1},
		{"the image's, by digest", podmans, "=" + base64.StdEncoding.EncodeToString([]byte("manifest-sha256:1")), manifest, 1},
		{"of something else", podmans, "=" + base64.StdEncoding.EncodeToString([]byte("sha256:1")), manifest, 0},
		{"unreadable", podmans, "manifest", "{", 0},
		{"none", podmans, "signature", "{", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := guardHost(t)
			h.container(tt.store, 7, 3, "localhost/app:1", 3)
			h.Write(tt.store+"/overlay-images/"+id(3)+"/"+tt.file, tt.manifest)
			config := fmt.Sprintf(`{"root":{"path":"%s/overlay/%s/merged"},"annotations":{%q:"true"},"mounts":[{"destination":"/m","source":"/boot","type":"bind"}]}`,
				tt.store, id(1007), AllowHostRW)
			if code, _ := h.run(config, MountGuard, "--mode", "deny"); code != tt.code {
				t.Errorf("exit status %d, want %d: %s", code, tt.code, h.journal.text())
			}
		})
	}
}

// lateReader waits before it reads.
type lateReader struct {
	io.Reader
	waited bool
}

func (r *lateReader) Read(p []byte) (int, error) {
	if !r.waited {
		time.Sleep(200 * time.Millisecond)
		r.waited = true
	}
	return r.Reader.Read(p)
}

func TestMountGuardHandsOnWhatItCannotRead(t *testing.T) {
	huge := strings.Repeat(" ", MaxConfig+1<<20) + "xyz"
	for _, tt := range []struct{ name, config string }{
		{"empty", ""},
		{"truncated", guardConfig[:60]},
		{"no JSON", "\x00"},
		{"a list", "[]"},
		{"two documents", "{}{}"},
		{"a field twice", `{"mounts":[],"Mounts":[]}`},
		{"options twice", `{"mounts":[{"type":"bind","source":"/boot","options":["rw"],"options":["ro"]}]}`},
		{"mounts of another type", `{"mounts":{}}`},
		{"a mount of another type", `{"mounts":[1]}`},
		{"options of another type", `{"mounts":[{"options":[1]}]}`},
		{"annotations of another type", `{"annotations":{"a":1}}`},
		{"too large", huge},
		{"nested", strings.Repeat(`{"mounts":`, 100000)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := guardHost(t)
			code, out := h.run(tt.config, MountGuard, "--mode", "deny")
			if code != 0 || out != tt.config {
				t.Errorf("exit status %d, %d bytes of %d", code, len(out), len(tt.config))
			}
			if !strings.Contains(h.journal.text(), "hook mount-guard: ") {
				t.Errorf("journal %q", h.journal.text())
			}
		})
	}
	t.Run("what comes late", func(t *testing.T) {
		h := guardHost(t)
		for _, hook := range []string{MountGuard, BoundGate} {
			h.Write("run/bootc-podman/gate-off", "")
			v, out := h.invocation("")
			v.Stdin, v.Patience = io.MultiReader(strings.NewReader("begun "), &lateReader{Reader: strings.NewReader("and ended")}), 50*time.Millisecond
			if code := v.Run([]string{hook}); code != 0 || out.String() != "begun and ended" || !strings.Contains(h.journal.text(), "out of time") {
				t.Errorf("%s: exit status %d, %q, journal %q", hook, code, out, h.journal.text())
			}
		}
	})
	t.Run("no mount table", func(t *testing.T) {
		h := guardHost(t)
		_ = os.Remove(h.Path("proc/self/mountinfo"))
		config := fmt.Sprintf(guardConfig, "/boot")
		if code, out := h.run(config, MountGuard, "--mode", "deny"); code != 0 || out != config {
			t.Errorf("exit status %d, %q", code, out)
		}
	})
}

func TestMountGuardLetsPodmansOwnFilesAlone(t *testing.T) {
	h := guardHost(t)
	userdata := "/sysroot/ostree/bootc/storage/overlay-containers/" + id(5) + "/userdata/"
	for _, name := range []string{".containerenv", "hosts"} {
		h.Write(userdata+name, "")
	}
	mounts := func(sources ...string) string {
		var list []string
		for _, s := range sources {
			list = append(list, fmt.Sprintf(`{"destination":%q,"type":"bind","source":%q,"options":["bind"]}`, "/run/"+filepath.Base(s), s))
		}
		return `{"mounts":[` + strings.Join(list, ",") + `]}`
	}
	config := mounts(userdata+".containerenv", userdata+"hosts")
	if code, out := h.run(config, MountGuard, "--mode", "deny"); code != 0 || out != config {
		t.Errorf("exit status %d, %q", code, out)
	}
	// A link of such a name leads where it leads.
	h.Link("/sysroot/ostree/repo", "srv/overlay-containers/"+id(5)+"/userdata/x")
	config = mounts(userdata+".containerenv", "/srv/overlay-containers/"+id(5)+"/userdata/x")
	if code, _ := h.run(config, MountGuard, "--mode", "deny"); code != 1 {
		t.Errorf("exit status %d", code)
	}
}

func TestMountGuardOfAPlainContainerReadsNoMountTable(t *testing.T) {
	h := guardHost(t)
	userdata := podmans + "/overlay-containers/" + id(5) + "/userdata/"
	h.Write(userdata+"hosts", "")
	_ = os.Remove(h.Path("proc/self/mountinfo"))
	config := fmt.Sprintf(`{"linux":{"cgroupsPath":"/libpod-%s"},"mounts":[{"destination":"/proc","type":"proc","source":"proc"},
		{"destination":"/etc/hosts","type":"bind","source":"%shosts","options":["bind"]}]}`, id(5), userdata)
	if code, out := h.run(config, MountGuard, "--mode", "deny"); code != 0 || out != config || h.journal.text() != "" {
		t.Errorf("exit status %d, journal %q", code, h.journal.text())
	}
}

func TestContainerIDOfAConfiguration(t *testing.T) {
	for _, tt := range []struct{ config, want string }{
		{`{"mounts":[{"source":"/run/x/overlay-containers/` + id(5) + `/userdata/.containerenv","destination":"/run/.containerenv"}]}`, id(5)},
		// What the user mounts is not to be believed.
		{`{"mounts":[{"source":"/run/x/` + id(5) + `/userdata/.containerenv","destination":"/run/.containerenv"}],"linux":{"cgroupsPath":"/libpod-` + id(6) + `"}}`, id(6)},
		{`{"mounts":[{"source":"/run/x/` + id(5) + `/userdata/.containerenv","destination":"/x"}]}`, ""},
		{`{"linux":{"cgroupsPath":"/libpod_parent/libpod-` + id(5) + `"}}`, id(5)},
		{`{"linux":{"cgroupsPath":"machine.slice:libpod:` + id(5) + `"}}`, id(5)},
		{`{"linux":{"cgroupsPath":"/system.slice/app.service/libpod-payload-` + id(5) + `"}}`, id(5)},
		{`{"linux":{"cgroupsPath":"/machine.slice/libpod-` + id(5) + `.scope"}}`, id(5)},
		{`{"mounts":[{"source":"/x/../userdata/.containerenv"}]}`, ""},
		{`{"linux":{"cgroupsPath":"/libpod-../../x"}}`, ""},
		{`{}`, ""},
	} {
		d, err := parseDocument([]byte(tt.config))
		if err != nil || d.containerID() != tt.want {
			t.Errorf("%s: got %q, %v, want %q", tt.config, d.containerID(), err, tt.want)
		}
	}
}

func TestDepthOfPlaces(t *testing.T) {
	// A host that booted ostree: what lies where on the disk.
	p := &places{
		protected: []place{
			{path: "/sysroot/ostree", dev: "8:1", inside: "/ostree", name: "/sysroot/ostree"},
			{path: "/boot", dev: "8:2", inside: "/", name: "/boot"},
			{path: "/sysroot/state/deploy", dev: "9:1", inside: "/state/deploy", name: "/sysroot/state/deploy"},
		},
		own: []place{
			{path: "/", dev: "8:1", inside: "/ostree/deploy/default/deploy/x.0"},
			{path: "/etc", dev: "8:1", inside: "/ostree/deploy/default/deploy/x.0/etc"},
			{path: "/var", dev: "8:1", inside: "/ostree/deploy/default/var"},
			{path: "/etc", dev: "9:1", inside: "/state/deploy/x/etc"},
		},
	}
	for _, tt := range []struct {
		name string
		at   place
		want string
	}{
		{"by its path", place{path: "/sysroot/ostree/deploy/default/var", dev: "8:1", inside: "/ostree/deploy/default/var"}, "/sysroot/ostree"},
		{"the host's own /var", place{path: "/var/lib/app", dev: "8:1", inside: "/ostree/deploy/default/var/lib/app"}, ""},
		{"the host's own /etc", place{path: "/etc/app", dev: "8:1", inside: "/ostree/deploy/default/deploy/x.0/etc/app"}, ""},
		{"the host's root", place{path: "/", dev: "8:1", inside: "/ostree/deploy/default/deploy/x.0"}, ""},
		{"another deployment", place{path: "/mnt", dev: "8:1", inside: "/ostree/deploy/default/deploy/y.0"}, "/sysroot/ostree"},
		{"a sibling", place{path: "/mnt", dev: "8:1", inside: "/ostree2"}, ""},
		{"the whole disk", place{path: "/mnt", dev: "8:1", inside: "/"}, ""},
		{"the boot partition elsewhere", place{path: "/mnt", dev: "8:2", inside: "/loader"}, "/boot"},
		{"another disk", place{path: "/mnt", dev: "8:3", inside: "/ostree"}, ""},
		{"composefs: the host's own /etc", place{path: "/etc/app", dev: "9:1", inside: "/state/deploy/x/etc/app"}, ""},
		{"composefs: another deployment's", place{path: "/mnt", dev: "9:1", inside: "/state/deploy/y/etc"}, "/sysroot/state/deploy"},
		{"composefs: the host's own /var", place{path: "/var/app", dev: "9:1", inside: "/state/os/default/var/app"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.at(tt.at); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// randomJSON makes a value of some depth, with numbers in any form.
func randomJSON(r *rand.Rand, depth int) string {
	switch n := r.IntN(9); {
	case n < 2 && depth > 0:
		var fields []string
		for i := range r.IntN(4) {
			fields = append(fields, fmt.Sprintf(`%s"f%d" : %s`, []string{"", " ", "\n\t"}[r.IntN(3)], i, randomJSON(r, depth-1)))
		}
		return "{" + strings.Join(fields, ",") + "}"
	case n < 4 && depth > 0:
		var values []string
		for range r.IntN(4) {
			values = append(values, randomJSON(r, depth-1))
		}
		return "[" + strings.Join(values, " , ") + "]"
	default:
		return []string{
			"1", "-0", "1.50", "1e400", "12345678901234567890123", "0.1E-7", "true", "null", `"<\u0041\/é\ud800>"`, `""`, `"options"`,
		}[r.IntN(11)]
	}
}

// randomMount makes a mount, of a protected source or not, in any order of fields.
func randomMount(r *rand.Rand) string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	fields := []string{
		`"source":` + pick(`"/boot"`, `"/sysroot/ostree/repo"`, `"/srv/plain"`, `"/srv/link"`, `"tmpfs"`, `""`),
		`"type": ` + pick(`"bind"`, `"bind"`, `"tmpfs"`, `null`), `"destination":"/m"`,
		`"extra":` + randomJSON(r, 2), `"uidMappings" :` + randomJSON(r, 1),
	}
	if r.IntN(4) > 0 {
		fields = append(fields, `"options" : `+pick(`["rw","rbind"]`, `[ "ro" , "bind" ]`, `[]`, `null`, `["rbind","\u0072w"]`, `["x","rslave"]`))
	}
	r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	return "{" + pick("", " ", "\n") + strings.Join(fields, ",") + "}"
}

// decode keeps numbers as they are written.
func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v map[string]any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return v
}

// TestMountGuardChangesOptionsOnly is about any configuration: nothing but the
// options of the mounts that match is different, to the last digit, and what the
// hook let through once it lets through unchanged.
func TestMountGuardChangesOptionsOnly(t *testing.T) {
	h := guardHost(t)
	r := rand.New(rand.NewPCG(1, 2))
	changed := 0
	for range 2000 {
		var mounts []string
		for range r.IntN(5) {
			mounts = append(mounts, randomMount(r))
		}
		fields := []string{
			`"mounts" : [` + strings.Join(mounts, " ,") + `]`, `"linux":{"x":` + randomJSON(r, 3) + `}`,
			`"annotations":{"a":"b"}`, `"unknown":` + randomJSON(r, 4), `"process":` + randomJSON(r, 3),
		}
		r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
		config := "{" + strings.Join(fields, ",") + "}\n"
		code, out := h.run(config, MountGuard, "--mode", "enforce")
		if code != 0 {
			t.Fatalf("exit status %d for\n%s", code, config)
		}
		before, after := decode(t, config), decode(t, out)
		old, _ := before["mounts"].([]any)
		now, _ := after["mounts"].([]any)
		if len(old) != len(now) {
			t.Fatalf("%d mounts, %d before", len(now), len(old))
		}
		for i := range old {
			a, b := old[i].(map[string]any), now[i].(map[string]any)
			source, _ := a["source"].(string)
			guarded := a["type"] == "bind" || slices.Contains(texts(a["options"]), "bind") || slices.Contains(texts(a["options"]), "rbind")
			guarded = guarded && (source == "/boot" || source == "/sysroot/ostree/repo" || source == "/srv/link") && isWritable(texts(a["options"]))
			if guarded {
				changed++
				want := append(slices.DeleteFunc(texts(a["options"]), func(o string) bool { return o == "rw" }), "ro")
				if !slices.Equal(texts(b["options"]), want) {
					t.Errorf("options %v, want %v", b["options"], want)
				}
				delete(a, "options")
				delete(b, "options")
			}
		}
		if !reflect.DeepEqual(before, after) {
			t.Fatalf("something else changed:\n%s\n%s", config, out)
		}
		if _, again := h.run(out, MountGuard, "--mode", "enforce"); again != out {
			t.Fatalf("a second time it changed\n%s\nto\n%s", out, again)
		}
	}
	if changed < 500 {
		t.Errorf("only %d mounts were changed", changed)
	}
}

func texts(v any) (all []string) {
	list, _ := v.([]any)
	for _, one := range list {
		text, _ := one.(string)
		all = append(all, text)
	}
	return all
}

// FuzzConfig reads configurations of containers: mount-guard either hands them on
// byte by byte or changes options only, and never fails unless it is to deny.
func FuzzConfig(f *testing.F) {
	for _, source := range []string{"/boot", "/srv/plain", "/srv/link"} {
		f.Add(fmt.Appendf(nil, guardConfig, source))
	}
	f.Add([]byte(`{"mounts":[{"type":"bind","source":"/boot"}]}`))
	f.Add([]byte(`{"mounts":null,"annotations":{"io.bootc-podman.require":"bound"},"root":{"path":"/a/overlay/b/merged"}}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		h := guardHost(t)
		code, out := h.run(string(config), MountGuard, "--mode", "enforce")
		if code != 0 {
			t.Errorf("exit status %d", code)
		}
		if out != string(config) {
			var before, after map[string]any
			if json.Unmarshal(config, &before) != nil || json.Unmarshal([]byte(out), &after) != nil {
				t.Fatalf("no JSON: %q", out)
			}
			for _, v := range []map[string]any{before, after} {
				for name, value := range v {
					if !strings.EqualFold(name, "mounts") {
						continue
					}
					list, _ := value.([]any)
					for _, m := range list {
						fields, _ := m.(map[string]any)
						for name := range fields {
							if strings.EqualFold(name, "options") {
								delete(fields, name)
							}
						}
					}
				}
			}
			if !reflect.DeepEqual(before, after) {
				t.Errorf("got %s from %s", out, config)
			}
		}
		// mode deny changes nothing, and stops what would be changed.
		h.journal.records = nil
		code, denied := h.run(string(config), MountGuard, "--mode", "deny")
		refused := strings.Contains(h.journal.text(), "may not start")
		if code == 0 && denied != string(config) || code == 1 && (denied != "" || !refused) || code > 1 || out != string(config) && code != 1 {
			t.Errorf("deny: exit status %d, %q, journal %q", code, denied, h.journal.text())
		}
		// The gate never lets start what it cannot read.
		code, out = h.run(string(config), BoundGate)
		if code == 0 && !bytes.Equal([]byte(out), config) || code != 0 && code != 1 {
			t.Errorf("bound-gate: exit status %d, %q", code, out)
		}
		entries, _ := os.ReadDir(h.Path("run/bootc-podman/denied"))
		for _, e := range entries {
			if !validID(strings.TrimSuffix(e.Name(), ".json")) {
				t.Errorf("%q was written", filepath.Join("denied", e.Name()))
			}
		}
	})
}
