// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package testhost

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// BigStore makes a containers-storage in dir in which n images have five layers each, a
// name, and a configuration of their own. Records and files are those that podman build
// writes, without the files of the layers.
func BigStore(dir string, n int) error {
	type object = map[string]any
	digest := func(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }
	hex := func(digest string) string { return strings.TrimPrefix(digest, "sha256:") }
	const created = "2026-08-01T10:00:00.262654796Z"
	var images, layers []object
	for i := range n {
		parent := ""
		var diffIDs []string
		var descriptors []object
		for j := range 5 {
			diffID := digest(fmt.Appendf(nil, "layer %d of image %d", j, i))
			blob := digest([]byte(diffID))
			layer := object{
				"id": hex(diffID), "created": created,
				"compressed-diff-digest": blob, "compressed-size": 1000000, "compression": 2,
				"diff-digest": diffID, "diff-size": 3000000, "uidset": []int{0, 1, 33}, "gidset": []int{0, 1, 33},
			}
			if parent != "" {
				layer["parent"] = parent
			}
			layers, diffIDs, parent = append(layers, layer), append(diffIDs, diffID), hex(diffID)
			descriptors = append(descriptors, object{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": blob, "size": 1000000})
		}
		var env []string
		var history []object
		labels := object{"number": fmt.Sprint(i)}
		for k := range 20 {
			env = append(env, fmt.Sprintf("NAME_%d=a value of some length", k))
			labels[fmt.Sprintf("label.%d", k)] = "a value"
			history = append(history, object{"created": created, "created_by": "/bin/sh -c #(nop) COMMAND of some length and \"no\" meaning"})
		}
		config, err := json.Marshal(object{
			"architecture": "amd64", "os": "linux", "created": created, "config": object{"Env": env, "Labels": labels},
			"rootfs": object{"type": "layers", "diff_ids": diffIDs}, "history": history,
		})
		if err != nil {
			return err
		}
		manifest, err := json.Marshal(object{
			"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": descriptors,
			"config": object{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": len(config)},
		})
		if err != nil {
			return err
		}
		whole := digest(manifest)
		name := fmt.Sprintf("quay.io/example/image%d:latest", i)
		items := map[string][]byte{digest(config): config, "manifest-" + whole: manifest, "manifest": manifest, "signature-" + hex(whole): nil}
		sizes, digests := object{}, object{}
		for key, content := range items {
			sizes[key], digests[key] = len(content), digest(content)
			file := key
			if key != "manifest" {
				file = "=" + base64.StdEncoding.EncodeToString([]byte(key))
			}
			if err := write(filepath.Join(dir, "overlay-images", hex(digest(config)), file), content); err != nil {
				return err
			}
		}
		images = append(images, object{
			"id": hex(digest(config)), "digest": whole, "names": []string{name}, "names-history": []string{name}, "layer": parent,
			"metadata":       `{"signatures-sizes":{"` + whole + `":[]}}`,
			"big-data-names": []string{digest(config), "manifest-" + whole, "manifest", "signature-" + hex(whole)},
			"big-data-sizes": sizes, "big-data-digests": digests, "created": created,
		})
	}
	for file, records := range map[string][]object{"overlay-images/images.json": images, "overlay-layers/layers.json": layers} {
		content, err := json.Marshal(records)
		if err != nil {
			return err
		}
		if err := write(filepath.Join(dir, file), content); err != nil {
			return err
		}
	}
	return nil
}

func write(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o644)
}
