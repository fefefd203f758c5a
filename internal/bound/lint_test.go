// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package bound

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/testhost"
)

const (
	unitsDir = "usr/share/containers/systemd"
	digest   = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	// seen makes podman look into the bootc store.
	seen = "GlobalArgs=--storage-opt=additionalimagestore=/usr/lib/bootc/storage\n"
)

// newRoot makes a root directory without configuration of its own.
func newRoot(t testing.TB) *testhost.Root {
	t.Helper()
	root := testhost.New(t)
	root.Isolate()
	root.Write("etc/containers/registries.conf", "")
	root.Write("etc/containers/storage.conf", "")
	return root
}

// bind adds a quadlet to a root, and its link.
func bind(root *testhost.Root, name, content string) {
	root.Helper()
	root.Write(filepath.Join(unitsDir, name), content)
	root.Mkdir(host.BoundImagesDir)
	root.Link("/"+unitsDir+"/"+name, filepath.Join(host.BoundImagesDir, name))
}

// found returns the findings in the form "rule:line replacement".
func found(t testing.TB, root *testhost.Root) (list []string) {
	t.Helper()
	report, err := Lint(root.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		line := fmt.Sprintf("%s:%d %s", f.Rule, f.Line, f.Replacement)
		list = append(list, strings.TrimSuffix(line, " "))
		where := f.File
		if f.Line > 0 {
			where = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		if f.Where != where || f.What == "" || !strings.HasPrefix(f.File, root.Dir+"/usr/") {
			t.Errorf("%+v", f)
		}
	}
	return list
}

func TestLintFindsWhatBootcOrPodmanWouldNotDo(t *testing.T) {
	const image, container = "[Image]\nImage=", "[Container]\n" + seen + "Image="
	for name, test := range map[string]struct {
		unit, content string
		want          []string
	}{
		// Names: the shapes of which real bootc 1.16.9 kept the image.
		"registry with port and tag": {"x.image", image + "127.0.0.1:5000/a/b:1\n", nil},
		"registry and tag":           {"x.image", image + "quay.io/a/b:1\n", nil},
		"digest":                     {"x.image", image + "quay.io/a/b@" + digest + "\n", nil},
		"whole name of Docker Hub":   {"x.image", image + "docker.io/library/x:1\n", nil},
		"localhost":                  {"x.image", image + "localhost/x:1\n", nil},
		"mixed case in the tag":      {"x.image", image + "quay.io/a/b:V1.2-RC\n", nil},
		"digest and port":            {"x.image", image + "localhost:5000/b@" + digest + "\n", nil},
		"tag of a container":         {"x.container", container + "quay.io/a/b:1\n", nil},
		// And of which its cleanup deleted what it had pulled.
		"untagged":                  {"x.image", image + "quay.io/a/b\n", []string{"bound-untagged:2 Image=quay.io/a/b:latest", "bound-moving-tag:2"}},
		"untagged with port":        {"x.image", image + "127.0.0.1:5000/a/b\n", []string{"bound-untagged:2 Image=127.0.0.1:5000/a/b:latest", "bound-moving-tag:2"}},
		"untagged at localhost":     {"x.image", image + "localhost/b\n", []string{"bound-untagged:2 Image=localhost/b:latest", "bound-moving-tag:2"}},
		"tag and digest":            {"x.image", image + "quay.io/a/b:1@" + digest + "\n", []string{"bound-tag-and-digest:2 Image=quay.io/a/b@" + digest}},
		"short":                     {"x.image", image + "hub:1\n", []string{"bound-short-name:2 Image=docker.io/library/hub:1"}},
		"short and untagged":        {"x.image", image + "hub2\n", []string{"bound-untagged:2 Image=docker.io/library/hub2:latest", "bound-short-name:2 Image=docker.io/library/hub2:latest", "bound-moving-tag:2"}},
		"user of Docker Hub":        {"x.image", image + "user/x:1\n", []string{"bound-short-name:2 Image=docker.io/user/x:1"}},
		"Docker Hub without path":   {"x.image", image + "docker.io/hub5:1\n", []string{"bound-short-name:2 Image=docker.io/library/hub5:1"}},
		"old name of Docker Hub":    {"x.image", image + "index.docker.io/library/x:1\n", []string{"bound-short-name:2 Image=docker.io/library/x:1"}},
		"short, tag and digest":     {"x.image", image + "a:1@" + digest + "\n", []string{"bound-tag-and-digest:2 Image=docker.io/library/a@" + digest, "bound-short-name:2 Image=docker.io/library/a@" + digest}},
		"transport":                 {"x.image", image + "docker://quay.io/a/b:1\n", []string{"bound-transport:2 Image=quay.io/a/b:1"}},
		"transport and short":       {"x.image", image + "docker://hub\n", []string{"bound-transport:2 Image=docker.io/library/hub:latest"}},
		"transport of a directory":  {"x.image", image + "oci:/srv/app\n", []string{"bound-transport:2"}},
		"transport of a container":  {"x.container", container + "docker://quay.io/a/b:1\n", []string{"bound-transport:3 Image=quay.io/a/b:1"}},
		"moving tag":                {"x.image", image + "quay.io/a/b:latest\n", []string{"bound-moving-tag:2"}},
		"upper case":                {"x.image", image + "quay.io/A/b:1\n", []string{"bound-invalid-name:2"}},
		"two words":                 {"x.image", image + "quay.io/a/b:1 --x\n", []string{"bound-invalid-name:2"}},
		"variable":                  {"x.container", container + "$REGISTRY/b:1\n", []string{"bound-invalid-name:3"}},
		"percent sign":              {"x.image", image + "quay.io/a/b:1%%\n", []string{"bound-invalid-name:2"}},
		"digest of another length":  {"x.image", image + "quay.io/a/b@sha256:0\n", []string{"bound-invalid-name:2"}},
		"image ID":                  {"x.image", image + digest + "\n", []string{"bound-invalid-name:2"}},
		"quotes":                    {"x.image", image + "\"quay.io/a/b:1\"\n", []string{"bound-quoted:2 Image=quay.io/a/b:1"}},
		"single quotes":             {"x.container", container + "'quay.io/a/b'\n", []string{"bound-quoted:3 Image=quay.io/a/b:latest"}},
		"comment after the name":    {"x.container", container + "quay.io/a/b:1 # pinned\n", []string{"bound-comment:3 Image=quay.io/a/b:1"}},
		"semicolon after the name":  {"x.image", image + "quay.io/a/b:1 ; pinned\n", []string{"bound-comment:2 Image=quay.io/a/b:1"}},
		"comments elsewhere":        {"x.container", "# a\n; b\n" + container + "quay.io/a/b:1\n\n[Service]\nRestart=always # c\n", nil},
		"spaces":                    {"x.image", " [Image]\n  Image =  quay.io/a/b:1  \n", nil},
		"another image":             {"x.image", image + "quay.io/a/b:1\nImage=quay.io/a/b:2\n", []string{"bound-repeated:2"}},
		"another section":           {"x.image", image + "quay.io/a/b:1\n[Unit]\n" + image + "quay.io/a/b:2\n", []string{"bound-repeated:2"}},
		"the same again":            {"x.image", image + "quay.io/a/b:1\nImage=quay.io/a/b:1\n", nil},
		"no image":                  {"x.image", "[Image]\nArch=arm64\n", []string{"bound-no-image:0"}},
		"image of another section":  {"x.container", image + "quay.io/a/b:1\n[Container]\n" + seen, []string{"bound-no-image:0"}},
		"empty image":               {"x.image", image + "\n", []string{"bound-no-image:2"}},
		"nothing but a comment":     {"x.container", container + "# quay.io/a/b:1\n", []string{"bound-no-image:3"}},
		"credentials":               {"x.image", image + "quay.io/a/b:1\nAuthFile=/etc/a.json\n", []string{"bound-auth-file:3"}},
		"credentials and untagged":  {"x.image", "[Image]\nAuthFile=/etc/a.json\nImage=hub:1\n", []string{"bound-auth-file:2", "bound-short-name:3 Image=docker.io/library/hub:1"}},
		"credentials, container":    {"x.container", container + "quay.io/a/b:1\nAuthFile=/etc/a.json\n", []string{"bound-auth-file:4"}},
		"credentials elsewhere":     {"x.container", container + "quay.io/a/b:1\n[Service]\nAuthFile=/etc/a.json\n", nil},
		"specifier":                 {"x.image", image + "quay.io/a/b:%v\n", []string{"bound-specifier:2"}},
		"lone percent sign":         {"x.image", image + "quay.io/a/b:1%\n", []string{"bound-specifier:2"}},
		"specifier of another key":  {"x.container", container + "quay.io/a/b:1\nContainerName=%p\n", nil},
		"unit in place of an image": {"x.container", container + "other.image\n", []string{"bound-unit-reference:3 Image=quay.io/other/image:1"}},
		"unit that is not there":    {"x.container", container + "none.image\n", []string{"bound-unit-reference:3"}},
		"build unit":                {"x.container", container + "x.build\n", []string{"bound-unit-reference:3"}},
		"image with such a name":    {"x.image", image + "quay.io/a/b.image:1\n", nil},
		"line without key":          {"x.image", image + "quay.io/a/b:1\nnonsense\n", []string{"bound-syntax:3"}},
		"header without end":        {"x.image", "[Image\nImage=quay.io/a/b:1\n", []string{"bound-syntax:1"}},
		"not UTF-8":                 {"x.image", image + "quay.io/a/b:1\n# \xff\n", []string{"bound-syntax:3"}},
		"continued line":            {"x.container", container + "quay.io/a/b:1\nExec=sh \\\n  -c \\\n  true\nPull=never\n", []string{"bound-continued-line:4 Exec=sh -c true"}},
		"continued by a key":        {"x.container", container + "quay.io/a/b:1\nEnvironment=A=1 \\\n  B=2\n", nil},
		"continued name":            {"x.image", image + "quay.io/a/\\\nb:1\n", []string{"bound-continued-line:2 Image=quay.io/a/b:1"}},
		"image in a continued line": {"x.container", container + "quay.io/a/b:1\nEnvironment=A=1 \\\nImage=quay.io/c/d:1\n", []string{"bound-repeated:3", "bound-value-differs:5"}},
		// What podman does with a container.
		"without the bootc store": {"x.container", "[Container]\nImage=quay.io/a/b:1\n", []string{"bound-store-unseen:0"}},
		"with another store":      {"x.container", "[Container]\nImage=quay.io/a/b:1\nGlobalArgs=--storage-opt additionalimagestore=/usr/lib/x\n", []string{"bound-store-unseen:3 GlobalArgs=--storage-opt additionalimagestore=/usr/lib/x --storage-opt=additionalimagestore=/usr/lib/bootc/storage"}},
		"with a configuration":    {"x.container", "[Container]\nImage=quay.io/a/b:1\n[Service]\nEnvironment=CONTAINERS_STORAGE_CONF=/etc/apps.conf\n", nil},
		"with other arguments":    {"x.container", container + "quay.io/a/b:1\nGlobalArgs=--log-level=info\n", nil},
		"pulled at each start":    {"x.container", container + "quay.io/a/b:1\nPull=newer\nAutoUpdate=registry\n", []string{"bound-pulled-anew:4", "bound-pulled-anew:5"}},
		"not pulled":              {"x.container", container + "quay.io/a/b:1\nPull=never\nAutoUpdate=local\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t)
			bind(root, test.unit, test.content)
			root.Write(unitsDir+"/other.image", "[Image]\nImage=quay.io/other/image:1\n")
			if got := found(t, root); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			checkAgainstBootc(t, root)
		})
	}
}

