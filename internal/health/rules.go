// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package health

// Rule identifies a kind of finding for scripts and for SARIF. A released rule keeps its
// identifier and its meaning; docs/findings.md has a row for each.
type Rule string

// The rules about images and files.
const (
	// ImageDamaged is an image with missing or incomplete layers.
	ImageDamaged Rule = "image-damaged"
	// Unreadable is what could not be read.
	Unreadable Rule = "unreadable"
)

// The rules of "hooks verify".
const (
	// HookAccess is a file of hooks that a user cannot read, or that others may replace.
	HookAccess Rule = "hook-access"
	// HookBreaksBuild is a hook on which each podman build fails.
	HookBreaksBuild Rule = "hook-breaks-build"
	// HookDiffers is one of our hooks that is not as install writes it.
	HookDiffers Rule = "hook-differs"
	// HookInvalid is a hook on which each podman run fails.
	HookInvalid Rule = "hook-invalid"
	// HookMissing is one of our hooks that podman does not find, or all of them.
	HookMissing Rule = "hook-missing"
	// HookNoArgs is a hook that gets no name.
	HookNoArgs Rule = "hook-no-args"
	// HookNoTimeout is a hook that may hang for ever.
	HookNoTimeout Rule = "hook-no-timeout"
	// HookProgram is a hook whose program is missing, replaceable by others, or not an absolute path.
	HookProgram Rule = "hook-program"
	// HooksConfAppend is a hooks_dir that this podman cannot parse.
	HooksConfAppend Rule = "hooks-conf-append"
	// HooksConfDangling is a drop-in that links to nothing.
	HooksConfDangling Rule = "hooks-conf-dangling"
	// HooksConfEnvironment is CONTAINERS_CONF, which replaces all files.
	HooksConfEnvironment Rule = "hooks-conf-environment"
	// HooksConfLinked is a drop-in directory that this podman does not follow.
	HooksConfLinked Rule = "hooks-conf-linked"
	// HooksConfMasked is a drop-in that another of its name replaces.
	HooksConfMasked Rule = "hooks-conf-masked"
	// HooksDirLeftOut is a directory that a later file leaves out.
	HooksDirLeftOut Rule = "hooks-dir-left-out"
	// HooksDirRelative is a directory without an absolute path.
	HooksDirRelative Rule = "hooks-dir-relative"
)

// The rules of doctor, of which "status --check" has some.
const (
	// AdditionalMissing is an additional image store that does not exist.
	AdditionalMissing Rule = "additional-missing"
	// BoundMissing is a bound image that the bootc store does not have.
	BoundMissing Rule = "bound-missing"
	// BoundShadowed is a bound image whose name another image has in podman's own store.
	BoundShadowed Rule = "bound-shadowed"
	// DatabaseDamaged is a database of podman's that cannot be read.
	DatabaseDamaged Rule = "database-damaged"
	// DatabasePaths is a database of podman's that was made with other paths than bootc's.
	DatabasePaths Rule = "database-paths"
	// GateMissing is a container that asks for a gate which podman does not run.
	GateMissing Rule = "gate-missing"
	// GateOff is the gate opened by hand.
	GateOff Rule = "gate-off"
	// UnifiedGone is unified storage that is off because its image is gone.
	UnifiedGone Rule = "unified-gone"
	// UpgradeFails is a host that bootc cannot upgrade.
	UpgradeFails Rule = "upgrade-fails"
	// UpgradeHidden is an image that bootc does not find when it upgrades.
	UpgradeHidden Rule = "upgrade-hidden"

	// The rules that only doctor has.

	// CleanupBlocked is an image that bootc's cleanup cannot remove.
	CleanupBlocked Rule = "cleanup-blocked"
	// ComposefsLinkMissing is the missing link ostree/bootc of a composefs host.
	ComposefsLinkMissing Rule = "composefs-link-missing"
	// ContainerDamaged is a container whose layers are gone.
	ContainerDamaged Rule = "container-damaged"
	// ContainerUnkept is a container on an image that bootc will remove.
	ContainerUnkept Rule = "container-unkept"
	// ContentDiffers is a layer or an image whose content is not what its digest says.
	ContentDiffers Rule = "content-differs"
	// Credentials is which credentials podman finds for a registry.
	Credentials Rule = "credentials"
	// CredentialsDamaged is a file of credentials that cannot be read.
	CredentialsDamaged Rule = "credentials-damaged"
	// DatabaseOld is a database of an older podman on which this one fails.
	DatabaseOld Rule = "database-old"
	// LabelWrong is a file with another SELinux label than it should have.
	LabelWrong Rule = "label-wrong"
	// LabelsUnread is SELinux labels that were not compared.
	LabelsUnread Rule = "labels-unread"
	// LayerIncomplete is a layer that a killed process did not finish.
	LayerIncomplete Rule = "layer-incomplete"
	// LayerUnknown is a directory of a layer without a record.
	LayerUnknown Rule = "layer-unknown"
	// LayersBorrowed is an image of podman's own store with layers in the bootc store.
	LayersBorrowed Rule = "layers-borrowed"
	// Leftover is what an interrupted run left.
	Leftover Rule = "leftover"
	// NameUnreadable is a name of an image that podman cannot read.
	NameUnreadable Rule = "name-unreadable"
	// NoReflinks is a filesystem without shared extents.
	NoReflinks Rule = "no-reflinks"
	// NoVerity is a composefs repository that fs-verity does not protect.
	NoVerity Rule = "no-verity"
	// StoreLinkMissing is the missing link to the bootc store.
	StoreLinkMissing Rule = "store-link-missing"
	// StoresAreOne is two stores in one directory.
	StoresAreOne Rule = "stores-are-one"
	// StoresAreTwo is two directories for the bootc store.
	StoresAreTwo Rule = "stores-are-two"
	// VerityMissing is an object without fs-verity in a repository that is protected by it.
	VerityMissing Rule = "verity-missing"
)

