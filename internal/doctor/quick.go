// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/hooks/setup"
	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// boundImages reports bound images that are missing, and those that another image of their
// name in podman's own store hides: podman finds that one first.
func (ex *examination) boundImages() (list []Problem) {
	for _, b := range ex.survey.Bound() {
		if b.Image == nil {
			f := health.Finding{
				Rule: health.BoundMissing, Severity: health.Failing, Where: "bound image " + b.Name,
				What: "is not in the bootc-owned store", Why: "its containers do not start",
			}
			// A unit may have any text as a name, and podman takes some for options.
			if _, err := cstorage.ParseStorable(strings.TrimPrefix(b.Name, "docker://")); err == nil {
				f.Fix = ex.command("bound", "fetch")
			}
			list = append(list, Problem{Finding: f})
			continue
		}
		if ex.survey.Own == nil {
			continue
		}
		for _, name := range b.Image.Names {
			if other := ex.survey.Own.Named(name); other != nil && other.ID != b.Image.ID {
				list = append(list, Problem{Finding: health.Finding{
					Rule: health.BoundShadowed, Severity: health.Risk, Where: "bound image " + b.Name,
					What: fmt.Sprintf("podman's own store has another image of its name, %s", short(other.ID)), Why: "containers run that one",
					Fix: wrapper.Quote("podman", "untag", other.ID, name),
				}})
			}
		}
	}
	return list
}

// damagedImages reports the damaged images of both stores, in a quick check those that the host
// needs.
func (ex *examination) damagedImages() (list []Problem) {
	for _, d := range ex.survey.Damaged() {
		if ex.quick && (d.Store != inventory.BootcStore || len(ex.survey.UsedBy(d.Image)) == 0) {
			continue
		}
		if d.Store == inventory.DefaultStore && slices.ContainsFunc(ex.uses(), func(u inventory.Use) bool { return u.ID == d.Image.ID }) {
			continue // see borrowed
		}
		list = append(list, Problem{Finding: ex.damaged(d)})
	}
	return list
}

// damaged is the finding about a damaged image. One of the bootc store that has a name, and the
// digest to bring it again by, can be repaired.
func (ex *examination) damaged(d inventory.Damage) health.Finding {
	f := health.Damaged(d)
	if d.Store == inventory.BootcStore && d.Image.Digest != "" && len(d.Image.Names) > 0 {
		f.Fix = ex.command("repair", d.Image.Names[0])
	}
	return f
}

// upgrade reports why bootc would not upgrade the host through the bootc store any more.
func (ex *examination) upgrade() (list []Problem) {
	target := ex.survey.Target()
	if target == nil {
		return nil
	}
	where := fmt.Sprintf("%s deployment %s", target.Role, target.ID())
	if slices.Contains(ex.survey.NotLooked(), inventory.NotUnified) {
		return nil // another check reports what cannot be read
	}
	if unified := ex.survey.Unified(); !unified.On {
		record, err := transfer.ReadRecord(ex.Root)
		if err != nil {
			return unread(err)
		}
		if record == nil || record.ID == "" || record.Image != target.Image.Image.String() {
			return nil
		}
		return one(health.Finding{
			Rule: health.UnifiedGone, Severity: health.Failing, Where: where,
			What: "the image that set-unified brought into the bootc-owned store is not there: " + unified.Reason,
			Why:  "bootc upgrades without that store", Fix: ex.command("set-unified"),
		})
	}
	if err := ex.survey.LookedUp(); err != nil {
		list = append(list, Problem{Finding: health.Finding{
			Rule: health.UpgradeFails, Severity: health.Failing, Where: where, What: err.Error(), Why: "bootc upgrade fails", Fix: ReadStore(err),
		}})
	}
	if ex.Euid != 0 { // bootc looks into root's store
		return list
	}
	for _, hidden := range ex.survey.Hidden(ex.survey.Host) {
		list = append(list, Problem{Finding: health.Finding{
			Rule: health.UpgradeHidden, Severity: health.Failing, Where: "image " + hidden.Name,
			What: hidden.What(), Why: "bootc upgrade does not find it in the bootc-owned store", Fix: hidden.Fix(),
		}})
	}
	return list
}

// ReadStore returns the command that makes skopeo read the bootc store, "" for none. err is
// an *inventory.IgnoredError.
func ReadStore(err error) string {
	if errors.Is(err, storageconf.ErrNoConf) {
		return fmt.Sprintf("printf '%s' >%s", strings.ReplaceAll(storageconf.MinimalConf, "\n", `\n`), storageconf.AdminConf)
	}
	return ""
}