// checkAgainstBootc compares what is found with whether bootc reads the images.
func checkAgainstBootc(t testing.TB, root *testhost.Root) {
	t.Helper()
	dir, err := os.Open(root.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	_, problems := host.BoundImages(dir)
	report, err := Lint(root.Dir)
	unread := 0
	for _, f := range report.Findings {
		if f.Why == noBoundImages {
			unread++
		}
	}
	if unread != len(problems) || err != nil {
		t.Errorf("bootc has the problems %v, lint %v, %+v", problems, err, report.Findings)
	}
}

func TestLintFindsEntriesThatBootcCannotRead(t *testing.T) {
	const good = "[Image]\nImage=quay.io/a/b:1\n"
	for name, test := range map[string]struct {
		make func(*testhost.Root)
		want []string
	}{
		"no directory": {func(*testhost.Root) {}, nil},
		"no units":     {func(r *testhost.Root) { r.Mkdir(host.BoundImagesDir) }, nil},
		"file":         {func(r *testhost.Root) { r.Write(host.BoundImagesDir+"/x.image", good) }, []string{"bound-not-link:0"}},
		"build":        {func(r *testhost.Root) { bind(r, "x.build", good) }, []string{"bound-unit-type:0"}},
		"kube":         {func(r *testhost.Root) { bind(r, "x.kube", good) }, []string{"bound-unit-type:0"}},
		"no extension": {func(r *testhost.Root) { bind(r, "x", good) }, []string{"bound-unit-type:0"}},
		"not UTF-8":    {func(r *testhost.Root) { bind(r, "\xff.image", good) }, []string{"bound-unit-name:0"}},
		"link to itself": {func(r *testhost.Root) {
			r.Mkdir(host.BoundImagesDir)
			r.Link("x.image", host.BoundImagesDir+"/x.image")
		}, []string{"bound-dangling:0"}},
		"link to nothing": {func(r *testhost.Root) {
			bind(r, "x.image", good)
			r.Link("/none", host.BoundImagesDir+"/y.image")
		}, []string{"bound-dangling:0"}},
		"link to a directory": {func(r *testhost.Root) { r.Mkdir(host.BoundImagesDir); r.Link("/usr", host.BoundImagesDir+"/y.image") }, []string{"bound-dangling:0"}},
		"FIFO": {func(r *testhost.Root) {
			r.Mkdir(host.BoundImagesDir)
			if err := unix.Mkfifo(r.Path("fifo"), 0o600); err != nil {
				r.Fatal(err)
			}
			r.Link("/fifo", host.BoundImagesDir+"/x.container")
		}, []string{"bound-dangling:0"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t)
			test.make(root)
			if got := found(t, root); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			checkAgainstBootc(t, root)
		})
	}
}

