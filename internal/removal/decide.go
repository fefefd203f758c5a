// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package removal

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// NeededError says that a command would take an image from what needs it.
type NeededError struct {
	Verb Verb
	// Image is a name of the image or, without one, its ID.
	Image string
	Need  inventory.Need
	// Parent is true for an image that podman removes along with one upon it.
	Parent bool
}

func (e *NeededError) Error() string {
	what := map[Verb]string{
		Untag: "remove names of image", Tag: "take names from image", SystemPrune: "system prune removes image",
		SystemReset: "system reset removes image", SystemCheck: "system check --repair may remove image",
	}[e.Verb]
	if what == "" {
		what = "remove image"
	}
	if e.Parent {
		what = "remove image without a name, the parent of one to be removed,"
	}
	return fmt.Sprintf("%s %s: needed by the %s", what, e.Image, e.Need)
}

// UnknownError says that what the host needs could not be determined.
type UnknownError struct{ Err error }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("determine which images the host needs: %v", e.Err)
}

func (e *UnknownError) Unwrap() error { return e.Err }

// Check returns why podman must not run the command: a *NeededError for each image and need,
// joined, or nil. Prune and SystemPrune count as if no container and no filter kept an image,
// and SystemCheck as if all images were damaged: podman alone determines what they remove.
func (c Command) Check(n *inventory.Needs) error {
	if n.Bootc == nil {
		return nil
	}
	change := newChange(n.Bootc)
	parents := map[*cstorage.Image]bool{}
	switch {
	case c.Verb == Untag:
		change.untag(c.Operands, n)
	case c.Verb == Tag:
		change.tag(c.Operands, n)
	case c.Verb == Delete:
		change.delete(c.Operands, n)
	case c.Verb == Remove && c.All && len(c.Operands) > 0: // podman refuses this
	case c.Verb == SystemReset, c.Verb == SystemCheck, c.All:
		change.removeIf(func(*cstorage.Image) bool { return true })
	case c.Verb == Prune, c.Verb == SystemPrune:
		change.removeIf(unnamed)
	default:
		change.remove(c, n)
		if !c.NoPrune {
			parents = change.removeParents()
		}
	}
	var errs []error
	for _, loss := range n.Lost(change.after()) {
		errs = append(errs, &NeededError{Verb: c.Verb, Image: Label(loss.Image), Need: loss.Need, Parent: parents[loss.Image]})
	}
	return errors.Join(errs...)
}

// Label is what an image is called in messages: its first name, else its ID.
func Label(img *cstorage.Image) string {
	if len(img.Names) > 0 {
		return img.Names[0]
	}
	return fmt.Sprintf("%.12s", img.ID)
}

func unnamed(img *cstorage.Image) bool { return len(img.Names) == 0 }

// change is what a command makes of a store: the names that each image has left, and the
// images that are removed.
type change struct {
	store *cstorage.Store
	names map[*cstorage.Image][]string
	gone  map[*cstorage.Image]bool
}

func newChange(s *cstorage.Store) *change {
	c := &change{store: s, names: map[*cstorage.Image][]string{}, gone: map[*cstorage.Image]bool{}}
	for _, img := range s.Images {
		c.names[img] = img.Names
	}
	return c
}

func (c *change) after() *cstorage.Store {
	return c.store.After(func(img *cstorage.Image) ([]string, bool) { return c.names[img], !c.gone[img] })
}

func (c *change) removeIf(match func(*cstorage.Image) bool) {
	for _, img := range c.store.Images {
		c.gone[img] = c.gone[img] || match(img)
	}
}

func (c *change) drop(img *cstorage.Image, match func(name string) bool) {
	c.names[img] = slices.DeleteFunc(slices.Clone(c.names[img]), match)
}

// lookup finds an image as podman does. It looks into its own store also where a reference of
// containers-storage names another.
func (c *change) lookup(operand string, n *inventory.Needs) (cstorage.Match, error) {
	const transport = "containers-storage:"
	if spec, found := strings.CutPrefix(operand, transport+"["); found {
		_, name, _ := strings.Cut(spec, "]")
		operand = transport + name
	}
	return c.store.LookupRecord(operand, n.ShortNames)
}

// remove does what podman image rm does: of an image with several names, it takes away the
// one that was given, and removes the image with the last one. An image that was given by
// its ID goes whole: with --force if it has several names.
func (c *change) remove(cmd Command, n *inventory.Needs) {
	for _, operand := range cmd.Operands {
		m, err := c.lookup(operand, n)
		if err != nil {
			continue // podman does not find it either
		}
		if left := c.names[m.Image]; len(left) > 1 && slices.Contains(left, m.Name) {
			c.drop(m.Image, func(name string) bool { return name == m.Name })
			continue
		}
		c.gone[m.Image] = true
	}
}

// untag does what podman image untag does: it takes the given names away, all without any.
// A name without a registry stands for localhost there, and for Docker Hub in later
// releases.
func (c *change) untag(operands []string, n *inventory.Needs) {
	if len(operands) == 0 {
		return
	}
	m, err := c.lookup(operands[0], n)
	if err != nil {
		return
	}
	var given []string
	for _, operand := range operands[1:] {
		given = append(given, fullNames(operand)...)
	}
	c.drop(m.Image, func(name string) bool { return len(operands) == 1 || slices.Contains(given, name) })
}

