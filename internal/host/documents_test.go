// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// canonical is a document as ostree-ext writes it: members sorted, "&" not escaped.
func canonical(t *testing.T, document []byte) string {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(text.String())
}

// The originals are as buildah 1.43 writes them.
func TestDocumentsOfACommitAreThoseOfTheImage(t *testing.T) {
	const (
		config = `{"created":"2026-08-01T10:00:00.123Z","author":"a \u003cb@c\u003e","architecture":"arm64","os":"linux","variant":"v8",` +
			`"config":{"User":"1","Env":["Z=1","A=2"],"Cmd":["sh","-c","a \u0026\u0026 b"],"Volumes":{"/var":{}},"WorkingDir":"/",` +
			`"Labels":{"containers.bootc":"1","z":"1"},"StopSignal":"SIGRTMIN+3"},"rootfs":{"type":"layers","diff_ids":["sha256:aa","sha256:bb"]},` +
			`"history":[{"created":"2026-08-01T10:00:00Z","created_by":"RUN a \u0026\u0026 b","comment":"c"},{"created_by":"LABEL","empty_layer":true}]}`
		layer = `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:cc","size":12345678901,"annotations":{"a":"2","z":"1"}}`
	)
	compact := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":` +
		fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%x","size":%d}`, sha256.Sum256([]byte(config)), len(config)) +
		`,"layers":[` + layer + `,` + layer + `],"annotations":{"a":"\u003c2\u003e","b":"1"}}`)
	var indented bytes.Buffer
	if err := json.Indent(&indented, compact, "", "  "); err != nil {
		t.Fatal(err)
	}
	for name, original := range map[string][]byte{"podman": compact, "docker": indented.Bytes(), "rpm-ostree": []byte(canonical(t, compact))} {
		c := RepoCommit{
			ManifestText: canonical(t, original), ConfigText: canonical(t, []byte(config)), ManifestDigest: fmt.Sprintf("sha256:%x", sha256.Sum256(original)),
		}
		if err := json.Unmarshal(original, &c.Manifest); err != nil {
			t.Fatal(err)
		}
		gotManifest, gotConfig, err := c.Documents()
		if err != nil || string(gotManifest) != string(original) || string(gotConfig) != config {
			t.Errorf("%s: got\n%s\n%s\n%v\nwant\n%s\n%s", name, gotManifest, gotConfig, err, original, config)
		}
		c.ConfigText = `{"architecture":"amd64","extra":1}`
		if _, _, err := c.Documents(); !errors.Is(err, ErrRewritten) {
			t.Errorf("%s: got %v for another configuration", name, err)
		}
	}
}
