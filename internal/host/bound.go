// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/ini"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

const boundImagesDir = "usr/lib/bootc/bound-images.d"

// BoundImage is an image that a deployment cannot do without ("logically bound
// image"): bootc pulls it along with the deployment and keeps it as long.
type BoundImage struct {
	// Image is the name as bootc hands it to podman, character for character.
	// bootc's garbage collection compares it so too. It may be empty: bootc lists such an
	// image, and fails to pull it with every upgrade.
	Image string
	// Unit is the name of the link in usr/lib/bootc/bound-images.d.
	Unit string
}

// BoundImages reads the images bound to the deployment whose root directory is
// root, in the order of their units' names. For each entry that bootc would not
// read it returns a problem that names the entry relative to root; one is enough
// for bootc to give up. Links are followed as if root were "/". A host without
// usr/lib/bootc/bound-images.d, or with a dangling link in its place, has no
// bound images.
//
// The format is that of bootc's boundimage.rs: symbolic links to quadlets of
// type .image or .container, see podman-systemd.unit(5), of which nothing but
// Image= is looked at.
func BoundImages(root *os.File) (images []BoundImage, problems []error) {
	dir, err := rooted.Open(root, boundImagesDir, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, []error{fmt.Errorf("open %q: %w", boundImagesDir, withoutPath(err))}
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		problems = append(problems, fmt.Errorf("read %q: %w", boundImagesDir, withoutPath(err)))
	}
	slices.Sort(names)
	for _, name := range names {
		image, err := boundImage(root, dir, name)
		if err != nil {
			problems = append(problems, fmt.Errorf("read %q: %w", path.Join(boundImagesDir, name), err))
			continue
		}
		images = append(images, BoundImage{Image: image, Unit: name})
	}
	return images, problems
}

// boundImage returns the image that the entry name of dir asks for.
func boundImage(root, dir *os.File, name string) (string, error) {
	if !utf8.ValidString(name) {
		return "", errors.New("name is not UTF-8")
	}
	link, err := rooted.Open(dir, name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", withoutPath(err)
	}
	defer link.Close()
	fi, err := link.Stat()
	if err != nil {
		return "", withoutPath(err)
	}
	if fi.Mode()&fs.ModeSymlink == 0 {
		return "", errors.New("not a symbolic link")
	}
	// The extension is the link's, not its target's. A leading dot starts none.
	var section string
	switch path.Ext(name[1:]) {
	case ".image":
		section = "Image"
	case ".container":
		section = "Container"
	default:
		return "", errors.New("name ends in neither .image nor .container")
	}
	data, err := readFile(root, path.Join(boundImagesDir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", storageconf.ErrDangling
	}
	if err != nil {
		return "", err
	}
	unit, err := ini.ParseTini(data)
	if err != nil {
		return "", err
	}
	image, ok := unit[section]["Image"]
	if !ok {
		return "", fmt.Errorf("no Image in section %s", section)
	}
	// bootc ignores AuthFile in a .container.
	if _, ok := unit[section]["AuthFile"]; ok && section == "Image" {
		return "", errors.New("AuthFile is not supported for bound images")
	}
	return unescapePercent(image)
}

// unescapePercent makes "%%" a "%", as systemd does. Other specifiers are an
// error: they mean something only when the unit runs.
func unescapePercent(value string) (string, error) {
	var plain strings.Builder
	for rest := value; ; {
		before, after, found := strings.Cut(rest, "%")
		plain.WriteString(before)
		switch {
		case !found:
			return plain.String(), nil
		case after == "":
			return "", fmt.Errorf("unterminated %% in Image %q", value)
		case after[0] != '%':
			return "", fmt.Errorf("systemd specifier in Image %q", value)
		}
		plain.WriteByte('%')
		rest = after[1:]
	}
}
