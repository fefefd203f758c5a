// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

func TestPlansAreAsTheSchemaSays(t *testing.T) {
	const path = "../../docs/plan-v1.schema.json"
	schema, err := jsonschema.Compile(path)
	if err != nil {
		t.Fatal(err)
	}
	plans, err := filepath.Glob("testdata/plan/*.json")
	if err != nil || len(plans) == 0 {
		t.Fatalf("no plans: %v", err)
	}
	for _, file := range plans {
		var doc map[string]any
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &doc)
		}
		if err != nil {
			t.Fatal(err)
		}
		doc["reflink"] = "yes" // the files say "any"
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %#v", file, err)
		}
	}
	// And no member of the plan is missing there.
	text, err := os.ReadFile(path)
	var parts struct {
		Required   []string       `json:"required"`
		Properties map[string]any `json:"properties"`
	}
	if err == nil {
		err = json.Unmarshal(text, &parts)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range reflect.TypeFor[plan.Plan]().NumField() {
		name := reflect.TypeFor[plan.Plan]().Field(i).Tag.Get("json")
		if _, ok := parts.Properties[name]; name != "" && name != "-" && (!ok || !slices.Contains(parts.Required, name)) {
			t.Errorf("the schema lacks %s", name)
		}
	}
}
