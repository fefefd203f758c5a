// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package metrics writes what an examination of a host found as metrics for the textfile
// collector of a node exporter.
//
// That collector reads the older text format of Prometheus, others read OpenMetrics. The
// text is valid in both: it has gauges only, no timestamps of samples, and the end mark of
// OpenMetrics, which is a comment in the older format. There is no dependency on a library
// for it: this is all of the format that is needed. Tests read it with the parsers of
// Prometheus.
package metrics

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bootc-podman/bootc-podman/internal/doctor"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// Check is an examination to write metrics of.
type Check struct {
	// Version is that of this program.
	Version string
	// Ended is when it ended, Took how long it took.
	Ended time.Time
	Took  time.Duration
	// Findings are all of it. State is nil where there is no host.
	Findings []health.Finding
	State    *doctor.State
}

// Metric is a metric that Text can write.
type Metric struct {
	Name, Help string
	// Labels are the names of the labels, in their order.
	Labels  []string
	samples func(c *Check) []sample
}

// sample is a value with the values of the labels.
type sample struct {
	labels []string
	value  float64
}

// prefix is that of all names.
const prefix = "bootc_podman_"

// All are the metrics, in the order of the text. The values of labels are bounded: by our
// own words, or by the three deployments that a host has by their roles.
func All() []Metric {
	return []Metric{
		{"build_info", "The version of bootc-podman that checked the host, always 1.", []string{"version"}, func(c *Check) []sample {
			return []sample{{[]string{c.Version}, 1}}
		}},
		{"check_timestamp_seconds", "When the last check of the host ended, in seconds since 1970.", nil, func(c *Check) []sample {
			return []sample{{nil, float64(c.Ended.Unix())}}
		}},
		{"check_duration_seconds", "How long the last check took.", nil, func(c *Check) []sample {
			return []sample{{nil, c.Took.Seconds()}}
		}},
		{"findings", "What doctor found, by severity.", []string{"severity"}, bySeverity},
		{"rule_findings", "What doctor found, by rule; rules without a finding are left out.", []string{"rule", "severity"}, byRule},
		ofState("unified", "Whether bootc upgrades the host through the bootc-owned store.", nil, func(s *doctor.State) []sample {
			if s.Unified == nil {
				return nil
			}
			return []sample{{nil, number(*s.Unified)}}
		}),
		ofState("bound_images", "Bound images of all deployments, by whether the bootc-owned store has them.", []string{"state"}, func(s *doctor.State) []sample {
			if s.BoundUnknown {
				return nil
			}
			return []sample{{[]string{"present"}, float64(s.BoundPresent)}, {[]string{"missing"}, float64(s.BoundMissing)}}
		}),
		ofState("store_images", "Images in a store.", []string{"store"}, ofStores(func(u inventory.StoreUsage) float64 { return float64(u.Images) })),
		ofState("store_bytes", "What the layers of a store hold, each counted once, shared extents not subtracted.", []string{"store"},
			ofStores(func(u inventory.StoreUsage) float64 { return float64(u.Size) })),
		ofState("filesystem_size_bytes", "Size of the filesystem of the bootc-owned store.", nil,
			ofFilesystem(func(fs *inventory.Filesystem) float64 { return float64(fs.Size) })),
		ofState("filesystem_available_bytes", "What root can still write to the filesystem of the bootc-owned store.", nil,
			ofFilesystem(func(fs *inventory.Filesystem) float64 { return float64(fs.Available) })),
		ofState("hook_runs", "Whether podman runs a hook when containers start.", []string{"hook"}, func(s *doctor.State) (list []sample) {
			for _, e := range s.Hooks {
				list = append(list, sample{[]string{e.Hook}, number(e.Installed)})
			}
			return list
		}),
		ofState("deployment_info", "A deployment and its image, always 1.", []string{"role", "image", "digest", "version"}, func(s *doctor.State) (list []sample) {
			for _, d := range s.Deployments {
				list = append(list, sample{[]string{string(d.Role), imageOf(d), d.ManifestDigest, d.Version}, 1})
			}
			return list
		}),
		ofState("deployment_created_timestamp_seconds", "When the image of a deployment was built, in seconds since 1970.", []string{"role"}, func(s *doctor.State) (list []sample) {
			for _, d := range s.Deployments {
				if !d.Created.IsZero() {
					list = append(list, sample{[]string{string(d.Role)}, float64(d.Created.Unix())})
				}
			}
			return list
		}),
	}
}

