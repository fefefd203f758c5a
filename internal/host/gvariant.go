// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

var errVariant = errors.New("malformed GVariant")

// variant is a serialised value of the GVariant type named by kind.
type variant struct {
	kind string
	data []byte
}

// parseVardict reads a serialised GVariant of type a{sv}: the format of
// ostree's files below /run. The format is described in the "GVariant
// Specification" of GLib. Of several values with one key the first counts.
func parseVardict(data []byte) (map[string]variant, error) {
	dict := map[string]variant{}
	if len(data) == 0 {
		return dict, nil
	}
	// An array of entries ends in a table: where each of them ends.
	width := offsetWidth(len(data))
	table, ok := readOffset(data, len(data)-width, width)
	if !ok || table >= len(data) || (len(data)-table)%width != 0 {
		return nil, errVariant
	}
	start := 0
	for at := table; at < len(data); at += width {
		end, ok := readOffset(data, at, width)
		if !ok || end < start || end > table {
			return nil, errVariant
		}
		key, value, err := parseVardictEntry(data[start:end])
		if err != nil {
			return nil, err
		}
		if _, twice := dict[key]; !twice {
			dict[key] = value
		}
		start = align8(end)
	}
	return dict, nil
}

// parseVardictEntry reads one {sv}: the key, the value at a multiple of eight
// bytes, then where the key ends.
func parseVardictEntry(data []byte) (string, variant, error) {
	width := offsetWidth(len(data))
	keyEnd, ok := readOffset(data, len(data)-width, width)
	if !ok || align8(keyEnd) > len(data)-width {
		return "", variant{}, errVariant
	}
	key, err := variant{kind: "s", data: data[:keyEnd]}.text()
	if err != nil {
		return "", variant{}, err
	}
	value := data[align8(keyEnd) : len(data)-width]
	nul := bytes.LastIndexByte(value, 0)
	if nul < 0 {
		return "", variant{}, errVariant
	}
	return key, variant{kind: string(value[nul+1:]), data: value[:nul]}, nil
}

// text returns a value of type s.
func (v variant) text() (string, error) {
	if v.kind != "s" || len(v.data) == 0 || bytes.IndexByte(v.data, 0) != len(v.data)-1 {
		return "", errVariant
	}
	return string(v.data[:len(v.data)-1]), nil
}

// vardict returns a value of type a{sv}.
func (v variant) vardict() (map[string]variant, error) {
	if v.kind != "a{sv}" {
		return nil, errVariant
	}
	return parseVardict(v.data)
}

// pair returns a value of type (tt).
func (v variant) pair() (first, second uint64, err error) {
	if v.kind != "(tt)" || len(v.data) != 16 {
		return 0, 0, errVariant
	}
	return binary.NativeEndian.Uint64(v.data), binary.NativeEndian.Uint64(v.data[8:]), nil
}

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

func readOffset(data []byte, at, width int) (int, bool) {
	if at < 0 || at+width > len(data) {
		return 0, false
	}
	var le [4]byte
	copy(le[:], data[at:at+width])
	offset := int64(binary.LittleEndian.Uint32(le[:]))
	return int(offset), offset <= int64(len(data))
}

func align8(n int) int { return (n + 7) &^ 7 }

// variantText reads the GVariant text format as GLib prints it, so far as
// commits of ostree need it. Types are skipped, not checked. Values become
// string, []byte (for b'…'), []any (arrays and tuples), map[string]any
// (dictionaries with strings as keys) and atom (numbers, booleans).
type variantText struct {
	text  string
	depth int
}

// atom is a number or boolean as printed.
type atom string

// GLib nests no deeper either.
const maxVariantDepth = 128

func (p *variantText) value() (any, error) {
	if p.depth++; p.depth > maxVariantDepth {
		return nil, fmt.Errorf("%w: nested too deeply", errVariant)
	}
	defer func() { p.depth-- }()
	p.space()
	if p.text == "" {
		return nil, fmt.Errorf("%w: unexpected end", errVariant)
	}
	switch c := p.text[0]; c {
	case '\'', '"':
		return p.quoted()
	case '<':
		p.text = p.text[1:]
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		if !p.skip('>') {
			return nil, p.unexpected()
		}
		return v, nil
	case '(':
		return p.list(')')
	case '[':
		return p.list(']')
	case '{':
		return p.dict()
	case '@':
		p.until(" ")
		return p.value()
	case 'b':
		if len(p.text) > 1 && (p.text[1] == '\'' || p.text[1] == '"') {
			p.text = p.text[1:]
			return p.byteString()
		}
	}
	switch word := p.until(" ,:<>()[]{}'\"@\n"); word {
	case "":
		return nil, p.unexpected()
	case "boolean", "byte", "int16", "uint16", "int32", "uint32", "handle", "int64", "uint64",
		"double", "string", "objectpath", "signature", "just":
		return p.value()
	default:
		return atom(word), nil
	}
}

