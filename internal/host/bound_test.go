// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	units = "usr/share/containers/systemd"
	// good is the content of a quadlet of either type.
	good = "[Image]\nImage=quay.io/example/image:1\n[Container]\nImage=quay.io/example/container:1\n"
)

// boundRoot returns a deployment's root with files by path, and with links in
// bound-images.d by name.
func boundRoot(t testing.TB, files, links map[string]string) *os.File {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, BoundImagesDir)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.MkdirAll(dir, 0o755))
	for path, content := range files {
		path = filepath.Join(top, path)
		check(os.MkdirAll(filepath.Dir(path), 0o755))
		check(os.WriteFile(path, []byte(content), 0o600))
	}
	for name, target := range links {
		check(os.Symlink(target, filepath.Join(dir, name)))
	}
	root, err := os.Open(top)
	check(err)
	t.Cleanup(func() { root.Close() })
	return root
}

func TestBoundImagesFollowsLinksInsideTheRoot(t *testing.T) {
	root := boundRoot(t, map[string]string{
		units + "/app.image":     good,
		units + "/app.container": good,
		"etc/unit":               good,
	}, map[string]string{
		"absolute.image":     "/" + units + "/app.image",
		"relative.container": "../../../share/containers/systemd/app.container",
		"climbs.image":       "../../../../../../../../../etc/unit",
		"through.image":      "absolute.image",
		// Only the link's own name says what the file is.
		"as-image.image":         "/" + units + "/app.container",
		"as-container.container": "/" + units + "/app.image",
		"a.container.image":      "/etc/unit",
		".hidden.image":          "/etc/unit",
		"sp ace\n.image":         "/etc/unit",
	})
	images, problems := BoundImages(root)
	const image, container = "quay.io/example/image:1", "quay.io/example/container:1"
	want := []BoundImage{
		{image, ".hidden.image"},
		{image, "a.container.image"},
		{image, "absolute.image"},
		{container, "as-container.container"},
		{image, "as-image.image"},
		{image, "climbs.image"},
		{container, "relative.container"},
		{image, "sp ace\n.image"},
		{image, "through.image"},
	}
	if problems != nil || !reflect.DeepEqual(images, want) {
		t.Errorf("%q, %v;\nwant %q", images, problems, want)
	}
}

func TestBoundImagesNeverLeavesTheRoot(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	root := boundRoot(t, nil, map[string]string{
		"absolute.image": outside,
		"relative.image": strings.Repeat("../", 40) + outside[1:],
	})
	images, problems := BoundImages(root)
	if images != nil || len(problems) != 2 {
		t.Errorf("%v, %v; want two problems", images, problems)
	}
}

