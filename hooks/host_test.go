// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/bootc-podman/bootc-podman/internal/testhost"
)

// record is what a hook wrote to the journal.
type record struct {
	priority journal.Priority
	message  string
	fields   map[string]string
}

type recordingJournal struct{ records []record }

func (j *recordingJournal) send(p journal.Priority, message string, fields map[string]string) {
	j.records = append(j.records, record{p, message, fields})
}

// text is all messages, a line each.
func (j *recordingJournal) text() string {
	var lines strings.Builder
	for _, r := range j.records {
		lines.WriteString(r.message + "\n")
	}
	return lines.String()
}

// testHost is a host in a temporary directory.
type testHost struct {
	*testhost.Root
	t       *testing.T
	journal *recordingJournal
}

const (
	testBoot  = "01234567-89ab-cdef-0123-456789abcdef"
	bootcRoot = "/sysroot/ostree/bootc/storage"
	podmans   = "/var/lib/containers/storage"
)

func newTestHost(t *testing.T) *testHost {
	t.Helper()
	h := &testHost{Root: testhost.New(t), t: t, journal: &recordingJournal{}}
	h.Write("proc/sys/kernel/random/boot_id", testBoot+"\n")
	h.Write("proc/self/mountinfo", "")
	h.Mkdir("run")
	return h
}

// id is an ID of 64 digits that ends in a number.
func id(n int) string { return fmt.Sprintf("%064d", n) }

// process has process 42 that started at some tick.
func (h *testHost) process(state string, start uint64) {
	h.t.Helper()
	fields := make([]string, 52)
	for i := range fields {
		fields[i] = "0"
	}
	fields[0], fields[19] = state, strconv.FormatUint(start, 10)
	h.Write("proc/42/stat", "42 (a) R (b) "+strings.Join(fields, " ")+"\n")
}

// image puts an image of one layer into a store.
func (h *testHost) image(store string, n int, names ...string) {
	h.t.Helper()
	h.layer(store, n)
	h.Write(store+"/overlay-images/images.json", fmt.Sprintf(`[{"id":%q,"digest":"sha256:%s","names":["%s"],"layer":%q}]`,
		id(n), id(n), strings.Join(names, `","`), id(n)))
	h.Write(store+"/overlay-layers/layers.json", fmt.Sprintf(`[{"id":%q,"diff-digest":"sha256:%s","diff-size":1}]`, id(n), id(n)))
}

func (h *testHost) layer(store string, n int) {
	h.t.Helper()
	h.Mkdir(store + "/overlay/" + id(n) + "/diff")
	h.Link("../"+id(n)+"/diff", store+"/overlay/l/"+linkName(n))
}

func linkName(n int) string { return fmt.Sprintf("LINK%022d", n) }

// container makes container n of image m, whose layers are lower.
func (h *testHost) container(store string, n, m int, imageName string, lower ...int) {
	h.t.Helper()
	h.Write(store+"/overlay-containers/containers.json", fmt.Sprintf(
		`[{"id":%q,"names":["other"],"image":"x","layer":"y"},{"id":%q,"names":["name"],"image":%q,"layer":%q,"metadata":"{\"image-name\":%s,\"name\":\"name\"}"}]`,
		id(1), id(n), id(m), id(1000+n), strings.ReplaceAll(strconv.Quote(imageName), `"`, `\"`)))
	var links []string
	for _, l := range lower {
		links = append(links, "l/"+linkName(l))
	}
	h.Write(store+"/overlay/"+id(1000+n)+"/lower", strings.Join(links, ":"))
	if upper := upperOf(store, n); !h.Exists(upper) { // as podman leaves it
		h.Link("/proc/mounts", upper+"/etc/mtab")
	}
}

// upperOf is the layer of container n.
func upperOf(store string, n int) string { return store + "/overlay/" + id(1000+n) + "/diff" }

func (h *testHost) invocation(stdin string) (*Invocation, *bytes.Buffer) {
	var out bytes.Buffer
	return &Invocation{
		Root: h.Dir, Stdin: strings.NewReader(stdin), Stdout: &out, Journal: h.journal.send,
		Now: func() time.Time { return time.Unix(1e9, 0) }, Patience: 10 * time.Second,
	}, &out
}

// run runs a hook and returns its exit status and output.
func (h *testHost) run(stdin string, args ...string) (int, string) {
	h.t.Helper()
	v, out := h.invocation(stdin)
	code := v.Run(args)
	return code, out.String()
}

// stateOf is the state of container n in podman's own store.
func stateOf(n int, status string, pid int) string {
	return fmt.Sprintf(`{"ociVersion":"1.0.2","id":%q,"status":%q,"pid":%d,"bundle":"%s/overlay-containers/%s/userdata","annotations":{"a":"b"}}`,
		id(n), status, pid, podmans, id(n))
}
