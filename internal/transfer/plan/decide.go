// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// OriginError reports that podman could not read back the name that a deployment follows.
type OriginError struct{ err error }

func (e *OriginError) Error() string { return e.err.Error() }

// Unwrap returns the reason.
func (e *OriginError) Unwrap() error { return e.err }

// New decides how the booted image is copied to the bootc-owned store: what is
// booted, exactly, from the nearest source that has it.
func New(v *View, choice Choice) (*Plan, error) {
	booted := v.Host.Booted()
	switch {
	case booted == nil:
		return nil, ErrNotBooted
	case booted.Layered != nil:
		return nil, fmt.Errorf("onboard deployment %s: packages were layered locally on %s: %w", booted.ID(), booted.Layered.Image, ErrNotFromImage)
	case booted.Image == nil:
		return nil, fmt.Errorf("onboard deployment %s: %w", booted.ID(), ErrNotFromImage)
	case booted.ManifestDigest == "":
		return nil, fmt.Errorf("onboard deployment %s: %w", booted.ID(), ErrNoDigest)
	}
	image := booted.Image.Image
	p := &Plan{
		Schema: 1, Image: image.String(), Name: image.Name, Role: booted.Role,
		Destination: FromBootc, Digest: booted.ManifestDigest, Available: v.Filesystem.Free, Reflink: v.Filesystem.Reflink,
		Exact: true, Commit: booted.Commit, Reference: image,
	}
	if !image.NamesInRegistry() {
		image = host.ImageReference{Transport: host.ContainersStorage, Name: unnamed}
		p.Name = unnamed
	}
	var err error
	if p.Stored, err = inventory.StorableName(image); err != nil {
		return nil, &OriginError{fmt.Errorf("onboard %s: %w", p.Image, err)}
	}
	keepers, _ := v.Keepers(p.Stored.String())
	p.Kept = len(keepers) > 0
	if named, err := v.Find(v.Bootc, p.Name); err == nil && named != nil && !named.Is(p.Digest) {
		p.Replaces = named.ID
	}
	p.Alternatives, p.Refused = []Alternative{}, []Refusal{}
	undecided := *p
	refused := refusals{}
	reported := choice.From == "" || slices.Contains(choice.Without, choice.From)
	for i, try := range tries {
		if choice.From != "" && choice.From != try.source && try.source != FromBootc || slices.Contains(choice.Without, try.source) {
			continue
		}
		p.Source = try.source
		err := try.decide(p, v, choice)
		if err == nil {
			p.foresee(v)
			p.identify(v.Host.Kind)
			p.Time, p.Steps = p.time(), append(p.discard(v), p.steps()...)
			if p.Hiding = p.hides(v); p.Hiding != "" {
				p.Steps = append(p.Steps, Step{StepNameOwn, fmt.Sprintf("name image %.12s of podman's own store %s, too: bootc's skopeo looks there first", p.Hiding, p.Stored)})
			}
			if choice.Alternatives && p.Source != FromBootc {
				p.compare(undecided, i, v, choice)
			}
			return p, nil
		}
		*p = undecided
		if !errors.Is(err, ErrNotSuch) {
			refused = append(refused, fmt.Errorf("%s: %w", try.source, err))
			reported = reported || try.source == choice.From
		}
	}
	if !reported {
		refused = append(refused, fmt.Errorf("%s: %w", choice.From, ErrNotSuch))
	}
	for _, source := range choice.Without {
		if (source == FromRegistry || source == FromTransport) && !choice.AcceptNewer && p.Stored.Digest == "" {
			refused = append(refused, fmt.Errorf("%s: may have another image under this name, %w", source, ErrMovedOn))
		}
	}
	return nil, fmt.Errorf("onboard %s, %s: %w: %w", p.Image, p.Digest, ErrNoSource, refused)
}

// tries are the sources in their order, and how a plan decides about each.
var tries = []struct {
	source Source
	decide func(*Plan, *View, Choice) error
}{
	{FromBootc, (*Plan).fromBootc},
	{FromDefault, (*Plan).fromDefault},
	{FromDefault, (*Plan).fromLayers},
	{FromComposefs, (*Plan).fromComposefs},
	{FromRegistry, (*Plan).fromRegistry},
	{FromTransport, (*Plan).fromTransport},
	{FromOSTree, (*Plan).fromOSTree},
	{FromComposefs, (*Plan).byBootc},
}