func TestBoundImagesReadsImageOnly(t *testing.T) {
	for name, test := range map[string]struct{ link, content, want string }{
		"quadlet with everything": {
			"x.container",
			"# an app\n[Unit]\nDescription=An app\nAfter=network-online.target\n\n[Container]\nContainerName=app\n" +
				"Image=quay.io/example/app:1\nGlobalArgs=--storage-opt=additionalimagestore=/usr/lib/bootc/storage\n" +
				"PublishPort=8080:80\nAuthFile=/etc/auth.json\n\n[Service]\nRestart=always\n\n[Install]\nWantedBy=default.target\n",
			"quay.io/example/app:1",
		},
		"image unit with other keys":  {"x.image", "[Image]\nArch=arm64\nImage=quay.io/example/app:1\nTLSVerify=false\n", "quay.io/example/app:1"},
		"AuthFile in another section": {"x.image", "[Image]\nImage=a\n[Container]\nAuthFile=/etc/auth.json\n", "a"},
		"AuthFile in a container":     {"x.container", "[Container]\nImage=a\nAuthFile=/etc/auth.json\n", "a"},
		"another unit's name":         {"x.container", "[Container]\nImage=app.image\n", "app.image"},
		"spaces and comments":         {"x.image", "; c\n[Image] # c\n  Image =  a:1  ; c\n", "a:1"},
		"quotes stay":                 {"x.image", "[Image]\nImage=\"a\"\n", `"a"`},
		"variables stay":              {"x.image", "[Image]\nImage=$A/b\n", "$A/b"},
		"the last one counts":         {"x.image", "[Image]\nImage=a\nImage=b\n", "b"},
		"sections are merged":         {"x.image", "[Image]\nImage=a\n[Unit]\n[Image]\nImage=b\n", "b"},
		"digest":                      {"x.image", "[Image]\nImage=a:1@sha256:00\n", "a:1@sha256:00"},
		"percent":                     {"x.image", "[Image]\nImage=%%a%%%%b%%\n", "%a%%b%"},
		"transport":                   {"x.image", "[Image]\nImage=docker://a\n", "docker://a"},
		"empty Image":                 {"x.image", "[Image]\nImage=\n", ""},
		"Image in a comment":          {"x.container", "[Container]\nImage= # a\n", ""},
		"last Image is empty":         {"x.image", "[Image]\nImage=a\nImage=\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			images, problems := BoundImages(boundRoot(t, map[string]string{"unit": test.content}, map[string]string{test.link: "/unit"}))
			if want := []BoundImage{{test.want, test.link}}; problems != nil || !reflect.DeepEqual(images, want) {
				t.Errorf("%q, %v; want %q", images, problems, want)
			}
		})
	}
}

func TestBoundImagesReportsEachBadEntry(t *testing.T) {
	type entry struct{ link, content, want string }
	for name, test := range map[string]entry{
		"no Image":                   {"x.image", "[Image]\nArch=arm64\n", "no Image in section Image"},
		"empty file":                 {"x.container", "", "no Image in section Container"},
		"Image in the wrong section": {"x.container", "[Image]\nImage=a\n[Unit]\nImage=a\n", "no Image in section Container"},
		"section of a container":     {"x.image", "[Container]\nImage=a\n", "no Image in section Image"},
		"key in another case":        {"x.image", "[Image]\nimage=a\n", "no Image in section Image"},
		"Image before any section":   {"x.image", "Image=a\n", "no Image in section Image"},
		"AuthFile":                   {"x.image", "[Image]\nImage=a\nAuthFile=/etc/auth.json\n", "AuthFile is not supported for bound images"},
		"empty AuthFile":             {"x.image", "[Image]\nAuthFile=\nImage=a\n", "AuthFile is not supported for bound images"},
		"specifier":                  {"x.image", "[Image]\nImage=a:%a\n", `systemd specifier in Image "a:%a"`},
		"specifier after percent":    {"x.image", "[Image]\nImage=a%%%a\n", `systemd specifier in Image "a%%%a"`},
		"lone percent at the end":    {"x.image", "[Image]\nImage=a%\n", `unterminated % in Image "a%"`},
		"percent before a comment":   {"x.image", "[Image]\nImage=a% # %\n", `unterminated % in Image "a%"`},
		"header without end":         {"x.image", "[Image\nImage=a\n", "line 1: malformed section header"},
		"line without equals sign":   {"x.image", "[Image]\nImage=a\nnonsense\n", `line 3: neither section, comment nor key with "="`},
		"continued line":             {"x.container", "[Container]\nImage=a\nExec=sh \\\n  -c true\n", `line 4: neither section, comment nor key with "="`},
		"empty key":                  {"x.image", "[Image]\n=a\n", `line 2: nothing before "="`},
		"not UTF-8":                  {"x.image", "[Image]\nImage=a\xff\n", "line 2: not UTF-8"},
		"too large":                  {"x.image", good + strings.Repeat("#", maxFile), "more than 1048576 bytes"},
		"other extension":            {"x.volume", good, "name ends in neither .image nor .container"},
		"no extension":               {"image", good, "name ends in neither .image nor .container"},
		"nothing but an extension":   {".image", good, "name ends in neither .image nor .container"},
		"extension in another case":  {"x.Image", good, "name ends in neither .image nor .container"},
		"trailing dot":               {"x.image.", good, "name ends in neither .image nor .container"},
		"name not UTF-8":             {"\xff.image", good, "name is not UTF-8"},
		"control character in name":  {"\x1b[31m\n.image", "", "no Image in section Image"},
	} {
		t.Run(name, func(t *testing.T) {
			root := boundRoot(t, map[string]string{"unit": test.content, "good": good},
				map[string]string{test.link: "/unit", "zz.image": "/good", "!.image": "/good"})
			checkProblem(t, root, test.link, test.want)
		})
	}
}

