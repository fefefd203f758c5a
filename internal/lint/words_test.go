// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package lint holds the rules of this repository that no linter knows: its words, the
// arrows between its packages, the length of commit subjects.
package lint

import (
	"go/scanner"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const top = "../.."

// banned are words that hide who acts, or what on. In place of them stand returns, reports,
// prints, reads, determines, any user, no process, fixes.
var banned = regexp.MustCompile(`(?i)\b(` + strings.Join([]string{
	"tells?", "told", "telling", "knows?", "wants?", "mend(s|ed|ing)?",
	"nobody", "whoever", "whom", "none of", "who has but", "none but",
	"(is|are|was|were|be|been|being) asked", "ha(s|ve) it that",
	"no good", "of no use", "let alone", "comes? into", "gets? to (its|the) end",
}, "|") + `)\b`)

// allowed are lines that may have a banned word: the file, a part of the line, and why.
func allowed() []struct{ file, part, reason string } {
	return []struct{ file, part, reason string }{
		{"internal/lint/words_test.go", "", "the list of the words"},
		{"docs/security.md", "-u nobody", "the user nobody"},
		{"internal/realtree/make.go", "nobody", "names of files and of the user"},
		{"internal/transfer/clone/image_test.go", "nobody may", "the name of a file"},
		{"internal/transfer/clone/tree/tree_test.go", "nobody may", "the name of a file"},
		{"cmd/bootc-podman/guard.go", "Are you sure you want to", "the question of podman"},
		{"bats/260-safe-delete.bats", "Are you sure you want to", "the question of podman"},
		{"bats/250-stress.bats", "DIR/want.N", "a file of the test"},
		{"contrib/systemd/bootc-podman-bound-fetch.service.in", "Wants=", "a key of systemd"},
		{"contrib/systemd/bootc-podman-set-unified.service.in", "Wants=", "a key of systemd"},
	}
}

// skipped are names of directories and files that hold no text of ours.
func skipped() []string {
	return []string{".git", "bin", "build", "testdata", "LICENSE", "go.mod", "go.sum"}
}

func TestTextsAvoidBannedWords(t *testing.T) {
	checked := 0
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case slices.Contains(skipped(), entry.Name()) && entry.IsDir():
			return filepath.SkipDir
		case slices.Contains(skipped(), entry.Name()), !entry.Type().IsRegular():
			return nil
		}
		checked++
		return checkWords(t, path)
	})
	if err != nil || checked < 100 {
		t.Errorf("%d files were checked: %v", checked, err)
	}
}

// checkWords reports the banned words of a file: in comments and strings of Go, in comments
// and names of tests in bats, anywhere in other files.
func checkWords(t *testing.T, path string) error {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	name, err := filepath.Rel(top, path)
	if err != nil {
		return err
	}
	texts := map[int]string{1: string(content)}
	switch {
	case strings.HasSuffix(path, ".go"):
		texts = goTexts(path, content)
	case strings.HasPrefix(name, "bats/"):
		texts = batsTexts(string(content))
	}
	for first, text := range texts {
		for i, line := range strings.Split(text, "\n") {
			for _, word := range banned.FindAllString(line, -1) {
				// "want" is what Go tests call an expected value.
				if strings.HasSuffix(path, "_test.go") && word == "want" && !strings.HasPrefix(text, "/") {
					continue
				}
				if !isAllowed(name, line) {
					t.Errorf("%s:%d: %q in: %s", name, first+i, word, strings.TrimSpace(line))
				}
			}
		}
	}
	return nil
}

// goTexts returns the comments and strings of a Go file by the lines they begin in.
func goTexts(path string, content []byte) map[int]string {
	files := token.NewFileSet()
	file := files.AddFile(path, -1, len(content))
	var s scanner.Scanner
	s.Init(file, content, nil, scanner.ScanComments)
	texts := map[int]string{}
	for {
		pos, tok, lit := s.Scan()
		switch tok {
		case token.EOF:
			return texts
		case token.COMMENT, token.STRING:
			line := file.Line(pos)
			if texts[line] != "" {
				lit = texts[line] + " " + lit
			}
			texts[line] = lit
		}
	}
}

// batsTexts returns the comments and the names of tests of a file in bats by their lines.
// Variables and files of a test may have any name.
func batsTexts(content string) map[int]string {
	texts := map[int]string{}
	for i, line := range strings.Split(content, "\n") {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") || strings.HasPrefix(line, "@test ") {
			texts[i+1] = line
		}
	}
	return texts
}

func isAllowed(name, line string) bool {
	for _, a := range allowed() {
		if a.file == name && strings.Contains(line, a.part) {
			return true
		}
	}
	return false
}

func TestBannedWordsAreFound(t *testing.T) {
	for text, found := range map[string]bool{
		"it tells which":      true,
		"None of them":        true,
		"podman is asked for": true,
		"the unknown known":   false,
		"a hotel":             false,
		"as_nobody":           false,
	} {
		if got := banned.MatchString(text); got != found {
			t.Errorf("%q: found %v, want %v", text, got, found)
		}
	}
	texts := goTexts("x.go", []byte("package x\n\n// tells\nvar tells = `a\nb` // c\n"))
	if want := map[int]string{3: "// tells", 4: "`a\nb`", 5: "// c"}; !maps.Equal(texts, want) {
		t.Errorf("got %v, want %v", texts, want)
	}
}
