// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The prefixes of the refs of ostree-ext. An escaped name follows.
const (
	// ImageRefPrefix is that of images, which point to merge commits. The name is that of
	// the image with its transport.
	ImageRefPrefix = "ostree/container/image/"
	// LayerRefPrefix is that of single layers. The name is the digest.
	LayerRefPrefix = "ostree/container/blob/"
)

// alnum are the characters that are the same in an escaped name.
const alnum = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// EscapeRef writes s in the characters that ostree allows in a ref, by the rules
// of ostree-ext: "_" is doubled, and what is neither a letter or digit of ASCII
// nor "-" becomes its code point between underscores, "_3A_" for a colon.
// A slash stays where it makes no empty path component. The empty string,
// NUL and what is not UTF-8 cannot be escaped.
//
// As there, the result is not always a valid ref: ostree refuses a path
// component that begins with "-".
func EscapeRef(s string) (string, error) {
	if s == "" || strings.Contains(s, "\x00") || !utf8.ValidString(s) {
		return "", fmt.Errorf("escape %q for an ostree ref: empty, not UTF-8, or with a NUL character", s)
	}
	var b strings.Builder
	afterAlnum := false
	for i, c := range s {
		isAlnum := c < utf8.RuneSelf && strings.ContainsRune(alnum, c)
		switch {
		case isAlnum || c == '-' || c == '/' && afterAlnum && i < len(s)-1:
			b.WriteRune(c)
		case c == '_':
			b.WriteString("__")
		default:
			fmt.Fprintf(&b, "_%02X_", c)
		}
		afterAlnum = isAlnum
	}
	return b.String(), nil
}

// UnescapeRef undoes EscapeRef. It also reads what EscapeRef would write in
// another way, like lower case code points, since ostree-ext does; so two refs
// can stand for one name. Anything else is an error.
func UnescapeRef(ref string) (string, error) {
	fail := func(why string) (string, error) {
		return "", fmt.Errorf("unescape ostree ref %q: %s", ref, why)
	}
	if ref == "" {
		return fail("empty")
	}
	var b strings.Builder
	for rest := ref; rest != ""; {
		c := rest[0]
		rest = rest[1:]
		if c != '_' {
			if c != '-' && c != '/' && !strings.Contains(alnum, string(rune(c))) {
				return fail("invalid character")
			}
			b.WriteByte(c)
			continue
		}
		code, after, found := strings.Cut(rest, "_")
		if !found {
			return fail("underscore without its pair")
		}
		rest = after
		if code == "" {
			b.WriteByte('_')
			continue
		}
		point, err := strconv.ParseUint(code, 16, 31)
		if err != nil || point == 0 || !utf8.ValidRune(rune(point)) {
			return fail("invalid code point")
		}
		b.WriteRune(rune(point))
	}
	return b.String(), nil
}