// compare sets Alternatives and Refused of a plan that takes the image from the source
// with the given index; undecided is the plan without a source.
func (p *Plan) compare(undecided Plan, taken int, v *View, choice Choice) {
	choice.From = ""
	for i, try := range tries {
		listed := func(a Alternative) bool { return a.Source == try.source }
		if i == taken || try.source == p.Source || try.source == FromBootc || slices.ContainsFunc(p.Alternatives, listed) {
			continue
		}
		with, other := choice, undecided
		other.Source = try.source
		err := try.decide(&other, v, with)
		if errors.Is(err, ErrMovedOn) {
			with.AcceptNewer, other = true, undecided
			other.Source = try.source
			if accepted := try.decide(&other, v, with); accepted == nil {
				err = nil
			}
		}
		switch {
		case errors.Is(err, ErrNotSuch):
		case err != nil:
			p.Refused = append(p.Refused, Refusal{try.source, err.Error()})
		default:
			choose := "--from " + string(try.source)
			if with.AcceptNewer {
				choose += " --accept-newer"
			}
			p.Refused = slices.DeleteFunc(p.Refused, func(r Refusal) bool { return r.Source == try.source })
			p.Alternatives = append(p.Alternatives, Alternative{
				Source: try.source, Choose: choose, Digest: other.taken, Exact: other.Exact, Identity: other.identity(v.Host.Kind), Method: other.Method,
				MethodReason: other.MethodReason, Fetch: other.Fetch, Write: other.Write, WriteReason: other.WriteReason, Time: other.time(),
			})
		}
	}
}

// foresee sets how bootc upgrades the host once the image is in the bootc store.
func (p *Plan) foresee(v *View) {
	var sought []string
	for _, d := range inventory.UpgradeTargets(v.Host) {
		if d.Image == nil {
			continue
		}
		if name, err := inventory.StoredName(d.Image.Image); err == nil && name == p.Stored {
			if p.Ignored = v.LookedUp(); p.Ignored != nil {
				p.Upgrade, p.UpgradeReason = UpgradeFails, p.Ignored.Error()
				return
			}
			p.Upgrade = UpgradeUnified
			if other := p.hiddenBy(v); other != nil {
				hidden := &inventory.HiddenError{Name: p.Stored.String(), Named: true, Other: other.Digest}
				p.Upgrade, p.UpgradeReason = UpgradeHidden, hidden.Error()
			}
			return
		}
		sought = append(sought, d.Image.Image.String())
	}
	p.Upgrade, p.UpgradeReason = UpgradeOrigin, fmt.Sprintf("bootc looks for %s, not for %s", strings.Join(sought, " or "), p.Stored)
}

// hiddenBy returns the image of podman's own store that has the name there and will be
// another than the one in the bootc store, nil for none. Only skopeo looks there, see
// inventory.HiddenError.
func (p *Plan) hiddenBy(v *View) *cstorage.Image {
	if v.Host.Kind != host.OSTree || v.Own == nil || p.Stored.Digest != "" {
		return nil
	}
	named := v.Own.Named(p.Stored.String())
	switch {
	case named == nil, p.Exact && named.Has(p.Digest):
		return nil
	case p.Source == FromDefault && p.Assembly == nil && (p.Take == p.Name || p.Take == named.ID), p.Source == FromBootc && p.Take == named.ID:
		return nil
	}
	return named
}

// discard finds what is to be removed first.
func (p *Plan) discard(v *View) (steps []Step) {
	p.Discards, steps = []string{}, []Step{}
	if v.Bootc == nil || p.Method == Nothing {
		return steps
	}
	for _, img := range v.Bootc.Images {
		if err := v.Bootc.Damage(img); err != nil && img.Is(p.Digest) {
			p.Discards = append(p.Discards, img.ID)
			steps = append(steps, Step{StepDiscard, fmt.Sprintf("remove image %.12s from the bootc-owned store, which is damaged: %v", img.ID, err)})
		}
	}
	return steps
}

// refusals are why no source does.
type refusals []error

