// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
)

// Mode is what mount-guard does about a mount.
type Mode string

// The modes of mount-guard.
const (
	// Warn writes a journal record.
	Warn Mode = "warn"
	// Enforce makes the mount read-only, too.
	Enforce Mode = "enforce"
	// Deny does not let the container start.
	Deny Mode = "deny"
)

// Modes are all modes of mount-guard.
func Modes() []Mode { return []Mode{Warn, Enforce, Deny} }

// AllowHostRW is the annotation that makes mount-guard leave a container unchanged, with the
// value "true".
const AllowHostRW = "io.bootc-podman.allow-host-rw"

// ModeOption is the option of the mode in a hook configuration.
const ModeOption = "--mode"

// GuardedMount is a mount that lets a container write to what its host boots.
type GuardedMount struct {
	Source, Destination string
	// Protected is the directory that the source is in.
	Protected string
	// Below is where something is mounted in the source that a container can write
	// to although the mount is read-only, "" when the mount is not.
	Below string
}

// input is what a hook has read of its input, for another goroutine to hand on.
type input struct {
	read []byte
	// ended is closed when no more is read into it.
	ended chan struct{}
}

func newInput() *input { return &input{ended: make(chan struct{})} }

// all reads r up to a limit.
func (in *input) all(r io.Reader) (raw []byte, err error) {
	defer close(in.ended)
	in.read, err = io.ReadAll(io.LimitReader(r, MaxConfig+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read config: %w", err)
	case len(in.read) > MaxConfig:
		return nil, errTooLarge
	}
	return in.read, nil
}

// handOn writes all of the input, whatever of it was read from r by now: a part of a
// configuration is worse than a late one.
func (in *input) handOn(w io.Writer, r io.Reader) {
	<-in.ended
	_, _ = w.Write(in.read)
	if len(in.read) > MaxConfig {
		_, _ = io.Copy(w, r)
	}
}

var errTooLarge = fmt.Errorf("read config: more than %d bytes", MaxConfig)

// mountGuard hands the configuration of a container on, with the options of some
// of its mounts changed, and fails only if the mode says so.
func (v *Invocation) mountGuard(options []string) int {
	in := newInput()
	var verdict guardVerdict
	decided := make(chan guardVerdict, 1)
	mode, modeErr := GuardMode(options)
	err := v.bounded(func() error {
		raw, err := in.all(v.Stdin)
		if err != nil {
			return err
		}
		verdict, err := v.judge(raw, mode)
		decided <- verdict
		return err
	})
	if err == nil {
		verdict = <-decided
	}
	if err == nil && mode == Deny && len(verdict.found) > 0 {
		v.recordGuarded(mode, verdict)
		v.deny(verdict.id, MountGuard, verdict.found[0].String()+" is writable", nil)
		return 1
	}
	if err == nil {
		_, _ = v.Stdout.Write(verdict.output)
	} else {
		in.handOn(v.Stdout, v.Stdin)
	}
	v.recordGuarded(mode, verdict)
	if err := errors.Join(err, modeErr); err != nil {
		v.warn(MountGuard, err)
	}
	return 0
}

func (v *Invocation) previewMountGuard(raw []byte, options []string) (effects []string) {
	mode, _ := GuardMode(options)
	verdict, err := v.judge(raw, mode)
	if err != nil {
		return []string{"leaves the mounts alone: " + err.Error()}
	}
	does := map[Mode]string{Warn: "warns of %s", Enforce: "makes read-only %s", Deny: "does not let the container start: %s, is writable"}[mode]
	for _, m := range verdict.found {
		what := strings.TrimSuffix(m.String(), ",")
		if m.Below == "" {
			what = "the " + what
		}
		effects = append(effects, fmt.Sprintf(does, what))
	}
	for _, m := range verdict.parents {
		effects = append(effects, "leaves alone, with a journal record, the "+strings.TrimSuffix(m.containing(), ","))
	}
	if effects == nil {
		effects = []string{"leaves the mounts alone"}
	}
	if verdict.doubts != nil {
		effects = append(effects, "warns: "+strings.ReplaceAll(verdict.doubts.Error(), "\n", "; "))
	}
	return effects
}

// GuardMode reads the options. What it does not understand makes it warn only.
func GuardMode(options []string) (Mode, error) {
	if len(options) == 0 {
		return Warn, nil
	}
	word := strings.Join(options, "=")
	if mode, ok := strings.CutPrefix(word, ModeOption+"="); ok && slices.Contains(Modes(), Mode(mode)) {
		return Mode(mode), nil
	}
	return Warn, fmt.Errorf("unknown options %q", options)
}

// guardVerdict is what mount-guard makes of a configuration.
type guardVerdict struct {
	output []byte
	id     string
	found  []GuardedMount
	// parents are mounts that contain protected directories, which are left alone.
	parents []GuardedMount
	// doubts are sources that could not be looked at.
	doubts error
}

// judge looks at the mounts of a configuration. With an error the verdict is void.
func (v *Invocation) judge(raw []byte, mode Mode) (guardVerdict, error) {
	verdict := guardVerdict{output: raw}
	d, err := parseDocument(raw)
	if err != nil {
		return verdict, err
	}
	verdict.id = d.containerID()
	// Most containers have no mounts but those that podman makes for each: there the
	// mount table is not even read.
	suspects := slices.DeleteFunc(d.suspects(), func(m suspect) bool { return v.isPodmans(m.writes, verdict.id) })
	if len(suspects) == 0 {
		return verdict, nil
	}
	if d.annotations[AllowHostRW] == "true" {
		ofImage, err := v.isOfImage(d, AllowHostRW)
		if !ofImage || err != nil {
			return verdict, err
		}
		verdict.doubts = fmt.Errorf("annotation %s comes from the image, and does not count", AllowHostRW)
	}
	places, err := v.places()
	if err != nil {
		return verdict, err
	}
	var edits []edit
	for _, m := range suspects {
		if n := len(edits); n > 0 && edits[n-1].at == m.options {
			continue // an overlay that was found by its other directory
		}
		protected, canonical, err := places.guard(m.writes)
		if err != nil && !errors.Is(err, errVanished) {
			verdict.doubts = errors.Join(verdict.doubts, fmt.Errorf("look at %q: %w", m.writes, err))
		}
		if err != nil {
			continue
		}
		found := GuardedMount{Source: m.writes, Destination: m.Destination, Protected: protected}
		if protected == "" {
			inside := places.contained(m.writes, slices.Contains(m.Options, "rbind"))
			if found.Protected = strings.Join(inside, ", "); len(inside) > 0 && isWritable(m.Options) {
				verdict.parents = append(verdict.parents, found)
			}
			continue
		}
		below := places.writableBelow(canonical)
		if !isWritable(m.Options) {
			if below == "" {
				continue
			}
			found.Below = below
		}
		verdict.found = append(verdict.found, found)
		edits = append(edits, edit{at: m.options, options: readOnly(m.Options, below != "")})
	}
	if mode == Enforce && len(edits) > 0 {
		if verdict.output, err = d.with(edits); err != nil {
			return verdict, err
		}
	}
	return verdict, nil
}

// openSource opens the source of a mount as the runtime does, which also follows the
// links of the kernel's own in /proc; "link/.." is not cleaned. In the root directory of
// another host, links are resolved by the rule of package rooted.
func (v *Invocation) openSource(path string) (*os.File, error) {
	if v.Root != "/" {
		return v.open(path, unix.O_PATH)
	}
	// Not os.OpenFile, which asks the poller about each file.
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// suspect is a mount through which a container may write to the host, and where.
type suspect struct {
	mount
	writes string
}

// suspects are the bind mounts that are not read-only down to the last mount below
// them, and the overlays that keep what is written in directories of their own.
func (d *document) suspects() (found []suspect) {
	for _, m := range d.mounts {
		has := func(option string) bool { return slices.Contains(m.Options, option) }
		switch writable := isWritable(m.Options); {
		case m.Type == "bind" || has("bind") || has("rbind"):
			if filepath.IsAbs(m.Source) && (writable || has("rbind") && !has("rro")) {
				found = append(found, suspect{m, m.Source})
			}
		case m.Type == "overlay" && writable:
			for _, dir := range writtenDirs(m.Options) {
				found = append(found, suspect{m, dir})
			}
		}
	}
	return found
}

// isPodmans reports whether a source is a file that podman made for the container.
func (v *Invocation) isPodmans(source, id string) bool {
	if !isUserdata(filepath.Clean(source), id) {
		return false
	}
	f, err := v.openSource(source)
	if err != nil {
		return false
	}
	defer f.Close()
	canonical, err := pathOf(f)
	return err == nil && isUserdata(canonical, id)
}

// isUserdata reports whether a path without links is of a file that podman made for
// the container, as for /etc/hosts: GRAPHROOT/overlay-containers/ID/userdata/NAME.
// It lies in the bootc-owned store for a container that does.
func isUserdata(canonical, id string) bool {
	return cstorage.IsID(id) && strings.Contains(canonical, "-containers/"+id+"/userdata/")
}

// isWritable reads mount options as runtimes do: the last word counts.
func isWritable(options []string) bool {
	writable := true
	for _, o := range options {
		switch o {
		case "ro", "rro":
			writable = false
		case "rw", "rrw":
			writable = true
		}
	}
	return writable
}

// readOnly returns options of a mount for reading only, with the mounts below it
// if there are any.
func readOnly(options []string, below bool) []string {
	ro := "ro"
	if below && slices.Contains(options, "rbind") && recursiveReadOnly() {
		ro = "rro"
	}
	out := slices.DeleteFunc(slices.Clone(options), func(o string) bool { return o == "rw" || o == "ro" || o == "rrw" })
	return append(out, ro)
}

// recursiveReadOnly reports whether the kernel can make mounts read-only with those
// below them, see mount_setattr(2).
func recursiveReadOnly() bool {
	return !errors.Is(unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{}), unix.ENOSYS)
}

func (m GuardedMount) String() string {
	if m.Below != "" {
		return fmt.Sprintf("%q below the read-only mount of %q on %q, which is in %s,", m.Below, m.Source, m.Destination, m.Protected)
	}
	return fmt.Sprintf("mount of %q on %q, which is in %s,", m.Source, m.Destination, m.Protected)
}

func (m GuardedMount) containing() string {
	return fmt.Sprintf("mount of %q on %q, which contains %s,", m.Source, m.Destination, m.Protected)
}

func (v *Invocation) recordGuarded(mode Mode, verdict guardVerdict) {
	if verdict.doubts != nil {
		v.warn(MountGuard, verdict.doubts)
	}
	what := map[Mode]string{Warn: "is writable", Enforce: "was made read-only", Deny: "is writable, the container may not start"}[mode]
	for _, m := range verdict.found {
		v.record(journal.PriWarning, fmt.Sprintf("container %s: %s %s", short(verdict.id), m, what), map[string]string{
			"MESSAGE_ID": messageGuarded, "BOOTC_PODMAN_HOOK": MountGuard, "BOOTC_PODMAN_MODE": string(mode),
			"BOOTC_PODMAN_PROTECTED": m.Protected, "CONTAINER_ID_FULL": verdict.id,
		})
	}
	for _, m := range verdict.parents {
		v.record(journal.PriNotice, fmt.Sprintf("container %s: %s is writable, as mounts of parents may be", short(verdict.id), m.containing()), map[string]string{
			"MESSAGE_ID": messageParent, "BOOTC_PODMAN_HOOK": MountGuard, "BOOTC_PODMAN_MODE": string(mode),
			"BOOTC_PODMAN_CONTAINS": m.Protected, "CONTAINER_ID_FULL": verdict.id,
		})
	}
}
