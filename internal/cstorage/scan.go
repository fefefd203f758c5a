// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// scanner reads JSON as the programs of container stores write it, six times as fast as
// encoding/json, which would take most of the time of a list of a thousand images. What it
// accepts it reads as encoding/json does. Where it fails, encoding/json has to judge: text
// that is malformed, values of another type or null, fractions, wanted strings with escapes
// or beyond ASCII, and names of members with capital letters, which encoding/json takes for
// those without.
type scanner struct {
	text   string
	at     int
	depth  int
	failed bool
}

// maxScan bounds the nesting of values, which recursion follows.
const maxScan = 100

// decode reads the text of one value with scan, whose strings are parts of the text. Where
// scan is nil or fails, encoding/json reads it.
func decode[T any](text []byte, into *T, scan func(*T, *scanner)) error {
	if scan != nil {
		s := &scanner{text: string(text)}
		scan(into, s)
		if s.peek() == 0 && s.at == len(s.text) && !s.failed {
			return nil
		}
		*into = *new(T)
	}
	return json.Unmarshal(text, into)
}

// list returns the function that reads a list of what scan reads.
func list[T any](scan func(*T, *scanner)) func(*[]T, *scanner) {
	return func(to *[]T, s *scanner) {
		*to = make([]T, 0, len(s.text)/512) // about the length of a record
		s.array(func() {
			*to = append(*to, *new(T))
			scan(&(*to)[len(*to)-1], s)
		})
	}
}

func (s *scanner) fail() { s.failed, s.at = true, len(s.text) }

// peek passes white space and returns the character after it, 0 at the end.
func (s *scanner) peek() byte {
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// pass passes a character, if it is the next.
func (s *scanner) pass(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

// need passes a character that has to be the next.
func (s *scanner) need(c byte) {
	if !s.pass(c) {
		s.fail()
	}
}

// elements calls do at each element between two brackets.
func (s *scanner) elements(open, end byte, do func()) {
	s.need(open)
	if s.depth++; s.depth > maxScan {
		s.fail()
	}
	for more := !s.pass(end); more && !s.failed; {
		do()
		if more = !s.pass(end); more {
			s.need(',')
		}
	}
	s.depth--
}

// array calls do at each element of an array.
func (s *scanner) array(do func()) { s.elements('[', ']', do) }

// object calls do at the value of each member of an object.
func (s *scanner) object(do func(name string)) {
	s.elements('{', '}', func() {
		name := s.str()
		s.need(':')
		do(name)
	})
}

// quoted passes a string. It returns what is between the quotes, and whether that is ASCII
// without escapes.
func (s *scanner) quoted() (text string, plain bool) {
	s.need('"')
	plain = true
	for start := s.at; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return s.text[start : s.at-1], plain
		case c == '\\':
			plain = false
			s.escape()
		case c < ' ':
			s.fail()
		case c >= utf8.RuneSelf:
			plain = false
		}
	}
	s.fail()
	return "", false
}

// escape passes all of an escape but its last character.
func (s *scanner) escape() {
	s.at++
	rest := s.text[s.at:]
	switch {
	case rest != "" && strings.IndexByte(`"\/bfnrt`, rest[0]) >= 0:
	case len(rest) > 4 && rest[0] == 'u' && strings.Trim(rest[1:5], lowerHex+"ABCDEF") == "":
		s.at += 4
	default:
		s.fail()
	}
}

// str reads a string.
func (s *scanner) str() string {
	text, plain := s.quoted()
	if !plain {
		s.fail()
	}
	return text
}

// strs reads a list of strings.
func (s *scanner) strs() []string {
	list := []string{}
	s.array(func() { list = append(list, s.str()) })
	return list
}

// members adds the members of an object to a map.
func members[T any](s *scanner, to *map[string]T, read func() T) {
	if *to == nil {
		*to = map[string]T{}
	}
	s.object(func(name string) { (*to)[name] = read() })
}

// number reads a whole number.
func (s *scanner) number() (n int64) {
	negative := s.pass('-')
	start := s.at
	for ; s.at < len(s.text) && '0' <= s.text[s.at] && s.text[s.at] <= '9'; s.at++ {
		n = n*10 + int64(s.text[s.at]-'0')
	}
	if length := s.at - start; length == 0 || length > 18 || length > 1 && s.text[start] == '0' {
		s.fail()
	}
	if negative {
		return -n
	}
	return n
}

// skip passes a value of any type and returns its text.
func (s *scanner) skip() string {
	c := s.peek()
	start := s.at
	switch c {
	case '{':
		s.elements('{', '}', func() {
			s.quoted()
			s.need(':')
			s.skip()
		})
	case '[':
		s.array(func() { s.skip() })
	case '"':
		s.quoted()
	case 't', 'f', 'n':
		for _, word := range []string{"true", "false", "null"} {
			if strings.HasPrefix(s.text[start:], word) {
				s.at += len(word)
			}
		}
		if s.at == start {
			s.fail()
		}
	default:
		s.number()
	}
	return s.text[start:s.at]
}

// other skips the value of a member that is not wanted.
func (s *scanner) other(name string) {
	if strings.ToLower(name) != name {
		s.fail()
	}
	s.skip()
}