func TestLintCompletesShortNamesAsTheRootDoes(t *testing.T) {
	root := newRoot(t)
	root.Write("etc/containers/registries.conf", "unqualified-search-registries = [\"registry.example:5000\", \"docker.io\"]\n[aliases]\n\"app\" = \"quay.io/vendor/app\"\n")
	bind(root, "a.image", "[Image]\nImage=app:1\n")
	bind(root, "b.image", "[Image]\nImage=b/c@"+digest+"\n")
	want := []string{"bound-short-name:2 Image=quay.io/vendor/app:1", "bound-short-name:2 Image=registry.example:5000/b/c@" + digest}
	if got := found(t, root); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLintFindsOptionsOfTheHostThatAUnitDrops(t *testing.T) {
	const start = "[Container]\nImage=quay.io/a/b:1\n"
	for name, test := range map[string]struct {
		conf, args string
		want       []string
	}{
		"all": {
			"[storage.options]\nadditionalimagestores=[\"/usr/lib/containers/storage\"]\n[storage.options.overlay]\nmountopt=\"nodev\"\n",
			seen,
			[]string{"bound-global-args:3 GlobalArgs=--storage-opt=additionalimagestore=/usr/lib/bootc/storage --storage-opt=imagestore=/usr/lib/containers/storage --storage-opt=overlay.mountopt=nodev"},
		},
		"one": {
			"[storage.options]\nadditionalimagestores=[\"/usr/lib/containers/storage\"]\n[storage.options.overlay]\nmountopt=\"nodev\"\n",
			seen + "GlobalArgs=--storage-opt \"overlay.imagestore=/usr/lib/containers/storage\"\n",
			[]string{"bound-global-args:4 GlobalArgs=--storage-opt \"overlay.imagestore=/usr/lib/containers/storage\" --storage-opt=overlay.mountopt=nodev"},
		},
		"another value is meant": {"[storage.options.overlay]\nmountopt=\"nodev\"\n", seen + "GlobalArgs=--storage-opt=overlay.mountopt=nodev,metacopy=on\n", nil},
		"store of the host":      {"[storage.options]\nadditionalimagestores=[\"/usr/lib/bootc/storage\"]\n", "", nil},
		"nothing to drop":        {"[storage]\ndriver=\"overlay\"\n", seen, nil},
	} {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t)
			root.Write("etc/containers/storage.conf", test.conf)
			bind(root, "x.container", start+test.args)
			if got := found(t, root); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestLintReportsWhatItCannotRead(t *testing.T) {
	root := newRoot(t)
	if _, err := Lint(root.Path("none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	root.Write(host.BoundImagesDir, "a file")
	if _, err := Lint(root.Dir); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("%v", err)
	}
	root = newRoot(t)
	root.Write("etc/containers/storage.conf", "[")
	bind(root, "x.container", "[Container]\nImage=quay.io/a/b:1\n")
	report, err := Lint(root.Dir)
	if err != nil || len(report.Findings) != 1 || report.Findings[0].Rule != health.Unreadable || report.Findings[0].Severity != health.Unknown {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestReplacementsAreClean puts each line that lint gives in the place of the one it is for.
func TestReplacementsAreClean(t *testing.T) {
	for _, name := range []string{"a", "a:1", "a/b", "docker.io/a", "quay.io/a/b", "quay.io/a/b:1@" + digest, "docker://quay.io/a/b", `"quay.io/a/b"`, "quay.io/a/b # x", "index.docker.io/a:2"} {
		root := newRoot(t)
		bind(root, "x.image", "[Image]\nImage="+name+"\n")
		report, err := Lint(root.Dir)
		if err != nil || len(report.Findings) == 0 || report.Findings[0].Replacement == "" {
			t.Fatalf("%q: %+v, %v", name, report, err)
		}
		root.Write(unitsDir+"/x.image", "[Image]\n"+report.Findings[0].Replacement+"\n")
		for _, rest := range found(t, root) {
			if rest != "bound-moving-tag:2" {
				t.Errorf("%q: %q has %q", name, report.Findings[0].Replacement, rest)
			}
		}
	}
}

func FuzzLint(f *testing.F) {
	for _, seed := range []string{"[Image]\nImage=a\n", "[Container]\nImage=\"a\"#\\\nGlobalArgs=--storage-opt\n", "[Image]\nImage=a\\\n\\\n;\n=", "[Container]\nImage=a.image\nImage=b:1@\n", "\\", "[Image]\nImage=a %% ;b"} {
		f.Add([]byte(seed))
	}
	root := newRoot(f)
	bind(root, "x.image", "")
	bind(root, "x.container", "")
	f.Fuzz(func(t *testing.T, data []byte) {
		root := &testhost.Root{TB: t, Dir: root.Dir}
		root.Write(unitsDir+"/x.image", string(data))
		root.Write(unitsDir+"/x.container", string(data))
		checkAgainstBootc(t, root)
		found(t, root)
	})
}
