// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

const (
	// composefsStaged is relative to the root directory, see bootc's
	// composefs_consts.rs.
	composefsStaged = "run/composefs/staged-deployment"
	// loaderInfo is the UEFI variable with the boot loader's name, by the Boot
	// Loader Interface of systemd: four bytes of attributes, then UTF-16.
	loaderInfo = "sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
	// ukiPrefix is what bootc puts before the digest in the name of a unified
	// kernel image.
	ukiPrefix = "bootc_composefs-"
)

// composefsArg returns the digest in the kernel argument composefs=[?]<digest>,
// where "?" makes fs-verity optional.
func composefsArg(cmdline string) (verity string, ok bool) {
	arg := kernelArg(cmdline, "composefs")
	verity = strings.TrimPrefix(arg, "?")
	return verity, isHex(verity, verityDigits)
}

// readComposefs reads the deployments of a composefs host; arg is the digest in
// the kernel's command line, "" when the host is not running.
func (r *sysrootReader) readComposefs(arg string) {
	r.host.Kind = Composefs
	booted := cmp.Or(r.composefsRoot(), arg)
	staged := r.composefsStaged()
	digests := r.composefsEntries()
	ordered := len(digests) > 0
	if !ordered {
		digests = r.composefsDirs()
	}
	// The entry of a staged deployment lies elsewhere, and that of the booted
	// one can have been removed.
	for _, digest := range []string{booted, staged} {
		if digest != "" && !slices.Contains(digests, digest) {
			digests = append(digests, digest)
		}
	}
	for _, digest := range digests {
		d := Deployment{Verity: digest}
		switch digest {
		case booted:
			d.Role = Booted
		case staged:
			d.Role = Staged
		}
		if r.readState(&d) {
			r.host.Deployments = append(r.host.Deployments, d)
		}
	}
	r.setRoles(ordered)
}

// composefsRoot returns the digest that "/" is mounted from. After a soft reboot
// it is not the one in the kernel's command line.
func (r *sysrootReader) composefsRoot() string {
	if r.running == nil {
		return ""
	}
	data, err := readFile(r.running, "proc/self/mountinfo")
	var mounts []*mountinfo.Info
	if err == nil {
		mounts, err = mountinfo.GetMountsFromReader(bytes.NewReader(data), mountinfo.SingleEntryFilter("/"))
	}
	if err != nil {
		r.problem("read %q: %w", filepath.Join(r.Running, "proc/self/mountinfo"), err)
	}
	for _, mount := range mounts {
		for _, prefix := range []string{"composefs:", "transient:composefs="} {
			digest, ok := strings.CutPrefix(mount.Source, prefix)
			if ok && isHex(digest, verityDigits) {
				return digest
			}
		}
	}
	return ""
}

// composefsStaged returns the digest of the staged deployment, "" for none.
func (r *sysrootReader) composefsStaged() string {
	data, ok := r.readRunning(composefsStaged)
	if !ok {
		return ""
	}
	var staged struct {
		ID string `json:"depl_id"`
	}
	err := json.Unmarshal(data, &staged)
	if err == nil && !isHex(staged.ID, verityDigits) {
		err = fmt.Errorf("%w %.80q", errDeploymentName, staged.ID)
	}
	if err != nil {
		r.problem("parse %q: %w", filepath.Join(r.Running, composefsStaged), err)
		return ""
	}
	return staged.ID
}

// composefsEntries returns the digests of the deployments that boot loader
// entries name, in the order they boot in by the rules of bootc.
func (r *sysrootReader) composefsEntries() []string {
	entries := r.loaderEntries(func(name string) bool {
		return strings.HasSuffix(name, ".conf")
	}, entryDirs[:]...)
	slices.SortStableFunc(entries, func(a, b loaderEntry) int {
		if a.sortKey != "" && b.sortKey != "" && a.sortKey != b.sortKey {
			return cmp.Compare(a.sortKey, b.sortKey)
		}
		return compareVersions(b.version, a.version)
	})
	// GRUB shows them from the end.
	if !r.systemdBoot() {
		slices.Reverse(entries)
	}
	var digests []string
	for _, entry := range entries {
		digest, ok := composefsArg(entry.options)
		if entry.uki != "" {
			digest = strings.TrimPrefix(strings.TrimSuffix(path.Base(entry.uki), ".efi"), ukiPrefix)
			ok = isHex(digest, verityDigits)
		}
		if ok && !slices.Contains(digests, digest) {
			digests = append(digests, digest)
		}
	}
	return digests
}

// systemdBoot reports whether the boot loader orders entries as the Boot Loader
// Specification says, by the names that bootc uses.
func (r *sysrootReader) systemdBoot() bool {
	data, _ := r.readRunning(loaderInfo)
	name := strings.ToLower(string(bytes.ReplaceAll(data, []byte{0}, nil)))
	return strings.Contains(name, "systemd-boot") || strings.Contains(name, "grub cc")
}

// composefsDirs returns the digests of all deployments that have state.
func (r *sysrootReader) composefsDirs() []string {
	names, err := rooted.Names(r.phys, composefsState)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.problem("read deployments: %w", err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return !isHex(name, verityDigits) })
}

// readState adds what the state directory of a deployment says. It returns
// false for a deployment that bootc would not list, as it has no origin.
func (r *sysrootReader) readState(d *Deployment) bool {
	file := path.Join(composefsState, d.Verity, d.Verity+".origin")
	data, err := readFile(r.phys, file)
	missing := errors.Is(err, fs.ErrNotExist)
	var origin Origin
	if err == nil {
		origin, err = ParseComposefsOrigin(data)
	}
	if err != nil {
		r.problem("read origin %q: %w", filepath.Join(r.phys.Name(), file), err)
		return !missing || d.Role == Booted
	}
	d.Image, d.ManifestDigest = origin.Image, origin.ManifestDigest
	if d.ManifestDigest == "" || !r.readRepoInfo(d) {
		r.readImageInfo(d)
	}
	return true
}

// readImageInfo adds what an older bootc wrote of the image. The digest of the
// manifest is not among it: it was written anew there.
func (r *sysrootReader) readImageInfo(d *Deployment) {
	file := path.Join(composefsState, d.Verity, d.Verity+".imginfo")
	data, err := readFile(r.phys, file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var info struct {
		Config   ImageConfig `json:"config"`
		Manifest Manifest    `json:"manifest"`
	}
	if err == nil {
		err = json.Unmarshal(data, &info)
	}
	if err != nil {
		r.problem("read %q: %w", filepath.Join(r.phys.Name(), file), err)
		return
	}
	d.describe(info.Manifest, info.Config)
}
