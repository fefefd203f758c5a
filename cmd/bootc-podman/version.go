// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	_ "embed"
	"fmt"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"
)

// versionFile is the release of a tree without a tag.
//
//go:embed VERSION
var versionFile string

// taggedVersion and builtCommit are set by the Makefile: the tag of a tree that has one, and
// the commit that was built, "" if that is not known.
var taggedVersion, builtCommit string

// version returns the release, as MAJOR.MINOR.PATCH.
func version() string { return cmp.Or(taggedVersion, strings.TrimSpace(versionFile)) }

// versionReport is what docs/version-v1.schema.json describes.
type versionReport struct {
	Schema    int    `json:"schema"`
	Version   string `json:"version"`
	Commit    string `json:"commit"`
	GoVersion string `json:"go_version"`
	Platform  string `json:"platform"`
}

func (a *app) versionCommand() *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "version",
		Usage:     "print the version",
		UsageText: "bootc-podman version [options]",
		Flags:     []cli.Flag{formatChoice("print as `FORMAT`: %s", "text")},
		Action: func(c *cli.Context) error {
			report := versionReport{
				Schema: 1, Version: version(), Commit: builtCommit,
				GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
			}
			if c.String("format") == "json" {
				return printJSON(a.stdout, report)
			}
			built := ""
			if report.Commit != "" {
				built = "commit " + report.Commit + ", "
			}
			_, err := fmt.Fprintf(a.stdout, "bootc-podman version %s (%s%s, %s)\n", report.Version, built, report.GoVersion, report.Platform)
			return err
		},
	})
}

// version prints what scripts compare, as podman --version does.
func (a *app) version() error {
	_, err := fmt.Fprintf(a.stdout, "bootc-podman version %s\n", version())
	return err
}
