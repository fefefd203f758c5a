// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documents returns the Markdown files of the repository, and their texts.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains(skipped(), entry.Name()):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".md"):
			text, err := os.ReadFile(path)
			texts[path] = string(text)
			return err
		}
		return nil
	})
	if err != nil || len(texts) < 10 {
		t.Fatalf("%d documents were read: %v", len(texts), err)
	}
	return texts
}

// withoutCode returns a text without its code: blocks between fences, and spans. It leaves
// out the lines of blocks.
func withoutCode(text string) string {
	text = regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllString(text, "")
}

// anchors returns the names of a document's headings as they stand in links.
func anchors(text string) []string {
	var names []string
	for _, heading := range regexp.MustCompile("(?m)^#+ +(.*)$").FindAllStringSubmatch(text, -1) {
		name := strings.ToLower(heading[1])
		name = regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(name, "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

var links = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksOfDocumentsLeadToFiles(t *testing.T) {
	texts, checked := documents(t), 0
	for path, text := range texts {
		for _, link := range links.FindAllStringSubmatch(withoutCode(text), -1) {
			file, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			checked++
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			content, err := os.ReadFile(target)
			if err != nil {
				t.Errorf("%s: %s: %v", path, link[1], err)
			} else if anchor != "" && !slices.Contains(anchors(string(content)), anchor) {
				t.Errorf("%s: %s: %s has no such heading", path, link[1], target)
			}
		}
	}
	if checked < 10 {
		t.Errorf("%d links were checked", checked)
	}
}

// ownFile is a file or directory of the repository in a code span, by its path.
var ownFile = regexp.MustCompile("`((?:bats|cmd|contrib|docs|hooks|internal|storageconf|wrapper)/[A-Za-z0-9_./-]*[A-Za-z0-9])`")

func TestDocumentsNameFilesThatExist(t *testing.T) {
	checked := 0
	for path, text := range documents(t) {
		for _, name := range ownFile.FindAllStringSubmatch(text, -1) {
			checked++
			if _, err := os.Stat(filepath.Join(top, name[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	if checked < 50 {
		t.Errorf("%d names were checked", checked)
	}
}

func TestContributingHasEachTestOfTheMakefile(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(top, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(top, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range regexp.MustCompile(`(?m)^(test[a-z-]*):.* ## `).FindAllSubmatch(makefile, -1) {
		if !bytes.Contains(text, []byte("make "+string(target[1]))) {
			t.Errorf("CONTRIBUTING.md lacks make %s", target[1])
		}
	}
}

const interop = top + "/docs/interop.md"

// namedTest is how interop.md names a test: `file` `TestInGo`, or `file` "title in bats".
var namedTest = regexp.MustCompile("`([a-z][a-z0-9_/-]*(?:_test\\.go|\\.bats))` (?:`(\\w+)`|\"([^\"]*)\")")

func TestInteropNamesTestsThatExist(t *testing.T) {
	text, err := os.ReadFile(interop)
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for row := range strings.Lines(string(text)) {
		tests := namedTest.FindAllStringSubmatch(row, -1)
		checked += len(tests)
		if named := strings.Count(row, "_test.go`") + strings.Count(row, ".bats`"); named != len(tests) {
			t.Errorf("a file without a test: %s", row)
		}
		for _, test := range tests {
			checkNamedTest(t, row, test[1], test[2], test[3])
		}
	}
	if checked < 40 {
		t.Errorf("%d tests were checked", checked)
	}
}

// checkNamedTest reports if a file has no test of that name in Go, or title in bats, and if
// the test does not run with each podman although its row promises it.
func checkNamedTest(t *testing.T, row, file, name, title string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(top, file))
	if err != nil {
		t.Error(err)
		return
	}
	if name != "" {
		if !bytes.Contains(content, []byte("\nfunc "+name+"(t *testing.T)")) {
			t.Errorf("%s has no test %s", file, name)
		}
		return
	}
	before, _, found := bytes.Cut(content, []byte("\n@test \""+title+"\" {"))
	if !found {
		t.Errorf("%s has no test %q", file, title)
	}
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	if strings.Contains(row, "each podman") && (bytes.Contains(before, []byte("bats file_tags=")) || bytes.Contains(line, []byte("bats test_tags="))) {
		t.Errorf("%s: %q does not run with each podman", file, title)
	}
}

// TestInteropHasThePodmansOfTheMatrix compares with those that bats/podman-matrix expects.
func TestInteropHasThePodmansOfTheMatrix(t *testing.T) {
	text, err := os.ReadFile(interop)
	if err != nil {
		t.Fatal(err)
	}
	matrix, err := os.ReadFile(filepath.Join(top, "bats/podman-matrix"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"4.3.1"} // of the machine that CI runs on
	for _, known := range regexp.MustCompile(`\$\{KNOWN_\w+:-([0-9.]+)\}`).FindAllSubmatch(matrix, -1) {
		want = append(want, string(known[1]))
	}
	if row := "| podman | " + strings.Join(want, ", ") + " |\n"; len(want) < 4 || !strings.Contains(string(text), row) {
		t.Errorf("%s has no row %q", interop, row)
	}
}
