// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"unicode/utf8"
)

// errVariant is the error for data that is no GVariant of the expected type in normal
// form.
var errVariant = errors.New("malformed GVariant")

// Value is a serialised GVariant. Containers are split when their members are read,
// and only the normal form is accepted, in which a value has one serialisation. The source
// of the format is the "GVariant Specification" of GLib.
type Value struct {
	kind *kind
	data []byte
}

// kind is a type of GVariant.
type kind struct {
	// text is the type string, code its first character.
	text string
	code byte
	// align is the alignment in bytes, size the size, 0 where values differ in size.
	align, size int
	// of has the types of the members of a container.
	of []*kind
	// offsets is the number of members of a tuple whose ends are written behind it.
	offsets int
}

// maxDepth bounds the nesting of types, as in GLib. maxKind bounds a type string in bytes:
// in memory, a type takes many times as much.
const (
	maxDepth = 128
	maxKind  = 4096
)

// basic has the sizes of the types of a fixed size, which are aligned to it.
var basic = map[byte]int{'b': 1, 'y': 1, 'n': 2, 'q': 2, 'i': 4, 'u': 4, 'h': 4, 'x': 8, 't': 8, 'd': 8}

// lazyKind returns a function that parses a valid type string once, when it is needed.
func lazyKind(text string) func() *kind {
	return sync.OnceValue(func() *kind { return mustKind(text) })
}

// mustKind returns the type of a valid type string.
func mustKind(text string) *kind {
	k, rest := parseKind(text, 0)
	if k == nil || rest != "" {
		panic("invalid type " + text)
	}
	return k
}

// parseKind returns the type that a type string begins with, nil for none, and the rest.
func parseKind(text string, depth int) (k *kind, rest string) {
	if text == "" || depth > maxDepth {
		return nil, text
	}
	k = &kind{code: text[0], align: 1}
	rest = text[1:]
	switch k.code {
	case 's', 'o', 'g':
	case 'v':
		k.align = 8
	case 'a', 'm':
		var of *kind
		if of, rest = parseKind(rest, depth+1); of == nil {
			return nil, text
		}
		k.of, k.align = []*kind{of}, of.align
	case '(', '{':
		end := byte(')')
		if k.code == '{' {
			end = '}'
		}
		for rest != "" && rest[0] != end {
			var of *kind
			if of, rest = parseKind(rest, depth+1); of == nil {
				return nil, text
			}
			k.of = append(k.of, of)
		}
		if rest == "" || k.code == '{' && !k.isEntry() {
			return nil, text
		}
		rest = rest[1:]
		k.layOut()
	default:
		size, ok := basic[k.code]
		if !ok {
			return nil, text
		}
		k.align, k.size = size, size
	}
	k.text = text[:len(text)-len(rest)]
	return k, rest
}

// isEntry reports whether the members are those of an entry in a dictionary: a basic type
// and any type.
func (k *kind) isEntry() bool {
	return len(k.of) == 2 && !strings.ContainsRune("vam({", rune(k.of[0].code))
}

// layOut sets the layout of a tuple, which has a fixed size if all of its members have.
func (k *kind) layOut() {
	size := 0
	for i, of := range k.of {
		k.align = max(k.align, of.align)
		switch {
		case of.size == 0 && i < len(k.of)-1:
			k.offsets++
			fallthrough
		case of.size == 0:
			size = math.MinInt32
		default:
			size = align(size, of.align) + of.size
		}
	}
	if size >= 0 {
		k.size = max(1, align(size, k.align)) // an empty tuple takes one byte
	}
}

// value checks the size of data.
func (k *kind) value(data []byte) (Value, error) {
	if k.size != 0 && len(data) != k.size {
		return Value{}, errVariant
	}
	return Value{kind: k, data: data}, nil
}

// is reports whether v has the type with this type string.
func (v Value) is(text string) bool { return v.kind != nil && v.kind.text == text }

// members splits a tuple or an entry of a dictionary. Behind the members is where those
// whose size differs end, the first one last, but for the last member.
func (v Value) members() ([]Value, error) {
	k, data := v.kind, v.data
	if k == nil || k.code != '(' && k.code != '{' {
		return nil, errVariant
	}
	width := offsetWidth(len(data))
	body := len(data) - k.offsets*width
	if k.size == 0 && (body < 0 || tableWidth(body, k.offsets) != width) {
		return nil, errVariant
	}
	members, at, offsets := make([]Value, len(k.of)), 0, 0
	for i, of := range k.of {
		start, ok := skipPadding(data[:body], at, of.align)
		if !ok {
			return nil, errVariant
		}
		end := body
		switch {
		case of.size != 0:
			end = start + of.size
		case i < len(k.of)-1:
			offsets++
			end = readOffset(data, len(data)-offsets*width, width)
		}
		if end < start || end > body {
			return nil, errVariant
		}
		members[i], at = Value{kind: of, data: data[start:end:end]}, end
	}
	if k.size != 0 {
		if at, _ = skipPadding(data, at, k.align); at == 0 && data[0] == 0 { // an empty tuple
			at = 1
		}
	}
	if at != body {
		return nil, errVariant
	}
	return members, nil
}

