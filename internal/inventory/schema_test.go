// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func readSchema(t *testing.T, name string) (schema object) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../docs", name+".schema.json"))
	must(t, err)
	must(t, json.Unmarshal(data, &schema))
	return schema
}

// resolve follows a reference, and takes the object out of "object or null".
func resolve(root, schema object) object {
	if ref, ok := schema["$ref"].(string); ok {
		return root["$defs"].(object)[strings.TrimPrefix(ref, "#/$defs/")].(object)
	}
	if any, ok := schema["anyOf"].([]any); ok {
		return resolve(root, any[0].(object))
	}
	return schema
}

// sameMembers fails unless the members of objects in a schema are those of the
// Go type, and the required ones those that are always written.
func sameMembers(t *testing.T, root, schema object, typ reflect.Type, path string) {
	t.Helper()
	schema = resolve(root, schema)
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if typ.Kind() == reflect.Slice {
		sameMembers(t, root, schema["items"].(object), typ.Elem(), path+"[]")
		return
	}
	properties, ok := schema["properties"].(object)
	if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[Time]() {
		if ok {
			t.Errorf("%s: the schema has an object, Go %v", path, typ)
		}
		return
	}
	var members, always []string
	for i := range typ.NumField() {
		name, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		members = append(members, name)
		if options != "omitempty" {
			always = append(always, name)
		}
		if property, ok := properties[name].(object); ok {
			sameMembers(t, root, property, typ.Field(i).Type, path+"."+name)
		}
	}
	var documented, required []string
	for name := range properties {
		documented = append(documented, name)
	}
	for _, name := range schema["required"].([]any) {
		required = append(required, name.(string))
	}
	for _, list := range [][]string{members, always, documented, required} {
		slices.Sort(list)
	}
	if !slices.Equal(members, documented) || !slices.Equal(always, required) {
		t.Errorf("%s: the schema has %q and requires %q; Go has %q and always writes %q", path, documented, required, members, always)
	}
}

// conforms fails unless a document is as its schema says. It reads as much of
// JSON Schema as ours use, and takes no member that is not in them.
func conforms(t *testing.T, name string, document []byte) {
	t.Helper()
	root := readSchema(t, name)
	var value any
	must(t, json.Unmarshal(document, &value))
	var check func(schema object, value any, path string)
	check = func(schema object, value any, path string) {
		if schema["anyOf"] != nil && value == nil {
			return
		}
		schema = resolve(root, schema)
		if schema["type"] != nil && !isOfType(schema["type"], value) {
			t.Errorf("%s: %v is not of type %v", path, value, schema["type"])
			return
		}
		if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, value) {
			t.Errorf("%s: %v is not one of %v", path, value, enum)
		}
		if want, ok := schema["const"]; ok && value != want {
			t.Errorf("%s: got %v, want %v", path, value, want)
		}
		if pattern, ok := schema["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(value.(string)) {
			t.Errorf("%s: %q does not match %q", path, value, pattern)
		}
		if minimum, ok := schema["minimum"].(float64); ok && value != nil && value.(float64) < minimum {
			t.Errorf("%s: %v is less than %v", path, value, minimum)
		}
		if text, ok := value.(string); ok && schema["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339, text); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		switch value := value.(type) {
		case []any:
			for _, item := range value {
				check(schema["items"].(object), item, path+"[]")
			}
		case object:
			properties := schema["properties"].(object)
			for key, member := range value {
				if property, ok := properties[key].(object); ok {
					check(property, member, path+"."+key)
				} else {
					t.Errorf("%s: member %q is not documented", path, key)
				}
			}
			for _, key := range schema["required"].([]any) {
				if _, ok := value[key.(string)]; !ok {
					t.Errorf("%s: member %q is missing", path, key)
				}
			}
		}
	}
	check(root, value, name)
}

func isOfType(want, value any) bool {
	if all, ok := want.([]any); ok {
		return slices.ContainsFunc(all, func(want any) bool { return isOfType(want, value) })
	}
	switch value := value.(type) {
	case nil:
		return want == "null"
	case bool:
		return want == "boolean"
	case string:
		return want == "string"
	case float64:
		return want == "integer" && value == float64(int64(value))
	case []any:
		return want == "array"
	case object:
		return want == "object"
	}
	return false
}
