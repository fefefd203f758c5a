// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

func TestFindingHasOneTextAndOneJSON(t *testing.T) {
	for _, tt := range []struct {
		finding Finding
		text    string
	}{
		{Finding{What: "read x: no"}, "read x: no"},
		{Finding{Where: "/x", What: "is gone"}, "/x: is gone"},
		{Finding{Severity: Failing, Where: "/x", What: "is gone", Why: "y fails", Fix: "z"}, `/x: is gone, so that y fails; "z" fixes it`},
	} {
		if got := tt.finding.String(); got != tt.text {
			t.Errorf("got %q, want %q", got, tt.text)
		}
	}
	got, err := json.Marshal(Finding{Rule: Unreadable, Severity: Failing, Where: "/x", What: "is gone", Why: "y fails", Fix: "z"})
	if want := `{"rule":"unreadable","severity":"failing","where":"/x","what":"is gone","why":"y fails","fix":"z"}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

// TestEachRuleIsDocumented compares the constants of type Rule with the rows of docs/findings.md.
func TestEachRuleIsDocumented(t *testing.T) {
	tree, err := parser.ParseFile(token.NewFileSet(), "rules.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	ast.Inspect(tree, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			rule, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil || !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(rule) {
				t.Errorf("rule %q, %v, is not in kebab case", rule, err)
			}
			rules = append(rules, rule)
		}
		return true
	})
	page, err := os.ReadFile("../../docs/findings.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(.*?)` \\|").FindAllStringSubmatch(string(page), -1) {
		rows = append(rows, row[1])
	}
	slices.Sort(rules)
	slices.Sort(rows)
	if len(rules) == 0 || !slices.Equal(rules, rows) {
		t.Errorf("rules.go has\n%q, docs/findings.md\n%q", rules, rows)
	}
}

func TestWhatIsUnreadIsSaidOnce(t *testing.T) {
	got := Unread([]error{errors.New("a"), errors.New("b"), errors.New("a")})
	if len(got) != 2 || got[0] != (Finding{Rule: Unreadable, Severity: Unknown, What: "a"}) || got[1].What != "b" {
		t.Errorf("got %v", got)
	}
}

func TestDamagedImagesAreNamedWithTheirStore(t *testing.T) {
	img := &cstorage.Image{ID: strings.Repeat("0123456789abcdef", 4)}
	for _, tt := range []struct {
		store inventory.StoreName
		names []string
		want  string
	}{
		{inventory.DefaultStore, []string{"localhost/x:1", "localhost/y:1"}, `image 0123456789ab, localhost/x:1, of podman's own store: damaged and not used: why; "podman image rm 0123456789ab" fixes it`},
		{inventory.BootcStore, []string{"localhost/x:1"}, `image 0123456789ab, localhost/x:1, of the bootc-owned store: damaged and not used: why; "bootc-podman repair localhost/x:1" fixes it`},
		{inventory.BootcStore, nil, `image 0123456789ab, without a name, of the bootc-owned store: damaged and not used: why; "bootc-podman image rm 0123456789ab" fixes it`},
	} {
		img.Names = tt.names
		if got := Damaged(inventory.Damage{Store: tt.store, Image: img, Err: errors.New("why")}).String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
