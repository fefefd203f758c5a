// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"errors"
	"fmt"
	"strings"
)

const (
	digits     = "0123456789"
	lowerHex   = digits + "abcdef"
	lowerAlnum = digits + "abcdefghijklmnopqrstuvwxyz"
	alnum      = lowerAlnum + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

	dockerHub = "docker.io"
	// maxPath is the longest path of a repository, without its domain; with it, in a
	// store.
	maxPath = 255
	maxTag  = 128
)

// Name is the full name of an image in a registry or a store, in the parts that
// podman and skopeo see in it.
type Name struct {
	// Domain is the registry's, with its port: "quay.io", "localhost:5000". It
	// is "" for the odd name whose first component looks like a domain but
	// cannot be one, as in "my_site.org/image".
	Domain string
	// Path is that of the repository on the registry: "library/busybox".
	Path string
	// Tag is without ":", "" when there is none; there is no default.
	Tag string
	// Digest is "sha256:…" and the like, "" when there is none.
	Digest string
}

// ParseName reads an image name and completes it with the defaults of Docker
// Hub, so "busybox:1" is docker.io/library/busybox:1. It accepts just what
// ParseNormalizedNamed of github.com/distribution/reference 0.6 does; that module
// compiles its regular expressions at every start of the program, and this does
// not. It is for reading: podman accepts less, see ParseStorable.
func ParseName(s string) (Name, error) {
	fail := func(why string) error { return fmt.Errorf("parse image name %q: %s", s, why) }
	if IsID(s) {
		return Name{}, fail("64 hexadecimal digits are an image ID")
	}
	var n Name
	domain, rest := splitDomain(s)
	rest, digest, digested := strings.Cut(rest, "@")
	path, tag, tagged := strings.Cut(rest, ":")
	switch {
	case tagged && !validTag(tag):
		return Name{}, fail("invalid tag")
	case digested && !IsDigest(digest):
		return Name{}, fail("invalid digest")
	}
	n.Tag, n.Digest = tag, digest
	if validDomain(domain) {
		n.Domain, n.Path = domain, path
	} else {
		n.Path = domain + "/" + path
	}
	if strings.ToLower(n.Path) != n.Path {
		return Name{}, fail("repository must be lower case")
	}
	for component := range strings.SplitSeq(n.Path, "/") {
		if !validComponent(component) {
			return Name{}, fail("invalid repository")
		}
	}
	if len(n.Path) > maxPath {
		return Name{}, fail("repository too long")
	}
	return n, nil
}

// ErrUnreadable says that podman cannot read a name. One record with such a name
// makes "podman images" fail for the whole store.
var ErrUnreadable = errors.New("podman cannot read it")

// ParseStorable reads a name that is to be written into a store. It is ParseName for
// names that every supported podman reads back; the error for others is
// ErrUnreadable. podman 4.3.1 to 6.1.1 have the grammar of docker/distribution before
// its version 2.8 (docker/reference of go.podman.io/image): a registry has a full stop
// or a colon in it, or is localhost; it is no IPv6 address; and the limit on the length
// of a repository includes the registry. 64 hexadecimal digits are a repository.
func ParseStorable(s string) (Name, error) {
	full := s
	if IsID(s) {
		full = dockerHub + "/library/" + s
	}
	n, err := ParseName(full)
	id, byID := strings.CutPrefix(s, "sha256:")
	switch {
	case err != nil:
	case byID && IsID(id):
		err = errors.New("an image ID")
	case strings.HasPrefix(n.Domain, "["):
		err = errors.New("an IPv6 address as registry")
	case n.Domain != "" && n.Domain != "localhost" && !strings.ContainsAny(n.Domain, ".:"):
		err = errors.New("repository must be lower case")
	case len(n.Repository()) > maxPath:
		err = fmt.Errorf("repository with its registry is longer than %d characters", maxPath)
	default:
		return n, nil
	}
	return Name{}, fmt.Errorf("image name %q: %w: %w", s, ErrUnreadable, err)
}

// Stored is the name by which podman stores an image that it pulls by this one: with either
// a digest or a tag.
func (n Name) Stored() Name {
	switch {
	case n.Digest != "":
		n.Tag = ""
	case n.Tag == "":
		n.Tag = "latest"
	}
	return n
}

// Repository is the name without tag and digest.
func (n Name) Repository() string {
	if n.Domain == "" {
		return n.Path
	}
	return n.Domain + "/" + n.Path
}

// String is the full name, which ParseName reads back as the same Name.
func (n Name) String() string {
	s := n.Repository()
	if n.Tag != "" {
		s += ":" + n.Tag
	}
	if n.Digest != "" {
		s += "@" + n.Digest
	}
	return s
}

// splitDomain cuts the registry off a name, or supplies Docker Hub where the
// name begins with no registry.
func splitDomain(s string) (domain, rest string) {
	domain, rest, found := strings.Cut(s, "/")
	switch {
	case !found:
		return dockerHub, "library/" + s
	case domain == "index.docker.io":
		domain = dockerHub
	case domain == "localhost" || strings.ContainsAny(domain, ".:") || strings.ToLower(domain) != domain:
		// Upper case is not allowed in a path, so it means a domain, too.
	default:
		domain, rest = dockerHub, s
	}
	if domain == dockerHub && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	return domain, rest
}

// validDomain reports whether s is a host name or address, with or without port.
func validDomain(s string) bool {
	host, port, hasPort := strings.Cut(s, ":")
	if bracketed, found := strings.CutPrefix(s, "["); found {
		address, after, closed := strings.Cut(bracketed, "]")
		if !closed || address == "" || !only(address, lowerHex+"ABCDEF:") {
			return false
		}
		if host, port, hasPort = strings.Cut(after, ":"); host != "" {
			return false
		}
	} else if !validHostName(host) {
		return false
	}
	return !hasPort || port != "" && only(port, digits)
}

func validHostName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || !only(label, alnum+"-") || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

// validComponent reports whether s can stand between two slashes of a path:
// lower case letters and digits, joined by a dot, one or two underscores, or
// any number of dashes.
func validComponent(s string) bool {
	for {
		rest := strings.TrimLeft(s, lowerAlnum)
		switch {
		case len(rest) == len(s):
			return false
		case rest == "":
			return true
		case strings.HasPrefix(rest, "__"):
			s = rest[2:]
		case rest[0] == '_' || rest[0] == '.':
			s = rest[1:]
		case rest[0] == '-':
			s = strings.TrimLeft(rest, "-")
		default:
			return false
		}
	}
}

func validTag(s string) bool {
	return s != "" && len(s) <= maxTag && only(s, alnum+"_.-") && s[0] != '.' && s[0] != '-'
}

// IsDigest reports whether s is a digest of an algorithm that the image
// specification registers, as it is always written: in lower case.
func IsDigest(s string) bool {
	algorithm, hex, _ := strings.Cut(s, ":")
	var length int
	switch algorithm {
	case "sha256":
		length = 64
	case "sha384":
		length = 96
	case "sha512":
		length = 128
	}
	return length != 0 && len(hex) == length && only(hex, lowerHex)
}

// only reports whether every character of s is in set.
func only(s, set string) bool {
	return strings.TrimLeft(s, set) == ""
}
