// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"go.podman.io/common/pkg/timetype"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
)

// SortKey is what images are ordered by; the words are those of podman images --sort.
type SortKey string

// The keys to order by. SortCreated has the newest first, SortSize the smallest.
const (
	SortCreated    SortKey = "created"
	SortID         SortKey = "id"
	SortRepository SortKey = "repository"
	SortSize       SortKey = "size"
	SortTag        SortKey = "tag"
)

// FilterKeys are the keys of a filter: those of podman images --filter that have a meaning
// in every place, and the place.
func FilterKeys() []string {
	return []string{"after", "before", "containers", "digest", "id", "label", "reference", "since", "store", "until"}
}

// Selection chooses images of a list, and orders them.
type Selection struct {
	names []string
	// wanted are the values of reference=, of which one has to match.
	wanted []string
	rest   []condition
	sort   SortKey
}

// condition is a filter that an image has to pass or, negated, must not pass.
type condition struct {
	key, value string
	negated    bool
	// until is the value of until= as a time.
	until time.Time
}

// NewSelection returns the selection of the images that one of names means, if there are
// any, and that pass all filters, KEY=VALUE or KEY!=VALUE, ordered by sort, "" for the
// order of List. As with podman, one of several filters reference= is enough. The error is
// about a filter that is none, or a name that is no pattern.
func NewSelection(names, filters []string, sort SortKey, now time.Time) (*Selection, error) {
	s := &Selection{names: names, sort: sort}
	for _, name := range names {
		if _, err := path.Match(name, ""); err != nil {
			return nil, fmt.Errorf("name %q: %w", name, err)
		}
	}
	for _, text := range filters {
		c, err := parseCondition(text, now)
		if err != nil {
			return nil, fmt.Errorf("filter %q: %w", text, err)
		}
		if c.key == "reference" && !c.negated {
			s.wanted = append(s.wanted, c.value)
		} else {
			s.rest = append(s.rest, c)
		}
	}
	// A label takes reading a file.
	slices.SortStableFunc(s.rest, func(a, b condition) int { return cmp.Compare(a.cost(), b.cost()) })
	return s, nil
}

func (c condition) cost() int {
	if c.key == "label" {
		return 1
	}
	return 0
}

func parseCondition(text string, now time.Time) (c condition, err error) {
	key, value, found := strings.Cut(text, "=")
	if !found {
		return c, errors.New("not KEY=VALUE or KEY!=VALUE")
	}
	key, negated := strings.CutSuffix(key, "!")
	c = condition{key: key, value: value, negated: negated}
	switch key {
	case "after":
		c.key = "since"
	case "until":
		c.until, err = parseUntil(value, now)
	case "containers":
		if value != "true" && value != "false" {
			err = errors.New("use true or false")
		}
	case "digest":
		if !strings.HasPrefix(value, "sha256:") {
			err = errors.New("no sha256: before the digest")
		}
	case "reference":
		if _, bad := path.Match(value, ""); bad != nil {
			err = bad
		}
	case "store":
		stores := []StoreName{OSTreeStore, ComposefsStore, BootcStore, DefaultStore}
		if !slices.Contains(stores, StoreName(value)) {
			err = fmt.Errorf("use one of %q", stores)
		}
	case "before", "since", "id", "label":
	default:
		err = fmt.Errorf("unknown key %q: use one of %s", key, strings.Join(FilterKeys(), ", "))
	}
	if err == nil && value == "" {
		err = errors.New("empty value")
	}
	return c, err
}

// parseUntil reads a time as podman does: how long ago (10m), a date or time of RFC 3339
// with or without its parts, or seconds since 1970.
func parseUntil(value string, now time.Time) (time.Time, error) {
	stamp, err := timetype.GetTimestamp(value, now)
	if err != nil {
		return time.Time{}, err
	}
	seconds, nanoseconds, err := timetype.ParseTimestamps(stamp, math.MinInt64)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(seconds, nanoseconds), nil
}