// additionalStores reports additional image stores of podman's configuration that do not
// exist: every podman command fails on one.
func (ex *examination) additionalStores() (list []Problem) {
	_, additional, err := storageconf.Stores(ex.Root, ex.Euid)
	if err != nil {
		return nil // reading podman's own store reported it
	}
	for _, dir := range additional {
		f, err := rooted.Open(ex.root, dir, unix.O_PATH|unix.O_DIRECTORY)
		if err == nil {
			f.Close()
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		f2 := health.Finding{
			Rule: health.AdditionalMissing, Severity: health.Failing, Where: dir,
			What: "is an additional image store of podman's configuration, and does not exist", Why: "every podman command fails",
			Fix: wrapper.Quote("mkdir", "-p", dir),
		}
		if ex.leadsToStore(dir) {
			f2.Fix = ex.command("init")
		}
		list = append(list, Problem{Finding: f2})
	}
	return list
}

// leadsToStore reports whether a path is the link of bootc's packages to the bootc store, or
// the store itself.
func (ex *examination) leadsToStore(dir string) bool {
	if f, err := rooted.Open(ex.root, dir, unix.O_PATH|unix.O_NOFOLLOW); err == nil {
		f.Close()
		return dir == storeLink
	}
	return !ex.survey.Store.Exists && filepath.Join(ex.Root, dir) == ex.survey.Store.Path()
}

// storeLink is the link that packages of bootc have to the bootc store.
const storeLink = "/usr/lib/bootc/storage"

// hooks reports containers that ask for the gate although podman does not run it and, where
// hooks of ours are installed, what is wrong with them.
func (ex *examination) hooks() (list []Problem) {
	if ex.Sysroot.Running == "" {
		return nil
	}
	effects, err := setup.Effects(ex.Root)
	if errors.Is(err, fs.ErrPermission) { // only root can read them
		return nil
	}
	if err != nil {
		return unread(err)
	}
	installed, gate := rooted.Exists(ex.root, setup.DropIn), ""
	for _, e := range effects {
		installed = installed || e.Installed
		if e.Hook == hooks.BoundGate {
			gate = e.Problem
		}
	}
	if asking := ex.asking(); asking != "" && gate != "" {
		list = append(list, Problem{Finding: health.Finding{
			Rule: health.GateMissing, Severity: health.Failing, Where: asking,
			What: "asks to run only as what is bound to the booted deployment, and podman does not run the hook bound-gate: " + gate,
			Why:  "it starts unchecked", Fix: ex.command("hooks", "install"),
		}})
	}
	if !installed {
		return list
	}
	if hooks.GateIsOff(ex.Root) {
		list = append(list, Problem{Finding: health.Finding{
			Rule: health.GateOff, Severity: health.Risk, Where: hooks.GateOffPath, What: "opens the hook bound-gate by hand",
			Why: "containers that ask for it start unchecked", Fix: wrapper.Quote("rm", hooks.GateOffPath),
		}})
	}
	return append(list, ex.verifiedHooks(effects)...)
}

// verifiedHooks are the findings about hooks that are installed: in a quick check, whether each
// would run.
func (ex *examination) verifiedHooks(effects []setup.Effect) (list []Problem) {
	if !ex.quick {
		findings, err := setup.Verify(ex.Root, ex.Podman)
		for _, f := range findings {
			list = append(list, Problem{Finding: f})
		}
		if err != nil {
			list = append(list, unread(err)...)
		}
		return list
	}
	for _, e := range effects {
		if !e.Installed {
			list = append(list, Problem{Finding: health.Finding{
				Rule: health.HookMissing, Severity: health.Failing, Where: "hook " + e.Hook,
				What: "podman does not run it: " + strings.TrimSuffix(e.Problem, "; repeat \"hooks install\""), Fix: ex.command("hooks", "install"),
			}})
		}
	}
	return list
}

// maxAsking bounds a unit file and the configuration of a container.
const maxAsking = 4 << 20

// asking returns a container, or a unit file of one, that has the annotation for the hook
// bound-gate, "" for none.
func (ex *examination) asking() string {
	for _, dir := range []string{"/etc/containers/systemd", "/run/containers/systemd", "/usr/share/containers/systemd"} {
		units, _ := rooted.Names(ex.root, dir) // what cannot be read is not podman's either
		for _, name := range units {
			file := path.Join(dir, name)
			if path.Ext(name) != ".container" {
				continue
			}
			content, err := rooted.ReadFile(ex.root, file, maxAsking)
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(content)) {
				if !isComment(line) && strings.Contains(line, hooks.Require+"=") {
					return file
				}
			}
		}
	}
	if ex.survey.Own == nil {
		return ""
	}
	for _, g := range ex.survey.Own.Graphs() {
		containers, _ := g.Containers() // an error is that of reading the store
		for _, c := range containers {
			config, err := rooted.ReadFile(g.Dir, g.Driver.Containers(c.ID, "userdata/config.json"), maxAsking)
			if err == nil && bytes.Contains(config, []byte(`"`+hooks.Require+`":`)) {
				return "container " + containerName(c)
			}
		}
	}
	return ""
}

// containerName is what a container is called in messages.
func containerName(c cstorage.Container) string {
	if c.Name != "" {
		return c.Name
	}
	return short(c.ID)
}