// The rules of "bound lint" and "bound check".
const (
	// BoundAuthFile is credentials in a unit, which bootc does not take from there.
	BoundAuthFile Rule = "bound-auth-file"
	// BoundComment is a comment after a name, which is a part of it for podman.
	BoundComment Rule = "bound-comment"
	// BoundContinuedLine is a continued line, which bootc does not join.
	BoundContinuedLine Rule = "bound-continued-line"
	// BoundDangling is a link that leads to no quadlet.
	BoundDangling Rule = "bound-dangling"
	// BoundGlobalArgs is a unit that drops the host's storage options.
	BoundGlobalArgs Rule = "bound-global-args"
	// BoundInvalidName is a name that podman cannot pull.
	BoundInvalidName Rule = "bound-invalid-name"
	// BoundMovingTag is an image by the tag latest.
	BoundMovingTag Rule = "bound-moving-tag"
	// BoundNoImage is a unit without an image.
	BoundNoImage Rule = "bound-no-image"
	// BoundNotLink is an entry that is not a symbolic link.
	BoundNotLink Rule = "bound-not-link"
	// BoundLocked is a bound image that is not as the lock has it.
	BoundLocked Rule = "bound-locked"
	// BoundPruned is a bound image that bootc's cleanup removes.
	BoundPruned Rule = "bound-pruned"
	// BoundPulledAnew is a unit whose image podman pulls again.
	BoundPulledAnew Rule = "bound-pulled-anew"
	// BoundQuoted is a name in quotes, which bootc keeps.
	BoundQuoted Rule = "bound-quoted"
	// BoundRepeated is a second, different image in a unit.
	BoundRepeated Rule = "bound-repeated"
	// BoundShortName is a name that podman stores with another registry or path.
	BoundShortName Rule = "bound-short-name"
	// BoundSpecifier is a specifier, which bootc does not expand.
	BoundSpecifier Rule = "bound-specifier"
	// BoundStoreUnseen is a unit that runs without the bootc store.
	BoundStoreUnseen Rule = "bound-store-unseen"
	// BoundSyntax is a line that bootc cannot parse.
	BoundSyntax Rule = "bound-syntax"
	// BoundTagAndDigest is a name with both, which podman stores without the tag.
	BoundTagAndDigest Rule = "bound-tag-and-digest"
	// BoundTransport is a name with a transport.
	BoundTransport Rule = "bound-transport"
	// BoundUnitName is an entry whose name bootc cannot read.
	BoundUnitName Rule = "bound-unit-name"
	// BoundUnitReference is another unit in the place of an image.
	BoundUnitReference Rule = "bound-unit-reference"
	// BoundUnitType is an entry that is neither .image nor .container.
	BoundUnitType Rule = "bound-unit-type"
	// BoundUntagged is a name that podman stores with the tag latest.
	BoundUntagged Rule = "bound-untagged"
	// BoundValueDiffers is a unit of which podman reads another image than bootc.
	BoundValueDiffers Rule = "bound-value-differs"
)