// selected returns the images of a list that the options select, in their order.
func (inv *inventory) selected(list []Image) ([]Image, error) {
	s := inv.Select
	if s == nil {
		return list, nil
	}
	rest := slices.Clone(s.rest)
	for i, c := range rest {
		if c.key != "before" && c.key != "since" {
			continue
		}
		j := slices.IndexFunc(list, func(img Image) bool { return img.Created != nil && img.named(c.value) })
		if j < 0 {
			return nil, fmt.Errorf("filter %s=%s: %w", c.key, c.value, ErrNotKnown)
		}
		rest[i].until = list[j].Created.Time
	}
	chosen := slices.DeleteFunc(slices.Clone(list), func(img Image) bool {
		one := func(names []string) bool { return len(names) == 0 || slices.ContainsFunc(names, img.matches) }
		return !one(s.names) || !one(s.wanted) ||
			slices.ContainsFunc(rest, func(c condition) bool { return inv.passes(img, c) == c.negated })
	})
	slices.SortStableFunc(chosen, s.compare)
	return chosen, nil
}

// ErrNotKnown is podman's error for an image that it does not find.
var ErrNotKnown = errors.New("image not known")

// passes reports whether an image passes a filter, without its negation. An image of which
// the time is not known is neither before nor after another.
func (inv *inventory) passes(img Image, c condition) bool {
	switch c.key {
	case "before", "until":
		return img.Created != nil && img.Created.Before(c.until)
	case "since":
		return img.Created != nil && img.Created.After(c.until)
	case "containers":
		used := slices.ContainsFunc(img.NeededBy, func(n Need) bool { return n.By == ByContainer })
		return used == (c.value == "true")
	case "digest":
		return strings.HasPrefix(img.Digest, c.value)
	case "id":
		return strings.HasPrefix(img.ID, strings.TrimPrefix(c.value, "sha256:"))
	case "store":
		return string(img.Place()) == c.value
	case "label":
		return hasLabel(inv.labels(img), c.value)
	}
	return img.matches(c.value)
}

// Place is the store that has the image or, of a missing bound image, ought to have it.
func (img Image) Place() StoreName {
	if img.Store == "" && img.Type == Logical {
		return BootcStore
	}
	return img.Store
}

// matches reports whether podman images would list an image for a name: its ID or digest,
// the beginning of the ID, or a pattern of path.Match for the name, with or without its
// registry, leading components and tag. A name may have its transport, too.
func (img Image) matches(pattern string) bool {
	return img.is(pattern) || img.hasName(pattern, func(candidate, pattern string) bool {
		ok, _ := path.Match(pattern, candidate)
		return ok
	})
}

// named reports whether a name, which is no pattern, means the image: without a tag it means
// the tag latest.
func (img Image) named(name string) bool {
	if img.is(name) {
		return true
	}
	if _, tag := splitTag(name); tag == "" && !strings.Contains(name, "@") {
		name += ":latest"
	}
	return img.hasName(name, func(candidate, name string) bool { return candidate == name })
}

// is reports whether a text is the whole name, the digest, the ID or the beginning of the ID.
func (img Image) is(text string) bool {
	hex := strings.TrimPrefix(text, "sha256:")
	return text == img.Name || img.Digest != "" && text == img.Digest || len(hex) >= 3 && strings.HasPrefix(img.ID, hex)
}

// hasName reports whether equal is true for one of the candidates and a name, which may have
// its transport, and a digest.
func (img Image) hasName(name string, equal func(candidate, name string) bool) bool {
	name = strings.TrimPrefix(name, "docker://")
	// Where there is a digest, podman does not look at the tag.
	if before, digest, found := strings.Cut(name, "@"); found {
		if digest != img.Digest && !strings.HasSuffix(img.Name, "@"+digest) {
			return false
		}
		name, _ = splitTag(before)
	}
	return slices.ContainsFunc(img.candidates(), func(candidate string) bool { return equal(candidate, name) })
}

