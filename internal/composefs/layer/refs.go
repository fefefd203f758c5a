// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"io"
	"strconv"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
)

// ParseRefs reads the compressed names of n references, of which ref returns one by its
// index: records of an index, a colon, and a name that may have more of them, each with a NUL
// after it. The error is ErrDamaged.
func ParseRefs(r io.Reader, n int, ref func(int) composefs.ID) (map[string]composefs.ID, error) {
	z, err := decompress(r)
	if err != nil {
		return nil, damagedf("%w", err)
	}
	defer z.Close()
	text, err := io.ReadAll(io.LimitReader(z, maxNames+1))
	switch {
	case err != nil:
		return nil, damagedf("%w", err)
	case len(text) > maxNames:
		return nil, damagedf("more than %d bytes", maxNames)
	case len(text) > 0 && text[len(text)-1] != 0:
		return nil, damagedf("%w", io.ErrUnexpectedEOF)
	}
	refs := map[string]composefs.ID{}
	for record := range strings.SplitSeq(strings.TrimSuffix(string(text), "\x00"), "\x00") {
		if len(text) == 0 {
			break
		}
		index, name, ok := strings.Cut(record, ":")
		i, err := strconv.Atoi(index)
		if !ok || err != nil || i < 0 || i >= n || name == "" {
			return nil, damagedf("record %.80q", record)
		}
		if _, twice := refs[name]; twice {
			return nil, damagedf("two records of %.80q", name)
		}
		refs[name] = ref(i)
	}
	return refs, nil
}
