// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/ini"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// BoundImagesDir is where a deployment names its bound images, relative to its root.
const BoundImagesDir = "usr/lib/bootc/bound-images.d"

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

// BoundUnit is an entry of usr/lib/bootc/bound-images.d.
type BoundUnit struct {
	BoundImage
	// Section is the one that bootc reads: "Image" or "Container", "" where the name is
	// that of neither.
	Section string
	// Data is the content of the quadlet that the entry leads to.
	Data []byte
	// Err is why bootc would not read the entry. One is enough for bootc to give up.
	Err error
}

// Why bootc does not read a unit; other errors are those of reading its file, and a
// *ini.LineError.
var (
	ErrUnitName    = errors.New("name is not UTF-8")
	ErrNotLink     = errors.New("not a symbolic link")
	ErrUnitType    = errors.New("name ends in neither .image nor .container")
	ErrNoImage     = errors.New("no Image")
	ErrAuthFile    = errors.New("AuthFile is not supported for bound images")
	ErrSpecifier   = errors.New("systemd specifier")
	ErrLonePercent = errors.New("unterminated %")
)

// BoundImages reads the images bound to the deployment whose root directory is
// root, in the order of their units' names. For each entry that bootc would not
// read it returns a problem that names the entry relative to root. See BoundUnits.
func BoundImages(root *os.File) (images []BoundImage, problems []error) {
	units, err := BoundUnits(root)
	if err != nil {
		problems = append(problems, err)
	}
	for _, u := range units {
		if u.Err != nil {
			problems = append(problems, fmt.Errorf("read %q: %w", path.Join(BoundImagesDir, u.Unit), u.Err))
			continue
		}
		images = append(images, u.BoundImage)
	}
	return images, problems
}

// BoundUnits reads the units in usr/lib/bootc/bound-images.d below root, in the order of
// their names. Links are followed as if root were "/". A root without that directory, or
// with a dangling link in its place, has no bound images.
//
// The format is that of bootc's boundimage.rs: symbolic links to quadlets of
// type .image or .container, see podman-systemd.unit(5), of which nothing but
// Image= is looked at.
func BoundUnits(root *os.File) (units []BoundUnit, err error) {
	names, err := rooted.Names(root, BoundImagesDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		err = fmt.Errorf("open %q: %w", BoundImagesDir, rooted.Cause(err))
	}
	for _, name := range names {
		u := BoundUnit{BoundImage: BoundImage{Unit: name}}
		if u.Err = u.read(root); u.Err == nil {
			u.Image, u.Err = u.image()
		}
		units = append(units, u)
		if u.Err == nil {
			logrus.Debugf("Read unit %q of %q: binds %s", name, root.Name(), u.Image)
		}
	}
	return units, err
}

// read reads the file that the unit's link leads to.
func (u *BoundUnit) read(root *os.File) error {
	if !utf8.ValidString(u.Unit) {
		return ErrUnitName
	}
	file := path.Join(BoundImagesDir, u.Unit)
	st, err := rooted.Stat(root, file, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return rooted.Cause(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return ErrNotLink
	}
	// The extension is the link's, not its target's. A leading dot starts none.
	switch path.Ext(u.Unit[1:]) {
	case ".image":
		u.Section = "Image"
	case ".container":
		u.Section = "Container"
	default:
		return ErrUnitType
	}
	u.Data, err = readFile(root, file)
	if errors.Is(err, fs.ErrNotExist) {
		return storageconf.ErrDangling
	}
	return err
}

// image returns the image that a unit asks for, also with ErrAuthFile.
func (u *BoundUnit) image() (string, error) {
	unit, err := ini.ParseTini(u.Data)
	if err != nil {
		return "", err
	}
	image, ok := unit[u.Section]["Image"]
	if !ok {
		return "", fmt.Errorf("%w in section %s", ErrNoImage, u.Section)
	}
	plain, err := unescapePercent(image)
	// bootc ignores AuthFile in a .container.
	if _, ok := unit[u.Section]["AuthFile"]; ok && u.Section == "Image" {
		return plain, ErrAuthFile
	}
	return plain, err
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
			return "", fmt.Errorf("%w in Image %q", ErrLonePercent, value)
		case after[0] != '%':
			return "", fmt.Errorf("%w in Image %q", ErrSpecifier, value)
		}
		plain.WriteByte('%')
		rest = after[1:]
	}
}
