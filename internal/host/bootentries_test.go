// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"strings"
	"testing"
)

func TestParseLoaderEntry(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       loaderEntry
	}{
		{name: "empty"},
		{name: "as ostree writes it", text: "title OS\nversion 2\noptions rw ostree=/a\nlinux /vmlinuz\n", want: loaderEntry{version: "2", options: "rw ostree=/a"}},
		{name: "tabs", text: "version\t2\noptions\trw\tostree=/a\n", want: loaderEntry{version: "2", options: "rw\tostree=/a"}},
		{name: "many of both", text: "version \t  2 \t\nsort-key\t\t bootc\n", want: loaderEntry{version: "2", sortKey: "bootc"}},
		{name: "indented", text: " \tversion 2\n", want: loaderEntry{version: "2"}},
		{name: "carriage returns", text: "version 2\r\noptions a\r\n", want: loaderEntry{version: "2", options: "a"}},
		{name: "no last newline", text: "version 2", want: loaderEntry{version: "2"}},
		{name: "options are joined", text: "options a b\nversion 1\noptions\tc\n", want: loaderEntry{version: "1", options: "a b c"}},
		{name: "others are replaced", text: "version 1\nversion 2\nefi /a.efi\nuki /b.efi\n", want: loaderEntry{version: "2", uki: "/b.efi"}},
		{name: "comments", text: "# version 1\n#version 2\n\t#options x\n", want: loaderEntry{}},
		{name: "keys without a value", text: "version\noptions \nsort-key\t\n", want: loaderEntry{}},
		{name: "keys that begin alike", text: "versions 1\noption x\nsort-key2 y\nefis z\n", want: loaderEntry{}},
		{name: "another blank is no separator", text: "version\u00a02\noptions\v3\n", want: loaderEntry{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.file = "file"
			if got := parseLoaderEntry("file", tt.text); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// FuzzParseLoaderEntry compares an entry with one in which each line is written anew: with
// tabs, indented, with comments between. It means the same.
func FuzzParseLoaderEntry(f *testing.F) {
	for _, seed := range []string{
		"title OS\nversion 2\noptions rw ostree=/ostree/boot.1/os/0123/0\nlinux /vmlinuz\ninitrd /initramfs\n",
		"version\t1\r\noptions composefs=?00\noptions a=\"b c\"\nsort-key x\n", "# c\n\n \t\noptions", "\x00\noptions \x00 \xff", "uki /EFI/Linux/bootc_composefs-00.efi", "uki \rEFI/Linu",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want := parseLoaderEntry("file", text)
		for _, value := range []string{want.version, want.sortKey, want.options, want.uki} {
			untrimmed := strings.Trim(value, " \t\n") != value || strings.HasSuffix(value, "\r") // a carriage return within a line is a character
			if untrimmed && !strings.Contains(text, "options") || strings.Contains(value, "\n") {
				t.Errorf("value %q of\n%q", value, text)
			}
		}
		var anew strings.Builder
		for line := range strings.Lines(text) {
			line = strings.Trim(line, " \t\r\n")
			if end := strings.IndexAny(line, " \t"); end > 0 {
				line = line[:end] + "\t  " + line[end:]
			}
			anew.WriteString("# comment\n\t" + line + " \r\n")
		}
		if got := parseLoaderEntry("file", anew.String()); got != want {
			t.Errorf("got %+v, want %+v of\n%q\n%q", got, want, text, anew.String())
		}
		for _, arg := range []string{"ostree", "composefs"} {
			if value := kernelArg(want.options, arg); strings.ContainsAny(value, " \t\n") || value != "" && !strings.Contains(want.options, arg+"="+value) {
				t.Errorf("argument %q of %q", value, want.options)
			}
		}
	})
}
