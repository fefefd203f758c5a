// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Pulltest is what the system tests of pulls need besides a registry:
//
//	pulltest proxy LISTEN TARGET CONTROL LOG
//	pulltest validate SCHEMA FILE
//
// The proxy stands between podman and a registry. What it does to requests is in the
// file CONTROL, looked at for each: nothing when there is none; "status N" answers
// with that status, "down" hangs up, "auth" requires the password "pass" of "user", "cut
// N" hangs up after N bytes of a blob, "slow N" sends a blob at N bytes a second, "every N"
// answers with 503 to every Nth request for a blob, "late N" answers to each request N ms
// later. It writes a line for every request to LOG.
//
// Validate checks each line of FILE with a JSON schema, and prints how many there are.
//
// By any other name, as podman, it prints what it was started with: the working directory,
// arguments, environment, descriptors and standard input, and exits with status 37.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

func main() {
	var err error
	switch {
	case filepath.Base(os.Args[0]) != "pulltest":
		if err = record(os.Stdout); err == nil {
			syscall.Exit(37)
		}
	case len(os.Args) == 6 && os.Args[1] == "proxy":
		err = proxy(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	case len(os.Args) == 4 && os.Args[1] == "validate":
		err = validate(os.Stdout, os.Args[2], os.Args[3])
	default:
		err = errors.New("usage: pulltest proxy LISTEN TARGET CONTROL LOG | validate SCHEMA FILE")
	}
	if err != nil {
		log.Fatal(err)
	}
}

// record prints what this process has of its caller.
func record(out io.Writer) error {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "in %q, input %q\n", cwd, input)
	for _, file := range []string{"cmdline", "environ"} {
		content, err := os.ReadFile("/proc/self/" + file)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s %q\n", file, content)
	}
	// The directory itself is open while it is read.
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, file := range files {
		if target, err := os.Readlink("/proc/self/fd/" + file.Name()); err == nil && !strings.HasPrefix(target, "anon_inode:") {
			fmt.Fprintf(out, "descriptor %s %s\n", file.Name(), target)
		}
	}
	return nil
}

func proxy(listen, target, control, logFile string) error {
	requests, err := os.OpenFile(logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer requests.Close()
	reverse := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: target})
	reverse.ModifyResponse = func(resp *http.Response) error {
		what, n := order(control)
		if resp.Request.Method == http.MethodGet && strings.Contains(resp.Request.URL.Path, "/blobs/") {
			switch what {
			case "cut":
				resp.Body = body{io.MultiReader(io.LimitReader(resp.Body, n), broken{}), resp.Body}
			case "slow":
				resp.Body = body{&slow{resp.Body, n}, resp.Body}
			}
		}
		return nil
	}
	var blobs atomic.Int64
	handler := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(requests, "%s %s\n", r.Method, r.URL.Path)
		switch what, n := order(control); what {
		case "status":
			w.WriteHeader(int(n))
		case "down":
			panic(http.ErrAbortHandler)
		case "every":
			if strings.Contains(r.URL.Path, "/blobs/") && blobs.Add(1)%n == 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			reverse.ServeHTTP(w, r)
		case "late":
			time.Sleep(time.Duration(n) * time.Millisecond)
			reverse.ServeHTTP(w, r)
		case "auth":
			if user, password, _ := r.BasicAuth(); user != "user" || password != "pass" {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			reverse.ServeHTTP(w, r)
		default:
			reverse.ServeHTTP(w, r)
		}
	}
	server := http.Server{Addr: listen, Handler: http.HandlerFunc(handler), ReadHeaderTimeout: time.Minute}
	return server.ListenAndServe()
}

// order is what the file control says; some orders have no number.
func order(control string) (what string, n int64) {
	text, _ := os.ReadFile(control)
	_, _ = fmt.Sscan(string(text), &what, &n)
	return what, n
}

type body struct {
	io.Reader
	io.Closer
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("cut") }

// slow reads so many bytes a second, in a hundred pieces.
type slow struct {
	r io.Reader
	n int64
}

func (s *slow) Read(buf []byte) (int, error) {
	time.Sleep(10 * time.Millisecond)
	return s.r.Read(buf[:min(int64(len(buf)), max(s.n/100, 1))])
}

func validate(out io.Writer, schemaFile, file string) error {
	schema, err := jsonschema.Compile(schemaFile)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	n := 0
	for lines.Scan() {
		var event any
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return fmt.Errorf("line %d: %w", n+1, err)
		}
		if err := schema.Validate(event); err != nil {
			return fmt.Errorf("line %d, %s: %w", n+1, lines.Bytes(), err)
		}
		n++
	}
	if err := lines.Err(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, n)
	return err
}