// list reads an array or a tuple.
func (p *variantText) list(end byte) ([]any, error) {
	p.text = p.text[1:]
	list := []any{}
	for !p.skip(end) {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		// A tuple of one is printed with a comma, too.
		if !p.skip(',') {
			if !p.skip(end) {
				return nil, p.unexpected()
			}
			break
		}
	}
	return list, nil
}

func (p *variantText) dict() (map[string]any, error) {
	p.text = p.text[1:]
	dict := map[string]any{}
	for !p.skip('}') {
		k, err := p.value()
		if err != nil {
			return nil, err
		}
		key, ok := k.(string)
		if !ok {
			return nil, fmt.Errorf("%w: a key is no string", errVariant)
		}
		if !p.skip(':') {
			return nil, p.unexpected()
		}
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		if _, twice := dict[key]; !twice {
			dict[key] = v
		}
		if !p.skip(',') {
			if !p.skip('}') {
				return nil, p.unexpected()
			}
			break
		}
	}
	return dict, nil
}

// quoted reads a string in quotes of either kind.
func (p *variantText) quoted() (string, error) {
	var b strings.Builder
	err := p.unquote(&b, func(c byte) error {
		switch c {
		case 'u', 'U':
			digits := 4
			if c == 'U' {
				digits = 8
			}
			n, ok := p.number(digits, 16)
			if !ok || !utf8.ValidRune(rune(n)) {
				return fmt.Errorf("%w: bad Unicode escape", errVariant)
			}
			b.WriteRune(rune(n))
		default:
			b.WriteByte(controlEscape(c))
		}
		return nil
	})
	return b.String(), err
}

// byteString reads b'…', an array of bytes whose only zero is its last; that
// one is not printed.
func (p *variantText) byteString() ([]byte, error) {
	var b strings.Builder
	err := p.unquote(&b, func(c byte) error {
		if c < '0' || c > '7' {
			b.WriteByte(controlEscape(c))
			return nil
		}
		p.text = string(c) + p.text
		n, ok := p.number(3, 8)
		if !ok || n > math.MaxUint8 {
			return fmt.Errorf("%w: bad octal escape", errVariant)
		}
		b.WriteByte(byte(n))
		return nil
	})
	return append([]byte(b.String()), 0), err
}

// unquote reads up to the quote that the text begins with. escape is called for
// each backslash, with the character after it and the rest in p.text.
func (p *variantText) unquote(b *strings.Builder, escape func(c byte) error) error {
	quote := p.text[0]
	p.text = p.text[1:]
	for {
		i := strings.IndexAny(p.text, string([]byte{quote, '\\'}))
		if i < 0 || p.text[i] == '\\' && i+1 == len(p.text) {
			return fmt.Errorf("%w: unterminated string", errVariant)
		}
		b.WriteString(p.text[:i])
		if p.text[i] == quote {
			p.text = p.text[i+1:]
			return nil
		}
		c := p.text[i+1]
		p.text = p.text[i+2:]
		if err := escape(c); err != nil {
			return err
		}
	}
}

func controlEscape(c byte) byte {
	switch c {
	case 'a':
		return '\a'
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'v':
		return '\v'
	}
	return c // a quote or a backslash
}

// number takes a number of just so many digits.
func (p *variantText) number(digits, base int) (uint64, bool) {
	if len(p.text) < digits {
		return 0, false
	}
	n, err := strconv.ParseUint(p.text[:digits], base, 31)
	p.text = p.text[digits:]
	return n, err == nil
}

// until takes the text before the first of stops, all of it if there is none.
func (p *variantText) until(stops string) string {
	i := strings.IndexAny(p.text, stops)
	if i < 0 {
		i = len(p.text)
	}
	word := p.text[:i]
	p.text = p.text[i:]
	return word
}

func (p *variantText) space() { p.text = strings.TrimLeft(p.text, " \n") }

func (p *variantText) skip(c byte) bool {
	p.space()
	if p.text == "" || p.text[0] != c {
		return false
	}
	p.text = p.text[1:]
	return true
}

func (p *variantText) unexpected() error {
	return fmt.Errorf("%w: unexpected %.10q", errVariant, p.text)
}

// byteArray returns what an array of bytes holds, in either of the forms GLib
// prints.
func byteArray(v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		return v, nil
	case []any:
		array := make([]byte, 0, len(v))
		for _, elem := range v {
			a, _ := elem.(atom)
			n, err := strconv.ParseUint(string(a), 0, 8)
			if err != nil {
				return nil, fmt.Errorf("%w: not a byte", errVariant)
			}
			array = append(array, byte(n))
		}
		return array, nil
	}
	return nil, fmt.Errorf("%w: no array of bytes", errVariant)
}
