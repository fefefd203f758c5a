// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
)

// document is the configuration of a container, config.json in the OCI runtime
// specification, as it was read: what is changed is replaced in its bytes, so that
// nothing else can change, known to us or not.
type document struct {
	raw         []byte
	annotations map[string]string
	// rootfs is the path of the root directory.
	rootfs      string
	cgroupsPath string
	mounts      []mount
}

// mount is one of the mounts in a configuration.
type mount struct {
	Type        string
	Source      string
	Destination string
	Options     []string

	// options is where the options are, empty right behind the opening brace where
	// there are none.
	options span
}

// span is a range of bytes.
type span struct{ from, to int }

// parseDocument reads a configuration. Names of fields are compared as by podman,
// which is written in Go, too: without regard to case.
func parseDocument(raw []byte) (*document, error) {
	d := &document{raw: raw}
	end, err := walkObject(raw, 0, map[string]func(span) error{
		"annotations": func(s span) error { return json.Unmarshal(raw[s.from:s.to], &d.annotations) },
		"root": func(s span) error {
			var root struct {
				Path string `json:"path"`
			}
			err := json.Unmarshal(raw[s.from:s.to], &root)
			d.rootfs = root.Path
			return err
		},
		"linux": func(s span) error {
			var linux struct {
				CgroupsPath string `json:"cgroupsPath"`
			}
			err := json.Unmarshal(raw[s.from:s.to], &linux)
			d.cgroupsPath = linux.CgroupsPath
			return err
		},
		"mounts": func(s span) error {
			return walkList(raw, s, func(s span) error {
				m, err := parseMount(raw, s)
				d.mounts = append(d.mounts, m)
				return err
			})
		},
	})
	if err == nil && len(bytes.TrimSpace(raw[end:])) > 0 {
		err = errors.New("more than one document")
	}
	if err != nil {
		return nil, fmt.Errorf("decode config: %w", err)
	}
	return d, nil
}

func parseMount(raw []byte, at span) (m mount, err error) {
	text := func(v *string) func(span) error {
		return func(s span) error { return json.Unmarshal(raw[s.from:s.to], v) }
	}
	m.options = span{at.from + 1, at.from + 1}
	_, err = walkObject(raw, at.from, map[string]func(span) error{
		"type": text(&m.Type), "source": text(&m.Source), "destination": text(&m.Destination),
		"options": func(s span) error {
			m.options = s
			return json.Unmarshal(raw[s.from:s.to], &m.Options)
		},
	})
	return m, err
}

// walkObject calls the function for each field in the map with where the value
// is, and returns where the object that begins at from ends. A field that is there
// twice is an error: readers disagree on which counts.
func walkObject(raw []byte, from int, fields map[string]func(span) error) (end int, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw[from:]))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return 0, notA("object", err)
	}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return 0, err
		}
		name, _ := token.(string)
		value, err := skipValue(dec, from)
		if err != nil {
			return 0, err
		}
		for field, read := range fields {
			if !strings.EqualFold(field, name) {
				continue
			}
			if seen[field] {
				return 0, fmt.Errorf("field %q is there twice", name)
			}
			seen[field] = true
			if err := read(value); err != nil {
				return 0, fmt.Errorf("field %q: %w", name, err)
			}
		}
	}
	_, err = dec.Token()
	return from + int(dec.InputOffset()), err
}

// walkList calls a function with where each value in the list is. A null is an
// empty list.
func walkList(raw []byte, at span, each func(span) error) error {
	if string(raw[at.from:at.to]) == "null" {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw[at.from:at.to]))
	if start, err := dec.Token(); err != nil || start != json.Delim('[') {
		return notA("list", err)
	}
	for dec.More() {
		value, err := skipValue(dec, at.from)
		if err != nil {
			return err
		}
		if err := each(value); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// skipValue returns where the next value is, if the decoder began at from.
func skipValue(dec *json.Decoder, from int) (span, error) {
	var value json.RawMessage
	if err := dec.Decode(&value); err != nil {
		return span{}, err
	}
	end := from + int(dec.InputOffset())
	return span{end - len(value), end}, nil
}

func notA(what string, err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("no input")
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("not a JSON %s", what)
}

// edit is a mount with other options.
type edit struct {
	at      span
	options []string
}

// with returns the document with the options of some mounts replaced. The edits
// are in the order of the mounts.
func (d *document) with(edits []edit) ([]byte, error) {
	var out bytes.Buffer
	done := 0
	for _, e := range edits {
		var options bytes.Buffer
		enc := json.NewEncoder(&options)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(e.options); err != nil {
			return nil, err
		}
		out.Write(d.raw[done:e.at.from])
		if e.at.from == e.at.to {
			fmt.Fprintf(&out, "%q:%s", "options", bytes.TrimSpace(options.Bytes()))
			if rest := bytes.TrimLeft(d.raw[e.at.to:], " \t\r\n"); len(rest) > 0 && rest[0] != '}' {
				out.WriteByte(',')
			}
		} else {
			out.Write(bytes.TrimSpace(options.Bytes()))
		}
		done = e.at.to
	}
	out.Write(d.raw[done:])
	return out.Bytes(), nil
}

// containerID finds the container's ID, which the configuration does not name, at the
// end of the name of its cgroup; or, without one, in the source of a file that podman
// makes for each, …/ID/userdata/.containerenv. "" when neither is there.
func (d *document) containerID() string {
	// Some prefix and the ID, by several names.
	id := strings.TrimSuffix(d.cgroupsPath, ".scope")
	if id = id[max(0, len(id)-64):]; cstorage.IsID(id) {
		return id
	}
	for _, m := range d.mounts {
		rest, ok := strings.CutSuffix(m.Source, "/userdata/.containerenv")
		if id := rest[strings.LastIndexByte(rest, '/')+1:]; ok && m.Destination == "/run/.containerenv" && cstorage.IsID(id) {
			return id
		}
	}
	return ""
}

// HasUserMounts reports whether a configuration has an overlay, or a bind mount of
// anything but a file that podman makes for each container.
func HasUserMounts(config []byte) (bool, error) {
	d, err := parseDocument(config)
	if err != nil {
		return false, err
	}
	id := d.containerID()
	return slices.ContainsFunc(d.mounts, func(m mount) bool {
		return m.Type == "overlay" || m.Type == "bind" && (id == "" || !isUserdata(filepath.Clean(m.Source), id))
	}), nil
}

// defaultRunRoot is that of the user root, see containers-storage.conf(5).
const defaultRunRoot = "/run/containers/storage"

// runRoots are the run roots that the container's store may have: the one that podman
// takes files from that it makes for each container, and the usual one.
func (d *document) runRoots(driver cstorage.Driver) []string {
	roots := []string{defaultRunRoot}
	rest := "/" + driver.Containers(d.containerID(), "userdata/.containerenv")
	for _, m := range d.mounts {
		root, ok := strings.CutSuffix(m.Source, rest)
		if ok && m.Destination == "/run/.containerenv" && root != defaultRunRoot {
			roots = append([]string{root}, roots...)
		}
	}
	return roots
}
