// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/doctor"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/metrics"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Message IDs of the record that "doctor --journal" writes, for journalctl MESSAGE_ID=. The
// page of doctor has them.
const (
	messageHealthy      = "97e9555141c0421781feaf67c16fbfe0"
	messageFaulty       = "54af3aacf61f4410a152b6966b3b5814"
	messageUndetermined = "5d2cc7908e82492191dcea90b3f80104"
)

// inform writes a record of an act that has been done to the journal, if there is one.
func (a *app) inform(message string, fields map[string]string) {
	if a.journal != nil {
		a.journal(journal.PriInfo, message, fields)
	}
}

// metricsFile returns the file of --metrics, "" for none.
func metricsFile(c *cli.Context) (string, error) {
	if !c.IsSet("metrics") {
		return "", nil
	}
	file := c.String("metrics")
	if file == "" || strings.HasSuffix(file, "/") {
		return "", usageErrorf("%s: read --metrics: %q is no file", c.Command.Name, file)
	}
	return rooted.Abs(file)
}

// report writes what a check found to the journal and to a file, as options ask for it.
func (a *app) report(c *cli.Context, o *options, check metrics.Check) error {
	file, err := metricsFile(c)
	if err != nil {
		return err
	}
	if o.dryRun {
		if file != "" {
			fmt.Fprintf(a.stderr, "Would write %q\n", file)
		}
		return nil
	}
	if c.Bool("journal") && a.journal != nil {
		a.journal(checkRecord(check.Findings))
	}
	if file == "" {
		return nil
	}
	dir, err := rooted.OpenRoot(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	defer dir.Close()
	name := filepath.Base(file)
	if kind := rooted.Kind(dir, name); kind != 0 && kind != unix.S_IFREG {
		return fmt.Errorf("write metrics: write %s: %w", file, rooted.ErrNotRegular)
	}
	if err := rooted.WriteFile(dir, name, metrics.Text(&check)); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}

// checkRecord is the record of a check for the journal.
func checkRecord(found []health.Finding) (p journal.Priority, message string, fields map[string]string) {
	fields = map[string]string{}
	var counts []string
	for _, severity := range health.Severities() {
		n := 0
		for _, f := range found {
			if f.Severity == severity {
				n++
			}
		}
		fields["BOOTC_PODMAN_"+strings.ToUpper(string(severity))] = strconv.Itoa(n)
		counts = append(counts, fmt.Sprintf("%d %s", n, severity))
	}
	var rules []string
	for _, f := range found {
		rules = append(rules, string(f.Rule))
	}
	slices.Sort(rules)
	fields["BOOTC_PODMAN_RULES"] = strings.Join(slices.Compact(rules), " ")
	p, message, fields["MESSAGE_ID"] = journal.PriInfo, "nothing is wrong", messageHealthy
	switch doctor.ResultOf(found) {
	case doctor.Faulty:
		p, message, fields["MESSAGE_ID"] = journal.PriWarning, "something is wrong", messageFaulty
	case doctor.Undetermined:
		p, message, fields["MESSAGE_ID"] = journal.PriWarning, "something could not be read", messageUndetermined
	}
	if len(found) > 0 {
		message += ": " + strings.Join(counts, ", ")
	}
	return p, "host checked, " + message, fields
}
