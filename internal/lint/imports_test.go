// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/bootc-podman/bootc-podman"

// arrows returns the packages with those that each may import; a name stands for all
// packages below it, too, but for those that a longer name stands for. No package imports a
// command.
func arrows() map[string][]string {
	files := []string{"internal/rooted", "internal/ini", "internal/conffile"}
	formats := slices.Concat(files, []string{"internal/ostree", "internal/composefs", "internal/cstorage"})
	programs := slices.Concat(formats, []string{"storageconf", "wrapper"})
	host := slices.Concat(programs, []string{"internal/host"})
	view := slices.Concat(host, []string{"internal/inventory"})
	return map[string][]string{
		"contrib/man":        nil,
		"internal/rooted":    nil,
		"internal/ini":       {"internal/rooted"},
		"internal/conffile":  {"internal/rooted"},
		"internal/progress":  nil,
		"internal/extents":   nil,
		"internal/ostree":    files,
		"internal/composefs": slices.Concat(files, []string{"internal/composefs"}),
		"internal/cstorage":  files,
		"storageconf":        files,
		"wrapper":            {"storageconf", "internal/rooted"},
		"internal/host":      slices.Concat(formats, []string{"storageconf"}),
		"internal/inventory": host,
		"internal/health":    view,
		"internal/transfer":  slices.Concat(view, []string{"internal/extents", "internal/progress", "internal/health", "internal/transfer"}),
		"internal/bound":     slices.Concat(view, []string{"internal/progress", "internal/health", "internal/transfer"}),
		"hooks":              slices.Concat(view, []string{"internal/health", "hooks"}),
		"internal/diskuse":   slices.Concat(view, []string{"internal/extents"}),
		"internal/removal":   slices.Concat(view, []string{"hooks"}),
		"internal/doctor":    slices.Concat(view, []string{"internal/health", "internal/transfer", "internal/bound", "hooks"}),
		"internal/metrics":   slices.Concat(view, []string{"internal/health", "internal/doctor"}),
		"cmd":                slices.Concat(view, []string{"internal/progress", "internal/health", "internal/transfer", "internal/bound", "internal/diskuse", "internal/doctor", "internal/metrics", "internal/removal", "hooks", "contrib/man"}),

		"internal/transfer/clone/tree": slices.Concat(files, []string{"internal/transfer/clonejob"}),
	}
}

// tools are packages of tests and benchmarks. No package of the product imports them.
func tools() []string {
	return []string{"internal/bench", "internal/lint", "internal/mkcomposefs", "internal/pulltest", "internal/realtree", "internal/testcomposefs", "internal/testfs", "internal/testhost"}
}

// room returns the longest of names that a package is, or is below; "" for none.
func room(names []string, pkg string) (longest string) {
	for _, name := range names {
		if (pkg == name || strings.HasPrefix(pkg, name+"/")) && len(name) > len(longest) {
			longest = name
		}
	}
	return longest
}

// goList returns the lines of "go list" for packages of this module.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-tags", "urfave_cli_no_docs"}, args...)...)
	cmd.Dir = top
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
	rules := arrows()
	rooms := slices.Collect(maps.Keys(rules))
	for _, line := range goList(t, "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...") {
		fields := strings.Fields(line)
		pkg := strings.TrimPrefix(fields[0], module+"/")
		if room(tools(), pkg) != "" {
			continue
		}
		from := room(rooms, pkg)
		if from == "" {
			t.Errorf("package %s is not in the list of arrows", pkg)
			continue
		}
		for _, path := range fields[1:] {
			imported, ours := strings.CutPrefix(path, module+"/")
			if ours && room(rules[from], imported) == "" {
				t.Errorf("%s imports %s", pkg, imported)
			}
		}
	}
}

// TestWeStartWithoutSlowPackages: to start the storage library takes longer than to start
// all of ours; a server or client of HTTP belongs to the private program; and go-digest
// compiles regular expressions at each start.
func TestWeStartWithoutSlowPackages(t *testing.T) {
	for _, path := range goList(t, "-deps", "./cmd/bootc-podman") {
		slow := []string{"go.podman.io/storage", "net/http", "github.com/klauspost/compress/zstd", "github.com/opencontainers/go-digest"}
		if slices.Contains(slow, path) || strings.HasPrefix(path, "go.podman.io/storage/drivers") {
			t.Errorf("depends on %s", path)
		}
	}
}

// TestPlansAreDecidedWithoutFiles: a plan is a function of the view.
func TestPlansAreDecidedWithoutFiles(t *testing.T) {
	for _, path := range goList(t, "-f", `{{join .Imports "\n"}}`, "./internal/transfer/plan") {
		if slices.Contains([]string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/unix", module + "/internal/rooted"}, path) {
			t.Errorf("imports %s", path)
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
	for name, got := range starts {
		if got && name != "wrapper" && room(tools(), name) == "" {
			t.Errorf("%s starts programs", name)
		}
	}
	if !starts["wrapper"] {
		t.Error("wrapper is not seen to start programs")
	}
}

// callsExec reports whether a file uses a function that becomes or starts another program
// without package os/exec.
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
