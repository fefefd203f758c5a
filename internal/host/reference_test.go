// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"strings"
	"testing"
)

// digest256 is a digest.
var digest256 = "sha256:" + hex64("1")

func TestParseImageReferenceReadsEveryTransport(t *testing.T) {
	for _, c := range []struct {
		in, display string
		want        ImageReference
	}{
		{"docker://quay.io/e/i:t", "docker://quay.io/e/i:t", ImageReference{Registry, "quay.io/e/i:t"}},
		{"registry:quay.io/e/i:t", "docker://quay.io/e/i:t", ImageReference{Registry, "quay.io/e/i:t"}},
		{"oci:/path:tag", "oci:/path:tag", ImageReference{OCI, "/path:tag"}},
		{"oci-archive:/a.tar", "oci-archive:/a.tar", ImageReference{OCIArchive, "/a.tar"}},
		{"docker-archive:/a.tar", "docker-archive:/a.tar", ImageReference{DockerArchive, "/a.tar"}},
		{"containers-storage:[overlay@/a+/b]i", "containers-storage:[overlay@/a+/b]i", ImageReference{ContainersStorage, "[overlay@/a+/b]i"}},
		{"dir:/d", "dir:/d", ImageReference{Dir, "/d"}},
		{"docker-daemon:i:t", "docker-daemon:i:t", ImageReference{DockerDaemon, "i:t"}},
	} {
		got, err := ParseImageReference(c.in)
		if err != nil || got != c.want {
			t.Errorf("ParseImageReference(%q) = %+v, %v; want %+v", c.in, got, err, c.want)
		}
		if got.String() != c.display {
			t.Errorf("ParseImageReference(%q) displays as %q; want %q", c.in, got, c.display)
		}
	}
}

func TestParseImageReferenceRefusesWhatHasNoTransportOrName(t *testing.T) {
	for _, in := range []string{
		"", ":", "registry", "registry:", "docker", "docker:", "docker:/", "docker://", "docker:x", "docker:/x", "oci:",
		"quay.io/e/i", "quay.io/e/i:t", "Registry:x", "registry :x", "http://x", "ostree-unverified-registry:x", "x\n:y",
	} {
		got, err := ParseImageReference(in)
		if err == nil || got != (ImageReference{}) {
			t.Errorf("ParseImageReference(%q) = %+v, %v; want an error", in, got, err)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("ParseImageReference(%q) gave an error of several lines: %v", in, err)
		}
	}
}

func TestCanonicalPrefersDigestToTagOnRegistriesOnly(t *testing.T) {
	for _, c := range []struct {
		transport            Transport
		name, want, forStore string
	}{
		{Registry, "quay.io/e/i:latest@" + digest256, "quay.io/e/i@" + digest256, "quay.io/e/i:latest@" + digest256},
		{Registry, "quay.io/e/i:latest", "quay.io/e/i:latest", "quay.io/e/i:latest"},
		{Registry, "quay.io/e/i", "quay.io/e/i", "quay.io/e/i"},
		{Registry, "quay.io/e/i@" + digest256, "quay.io/e/i@" + digest256, "quay.io/e/i@" + digest256},
		{Registry, "localhost/i:latest@" + digest256, "localhost/i@" + digest256, "localhost/i:latest@" + digest256},
		{Registry, "busybox", "busybox", "busybox"},
		{Registry, "busybox:1", "busybox:1", "busybox:1"},
		{Registry, "busybox@" + digest256, "busybox@" + digest256, "busybox@" + digest256},
		{Registry, "busybox:1@" + digest256, "docker.io/library/busybox@" + digest256, "busybox:1@" + digest256},
		{ContainersStorage, "quay.io/e/i:latest@" + digest256, "quay.io/e/i:latest@" + digest256, "containers-storage:quay.io/e/i:latest@" + digest256},
		{OCI, "/path/to/dir:latest", "/path/to/dir:latest", "oci:/path/to/dir:latest"},
		{OCIArchive, "/tmp/repo", "/tmp/repo", "oci-archive:/tmp/repo"},
		{Dir, "/tmp/D", "/tmp/D", "dir:/tmp/D"},
	} {
		r := ImageReference{c.transport, c.name}
		got, err := r.Canonical()
		if want := (ImageReference{c.transport, c.want}); err != nil || got != want {
			t.Errorf("%v.Canonical() = %v, %v; want %v", r, got, err, want)
		}
		if got := r.InStore(); got != c.forStore {
			t.Errorf("%v.InStore() = %q; want %q", r, got, c.forStore)
		}
	}
}

func TestCanonicalRefusesInvalidRegistryNames(t *testing.T) {
	for _, name := range []string{"quay.io/E/i", "quay.io/e/i:", "quay.io/e/i@sha256:1", "/x"} {
		r := ImageReference{Registry, name}
		if got, err := r.Canonical(); err == nil || got != (ImageReference{}) {
			t.Errorf("%v.Canonical() = %v, %v; want an error", r, got, err)
		}
	}
}