func TestBoundImagesReportsLinksToNoFile(t *testing.T) {
	for target, want := range map[string]string{
		"/missing":     "symbolic link to nothing",
		"missing":      "symbolic link to nothing",
		"x.image":      "too many levels of symbolic links",
		"/dir":         "not a regular file",
		"/fifo":        "not a regular file",
		"/file/nested": "not a directory",
		"/huge":        "more than 1048576 bytes",
	} {
		t.Run(target, func(t *testing.T) {
			root := boundRoot(t, map[string]string{"good": good, "file": "", "huge": ""},
				map[string]string{"x.image": target, "zz.image": "/good", "!.image": "/good"})
			for _, err := range []error{
				os.Mkdir(filepath.Join(root.Name(), "dir"), 0o755),
				unix.Mkfifo(filepath.Join(root.Name(), "fifo"), 0o600),
				os.Truncate(filepath.Join(root.Name(), "huge"), 1<<40),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			checkProblem(t, root, "x.image", want)
		})
	}
}

func TestBoundImagesReportsLinksToDevices(t *testing.T) {
	root := boundRoot(t, map[string]string{"good": good},
		map[string]string{"x.image": "/device", "zz.image": "/good", "!.image": "/good"})
	if err := unix.Mknod(filepath.Join(root.Name(), "device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))); err != nil {
		t.Skip("needs root, to make a device:", err)
	}
	// Some filesystems refuse to open devices at all.
	if _, err := os.Open(filepath.Join(root.Name(), "device")); err != nil {
		t.Skip("the filesystem of temporary files opens no devices:", err)
	}
	checkProblem(t, root, "x.image", "not a regular file")
}

func TestBoundImagesReportsEntriesThatAreNoLinks(t *testing.T) {
	for kind, make := range map[string]func(string) error{
		"file":      func(path string) error { return os.WriteFile(path, []byte(good), 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o755) },
		"fifo":      func(path string) error { return unix.Mkfifo(path, 0o600) },
	} {
		t.Run(kind, func(t *testing.T) {
			root := boundRoot(t, map[string]string{"good": good}, map[string]string{"zz.image": "/good", "!.image": "/good"})
			if err := make(filepath.Join(root.Name(), BoundImagesDir, "x.image")); err != nil {
				t.Fatal(err)
			}
			checkProblem(t, root, "x.image", "not a symbolic link")
		})
	}
}

// checkProblem expects one problem, with the unit link, and the two good units
// "!.image" and "zz.image".
func checkProblem(t *testing.T, root *os.File, link, want string) {
	t.Helper()
	images, problems := BoundImages(root)
	wantImages := []BoundImage{{"quay.io/example/image:1", "!.image"}, {"quay.io/example/image:1", "zz.image"}}
	if !reflect.DeepEqual(images, wantImages) {
		t.Errorf("images %q, want %q", images, wantImages)
	}
	prefix := strings.NewReplacer("\x1b", `\x1b`, "\n", `\n`, "\xff", `\xff`).Replace(`read "usr/lib/bootc/bound-images.d/` + link + `": `)
	if len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), prefix+want) || strings.Contains(problems[0].Error(), "\n") {
		t.Errorf("problems %q, want %q", problems, prefix+want)
	}
}

