// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestDocumentsHaveTheHooksOfTheTable: each place that a new hook has to be in, too.
func TestDocumentsHaveTheHooksOfTheTable(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		content, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	var schema struct {
		Properties struct {
			Hooks struct {
				Items struct {
					Properties struct{ Name struct{ Enum []string } }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(read("docs/status-v1.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	var names []string
	page := read("contrib/man/bootc-podman-hook.8.md")
	for _, h := range Table() {
		stages := strings.Join(h.Stages, ", ")
		for name, want := range map[string]string{
			"contrib/man/bootc-podman-hooks.8.md": "**" + h.Name + "** (" + stages + ")\n: " + h.Does + "\n",
			"docs/hooks.md":                       "\n| " + h.Name + " | " + stages + " | ",
			"contrib/man/bootc-podman-hook.8.md":  "\n**bootc-podman hook** **" + h.Name + "**",
		} {
			if !strings.Contains(read(name), want) {
				t.Errorf("%s lacks %q", name, want)
			}
		}
		_, section, _ := strings.Cut(page, "\n## "+strings.ToUpper(h.Name)+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		for _, want := range slices.Concat(h.Stages, h.Annotations) {
			if !strings.Contains(section, want) {
				t.Errorf("the section %q of the manual page lacks %q", h.Name, want)
			}
		}
		if names = append(names, h.Name); h.run == nil || h.preview == nil || slices.Contains(names[:len(names)-1], h.Name) {
			t.Errorf("%s: incomplete", h.Name)
		}
		if h.For != "" && !slices.Contains(h.Annotations, h.For) {
			t.Errorf("%s: %q is not among its annotations", h.Name, h.For)
		}
	}
	if got := schema.Properties.Hooks.Items.Properties.Name.Enum; !slices.Equal(got, names) {
		t.Errorf("the schema of status has %q, want %q", got, names)
	}
}
