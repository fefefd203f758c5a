// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import "time"

// Time is a time whose JSON form is the one that bootc prints, of the crate chrono: RFC 3339
// in UTC with no fraction of a second, or one of three, six or nine digits. Package time
// leaves out zeros at the end.
type Time struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	layout := "2006-01-02T15:04:05"
	switch ns := t.Nanosecond(); {
	case ns == 0:
	case ns%1_000_000 == 0:
		layout += ".000"
	case ns%1_000 == 0:
		layout += ".000000"
	default:
		layout += ".000000000"
	}
	return []byte(t.UTC().Format(`"` + layout + `Z"`)), nil
}

// knownTime returns nil for the zero time.
func knownTime(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	return &Time{t.UTC()}
}