func TestBoundImagesWithoutDirectoryAreNone(t *testing.T) {
	for name, make := range map[string]func(dir string) error{
		"empty":         func(string) error { return nil },
		"missing":       os.Remove,
		"missing above": func(dir string) error { return os.RemoveAll(filepath.Join(dir, "../../..")) },
		"dangling link": func(dir string) error {
			if err := os.Remove(dir); err != nil {
				return err
			}
			return os.Symlink("/missing", dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := boundRoot(t, nil, nil)
			if err := make(filepath.Join(root.Name(), BoundImagesDir)); err != nil {
				t.Fatal(err)
			}
			if images, problems := BoundImages(root); images != nil || problems != nil {
				t.Errorf("%v, %v; want nothing", images, problems)
			}
		})
	}
}

func TestBoundImagesFollowsLinkedDirectory(t *testing.T) {
	root := boundRoot(t, map[string]string{"etc/unit": good}, nil)
	top := root.Name()
	for _, err := range []error{
		os.Remove(filepath.Join(top, BoundImagesDir)),
		os.Symlink("/etc/bound", filepath.Join(top, BoundImagesDir)),
		os.Mkdir(filepath.Join(top, "etc/bound"), 0o755),
		os.Symlink("../unit", filepath.Join(top, "etc/bound/x.image")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	images, problems := BoundImages(root)
	if want := []BoundImage{{"quay.io/example/image:1", "x.image"}}; problems != nil || !reflect.DeepEqual(images, want) {
		t.Errorf("%v, %v; want %v", images, problems, want)
	}
}

func TestBoundImagesReportsUnusableDirectory(t *testing.T) {
	for name, test := range map[string]struct {
		make func(dir string) error
		want string
	}{
		"file": {func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, "not a directory"},
		"fifo": {func(dir string) error { return unix.Mkfifo(dir, 0o600) }, "not a directory"},
		"loop": {func(dir string) error { return os.Symlink("bound-images.d", dir) }, "too many levels of symbolic links"},
	} {
		t.Run(name, func(t *testing.T) {
			root := boundRoot(t, nil, nil)
			dir := filepath.Join(root.Name(), BoundImagesDir)
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
			if err := test.make(dir); err != nil {
				t.Fatal(err)
			}
			images, problems := BoundImages(root)
			if want := `open "usr/lib/bootc/bound-images.d": ` + test.want; images != nil || len(problems) != 1 || problems[0].Error() != want {
				t.Errorf("%v, %v; want %s", images, problems, want)
			}
		})
	}
}

func FuzzBoundImages(f *testing.F) {
	for _, seed := range []string{
		good, "", "[Image]\nImage=\n", "[Image]\nImage=a%%b\n", "[Image]\nImage=a%\n", "[Image]\nImage=%a",
		"[Container]\nImage=a # b\nAuthFile=c", "[Image]\nAuthFile=x\nImage=y", "\xff", "[",
	} {
		f.Add([]byte(seed))
	}
	root := boundRoot(f, nil, map[string]string{"a.image": "/unit", "b.container": "/unit"})
	unit := filepath.Join(root.Name(), "unit")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(unit, content, 0o600); err != nil {
			t.Fatal(err)
		}
		images, problems := BoundImages(root)
		if len(images)+len(problems) != 2 {
			t.Errorf("%q, %q; want two", images, problems)
		}
		for _, image := range images {
			// Every "%" left was written twice, and nothing else went away.
			if !strings.Contains(string(content), strings.ReplaceAll(image.Image, "%", "%%")) {
				t.Errorf("%q", image)
			}
		}
		for _, problem := range problems {
			if strings.ContainsAny(problem.Error(), "\n\r") {
				t.Errorf("%q", problem)
			}
		}
	})
}
