// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/hooks/setup"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// hooksAction is a word that follows "hooks".
type hooksAction struct {
	// options are those that it takes.
	options []string
	run     func(a *app, c *cli.Context, o *options, root string) error
}

func hooksActions() map[string]hooksAction {
	return map[string]hooksAction{
		"install":   {[]string{"mode", "program", "root"}, (*app).installHooks},
		"uninstall": {[]string{"root"}, (*app).uninstallHooks},
		"verify":    {[]string{"root"}, (*app).verifyHooks},
		"list":      {[]string{"root"}, (*app).listHooks},
		"explain":   {[]string{"root"}, (*app).explainHooks},
		"identity":  {nil, (*app).identity},
		"denied":    {[]string{"format"}, (*app).deniedHooks},
	}
}

func (a *app) hooksCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "hooks",
		Usage:     "install, check and explain the hooks that guard the host's stores",
		UsageText: "bootc-podman hooks install|uninstall|verify|list|explain|denied|identity [options] [config.json|-]",
		ArgsUsage: "action ...",
		Flags: []cli.Flag{
			choice("mode", "what mount-guard does about a mount, `MODE`: %s", string(hooks.Warn), hooks.Modes()),
			&cli.StringFlag{Name: "program", Usage: "the hooks run this program, `FILE`, instead of the one that runs now"},
			formatChoice("what denied prints, `FORMAT`: %s", "table"),
			&cli.StringFlag{Name: "root", Usage: "the host, or the image in the making, whose root directory is `DIR`"},
		},
		Action: func(c *cli.Context) error {
			action, rest := c.Args().First(), c.Args().Tail()
			known, ok := hooksActions()[action]
			switch {
			case !ok:
				return usageErrorf("hooks: unknown action %q: use %s", action, orList(slices.Sorted(maps.Keys(hooksActions()))))
			case action == "explain" && len(rest) != 1:
				return usageErrorf("hooks explain: name one config.json, or - for standard input")
			case action != "explain" && len(rest) > 0:
				return usageErrorf("hooks %s: unexpected argument %q", action, rest[0])
			}
			for _, name := range c.LocalFlagNames() {
				if name != "dry-run" && !slices.Contains(known.options, name) {
					return usageErrorf("hooks %s: there is no option --%s", action, name)
				}
			}
			if c.IsSet("root") && c.String("root") == "" {
				return usageErrorf("hooks %s: --root is empty", action)
			}
			return known.run(a, c, o, cmp.Or(c.String("root"), a.root))
		},
	})
}

func (a *app) installHooks(c *cli.Context, o *options, root string) error {
	program := c.String("program")
	if program != "" && !filepath.IsAbs(program) {
		return usageErrorf("hooks install: program %q is no absolute path", program)
	}
	// The file that CONTAINERS_CONF names counts in this shell only.
	podman := setup.Podman{Version: a.podmanOf(c.Context, root).Version}
	install := setup.Install{Root: root, Program: cmp.Or(program, a.self), Mode: hooks.Mode(c.String("mode")), Podman: podman}
	if !o.dryRun {
		return a.changingHooks(root, "Installed", install.Do)
	}
	files, err := install.Files()
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(a.stdout, "# write %q\n", filepath.Join(root, path))
	}
	fmt.Fprintf(a.stdout, "# write %q\n", filepath.Join(root, setup.DropIn))
	return err
}

func (a *app) uninstallHooks(_ *cli.Context, o *options, root string) error {
	if !o.dryRun {
		return a.changingHooks(root, "Removed", func() error { return setup.Uninstall(root) })
	}
	fmt.Fprintf(a.stdout, "# remove %q and what is ours in %q\n", filepath.Join(root, setup.DropIn), filepath.Join(root, setup.PrivateDir))
	return nil
}

// changingHooks calls do, and prints what it has done if that changed any file.
func (a *app) changingHooks(root, done string, do func() error) error {
	before, _ := setup.Written(root) // what cannot be read has changed
	if err := do(); err != nil {
		return err
	}
	if after, err := setup.Written(root); err != nil || !maps.EqualFunc(before, after, bytes.Equal) {
		fmt.Fprintf(a.stderr, "%s the hooks in %q\n", done, filepath.Join(root, setup.PrivateDir))
	}
	return nil
}

// podmanOf returns what can be determined of the podman of a root directory.
func (a *app) podmanOf(ctx context.Context, root string) setup.Podman {
	if root != "/" {
		return setup.Podman{}
	}
	p := setup.Podman{Version: a.podmanVersion(ctx), Conf: wrapper.Getenv(a.env, "CONTAINERS_CONF")}
	if override := wrapper.Getenv(a.env, "CONTAINERS_CONF_OVERRIDE"); override != "" {
		if abs, err := rooted.Abs(override); err == nil {
			p.Override = abs
		}
	}
	return p
}

func (a *app) verifyHooks(c *cli.Context, _ *options, root string) error {
	findings, err := setup.Verify(root, a.podmanOf(c.Context, root))
	if err != nil {
		return orCode(err, exitUnknown)
	}
	for _, f := range findings {
		fmt.Fprintf(a.stdout, "%s\n", printable(f.String()))
	}
	if len(findings) > 0 {
		return &exitError{code: exitNo}
	}
	return nil
}

// versionTimeout is how long podman may take to print its version.
const versionTimeout = 10 * time.Second

