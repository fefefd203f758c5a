// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/bootc-podman/bootc-podman"

// goList returns the lines of "go list" for packages of this module.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-tags", "urfave_cli_no_docs"}, args...)...)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as the Makefile builds
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, &stderr)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestArrowsBetweenPackagesPointOneWay(t *testing.T) {
	for _, tt := range []struct {
		name string
		want []string
	}{
		{name: "internal/rooted", want: []string{"internal/rooted"}},
		{name: "storageconf", want: []string{"internal/rooted", "storageconf"}},
		{name: "wrapper", want: []string{"internal/rooted", "storageconf", "wrapper"}},
		{name: "internal/host", want: []string{"internal/host", "internal/rooted", "storageconf", "wrapper"}},
		{name: "internal/images", want: []string{"internal/host", "internal/images", "internal/rooted", "storageconf", "wrapper"}},
		{name: "hooks", want: []string{"hooks", "internal/host", "internal/images", "internal/rooted", "storageconf", "wrapper"}},
		{name: "hooks/setup", want: []string{"hooks", "hooks/setup", "internal/host", "internal/images", "internal/rooted", "storageconf", "wrapper"}},
		{name: "internal/progress", want: []string{"internal/progress"}},
		{name: "internal/transfer/clonejob", want: []string{"internal/host", "internal/rooted", "internal/transfer/clonejob", "storageconf", "wrapper"}},
		{name: "internal/transfer/clone", want: []string{"internal/host", "internal/rooted", "internal/transfer/clone", "internal/transfer/clonejob", "storageconf", "wrapper"}},
		{name: "internal/transfer/export", want: []string{"internal/host", "internal/images", "internal/rooted", "internal/transfer/export", "storageconf", "wrapper"}},
		{name: "internal/transfer", want: []string{
			"internal/host", "internal/images", "internal/progress", "internal/rooted", "internal/transfer", "internal/transfer/clonejob", "internal/transfer/export",
			"storageconf", "wrapper",
		}},
		{name: "internal/transfer/dedup", want: []string{
			"internal/host", "internal/images", "internal/progress", "internal/rooted", "internal/transfer/dedup", "storageconf", "wrapper",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, path := range goList(t, "-deps", "-f", "{{.ImportPath}}", "./"+tt.name) {
				if name, ok := strings.CutPrefix(path, module+"/"); ok {
					got = append(got, name)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("depends on %q, want %q", got, tt.want)
			}
		})
	}
}

// TestWeStartWithoutTheStorageLibrary: it takes longer to start than all of ours.
func TestWeStartWithoutTheStorageLibrary(t *testing.T) {
	for _, path := range goList(t, "-deps", "./cmd/bootc-podman") {
		if path == "go.podman.io/storage" || strings.HasPrefix(path, "go.podman.io/storage/drivers") {
			t.Errorf("depends on %s", path)
		}
	}
}

func TestOnlyWrapperStartsPrograms(t *testing.T) {
	starts := map[string]bool{}
	for _, line := range goList(t, "-f", `{{.ImportPath}}|{{.Dir}}|{{join .GoFiles " "}}|{{join .Imports " "}}`, "./...") {
		fields := strings.Split(line, "|")
		name := strings.TrimPrefix(fields[0], module+"/")
		starts[name] = slices.Contains(strings.Fields(fields[3]), "os/exec")
		for _, file := range strings.Fields(fields[2]) {
			starts[name] = starts[name] || callsExec(t, filepath.Join(fields[1], file))
		}
	}
	// The benchmark tool is the developers' own, and part of no package.
	want := map[string]bool{"wrapper": true, "internal/bench": true}
	for name, got := range starts {
		if got != want[name] {
			t.Errorf("%s starts programs: %v, want %v", name, got, want[name])
		}
	}
	if !starts["wrapper"] {
		t.Error("wrapper is not seen to start programs")
	}
}

// callsExec tells whether a file uses a function that becomes or starts another
// program without package os/exec.
func callsExec(t *testing.T, file string) (found bool) {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := sel.X.(*ast.Ident); ok && slices.Contains([]string{
				"os.StartProcess", "syscall.Exec", "syscall.ForkExec", "syscall.StartProcess", "unix.Exec",
			}, pkg.Name+"."+sel.Sel.Name) {
				found = true
			}
		}
		return !found
	})
	return found
}
