// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/internal/bound"
	"github.com/bootc-podman/bootc-podman/internal/health"
)

// lintFormat is a format of findings about files.
type lintFormat string

const (
	lintText   lintFormat = "text"
	lintJSON   lintFormat = "json"
	lintSARIF  lintFormat = "sarif"
	lintGitHub lintFormat = "github"
)

func lintFormats() []lintFormat { return []lintFormat{lintText, lintJSON, lintSARIF, lintGitHub} }

func (a *app) lintBound(c *cli.Context) error {
	if c.IsSet("root") && c.String("root") == "" {
		return usageErrorf("bound lint: --root is empty")
	}
	report, err := bound.Lint(cmp.Or(c.String("root"), a.root))
	if printErr := printLint(a.stdout, lintFormat(c.String("format")), report); printErr != nil {
		return fmt.Errorf("print findings: %w", printErr)
	}
	if err != nil {
		return orCode(err, exitUnknown)
	}
	var findings []health.Finding
	for _, f := range report.Findings {
		findings = append(findings, f.Finding)
	}
	return lintStatus(findings, c.Bool("strict"))
}

// lintStatus returns the exit status that findings come to: with strict also by those that
// are only risks.
func lintStatus(findings []health.Finding, strict bool) error {
	has := func(severity health.Severity) bool {
		return slices.ContainsFunc(findings, func(f health.Finding) bool { return f.Severity == severity })
	}
	switch {
	case has(health.Failing) || strict && has(health.Risk):
		return &exitError{code: exitNo}
	case has(health.Unknown):
		return &exitError{code: exitUnknown}
	}
	return nil
}

func printLint(w io.Writer, format lintFormat, report bound.LintReport) error {
	switch format {
	case lintJSON:
		return printJSON(w, report)
	case lintSARIF:
		return printJSON(w, sarifOf(report.Findings))
	case lintGitHub:
		for _, f := range report.Findings {
			if _, err := fmt.Fprintln(w, annotation(f)); err != nil {
				return err
			}
		}
		return nil
	}
	for _, f := range report.Findings {
		// The file comes first, as editors parse it.
		f.Where = ""
		at := f.File
		if f.Line > 0 {
			at = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		if _, err := fmt.Fprintf(w, "%s: %s: %s [%s]\n", printable(at), f.Severity, printable(f.String()), f.Rule); err != nil {
			return err
		}
		if f.Replacement != "" {
			fmt.Fprintf(w, "    replace with: %s\n", printable(f.Replacement))
		}
	}
	return nil
}

// message is the text of a finding for formats that have its place elsewhere.
func message(f bound.LintFinding) string {
	f.Where = ""
	text := f.String()
	if f.Replacement != "" {
		text += "; replace with: " + f.Replacement
	}
	return text
}

// annotation returns the workflow command with which GitHub shows a finding beside its line
// (docs.github.com, "Workflow commands for GitHub Actions").
func annotation(f bound.LintFinding) string {
	command := "error"
	if f.Severity != health.Failing {
		command = "warning"
	}
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	line := ""
	if f.Line > 0 {
		line = fmt.Sprintf(",line=%d", f.Line)
	}
	return fmt.Sprintf("::%s file=%s%s,title=%s::%s", command, property.Replace(f.File), line, property.Replace(string(f.Rule)), data.Replace(printable(message(f))))
}

// sarifLog is a log of the Static Analysis Results Interchange Format, version 2.1.0
// (docs.oasis-open.org/sarif/sarif/v2.1.0), with what a list of findings needs.
type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver sarifDriver `json:"driver"`
	} `json:"tool"`
	Results []sarifResult `json:"results"`
}

type sarifDriver struct {
	Name            string      `json:"name"`
	SemanticVersion string      `json:"semanticVersion"`
	Rules           []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID health.Rule `json:"id"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID    health.Rule     `json:"ruleId"`
	Level     string          `json:"level"`
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations"`
	Fixes     []sarifFix      `json:"fixes,omitempty"`
}

type sarifLocation struct {
	Physical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	} `json:"physicalLocation"`
}

type sarifArtifact struct {
	URI string `json:"uri"`
}

type sarifRegion struct {
	StartLine int `json:"startLine"`
}

type sarifFix struct {
	Description sarifText     `json:"description"`
	Changes     []sarifChange `json:"artifactChanges"`
}

type sarifChange struct {
	Artifact     sarifArtifact      `json:"artifactLocation"`
	Replacements []sarifReplacement `json:"replacements"`
}

type sarifReplacement struct {
	Deleted  sarifRegion `json:"deletedRegion"`
	Inserted sarifText   `json:"insertedContent"`
}

func sarifOf(findings []bound.LintFinding) sarifLog {
	run := sarifRun{Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "bootc-podman", SemanticVersion: version(), Rules: []sarifRule{}}
	for _, f := range findings {
		if rule := (sarifRule{f.Rule}); !slices.Contains(run.Tool.Driver.Rules, rule) {
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, rule)
		}
		level := "error"
		if f.Severity != health.Failing {
			level = "warning"
		}
		result := sarifResult{RuleID: f.Rule, Level: level, Message: sarifText{printable(message(f))}, Locations: make([]sarifLocation, 1)}
		file := sarifArtifact{fileURI(f.File)}
		result.Locations[0].Physical.Artifact = file
		if f.Line > 0 {
			result.Locations[0].Physical.Region = &sarifRegion{f.Line}
		}
		if f.Replacement != "" {
			result.Fixes = []sarifFix{{
				Description: sarifText{"replace with: " + f.Replacement},
				Changes:     []sarifChange{{file, []sarifReplacement{{sarifRegion{f.Line}, sarifText{f.Replacement + "\n"}}}}},
			}}
		}
		run.Results = append(run.Results, result)
	}
	return sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}

// fileURI returns the URI of a file, a relative one for a relative path.
func fileURI(path string) string {
	uri := url.URL{Path: filepath.ToSlash(path)}
	if filepath.IsAbs(path) {
		uri.Scheme = "file"
	}
	return uri.String()
}
