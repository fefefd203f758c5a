// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
)

// Transport is where an image is kept, in the words of the bootc status format.
// Except for Registry they are the transports of containers-transports(5).
type Transport string

// The transports that bootc supports.
const (
	Registry          Transport = "registry"
	OCI               Transport = "oci"
	OCIArchive        Transport = "oci-archive"
	DockerArchive     Transport = "docker-archive"
	ContainersStorage Transport = "containers-storage"
	Dir               Transport = "dir"
	DockerDaemon      Transport = "docker-daemon"
)

// ImageReference names an image and where it is kept. Name is never empty and
// has no transport: "quay.io/example/os:42", or a path for some transports.
type ImageReference struct {
	Transport Transport
	Name      string
}

// SignedReference names an image and what has to vouch for it when it is
// fetched. When ContainerPolicy is false and Remote is "", nothing does but what
// containers-policy.json(5) happens to ask for.
type SignedReference struct {
	Image ImageReference
	// ContainerPolicy asks for a policy that does not simply accept all images.
	ContainerPolicy bool
	// Remote is the ostree remote whose keys sign the commit in the image.
	Remote string
}

// ParseImageReference reads TRANSPORT:NAME as ostree-ext does, for which
// "docker://" is the transport registry, too.
func ParseImageReference(s string) (ImageReference, error) {
	transport, err := parseTransport(s)
	if err != nil {
		return ImageReference{}, fmt.Errorf("parse image reference %q: %w", s, err)
	}
	name, found := strings.CutPrefix(s, "docker://")
	if !found {
		_, name, _ = strings.Cut(s, ":")
	}
	if name == "" {
		return ImageReference{}, fmt.Errorf("parse image reference %q: no name after the transport", s)
	}
	return ImageReference{Transport: transport, Name: name}, nil
}

// parseTransport reads what s says before its first colon, and does not look at
// what follows that: the status format has a transport alone.
func parseTransport(s string) (Transport, error) {
	if strings.HasPrefix(s, "docker://") {
		return Registry, nil
	}
	word, _, _ := strings.Cut(s, ":")
	switch t := Transport(word); t {
	case Registry, OCI, OCIArchive, DockerArchive, ContainersStorage, Dir, DockerDaemon:
		return t, nil
	case "docker":
		return "", errors.New("transport docker without //")
	default:
		return "", fmt.Errorf("unknown transport %q", word)
	}
}

// String is the reference as skopeo and podman take it, and as it is displayed
// by bootc: "docker://quay.io/example/os:42". ParseImageReference reads it back.
func (r ImageReference) String() string {
	if r.Transport == Registry {
		return "docker://" + r.Name
	}
	return string(r.Transport) + ":" + r.Name
}

// Canonical is the reference by which bootc names the image in an ostree
// repository: a tag is dropped where a digest says more. The name is completed
// with the defaults of Docker Hub then, and kept as it is in any other case. A
// name on a registry that is no valid image name is an error.
func (r ImageReference) Canonical() (ImageReference, error) {
	if r.Transport != Registry {
		return r, nil
	}
	name, err := cstorage.ParseName(r.Name)
	if err != nil {
		return ImageReference{}, err
	}
	if name.Tag != "" && name.Digest != "" {
		name.Tag = ""
		r.Name = name.String()
	}
	return r, nil
}

// NamesInRegistry reports whether the name is one that a registry could have.
func (r ImageReference) NamesInRegistry() bool {
	return r.Transport == Registry || r.Transport == ContainersStorage
}

// InStore is the name by which podman finds the image in a store or pulls
// it there. It has no transport for an image of a registry, since podman puts
// that in its store under the bare name.
func (r ImageReference) InStore() string {
	if r.Transport == Registry {
		return r.Name
	}
	return r.String()
}

// ParseSignedReference reads the reference in an origin file, in any of the
// forms that ostree-ext reads:
//
//	ostree-unverified-registry:NAME
//	ostree-unverified-image:TRANSPORT:NAME
//	ostree-image-signed:TRANSPORT:NAME
//	ostree-remote-registry:REMOTE:NAME
//	ostree-remote-image:REMOTE:TRANSPORT:NAME
func ParseSignedReference(s string) (SignedReference, error) {
	fail := func(why string) (SignedReference, error) {
		return SignedReference{}, fmt.Errorf("parse signed image reference %q: %s", s, why)
	}
	var r SignedReference
	form, rest, _ := strings.Cut(s, ":")
	switch form {
	case "ostree-unverified-registry", "ostree-unverified-image":
	case "ostree-image-signed":
		r.ContainerPolicy = true
	case "ostree-remote-registry", "ostree-remote-image":
		r.Remote, rest, _ = strings.Cut(rest, ":")
		// No remote at all would read as if no signature were required.
		if r.Remote == "" {
			return fail("no ostree remote")
		}
	default:
		return fail("unknown kind of signature")
	}
	if strings.HasSuffix(form, "-registry") {
		rest = string(Registry) + ":" + rest
	}
	var err error
	if r.Image, err = ParseImageReference(rest); err != nil {
		return SignedReference{}, fmt.Errorf("parse signed image reference %q: %w", s, err)
	}
	return r, nil
}

// String is the reference as ostree-ext writes it in an origin file.
// ParseSignedReference reads it back.
func (r SignedReference) String() string {
	switch {
	case r.Remote != "":
		return "ostree-remote-image:" + r.Remote + ":" + r.Image.String()
	case r.ContainerPolicy:
		return "ostree-image-signed:" + r.Image.String()
	case r.Image.Transport == Registry:
		return "ostree-unverified-registry:" + r.Image.Name
	default:
		return "ostree-unverified-image:" + r.Image.String()
	}
}