// Text returns the metrics of a check. Metrics without a value are left out.
func Text(c *Check) []byte {
	var out strings.Builder
	for _, m := range All() {
		samples := m.samples(c)
		if len(samples) == 0 {
			continue
		}
		name := prefix + m.Name
		out.WriteString("# HELP " + name + " " + m.Help + "\n# TYPE " + name + " gauge\n")
		for _, s := range samples {
			out.WriteString(name + labels(m.Labels, s.labels) + " " + strconv.FormatFloat(s.value, 'f', -1, 64) + "\n")
		}
	}
	out.WriteString("# EOF\n")
	return []byte(out.String())
}

// labels returns the labels of a sample with their braces, "" for none.
func labels(names, values []string) string {
	if len(names) == 0 {
		return ""
	}
	var list []string
	for i, name := range names {
		list = append(list, name+`="`+escape(values[i])+`"`)
	}
	return "{" + strings.Join(list, ",") + "}"
}

// maxLabel bounds the value of a label, in bytes. A reference has up to 255 for its name and
// 128 for its tag; files of a host may have more.
const maxLabel = 512

// escape returns a value as it is written between quotes. Names come from files of the host,
// with any bytes: other control characters than the newline have no escape in the format, and
// are replaced, as is what is no UTF-8, for which exporters drop the whole file.
func escape(value string) string {
	if len(value) > maxLabel {
		value = value[:maxLabel] + "…"
	}
	value = strings.Map(func(r rune) rune {
		if r != '\n' && (r < ' ' || 0x7f <= r && r < 0xa0 || r == '\u2028' || r == '\u2029') {
			return '\uFFFD'
		}
		return r
	}, value)
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value)
}

// ofState is a metric of the host's state.
func ofState(name, help string, labels []string, samples func(*doctor.State) []sample) Metric {
	return Metric{name, help, labels, func(c *Check) []sample {
		if c.State == nil {
			return nil
		}
		return samples(c.State)
	}}
}

func bySeverity(c *Check) (list []sample) {
	for _, severity := range health.Severities() {
		n := 0
		for _, f := range c.Findings {
			if f.Severity == severity {
				n++
			}
		}
		list = append(list, sample{[]string{string(severity)}, float64(n)})
	}
	return list
}

func byRule(c *Check) (list []sample) {
	type key struct {
		rule     health.Rule
		severity health.Severity
	}
	count := map[key]int{}
	for _, f := range c.Findings {
		count[key{f.Rule, f.Severity}]++
	}
	for _, k := range slices.SortedFunc(maps.Keys(count), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.rule, b.rule), cmp.Compare(a.severity, b.severity))
	}) {
		list = append(list, sample{[]string{string(k.rule), string(k.severity)}, float64(count[k])})
	}
	return list
}

func ofStores(value func(inventory.StoreUsage) float64) func(*doctor.State) []sample {
	return func(s *doctor.State) (list []sample) {
		for _, u := range s.Stores {
			list = append(list, sample{[]string{string(u.Store)}, value(u)})
		}
		return list
	}
}

func ofFilesystem(value func(*inventory.Filesystem) float64) func(*doctor.State) []sample {
	return func(s *doctor.State) []sample {
		if s.Filesystem == nil {
			return nil
		}
		return []sample{{nil, value(s.Filesystem)}}
	}
}

// imageOf is the image that a deployment follows, "" for one not made from an image.
func imageOf(d host.Deployment) string {
	if d.Image == nil {
		return ""
	}
	return d.Image.Image.String()
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