func (r refusals) Error() string {
	texts := make([]string, len(r))
	for i, err := range r {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap is what errors.Is looks at.
func (r refusals) Unwrap() []error { return r }

var (
	// ErrNotThere is why a source is passed over.
	ErrNotThere = errors.New("does not have it")
	// ErrNotSuch is why a source is reported only if it was chosen: no host of this kind, or
	// no reference like this one, has it.
	ErrNotSuch = errors.New("the host has no such source")
)

// fromBootc looks whether the store has the image already, exported perhaps.
func (p *Plan) fromBootc(v *View, _ Choice) error {
	if v.Bootc == nil {
		return ErrNotThere
	}
	named, err := v.Find(v.Bootc, p.Name)
	if err != nil {
		return err
	}
	begun := v.Record.Unfinished(p)
	if named != nil && v.Bootc.Damage(named) == nil && (named.Is(p.Digest) || v.Record.confirms(named, p.Digest)) {
		p.Method, p.Take, p.Reason, p.Write = Nothing, named.ID, "the bootc-owned store has it", new(int64)
		if p.Exact = slices.Contains(named.Digests, p.Digest); !p.Exact {
			p.ResultDigest = named.Digest
		}
		if begun && len(v.Record.Gained(named, p)) > 0 {
			p.Method, p.Reason, p.untag = Tag, "the bootc-owned store has it, with an extra name left by an interrupted run", true
		}
		return nil
	}
	for _, img := range finished(v.Bootc.ByDigest(p.Digest)) {
		p.Method, p.Take, p.Reason, p.Write = Tag, img.ID, "the bootc-owned store has it under another name", new(int64)
		p.untag = begun && len(v.Record.Gained(img, p)) > 0
		return p.canName()
	}
	return ErrNotThere
}

// exact is the name that podman gives the booted image when it pulls it by digest.
func (p *Plan) exact() string {
	name := p.Stored
	name.Tag, name.Digest = "", p.Digest
	return name.String()
}

// canName refuses a name with a digest, which podman gives an image only when it
// pulls it.
func (p *Plan) canName() error {
	if p.Stored.Digest != "" {
		return errors.New("a name with a digest comes from a registry only")
	}
	return nil
}

func (p *Plan) fromDefault(v *View, choice Choice) error {
	named, err := v.Find(v.Default, p.Name)
	if err != nil {
		return err
	}
	damage := ErrNotThere
	if named != nil {
		if err := v.Default.Damage(named); err != nil {
			named, damage = nil, fmt.Errorf("the image is damaged: %w", err)
		}
	}
	var others []*cstorage.Image
	if v.Default != nil {
		others = finished(v.Default.ByDigest(p.Digest))
	}
	img := named
	p.Take = p.Name
	switch {
	case named != nil && named.Is(p.Digest):
		p.Reason = "podman's own store has it"
	case named != nil && choice.AcceptNewer && p.Reference.NamesInRegistry():
		p.Newer = true
		p.Reason = "podman's own store has an image of this name"
	case len(others) > 0:
		img = others[0]
		p.Take = img.ID
		p.Reason = "podman's own store has it under another name"
	case named != nil:
		if !p.Reference.NamesInRegistry() || p.Stored.Digest != "" {
			return fmt.Errorf("has %s under this name", named.Digest)
		}
		return fmt.Errorf("has %s under this name, %w", named.Digest, ErrMovedOn)
	default:
		return damage
	}
	if p.Method, p.MethodReason, err = choice.copyMethod(v); err != nil {
		return err
	}
	p.writesOf(v, Held{Store: v.Default, Image: img}, Destination{Store: v.Bootc, Dir: v.Store.Path()})
	p.Exact, p.taken = slices.Contains(img.Digests, p.Digest), img.Digest
	if p.Exact {
		p.taken = p.Digest
	}
	return p.canName()
}

// fromLayers makes the image of layers of another image in podman's own store.
func (p *Plan) fromLayers(v *View, choice Choice) error {
	if p.Assembly = v.assembly(v.Default, p.Digest, choice.Method); p.Assembly == nil {
		return ErrNotSuch
	}
	p.Method, p.MethodReason, p.Take, p.taken, p.Layers = Clone, "another image has its layers", p.Assembly.Image, p.Digest, p.Assembly.Layers
	p.Reason = "podman's own store has its layers, in another image"
	bytes := func() (int64, error) { return Destination{Store: v.Bootc}.Missing(p.Layers), nil }
	p.writeUnlessShared(v.Sharing(v.Default.Path(), v.Store.Path()), bytes)
	return p.canName()
}

// writeUnlessShared sets what a clone writes.
func (p *Plan) writeUnlessShared(shared inventory.Capability, bytes func() (int64, error)) {
	switch shared {
	case inventory.Yes:
		p.Write = new(int64)
	case inventory.No:
		p.write(bytes())
	default:
		p.Write, p.WriteReason = nil, "only a test shows whether files share extents there"
	}
}

// write sets what is written, unless it is not known.
func (p *Plan) write(bytes int64, err error) {
	if p.Write, p.WriteReason = &bytes, ""; err != nil {
		p.Write, p.WriteReason = nil, err.Error()
	}
}

// pulls sets what a pull of the booted image fetches and writes at least: layers are as
// in its manifest, compressed mostly, and not known otherwise.
func (p *Plan) pulls(v *View) int64 {
	p.Write, p.WriteReason = nil, "this host does not keep the manifest of what is booted, which has the sizes of its layers"
	for _, img := range v.Commits {
		if img.ManifestDigest == p.Digest {
			p.Layers = img.Manifest.Layers
		}
	}
	if p.Layers == nil {
		return 0
	}
	var shared inventory.Capability
	if p.Loan != nil {
		shared = v.Sharing(v.Default.Path(), v.Store.Path())
	}
	fetched, written := Destination{Store: v.Bootc}.Pulled(p.Layers, p.Loan, shared)
	if p.Newer {
		p.WriteReason = "another image may come than what is booted"
		return fetched
	}
	p.write(written, nil)
	p.Spooled = fetched
	return fetched
}

func (p *Plan) fromRegistry(v *View, choice Choice) error {
	if p.Reference.Transport != host.Registry {
		if choice.From == "" && p.Reference.Transport != host.ContainersStorage {
			return ErrNotSuch
		}
		return fmt.Errorf("image is of transport %s", p.Reference.Transport)
	}
	p.Method, p.Exact = Pull, true
	p.Reason = reason(choice, "no store of this host has what is booted")
	p.Take, p.taken = p.exact(), p.Digest
	if choice.AcceptNewer && p.Stored.Digest == "" {
		p.Take, p.taken, p.Exact, p.Newer = p.Name, "", false, true
	}
	if method, _, err := choice.copyMethod(v); err == nil && method == Clone && p.Exact {
		p.Loan = NewLoan(v.Default, v.Bootc, v.Commits, p.Digest)
	}
	p.Fetch = p.pulls(v)
	return nil
}

// fromTransport takes the image from where it was taken when it was deployed, if
// that differs from a store and a registry.
func (p *Plan) fromTransport(v *View, choice Choice) error {
	switch {
	case !p.Reference.NamesInRegistry():
	case choice.From == "":
		return ErrNotSuch
	default:
		return fmt.Errorf("image is of transport %s", p.Reference.Transport)
	}
	digest, err := v.ArchiveDigest(p.Reference)
	switch {
	case err != nil:
		return err
	case digest != "" && digest != p.Digest && !choice.AcceptNewer:
		return fmt.Errorf("has %s, %w", digest, ErrMovedOn)
	}
	p.Newer = choice.AcceptNewer && digest != p.Digest
	p.Method, p.Take, p.taken, p.Exact = Pull, p.Image, digest, !p.Newer
	p.pulls(v) // which fetches nothing
	p.Reason = reason(choice, "no store of this host has what is booted")
	return nil
}

// reason is why an image comes from a source, unless the user named it.
func reason(choice Choice, why string) string {
	if choice.From != "" {
		return "as asked for"
	}
	return why
}

func (p *Plan) fromOSTree(v *View, choice Choice) error {
	if v.Host.Kind == host.Composefs {
		return ErrNotSuch
	}
	for _, img := range v.Commits {
		if img.Checksum == p.Commit {
			p.Take, p.Exact, p.Fetch = p.Commit, false, 0
			var err error
			if p.Method, p.MethodReason, err = choice.exportMethod(v); err != nil {
				return err
			}
			bytes := func() (int64, error) { return v.ExportedBytes(p.Commit) }
			if p.Method == Clone {
				p.writeUnlessShared(v.Sharing(v.RepoPath, v.Store.Path()), bytes)
			} else {
				p.write(bytes())
			}
			p.Reason = reason(choice, "no other source has what is booted")
			return p.canName()
		}
	}
	return ErrNotThere
}

// fromComposefs clones the image out of the composefs repository. Where that cannot be, it is
// left to byBootc, which says why.
func (p *Plan) fromComposefs(v *View, choice Choice) error {
	if v.Host.Kind != host.Composefs {
		return ErrNotSuch
	}
	layers, err := v.composefs(p.Digest, choice.Method, "the bootc-owned store", v.Bootc)
	if err != nil || choice.NotCloned != nil || p.canName() != nil {
		return ErrNotSuch
	}
	p.Method, p.MethodReason, p.Take, p.taken, p.Exact, p.Layers = Clone, "the composefs repository has its layers", p.Digest, p.Digest, true, layers
	bytes := func() (int64, error) { return Destination{Store: v.Bootc}.Missing(layers), nil }
	p.writeUnlessShared(v.Sharing(v.ComposefsPath, v.Store.Path()), bytes)
	p.Reason = reason(choice, "the composefs repository has what is booted")
	return nil
}

// composefs returns the layers of an image in the composefs repository that can be cloned to a
// store, nil for one that does not exist yet.
func (v *View) composefs(digest string, method Method, name string, store *cstorage.Store) ([]host.Descriptor, error) {
	if method == ByPodman {
		return nil, errors.New("as asked for")
	}
	if err := v.uncloneable(map[string]*cstorage.Store{name: store}); err != nil {
		return nil, err
	}
	return v.ComposefsLayers(digest)
}

// byBootc lets bootc export the deployment.
func (p *Plan) byBootc(v *View, choice Choice) error {
	if v.Host.Kind != host.Composefs {
		return ErrNotSuch
	}
	err := BootcFinds(v, p.Reference, p.Digest)
	if err != nil {
		return err
	}
	if _, _, err = choice.copyMethod(v); err != nil {
		return err
	}
	if _, err = v.composefs(p.Digest, choice.Method, "the bootc-owned store", v.Bootc); err == nil {
		err = choice.NotCloned
	}
	if err != nil {
		p.MethodReason = err.Error()
	}
	p.Method, p.Take, p.Exact, p.Fetch, p.Write = ByBootc, p.Image, false, 0, nil
	p.WriteReason = "bootc does not report what its export takes"
	p.Reason = reason(choice, "no other source has what is booted")
	return p.canName()
}

// BootcFinds returns why bootc is not there, or would not export the deployment with a
// manifest digest: it looks for the name of the image alone, a staged deployment
// first (bootc_composefs/export.rs).
func BootcFinds(v *View, image host.ImageReference, digest string) error {
	for _, d := range v.Host.Deployments {
		if d.Image == nil || d.Image.Image != image {
			continue
		}
		if d.ManifestDigest != digest {
			return fmt.Errorf("bootc would export the %s deployment, %s of the same name", d.Role, d.ManifestDigest)
		}
		break
	}
	_, err := v.Program("bootc")
	return err
}

func (p *Plan) steps() []Step {
	verify := Step{StepVerify, "verify that it is what is booted"}
	tag := Step{StepTag, fmt.Sprintf("name it %s in the bootc-owned store", p.Name)}
	switch p.Method {
	case Tag:
		if p.untag {
			return []Step{tag, {StepUntag, "take away the name that podman gave it"}, verify}
		}
		return []Step{tag, verify}
	case Clone:
		if p.Source == FromOSTree {
			return []Step{{StepClone, fmt.Sprintf("make %s of the booted commit's files in the ostree repository", p.Name)}, verify}
		}
		if p.Source == FromComposefs {
			return []Step{{StepClone, fmt.Sprintf("clone %s out of the composefs repository", p.Name)}, verify}
		}
		if p.Assembly != nil {
			return []Step{{StepClone, fmt.Sprintf("make it of %d layers of image %.12s in podman's own store", len(p.Layers), p.Take)}, verify}
		}
		return []Step{{StepClone, fmt.Sprintf("clone %s from podman's own store", p.Take)}, verify}
	case Copy:
		return []Step{{StepCopy, fmt.Sprintf("copy %s from podman's own store", p.Take)}, verify}
	case Pull:
		pull := Step{StepPull, "pull " + p.Take}
		// bootc cannot remove an image of two names.
		switch {
		case p.Source == FromTransport:
			return []Step{pull, tag, {StepUntag, "take away the name that podman gave it"}, verify}
		case p.Take == p.Name || p.Stored.Digest != "":
			return p.lending(pull, verify)
		}
		return p.lending(pull, tag, Step{StepUntag, "take away the name " + p.Take}, verify)
	case Reexport:
		return []Step{{StepExport, fmt.Sprintf("export the booted commit from the ostree repository as %s", p.Name)}, verify}
	case ByBootc:
		return []Step{
			{StepBootc, fmt.Sprintf("let bootc export %s to podman's own store as %s", p.Take, ExportName)},
			{StepCopy, fmt.Sprintf("copy it from there as %s", p.Name)},
			{StepVerify, "verify that it is what bootc exported"},
			{StepRemove, "remove it from podman's own store"},
		}
	}
	return []Step{}
}

// lending are the steps of a pull, with those before and after it for what is lent.
func (p *Plan) lending(pull Step, others ...Step) []Step {
	if p.Loan == nil {
		return append([]Step{pull}, others...)
	}
	lend := fmt.Sprintf("clone layers of image %.12s, %d of the booted one's, from podman's own store", p.Loan.Image, len(p.Loan.Blobs))
	return append([]Step{{StepLend, lend}, pull, {StepReturn, "remove what keeps only these layers"}}, others...)
}

// hides returns the ID of the image of podman's own store that will hide the planned
// one from skopeo until it has its name, "" for none.
func (p *Plan) hides(v *View) string {
	if v.Host.Kind != host.OSTree || v.Own == nil || p.Stored.Digest != "" || v.Own.Named(p.Stored.String()) != nil {
		return ""
	}
	if p.Method == Nothing || p.Method == Tag {
		if v.Own.ByID(p.Take) != nil {
			return p.Take
		}
		return ""
	}
	for _, img := range v.Own.Images {
		if img.Has(p.Digest) == p.Exact && img.Is(p.Digest) && !p.Newer {
			return img.ID
		}
	}
	return ""
}

// overlayDriver is the only storage driver whose layers are cloned.
const overlayDriver = "overlay"

// copyMethod decides whether an image of podman's own store is cloned, and says why.
func (c Choice) copyMethod(v *View) (method Method, why string, err error) {
	return c.method(v, Copy, "both stores have overlay layers", map[string]*cstorage.Store{"podman's own store": v.Default, "the bootc-owned store": v.Bootc})
}

// exportMethod decides whether an image of the ostree repository is made of the files
// there, and says why. The private program does so, and serves one that podman pulls.
func (c Choice) exportMethod(v *View) (method Method, why string, err error) {
	if err := v.noProgram(); err != nil {
		return "", "", err
	}
	return c.method(v, Reexport, "the bootc-owned store has overlay layers", map[string]*cstorage.Store{"the bootc-owned store": v.Bootc})
}

func (c Choice) method(v *View, podmans Method, cloneable string, stores map[string]*cstorage.Store) (method Method, why string, err error) {
	switch why := v.uncloneable(stores); {
	case c.Method == ByPodman:
		return podmans, "as asked for", nil
	case why == nil:
		return Clone, cloneable, nil
	case c.Method == Clone:
		return "", "", why
	default:
		return podmans, why.Error(), nil
	}
}

// noProgram returns why the private program cannot be run, nil if it can.
func (v *View) noProgram() error {
	if errors.Is(v.NoProgram, fs.ErrNotExist) {
		return fmt.Errorf("%s is not installed", clonejob.Program)
	}
	return v.NoProgram
}

// uncloneable returns why nothing can be cloned in these stores, as far as their records
// show it, nil if something may be.
func (v *View) uncloneable(stores map[string]*cstorage.Store) error {
	if err := v.noProgram(); err != nil {
		return err
	}
	for name, store := range stores {
		if store == nil {
			continue
		}
		for _, home := range store.Graphs() {
			if home.Driver != overlayDriver && home.Driver != "" {
				return fmt.Errorf("%s has the driver %s", name, home.Driver)
			}
		}
	}
	return nil
}