// tag does what podman image tag does: it gives an image names, and takes them from the images
// that have them. A name without a registry stands for localhost.
func (c *change) tag(operands []string, n *inventory.Needs) {
	if len(operands) == 0 {
		return
	}
	m, err := c.lookup(operands[0], n)
	if err != nil {
		return
	}
	for _, operand := range operands[1:] {
		if cstorage.IsShort(operand) {
			operand = "localhost/" + operand
		}
		name := fullNames(operand)[0]
		for _, img := range c.store.Images {
			c.drop(img, func(have string) bool { return have == name })
		}
		c.names[m.Image] = append(c.names[m.Image], name)
	}
}

// delete does what skopeo delete does: it removes the image with all its names.
func (c *change) delete(operands []string, n *inventory.Needs) {
	for _, operand := range operands {
		if m, err := c.lookup(operand, n); err == nil {
			c.gone[m.Image] = true
		}
	}
}

// fullNames returns the names that a name can stand for.
func fullNames(name string) (all []string) {
	for _, candidate := range []string{name, "localhost/" + name} {
		full, err := cstorage.ParseName(candidate)
		if err != nil {
			continue
		}
		all = append(all, full.Stored().String())
	}
	return append(all, name)
}

// removeParents removes the images that podman may remove along with one upon them, and
// returns them: those without a name. podman compares the history of both images, and keeps
// a parent of others, which is not determined here.
func (c *change) removeParents() map[*cstorage.Image]bool {
	parents := map[*cstorage.Image]bool{}
	for again := true; again; {
		again = false
		for _, parent := range c.store.Images {
			if c.gone[parent] || len(c.names[parent]) > 0 {
				continue
			}
			if slices.ContainsFunc(c.store.Images, func(img *cstorage.Image) bool { return c.gone[img] && c.isUpon(img, parent) }) {
				c.gone[parent], parents[parent], again = true, true, true
			}
		}
	}
	return parents
}

// isUpon reports whether an image may be built upon another.
func (c *change) isUpon(img, parent *cstorage.Image) bool {
	top := parent.TopLayer()
	return img != parent && (top == "" || slices.ContainsFunc(c.store.LayersOf(img), func(l cstorage.Layer) bool { return l.ID == top }))
}

// MayLose reports whether podman image prune may remove an image that the host needs.
func (c Command) MayLose(n *inventory.Needs) bool {
	return n.Bootc != nil && slices.ContainsFunc(n.Bootc.Images, func(img *cstorage.Image) bool {
		return (c.All || unnamed(img)) && len(n.Of(img)) > 0
	})
}

// Candidates returns the arguments of podman that list the IDs of the images that podman
// image prune removes, but for parents without a name of these: they are candidates once
// those are gone. With --external podman also removes images that external containers use;
// as a container is a need, they are no candidates.
func (c Command) Candidates() []string {
	args := []string{"image", "ls", "--all", "--quiet", "--no-trunc", "--filter", "containers=false", "--filter", "readonly=false"}
	if !c.All {
		args = append(args, "--filter", "dangling=true")
	}
	for _, filter := range c.Filters {
		args = append(args, "--filter", filter)
	}
	return args
}

// Kept is an image that podman would prune and that the host needs.
type Kept struct {
	Image *cstorage.Image
	Needs []inventory.Need
}

// Choose divides what Candidates printed into the images to remove and those to keep.
func (c Command) Choose(n *inventory.Needs, listed string) (remove []*cstorage.Image, keep []Kept) {
	if n.Bootc == nil {
		return nil, nil
	}
	for line := range strings.Lines(listed) {
		img := n.Bootc.ByID(strings.TrimPrefix(strings.TrimSpace(line), "sha256:"))
		if img == nil || slices.Contains(remove, img) || slices.ContainsFunc(keep, func(k Kept) bool { return k.Image == img }) {
			continue
		}
		if needs := n.Of(img); len(needs) > 0 {
			keep = append(keep, Kept{img, needs})
		} else {
			remove = append(remove, img)
		}
	}
	return remove, keep
}

// WithParents adds the images without a name that become candidates once images are removed:
// all images upon them are among those.
func (c Command) WithParents(n *inventory.Needs, images []*cstorage.Image) []*cstorage.Image {
	if c.All || n.Bootc == nil {
		return images
	}
	change := newChange(n.Bootc)
	change.removeIf(func(img *cstorage.Image) bool { return slices.Contains(images, img) })
	for again := true; again; {
		again = false
		for _, parent := range n.Bootc.Images {
			upon := func(img *cstorage.Image) bool { return parent.TopLayer() != "" && change.isUpon(img, parent) }
			if change.gone[parent] || !unnamed(parent) || len(n.Of(parent)) > 0 || !slices.ContainsFunc(n.Bootc.Images, upon) ||
				slices.ContainsFunc(n.Bootc.Images, func(img *cstorage.Image) bool { return !change.gone[img] && upon(img) }) {
				continue
			}
			change.gone[parent], again = true, true
			images = append(images, parent)
		}
	}
	return images
}

// Operands returns the operands of podman image rm that remove images. podman refuses an ID
// of an image with several names; those that podman would not find it by, such as an invalid
// one, are left to the ID, which goes with one of them.
func Operands(n *inventory.Needs, images []*cstorage.Image) (operands []string) {
	for _, img := range images {
		var given []string
		if len(img.Names) > 1 {
			for _, name := range img.Names {
				if m, err := n.Bootc.LookupRecord(name, n.ShortNames); err == nil && m.Image == img && m.Name == name {
					given = append(given, name)
				}
			}
		}
		if operands = append(operands, given...); len(given) == 0 || len(given) < len(img.Names) {
			operands = append(operands, img.ID)
		}
	}
	return operands
}
