// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"strings"
	"testing"
)

var (
	hex32  = strings.Repeat("0123456789abcdef", 2)
	sha256 = "sha256:" + hex32 + hex32
)

// escapes are names and how ostree-ext writes them.
func escapes() map[string]string {
	return map[string]string{
		"docker://quay.io/centos-bootc/centos-bootc:stream9": "docker_3A__2F__2F_quay_2E_io/centos-bootc/centos-bootc_3A_stream9",
		"containers-storage:localhost/bootc":                 "containers-storage_3A_localhost/bootc",
		"docker://localhost:5000/foo/my_img:v1.2_3":          "docker_3A__2F__2F_localhost_3A_5000/foo/my__img_3A_v1_2E_2__3",
		"docker://quay.io/example/os@" + sha256:              "docker_3A__2F__2F_quay_2E_io/example/os_40_sha256_3A_" + hex32 + hex32,
		"oci:/var/mnt/osupdate:latest":                       "oci_3A__2F_var/mnt/osupdate_3A_latest",
		"oci-archive:/tmp/os-1.ociarchive":                   "oci-archive_3A__2F_tmp/os-1_2E_ociarchive",
		"dir:/a//b/":                                         "dir_3A__2F_a/_2F_b_2F_",
		"docker://quay.io/a-/b":                              "docker_3A__2F__2F_quay_2E_io/a-_2F_b",
		"docker://quay.io/org_/b":                            "docker_3A__2F__2F_quay_2E_io/org___2F_b",
		"containers-storage:[overlay@/x+/y]img":              "containers-storage_3A__5B_overlay_40__2F_x_2B__2F_y_5D_img",
		sha256:                                               "sha256_3A_" + hex32 + hex32,
		"/":                                                  "_2F_",
		"a/":                                                 "a_2F_",
		"a/-b":                                               "a/-b",
		"\n\t":                                               "_0A__09_",
		"é/日/😀":                                              "_E9__2F__65E5__2F__1F600_",
		"\ufffd":                                             "_FFFD_",
	}
}

func TestEscapeRefWritesWhatOSTreeExtDoes(t *testing.T) {
	for name, ref := range escapes() {
		if got, err := EscapeRef(name); err != nil || got != ref {
			t.Errorf("EscapeRef(%q) = %q, %v; want %q", name, got, err, ref)
		}
		if got, err := UnescapeRef(ref); err != nil || got != name {
			t.Errorf("UnescapeRef(%q) = %q, %v; want %q", ref, got, err, name)
		}
	}
}

func TestEscapeRefRefusesWhatCannotBeReadBack(t *testing.T) {
	for _, name := range []string{"", "\x00", "a\x00b", "\xff", "a\xc3"} {
		if got, err := EscapeRef(name); err == nil {
			t.Errorf("EscapeRef(%q) = %q; want an error", name, got)
		}
	}
}

func TestUnescapeRefReadsOtherSpellings(t *testing.T) {
	for ref, want := range map[string]string{
		"a_2f_b":        "a/b",
		"_41_":          "A",
		"_9_":           "\t",
		"_0000003A_":    ":",
		"a//b/":         "a//b/",
		"registry_3A_x": "registry:x",
	} {
		if got, err := UnescapeRef(ref); err != nil || got != want {
			t.Errorf("UnescapeRef(%q) = %q, %v; want %q", ref, got, err, want)
		}
	}
}

func TestUnescapeRefRefusesMalformedRefs(t *testing.T) {
	for _, ref := range []string{
		"", "_", "a_", "a___", "_2F", "_2F_a_", "a:b", "a.b", "a b", "é", "a\xff", "a\x00",
		"_00_", "_G_", "_0x41_", "_+41_", "_-1_", "_ 41_", "_D800_", "_110000_", "_FFFFFFFF_", "_100000041_", "_\n_",
	} {
		got, err := UnescapeRef(ref)
		if err == nil {
			t.Errorf("UnescapeRef(%q) = %q; want an error", ref, got)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("UnescapeRef(%q) gave an error of several lines: %v", ref, err)
		}
	}
}

func FuzzEscapeRef(f *testing.F) {
	for name := range escapes() {
		f.Add(name)
	}
	f.Add("")
	f.Add("_-_/_")
	f.Fuzz(func(t *testing.T, name string) {
		ref, err := EscapeRef(name)
		if err != nil {
			return
		}
		if strings.Trim(ref, alnum+"-_/") != "" {
			t.Errorf("EscapeRef(%q) = %q has characters that ostree refuses", name, ref)
		}
		for component := range strings.SplitSeq(ref, "/") {
			if component == "" {
				t.Errorf("EscapeRef(%q) = %q has an empty component", name, ref)
			}
		}
		if again, err := UnescapeRef(ref); err != nil || again != name {
			t.Errorf("UnescapeRef(EscapeRef(%q)) = %q, %v", name, again, err)
		}
	})
}

// A ref may be written in more than one way, so escaping its name again need not
// give the same ref, but must give one of the same name.
func FuzzUnescapeRef(f *testing.F) {
	for _, ref := range escapes() {
		f.Add(ref)
	}
	f.Add("_2f_/_41_//")
	f.Add("_D800_")
	f.Fuzz(func(t *testing.T, ref string) {
		name, err := UnescapeRef(ref)
		if err != nil {
			return
		}
		canonical, err := EscapeRef(name)
		if err != nil {
			t.Fatalf("UnescapeRef(%q) = %q, which cannot be escaped: %v", ref, name, err)
		}
		if again, err := UnescapeRef(canonical); err != nil || again != name {
			t.Errorf("UnescapeRef(%q) = %q, %v; want %q as from %q", canonical, again, err, name, ref)
		}
	})
}