func TestParseSignedReferenceReadsEveryForm(t *testing.T) {
	image := ImageReference{Registry, "quay.io/e/i:t"}
	path := ImageReference{OCI, "/p:t"}
	for _, c := range []struct {
		in, written string
		want        SignedReference
	}{
		{"ostree-unverified-registry:quay.io/e/i:t", "ostree-unverified-registry:quay.io/e/i:t", SignedReference{Image: image}},
		{"ostree-unverified-image:docker://quay.io/e/i:t", "ostree-unverified-registry:quay.io/e/i:t", SignedReference{Image: image}},
		{"ostree-unverified-image:registry:quay.io/e/i:t", "ostree-unverified-registry:quay.io/e/i:t", SignedReference{Image: image}},
		{"ostree-unverified-image:oci:/p:t", "ostree-unverified-image:oci:/p:t", SignedReference{Image: path}},
		{"ostree-image-signed:docker://quay.io/e/i:t", "ostree-image-signed:docker://quay.io/e/i:t", SignedReference{Image: image, ContainerPolicy: true}},
		{"ostree-image-signed:oci:/p:t", "ostree-image-signed:oci:/p:t", SignedReference{Image: path, ContainerPolicy: true}},
		{"ostree-remote-registry:fedora:quay.io/e/i:t", "ostree-remote-image:fedora:docker://quay.io/e/i:t", SignedReference{Image: image, Remote: "fedora"}},
		{"ostree-remote-image:fedora:registry:quay.io/e/i:t", "ostree-remote-image:fedora:docker://quay.io/e/i:t", SignedReference{Image: image, Remote: "fedora"}},
		{"ostree-remote-image:fedora:oci:/p:t", "ostree-remote-image:fedora:oci:/p:t", SignedReference{Image: path, Remote: "fedora"}},
	} {
		got, err := ParseSignedReference(c.in)
		if err != nil || got != c.want {
			t.Errorf("ParseSignedReference(%q) = %+v, %v; want %+v", c.in, got, err, c.want)
		}
		if got.String() != c.written {
			t.Errorf("ParseSignedReference(%q) is written %q; want %q", c.in, got, c.written)
		}
	}
}

func TestParseSignedReferenceRefusesMalformedReferences(t *testing.T) {
	for _, in := range []string{
		"", ":", "docker://quay.io/e/i", "registry:quay.io/e/i", "ostree-unverified-registry", "ostree-unverified-registry:",
		"ostree-unverified-image", "ostree-unverified-image:", "ostree-unverified-image:quay.io/e/i", "ostree-image-signed:",
		"ostree-image-signed:quay.io/e/i", "ostree-image-signed:docker:quay.io/e/i", "ostree-image-signed-registry:quay.io/e/i",
		"ostree-remote-registry:quay.io/e/i", "ostree-remote-registry:fedora", "ostree-remote-registry:fedora:",
		"ostree-remote-registry::quay.io/e/i", "ostree-remote-image::docker://quay.io/e/i", "ostree-remote-image:docker://quay.io/e/i",
		"ostree-remote-image:fedora", " ostree-unverified-registry:x", "ostree-unverified-image:x\n",
	} {
		got, err := ParseSignedReference(in)
		if err == nil || got != (SignedReference{}) {
			t.Errorf("ParseSignedReference(%q) = %+v, %v; want an error", in, got, err)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("ParseSignedReference(%q) gave an error of several lines: %v", in, err)
		}
	}
}

func FuzzParseSignedReference(f *testing.F) {
	for _, s := range []string{
		"ostree-unverified-registry:quay.io/e/i:t", "ostree-unverified-image:oci:/p", "ostree-image-signed:docker://busybox:1@" + digest256,
		"ostree-remote-image:fedora:containers-storage:x", "ostree-remote-registry:a:b", "ostree-unverified-image:docker:x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseSignedReference(s)
		if err != nil {
			return
		}
		if again, err := ParseSignedReference(r.String()); err != nil || again != r {
			t.Errorf("ParseSignedReference(%q) = %+v, %v; want %+v as from %q", r, again, err, r, s)
		}
		if again, err := ParseImageReference(r.Image.String()); err != nil || again != r.Image {
			t.Errorf("ParseImageReference(%q) = %+v, %v; want %+v", r.Image, again, err, r.Image)
		}
		canonical, err := r.Image.Canonical()
		if err != nil {
			return
		}
		if again, err := canonical.Canonical(); err != nil || again != canonical {
			t.Errorf("%v.Canonical() = %v, %v; want no change", canonical, again, err)
		}
	})
}
