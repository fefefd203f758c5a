// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"encoding/json"
	"testing"
	"time"
)

// TestTimesKeepTheirZeros: the right column is what chrono makes of the left one.
func TestTimesKeepTheirZeros(t *testing.T) {
	for text, want := range map[string]string{
		"2026-08-01T10:00:00Z":                "2026-08-01T10:00:00Z",
		"2026-08-01T10:00:00.0Z":              "2026-08-01T10:00:00Z",
		"2026-08-01T10:00:00.5Z":              "2026-08-01T10:00:00.500Z",
		"2026-08-01T10:00:00.120Z":            "2026-08-01T10:00:00.120Z",
		"2026-08-01T10:00:00.1234Z":           "2026-08-01T10:00:00.123400Z",
		"2026-08-01T10:00:00.123450000Z":      "2026-08-01T10:00:00.123450Z",
		"2026-08-01T10:00:00.1234567Z":        "2026-08-01T10:00:00.123456700Z",
		"2026-08-01T10:00:00.000000001Z":      "2026-08-01T10:00:00.000000001Z",
		"2026-08-01T12:00:00.25+02:00":        "2026-08-01T10:00:00.250Z",
		"0001-01-01T00:00:00.000000010-00:00": "0001-01-01T00:00:00.000000010Z",
	} {
		parsed, err := time.Parse(time.RFC3339, text)
		must(t, err)
		got, err := json.Marshal(knownTime(parsed))
		must(t, err)
		if string(got) != `"`+want+`"` {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
		var back Time
		if err := json.Unmarshal(got, &back); err != nil || !back.Equal(parsed) {
			t.Errorf("%s: read back as %s, %v", text, back, err)
		}
	}
	if got := knownTime(time.Time{}); got != nil {
		t.Errorf("got %v, want nothing", got)
	}
}