// elements splits an array. Where the size of its elements differs, it ends in a table of
// where each of them ends.
func (v Value) elements() ([]Value, error) {
	if v.kind == nil || v.kind.code != 'a' {
		return nil, errVariant
	}
	of, data := v.kind.of[0], v.data
	if len(data) == 0 {
		return nil, nil
	}
	if of.size != 0 {
		if len(data)%of.size != 0 {
			return nil, errVariant
		}
		elements := make([]Value, len(data)/of.size)
		for i := range elements {
			at, end := i*of.size, (i+1)*of.size
			elements[i] = Value{kind: of, data: data[at:end:end]}
		}
		return elements, nil
	}
	width := offsetWidth(len(data))
	table := readOffset(data, len(data)-width, width)
	if table >= len(data) || (len(data)-table)%width != 0 {
		return nil, errVariant
	}
	elements := make([]Value, (len(data)-table)/width)
	if tableWidth(table, len(elements)) != width {
		return nil, errVariant
	}
	at := 0
	for i := range elements {
		start, ok := skipPadding(data[:table], at, of.align)
		end := readOffset(data, table+i*width, width)
		if !ok || end < start || end > table {
			return nil, errVariant
		}
		elements[i], at = Value{kind: of, data: data[start:end:end]}, end
	}
	return elements, nil
}

// inner returns the value in a variant: its type string is behind it, after a zero byte. A
// value of a type longer than maxKind is one that cannot be read.
func (v Value) inner() (Value, error) {
	if !v.is("v") {
		return Value{}, errVariant
	}
	nul := bytes.LastIndexByte(v.data, 0)
	if nul < 0 {
		return Value{}, errVariant
	}
	text := v.data[nul+1:]
	if len(text) > maxKind {
		return Value{}, nil
	}
	k, rest := parseKind(string(text), 0)
	if k == nil || rest != "" {
		return Value{}, errVariant
	}
	return k.value(v.data[:nul:nul])
}

// Text returns a value of type s.
func (v Value) Text() (string, error) {
	if !v.is("s") {
		return "", errVariant
	}
	text, err := zeroTerminated(v.data)
	if err == nil && !utf8.ValidString(text) {
		err = errVariant
	}
	return text, err
}

// bytes returns a value of type ay.
func (v Value) bytes() ([]byte, error) {
	if !v.is("ay") {
		return nil, errVariant
	}
	return v.data, nil
}

// byteString returns a value of type ay that ends in its only zero byte, without it.
func (v Value) byteString() (string, error) {
	data, err := v.bytes()
	if err != nil {
		return "", err
	}
	return zeroTerminated(data)
}

func zeroTerminated(data []byte) (string, error) {
	if len(data) == 0 || bytes.IndexByte(data, 0) != len(data)-1 {
		return "", errVariant
	}
	return string(data[:len(data)-1]), nil
}

// Pair returns a value of type (tt), in the byte order of the machine.
func (v Value) Pair() (first, second uint64, err error) {
	if !v.is("(tt)") {
		return 0, 0, errVariant
	}
	return binary.NativeEndian.Uint64(v.data), binary.NativeEndian.Uint64(v.data[8:]), nil
}

// Bool returns a value of type b.
func (v Value) Bool() (bool, error) {
	if !v.is("b") || len(v.data) != 1 || v.data[0] > 1 {
		return false, errVariant
	}
	return v.data[0] == 1, nil
}

// Dict is a GVariant of type a{sv}.
type Dict map[string]Value

var dictKind = lazyKind("a{sv}")

// ParseDict reads a serialised GVariant of type a{sv}, as ostree writes its files in /run.
// Of several values with one key the first counts.
func ParseDict(data []byte) (Dict, error) { return Value{kind: dictKind(), data: data}.Dict() }

// Dict returns a value of type a{sv}.
func (v Value) Dict() (Dict, error) {
	if !v.is("a{sv}") {
		return nil, errVariant
	}
	entries, err := v.elements()
	if err != nil {
		return nil, err
	}
	dict := make(Dict, len(entries))
	for _, entry := range entries {
		pair, err := entry.members()
		if err != nil {
			return nil, err
		}
		key, err := pair[0].Text()
		if err != nil {
			return nil, err
		}
		value, err := pair[1].inner()
		if err != nil {
			return nil, fmt.Errorf("%w: value of %.80q", err, key)
		}
		if _, twice := dict[key]; !twice {
			dict[key] = value
		}
	}
	return dict, nil
}

// Text returns the value of a key, of type s. The error is errVariant for another type or
// none.
func (d Dict) Text(key string) (string, error) { return d[key].Text() }

// offsetWidth is the size of an offset in a container of size bytes.
func offsetWidth(size int) int {
	switch {
	case size <= math.MaxUint8:
		return 1
	case size <= math.MaxUint16:
		return 2
	default:
		return 4
	}
}

// tableWidth is the smallest size of n offsets behind body bytes, which is the normal one.
func tableWidth(body, n int) int {
	width := 1
	for width < 4 && offsetWidth(body+n*width) > width {
		width *= 2
	}
	return width
}

// readOffset reads an offset of width bytes at a position in data.
func readOffset(data []byte, at, width int) int {
	var le [4]byte
	copy(le[:], data[at:at+width])
	return int(min(binary.LittleEndian.Uint32(le[:]), math.MaxInt32))
}

// skipPadding returns the next multiple of to in data, if there are only zeros before it.
func skipPadding(data []byte, at, to int) (int, bool) {
	next := align(at, to)
	if next > len(data) {
		return 0, false
	}
	for _, b := range data[at:next] {
		if b != 0 {
			return 0, false
		}
	}
	return next, true
}

func align(n, to int) int { return (n + to - 1) &^ (to - 1) }
