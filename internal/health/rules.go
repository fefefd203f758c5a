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