// podmanVersion returns the version of this machine's podman, "" when podman does not
// print it.
func (a *app) podmanVersion(ctx context.Context) string {
	// podman reads storage.conf even for its version, and waits where that is a FIFO.
	if _, err := storageconf.ReadDefaultStore(a.root); errors.Is(err, rooted.ErrNotRegular) {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd, err := a.host(&options{sysroot: "/"}).DefaultPodman("--version")
	if err != nil {
		return ""
	}
	// An old podman fails on a containers.conf with keys of a newer one.
	cmd.Env = append(slices.DeleteFunc(cmd.Env, func(kv string) bool { return strings.HasPrefix(kv, "CONTAINERS_CONF") }), "CONTAINERS_CONF=/dev/null")
	out, err := a.runner.Output(ctx, cmd)
	if err != nil {
		return ""
	}
	_, version, _ := strings.Cut(strings.TrimSpace(string(out)), "version ")
	return version
}

func (a *app) listHooks(c *cli.Context, _ *options, root string) error {
	all, err := setup.ConfiguredHooks(root, a.podmanOf(c.Context, root))
	if err != nil {
		return err
	}
	tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "FILE\tSTAGES\tPROGRAM") //nolint:errcheck // Flush returns it
	for _, c := range all {
		stages, program := "broken", ""
		if c.Hook != nil {
			stages, program = strings.Join(c.Hook.Stages, ","), c.Hook.Hook.Path
			if args := c.Hook.Hook.Args; len(args) > 1 {
				program += " " + strings.Join(args[1:], " ")
			}
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", printable(c.File), printable(stages), printable(program))
	}
	return tw.Flush()
}

func (a *app) explainHooks(c *cli.Context, _ *options, root string) error {
	in, config := a.stdin, c.Args().Get(1)
	if config != "-" {
		f, err := os.Open(config)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	all, err := setup.Explain(root, a.podmanOf(c.Context, root), in)
	if err != nil {
		return fmt.Errorf("explain %q: %w", config, err)
	}
	var lines []string
	for _, e := range all {
		does := "does not run"
		if e.Matches {
			does = "runs at " + strings.Join(e.Stages, ", ")
		}
		lines = append(lines, e.File+": "+does)
		for _, effect := range e.Effects {
			lines = append(lines, "  "+effect)
		}
	}
	return a.printLines(lines...)
}

// deniedHooks prints why hooks kept containers from starting, the latest first.
func (a *app) deniedHooks(c *cli.Context, _ *options, _ string) error {
	denials, bad := hooks.Denials(a.root)
	if len(denials) == 0 && len(bad) > 0 {
		return errors.Join(bad...)
	}
	for _, err := range bad {
		fmt.Fprintf(a.stderr, "Warning: %s\n", printable(err.Error()))
	}
	if c.String("format") == "json" {
		return printJSON(a.stdout, append([]hooks.Denial{}, denials...))
	}
	tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "DENIED\tCONTAINER ID\tNAME\tHOOK\tREASON") //nolint:errcheck // Flush returns it
	for _, d := range denials {
		fmt.Fprintf(tw, "%s ago\t%s\t%s\t%s\t%s\n", units.HumanDuration(time.Since(d.Time)),
			printable(d.ID[:min(len(d.ID), 12)]), printable(d.Name), printable(d.Hook), printable(d.Reason))
	}
	return tw.Flush()
}

// identity reads what the host booted, and writes it to host.json.
func (a *app) identity(c *cli.Context, o *options, _ string) error {
	status, bad := inventory.ReadStatus(c.Context, a.query(o))
	if status == nil {
		return errors.Join(bad...)
	}
	if status.Booted == nil {
		return errors.Join(append(bad, errors.New("read host identity: no deployment is booted here"))...)
	}
	id := a.hostIdentity(status)
	if !o.dryRun {
		if err := hooks.WriteIdentity(a.root, id); err != nil {
			return err
		}
	}
	return printJSON(a.stdout, id)
}

// hostIdentity returns what is booted, as containers and hooks read it.
func (a *app) hostIdentity(s *inventory.Status) hooks.Identity {
	b := s.Booted
	id := hooks.NewIdentity(a.root, s.Kind)
	id.Image, id.Digest, id.Version, id.Deployment = b.Image, b.Digest, b.Version, b.ID
	return id
}

// noteIdentity writes what a verb has read of the running host to host.json, unless that
// has it.
func (a *app) noteIdentity(o *options, s *inventory.Status) {
	if host.At(o.sysroot).Running == "" || s.Booted == nil || a.euid != 0 || o.dryRun {
		return
	}
	id := a.hostIdentity(s)
	if hooks.ReadIdentity(a.root) == id {
		return
	}
	if err := hooks.WriteIdentity(a.root, id); err != nil && !errors.Is(err, fs.ErrPermission) {
		fmt.Fprintf(a.stderr, "Warning: %s\n", printable(err.Error()))
	}
}

// refreshIdentity writes host.json unless that was done since the boot, after a verb that
// changes this host. Of the verbs that only read, status alone writes it.
func (a *app) refreshIdentity(ctx context.Context, o *options) {
	if o.dryRun || host.At(o.sysroot).Running == "" || a.euid != 0 || hooks.ReadIdentity(a.root) != (hooks.Identity{}) {
		return
	}
	if status, _ := inventory.ReadStatus(ctx, a.query(o)); status != nil {
		a.noteIdentity(o, status)
	}
}
