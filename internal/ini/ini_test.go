// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package ini

import (
	"reflect"
	"strings"
	"testing"
)

// The expected results were all seen from libglib 2.74.
func TestParseKeyFileReadsAsGLib(t *testing.T) {
	for in, want := range map[string]File{
		"":                             {},
		"\n# c\n  # c\n \n":            {},
		"[g]\nk=v":                     {"g": {"k": "v"}},
		"  [g] \n k = v  \n":           {"g": {"k": "v  "}},
		"[ g ]\nk=v \t\n":              {" g ": {"k": "v \t"}},
		"[g]\r\nk=v\r\n\r\n":           {"g": {"k": "v"}},
		"[g]\nk=v;x#y # no":            {"g": {"k": "v;x#y # no"}},
		"[g]\nk=a=b\n":                 {"g": {"k": "a=b"}},
		"[g]\nk=\n":                    {"g": {"k": ""}},
		"[g]\nk=1\nk=2\n":              {"g": {"k": "2"}},
		"[g]\nk=1\nl=1\n[h]\n[g]\nk=2": {"g": {"k": "2", "l": "1"}, "h": {}},
		"[g]\nk=a\\sb\n":               {"g": {"k": "a\\sb"}},
		"[g]\nk=\u00a0v\n":             {"g": {"k": "\u00a0v"}},
		"[g]\nk=\vv\n":                 {"g": {"k": "\vv"}},
		"[g]\nk=v\rx\n":                {"g": {"k": "v\rx"}},
		"[g]\nk=v\r\r\n":               {"g": {"k": "v\r"}},
		"[g]\nk=v\r":                   {"g": {"k": "v\r"}},
		"[g]\nk=\xff\n":                {"g": {"k": "\xff"}},
	} {
		got, err := ParseKeyFile([]byte(in))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
}

func TestParseKeyFileNamesTheLineOfAnError(t *testing.T) {
	for in, want := range map[string]string{
		"k=v\n":             "line 1: key outside of any group",
		"# c\n\n; c\n[g]\n": "line 3: neither section, comment nor key",
		"[g]\nk\n":          "line 2: neither section, comment nor key",
		"[g]\nk=v\\\n w\n":  "line 3: neither section, comment nor key",
		"[g]\n\n=v\n":       "line 3: nothing before \"=\"",
		"[g\n":              "line 1: malformed group header",
		"[]\n":              "line 1: malformed group header",
		"[g]x\n":            "line 1: malformed group header",
		"[g]\r":             "line 1: malformed group header",
		"[g]\f\n":           "line 1: malformed group header",
		"[g] # c\n":         "line 1: malformed group header",
		"[a[b]\n":           "line 1: malformed group header",
		"[g]]\n":            "line 1: malformed group header",
		"[g]\n[x]=v\n":      "line 2: malformed group header",
		"\ufeff[g]\nk=v\n":  "line 1: neither section, comment nor key",
		"[g]\rk=v\n":        "line 1: malformed group header",
	} {
		checkLineError(t, ParseKeyFile, in, want)
	}
}

// The expected results were all seen from tini 1.3.0.
func TestParseTiniReadsAsTini(t *testing.T) {
	for in, want := range map[string]File{
		"":                             {"": {}},
		"\n# c\n ; c\n \n":             {"": {}},
		"k=v\n[s]\nk=w":                {"": {"k": "v"}, "s": {"k": "w"}},
		"  [s] \n k = v  \n":           {"": {}, "s": {"k": "v"}},
		"[ s ]\nk=v\n":                 {"": {}, " s ": {"k": "v"}},
		"[[s]]\nk=v\n":                 {"": {}, "s": {"k": "v"}},
		"[]\nk=v\n":                    {"": {"k": "v"}},
		"[s]\r\nk=v\r\n\r\n":           {"": {}, "s": {"k": "v"}},
		"[s] # c\nk=v;x#y\n":           {"": {}, "s": {"k": "v"}},
		"[s]\nk=v#x;y\n":               {"": {}, "s": {"k": "v"}},
		"[s]\nk=a=b\n":                 {"": {}, "s": {"k": "a=b"}},
		"[s]\nk=\nl=;c\n":              {"": {}, "s": {"k": "", "l": ""}},
		"[s]\nk=1\nk=2\n":              {"": {}, "s": {"k": "2"}},
		"[s]\nk=1\nl=1\n[t]\n[s]\nk=2": {"": {}, "s": {"k": "2", "l": "1"}, "t": {}},
		"[s]\nk=\u00a0v\u2028\n":       {"": {}, "s": {"k": "v"}},
		"[s]\nk=\"v w\"\n":             {"": {}, "s": {"k": "\"v w\""}},
		"[s]\nk=v\\\nl=w\n":            {"": {}, "s": {"k": "v\\", "l": "w"}},
		"[s]\nk=a\rb\n":                {"": {}, "s": {"k": "a\rb"}},
	} {
		got, err := ParseTini([]byte(in))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
}

func TestParseTiniNamesTheLineOfAnError(t *testing.T) {
	for in, want := range map[string]string{
		"[s\nk=v\n":               "line 1: malformed section header",
		"[":                       "line 1: malformed section header",
		"[s]x\n":                  "line 1: malformed section header",
		"\n[s#]\n":                "line 2: malformed section header",
		"[s]\nk\n":                "line 2: neither section, comment nor key",
		"[s]\nk#=v\n":             "line 2: neither section, comment nor key",
		"[s]\nk=v\\\n  more\n":    "line 3: neither section, comment nor key",
		"[s]\n\n=v\n":             "line 3: nothing before \"=\"",
		"[s]\n # c\n\n \u00a0= v": "line 4: nothing before \"=\"",
		"[s]\nk=v # \xff\n":       "line 2: not UTF-8",
		"\ufeff[s]\n":             "line 1: neither section, comment nor key",
	} {
		checkLineError(t, ParseTini, in, want)
	}
}

func checkLineError(t *testing.T, parse func([]byte) (File, error), in, want string) {
	t.Helper()
	got, err := parse([]byte(in))
	if err == nil || got != nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%q: %v, %v; want an error %q", in, got, err, want)
	}
}

func FuzzParseINI(f *testing.F) {
	for _, seed := range []string{
		"", "[g]\nk=v\n", "[Image]\nImage=quay.io/x/y:1 # c\n", "# c\r\n\r\n[g] \r\n k = v\r\n",
		"k=v", "=", "[", "]", "[]", "[[a]]", "\xff", ";", "[g]\nk=\n[g]\nk=1",
		"[g]\nk=v\r\r\n", "[g]\nk=v\r\r",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, parse := range map[string]func([]byte) (File, error){"GKeyFile": ParseKeyFile, "tini": ParseTini} {
			file, err := parse(data)
			if err != nil {
				if file != nil || strings.ContainsAny(err.Error(), "\n\r") || !strings.HasPrefix(err.Error(), "line ") {
					t.Errorf("%s: %v, %q", name, file, err)
				}
				continue
			}
			// What was read reads back, once it is written plainly. The end of a line
			// is "\r\n", since a value may end with "\r".
			var plain strings.Builder
			for key, value := range file[""] {
				plain.WriteString(key + "=" + value + "\r\n")
			}
			for section, keys := range file {
				if section != "" {
					plain.WriteString("[" + section + "]\r\n")
				}
				for key, value := range keys {
					if section != "" {
						plain.WriteString(key + "=" + value + "\r\n")
					}
					if key == "" || strings.Contains(section+key+value, "\n") || strings.Contains(key, "=") {
						t.Errorf("%s: %q %q = %q", name, section, key, value)
					}
				}
			}
			again, err := parse([]byte(plain.String()))
			if err != nil || !reflect.DeepEqual(file, again) {
				t.Errorf("%s: %q: %q; then %q, %v", name, data, file, again, err)
			}
		}
	})
}

func TestEntriesStandAtTheirLines(t *testing.T) {
	const text = "a=b\n[s]\n# c\nk = v \\\n  w=x ; y\n; d\nl=\"1\"\n[t\nm=2\n"
	if got, want := TiniEntries([]byte(text)), []Entry{{"", "a", "b", 1}, {"s", "k", `v \`, 4}, {"s", "w", "x", 5}, {"s", "l", `"1"`, 7}}; !reflect.DeepEqual(got, want) {
		t.Errorf("bootc: %v, want %v", got, want)
	}
	if got, want := UnitEntries([]byte(text)), []Entry{{"", "a", "b", 1}, {"s", "k", "v   w=x ; y", 4}, {"s", "l", `"1"`, 7}, {"t", "m", "2", 9}}; !reflect.DeepEqual(got, want) {
		t.Errorf("podman: %v, want %v", got, want)
	}
	if got, want := UnitEntries([]byte("[s]\r\nk=a\\\r\n# c\r\nb\\")), []Entry(nil); !reflect.DeepEqual(got, want) {
		t.Errorf("podman: %v, want %v", got, want)
	}
}
