// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseOSTreeOriginReadsImageAndState(t *testing.T) {
	image := func(transport Transport, name string) *SignedReference {
		return &SignedReference{Image: ImageReference{Transport: transport, Name: name}}
	}
	const os42 = "[origin]\ncontainer-image-reference=ostree-unverified-registry:quay.io/example/os:42\n"
	for name, test := range map[string]struct {
		in   string
		want Origin
	}{
		"empty":              {"", Origin{}},
		"image":              {os42, Origin{Image: image(Registry, "quay.io/example/os:42")}},
		"no image but a ref": {"[origin]\nrefspec=fedora:fedora/43/x86_64/silverblue\n", Origin{}},
		"signed": {
			"[origin]\ncontainer-image-reference=ostree-image-signed:docker://quay.io/example/os:42\n",
			Origin{Image: &SignedReference{Image: ImageReference{Registry, "quay.io/example/os:42"}, ContainerPolicy: true}},
		},
		"signed by a remote": {
			"[origin]\ncontainer-image-reference=ostree-remote-image:fedora:docker://quay.io/example/os:42\n",
			Origin{Image: &SignedReference{Image: ImageReference{Registry, "quay.io/example/os:42"}, Remote: "fedora"}},
		},
		"image in another group": {"[other]\ncontainer-image-reference=x\n[origin]\n", Origin{}},
		"the later group counts": {
			"[origin]\ncontainer-image-reference=nonsense\n[x]\n" + os42,
			Origin{Image: image(Registry, "quay.io/example/os:42")},
		},
		"no comment in a value": {
			"[origin]\ncontainer-image-reference=ostree-unverified-image:oci:/a#b;c\n",
			Origin{Image: image(OCI, "/a#b;c")},
		},
		"escaped as GLib does": {
			`[origin]` + "\n" + `container-image-reference=ostree-unverified-image:oci:/a\\sb\sc\\\\d`,
			Origin{Image: image(OCI, `/a\sb c\\d`)},
		},
		"pinned":                {os42 + "[libostree-transient]\npinned=true\n", Origin{Image: image(Registry, "quay.io/example/os:42"), Pinned: true}},
		"pinned by number":      {"[libostree-transient]\npinned=1\n", Origin{Pinned: true}},
		"pinned before a space": {"[libostree-transient]\npinned = true \n", Origin{Pinned: true}},
		"unpinned":              {"[libostree-transient]\npinned=false\n", Origin{}},
		"pinned in the wrong way": {
			"[libostree-transient]\npinned=TRUE\n[origin]\npinned=true\n[other]\npinned=true\n",
			Origin{},
		},
		"no boolean":      {"[libostree-transient]\npinned=yes\n", Origin{}},
		"pinned, layered": {os42 + "[libostree-transient]\npinned=true\n[rpmostree]\n", Origin{Incompatible: true, Layered: image(Registry, "quay.io/example/os:42"), Pinned: true}},
		"packages":        {os42 + "[packages]\nrequested=htop;\n", Origin{Incompatible: true, Layered: image(Registry, "quay.io/example/os:42")}},
		"overrides":       {os42 + "[overrides]\nremove=nano;\n", Origin{Incompatible: true, Layered: image(Registry, "quay.io/example/os:42")}},
		"modules":         {os42 + "[modules]\nenable=x;\n", Origin{Incompatible: true, Layered: image(Registry, "quay.io/example/os:42")}},
		"layered on nonsense": {
			"[origin]\ncontainer-image-reference=nonsense\n[rpmostree]\ninitramfs=x\n",
			Origin{Incompatible: true},
		},
		"other groups are fine": {os42 + "[packages2]\n[rpm-ostree]\n", Origin{Image: image(Registry, "quay.io/example/os:42")}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseOSTreeOrigin([]byte(test.in))
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("%+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}

func TestParseOSTreeOriginRefusesBadFiles(t *testing.T) {
	for in, want := range map[string]string{
		"container-image-reference=x\n":                                                 "line 1: key outside of any group",
		"[origin]\ncontainer-image-reference\n":                                         "line 2: ",
		"[origin]\ncontainer-image-reference=\n":                                        `signed image reference ""`,
		"[origin]\ncontainer-image-reference=quay.io/example/os:42\n":                   `"quay.io/example/os:42"`,
		"[origin]\ncontainer-image-reference=ostree-unverified-image:ftp://x\n":         `"ostree-unverified-image:ftp://x"`,
		"[origin]\ncontainer-image-reference=ostree-unverified-image:a\\nb\n":           `"ostree-unverified-image:a\nb"`,
		"[origin]\ncontainer-image-reference=ostree-unverified-registry:quay.io/\xff\n": "not UTF-8",
	} {
		got, err := ParseOSTreeOrigin([]byte(in))
		checkOriginError(t, in, got, err, want)
	}
}

func TestParseComposefsOriginReadsImageAndBoot(t *testing.T) {
	digest := "sha256:" + strings.Repeat("5", 64)
	image := &SignedReference{Image: ImageReference{Transport: Registry, Name: "quay.io/example/os:42"}}
	for name, test := range map[string]struct {
		in   string
		want Origin
	}{
		"as bootc writes it": {
			"[origin]\ncontainer-image-reference = ostree-unverified-image:docker://quay.io/example/os:42\n" +
				"[boot]\nboot_type = bls\ndigest = 0123\n[image]\nmanifest_digest = " + digest + "\n",
			Origin{Image: image, BootType: "bls", BootDigest: "0123", ManifestDigest: digest},
		},
		"by an old bootc":  {"[boot]\nboot_type = uki\n", Origin{BootType: "uki"}},
		"comments":         {"; c\n[boot] # c\nboot_type=uki;c\n", Origin{BootType: "uki"}},
		"groups of ostree": {"[boot]\nboot_type=bls\n[packages]\nx=y\n[libostree-transient]\npinned=true\n", Origin{BootType: "bls"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseComposefsOrigin([]byte(test.in))
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("%+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}

func TestParseComposefsOriginRefusesBadFiles(t *testing.T) {
	for in, want := range map[string]string{
		"": "no boot_type",
		"[origin]\ncontainer-image-reference = ostree-unverified-image:docker://x\n": "no boot_type",
		"[boot]\nboot_type =\n":    "no boot_type",
		"[boot]\nboot_type=BLS\n":  `boot_type "BLS"`,
		"[boot]\nboot_type=a\rb\n": `boot_type "a\rb"`,
		"[boot\n":                  "line 1: ",
		"[boot]\nboot_type=bls\n[origin]\ncontainer-image-reference=docker://x\n":                            `"docker://x"`,
		"[boot]\nboot_type=bls\n[origin]\ncontainer-image-reference=ostree-unverified-image:ftp://x\n":       `"ostree-unverified-image:ftp://x"`,
		"[boot]\nboot_type=bls\n[origin]\ncontainer-image-reference=ostree-unverified-image:docker://\xff\n": "line 4: not UTF-8",
	} {
		got, err := ParseComposefsOrigin([]byte(in))
		checkOriginError(t, in, got, err, want)
	}
}

func checkOriginError(t *testing.T, in string, got Origin, err error, want string) {
	t.Helper()
	if err == nil || got != (Origin{}) || !strings.Contains(err.Error(), want) || strings.ContainsAny(err.Error(), "\n\r") {
		t.Errorf("%q: %+v, %q; want one line with %q", in, got, err, want)
	}
}

func FuzzParseOrigin(f *testing.F) {
	for _, seed := range []string{
		"[origin]\ncontainer-image-reference=ostree-unverified-registry:quay.io/example/os:42\n",
		"[origin]\ncontainer-image-reference=ostree-image-signed:oci:/a\\\\b\n[libostree-transient]\npinned=true\n",
		"[origin]\ncontainer-image-reference=ostree-unverified-image:docker://quay.io/example/os:42\n[boot]\nboot_type=bls\ndigest=00\n[image]\nmanifest_digest=sha256:00",
		"[origin]\nrefspec=x\n[packages]\n", "[boot]\nboot_type=x", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, parse := range map[string]func([]byte) (Origin, error){"ostree": ParseOSTreeOrigin, "composefs": ParseComposefsOrigin} {
			origin, err := parse(data)
			switch {
			case err != nil && (origin != (Origin{}) || strings.ContainsAny(err.Error(), "\n\r")):
				t.Errorf("%s: %+v, %q", name, origin, err)
			case origin.Incompatible && origin.Image != nil:
				t.Errorf("%s: incompatible, but from %v", name, origin.Image)
			case origin.Image != nil && origin.Image.Image.Name == "":
				t.Errorf("%s: image without a name", name)
			}
		}
	})
}
