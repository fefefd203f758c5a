// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mattn/go-shellwords"

	"github.com/bootc-podman/bootc-podman/contrib/man"
)

// unfolded returns a text in one line, with one blank between words.
func unfolded(text string) string { return strings.Join(strings.Fields(text), " ") + " " }

func TestEveryCommandBelongsToOneTask(t *testing.T) {
	var grouped, all []string
	for _, task := range tasks() {
		grouped = append(grouped, task.commands...)
	}
	for _, c := range newTestApp(t).command(&options{}).VisibleCommands() {
		all = append(all, c.Name)
	}
	slices.Sort(grouped)
	slices.Sort(all)
	if !slices.Equal(grouped, all) {
		t.Errorf("tasks have\n%s, commands are\n%s", grouped, all)
	}
}

func TestTheMainPageHasTheCommandsOfTheHelp(t *testing.T) {
	var want strings.Builder
	usages := map[string]string{}
	for _, c := range newTestApp(t).command(&options{}).VisibleCommands() {
		usages[c.Name] = c.Usage
	}
	for _, task := range tasks() {
		fmt.Fprintf(&want, "### %s\n", task.title)
		for _, name := range task.commands {
			fmt.Fprintf(&want, "**%s**\n: %s\n\n", name, usages[name])
		}
	}
	_, got, _ := strings.Cut(man.Page(""), "\n## COMMANDS\n")
	got, _, _ = strings.Cut(got, "## OPTIONS\n")
	if _, list, _ := strings.Cut(got, "\n\n"); list != want.String() {
		t.Errorf("the section COMMANDS has\n%swant\n%s", list, &want)
	}
}

// everyHelp returns the help about each command, and about all by "".
func everyHelp(t *testing.T, width int) map[string]string {
	t.Helper()
	tree := newTestApp(t).command(&options{})
	top := helpPage{width: width}
	top.top(tree)
	texts := map[string]string{"": top.String()}
	for _, c := range tree.Commands {
		if c.Name != "__complete" {
			page := helpPage{width: width}
			page.command(c)
			texts[c.Name] = page.String()
		}
	}
	return texts
}

func TestHelpFitsTheTerminal(t *testing.T) {
	for _, width := range []int{60, 80, 100} {
		for name, text := range everyHelp(t, width) {
			for line := range strings.SplitSeq(text, "\n") {
				if len(line) > width {
					t.Errorf("help of %q in %d columns has %d: %s", name, width, len(line), line)
				}
			}
		}
	}
}

func TestHelpHasTheExamplesOfThePage(t *testing.T) {
	for name, text := range everyHelp(t, 1000) {
		var want strings.Builder
		for _, lines := range man.Examples(man.Page(name)) {
			want.WriteString("  " + strings.Join(lines, "\n  ") + "\n")
		}
		if _, got, _ := strings.Cut(text, "\nExamples:\n"); want.Len() == 0 || !strings.HasPrefix(got, want.String()+"\n") {
			t.Errorf("help of %q has the examples\n%swant\n%s", name, got, &want)
		}
	}
}

func TestFoldedExamplesAreTheSameCommands(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(manDir, "*.8.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("%v, %v", pages, err)
	}
	folded := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, lines := range man.Examples(string(text)) {
			for _, line := range lines {
				parts := foldCommand("  "+line, 40)
				if len(parts) > 1 {
					folded++
				}
				want, errWant := shellwords.Parse(line)
				if got, err := shellwords.Parse(strings.ReplaceAll(strings.Join(parts, "\n"), "\\\n", "")); !slices.Equal(got, want) || (err == nil) != (errWant == nil) {
					t.Errorf("%s: %q becomes %q", filepath.Base(page), want, got)
				}
			}
		}
	}
	if folded == 0 {
		t.Error("no example is longer than 40 characters")
	}
}

func TestVersionHasAShortOption(t *testing.T) {
	long, _, _ := runApp(t, "--version")
	if short, stderr, code := runApp(t, "-v"); short != long || code != 0 {
		t.Errorf("exit status %d, %q, %q, want %q", code, stderr, short, long)
	}
}

func TestHookIsNotInTheHelp(t *testing.T) {
	stdout, _, _ := runApp(t, "help")
	if strings.Contains(stdout, "\n  hook ") {
		t.Errorf("help has hook:\n%s", stdout)
	}
}

// TestEveryVerbLogsWhatItReads: --log-level debug names each place that is read.
func TestEveryVerbLogsWhatItReads(t *testing.T) {
	const bootc, sysroot = "Read containers-storage", "Opened ostree repository"
	for line, want := range map[string]string{
		"list": bootc + "|" + sysroot, "status": bootc + "|" + sysroot, "exists x": bootc, "df": bootc + "|" + sysroot, "gc --dry-run": bootc,
		"doctor": "Checked bound images", "set-unified --plan": "", "unset-unified": "", "copy-to-storage --dry-run": "",
		"bound list": "", "bound check": "", "usage": "Read leases of containers: 0", "env": "", "storage-conf": "", "version": "", "completion bash": "", "help": "",
	} {
		t.Run(line, func(t *testing.T) {
			a := newTestApp(t)
			a.makeDir(t, "sysroot/ostree/bootc/storage/overlay-images")
			if strings.HasPrefix(line, "usage") {
				a.sysroot = "/"
			}
			_, stderr, _ := a.onHost(t, append([]string{"--log-level", "debug"}, strings.Fields(line)...)...)
			for part := range strings.SplitSeq("bootc-podman "+version()+"|"+want, "|") {
				if !strings.Contains(stderr, part) {
					t.Errorf("got\n%swant %q", stderr, part)
				}
			}
			if _, stderr, _ := a.onHost(t, strings.Fields(line)...); strings.Contains(stderr, "level=debug") {
				t.Errorf("debug messages without the option:\n%s", stderr)
			}
		})
	}
}