// candidates are the names that a pattern is compared with.
func (img Image) candidates() []string {
	repository, tag := img.Split()
	if name, err := cstorage.ParseName(repository); err == nil {
		repository = name.Repository()
	}
	_, path, _ := strings.Cut(repository, "/")
	all := []string{repository, path, repository[strings.LastIndexByte(repository, '/')+1:]}
	// podman 6 also lists it by this name.
	if rest, found := strings.CutPrefix(repository, "docker.io/library/"); found {
		all = append(all, "docker.io/"+rest)
	}
	for _, name := range slices.Clone(all) {
		if tag == "" && img.Type == Logical && !strings.Contains(img.Name, "@") {
			tag = "latest"
		}
		if name != "" && tag != "" {
			all = append(all, name+":"+tag)
		}
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

// Split returns the name without transport and digest as repository and tag, as podman
// images prints it; tag is "" for none.
func (img Image) Split() (repository, tag string) {
	name := img.Name
	if ref, err := host.ParseImageReference(name); err == nil && img.Type == Host {
		name = ref.Name
	}
	name = strings.TrimPrefix(name, "docker://")
	name, _, _ = strings.Cut(name, "@")
	return splitTag(name)
}

// splitTag returns a name without its tag, and the tag, "" for none.
func splitTag(name string) (repository, tag string) {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') && i > 0 {
		return name[:i], name[i+1:]
	}
	return name, ""
}

// labels are those of an image's configuration; nil where that cannot be read, or is
// not there.
func (inv *inventory) labels(img Image) map[string]string {
	store := inv.bootc
	switch img.Store {
	case OSTreeStore:
		for _, have := range inv.repo {
			if have.ManifestDigest == img.Digest && have.Image.String() == img.Name {
				return have.Config.Config.Labels
			}
		}
		return nil
	case ComposefsStore:
		repo, err := inv.Sysroot.OpenComposefs()
		if err != nil {
			return nil
		}
		defer repo.Close()
		_, config, _ := host.ComposefsImage(repo, img.Digest)
		return config.Config.Labels
	case DefaultStore:
		store = inv.podman
	}
	if store == nil {
		return nil
	}
	if found := store.ByID(img.ID); found != nil {
		return found.Labels()
	}
	return nil
}

// hasLabel reports whether labels have KEY or KEY=VALUE, in both of which * stands for
// anything.
func hasLabel(labels map[string]string, wanted string) bool {
	key, value, valued := strings.Cut(wanted, "=")
	for have, is := range labels {
		if glob(key, have) && (!valued || glob(value, is)) {
			return true
		}
	}
	return false
}

// glob reports whether text matches a pattern in which * stands for anything.
func glob(pattern, text string) bool {
	first, rest, found := strings.Cut(pattern, "*")
	if !found {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, first)
	for ok && rest != "" {
		var part string
		if part, rest, found = strings.Cut(rest, "*"); !found {
			return strings.HasSuffix(text, part)
		}
		_, text, ok = strings.Cut(text, part)
	}
	return ok
}

// compare orders two images by the key of the selection; what is not known comes last.
func (s *Selection) compare(a, b Image) int {
	repositoryA, tagA := a.Split()
	repositoryB, tagB := b.Split()
	switch s.sort {
	case SortCreated:
		if a.Created == nil || b.Created == nil {
			return order(a.Created == nil) - order(b.Created == nil)
		}
		return b.Created.Compare(a.Created.Time)
	case SortSize:
		if a.Size == nil || b.Size == nil {
			return order(a.Size == nil) - order(b.Size == nil)
		}
		return cmp.Compare(*a.Size, *b.Size)
	case SortID:
		return cmp.Or(order(a.ID == "")-order(b.ID == ""), cmp.Compare(a.ID, b.ID))
	case SortRepository:
		return cmp.Or(cmp.Compare(repositoryA, repositoryB), cmp.Compare(tagA, tagB))
	case SortTag:
		return cmp.Compare(tagA, tagB)
	}
	return 0
}

// order puts what is not known last.
func order(unknown bool) int {
	if unknown {
		return 1
	}
	return 0
}
