// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"strings"
	"testing"
)

func TestDictReadsOffsetsOfEveryWidth(t *testing.T) {
	for _, size := range []int{1, 200, 300, 65_000, 70_000} {
		want := strings.Repeat("x", size)
		got, err := ParseDict(dictOf("long", "s", want+"\x00"))
		if err != nil {
			t.Fatal(err)
		}
		if text, err := got.Text("long"); text != want || err != nil {
			t.Errorf("size %d: got %.10q, %v", size, text, err)
		}
	}
}

// dictOf serialises a dictionary of one entry.
func dictOf(key, kind, value string) []byte {
	entry := append([]byte(key), 0)
	end := len(entry)
	entry = append(entry, make([]byte, align(end, 8)-end)...)
	entry = appendOffsets(append(append(append(entry, value...), 0), kind...), end)
	return appendOffsets(entry, len(entry))
}
