// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Mkcomposefs writes a composefs repository for the system tests:
//
//	mkcomposefs import sha256|sha512|old LAYOUT DIR
//	mkcomposefs poison DIR DIFFID
//	mkcomposefs extract FIXTURE DIR
//
// Import writes the image of an OCI layout, as "cfsctl oci pull" does; "old" is what versions
// before 0.7 wrote. Poison replaces what a repository of import has for a layer by another
// archive under the same names. Extract writes one of the fixtures.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
	"github.com/bootc-podman/bootc-podman/internal/testcomposefs"
)

func main() {
	err := errors.New("usage: mkcomposefs import sha256|sha512|old LAYOUT DIR | poison DIR DIFFID | extract FIXTURE DIR")
	switch {
	case len(os.Args) == 5 && os.Args[1] == "import":
		err = importImage(os.Args[2], os.Args[3], os.Args[4])
	case len(os.Args) == 4 && os.Args[1] == "poison":
		err = poison(os.Args[2], os.Args[3])
	case len(os.Args) == 4 && os.Args[1] == "extract":
		err = testcomposefs.Extract(os.Args[2], os.Args[3])
	}
	if err != nil {
		log.Fatal(err)
	}
}

func importImage(kind, layout, dir string) error {
	repo := &testcomposefs.Repo{Dir: dir, Algorithm: composefs.SHA512, Old: kind == "old"}
	if kind == "sha256" {
		repo.Algorithm = composefs.SHA256
	}
	if err := repo.Init(); err != nil {
		return err
	}
	digest, err := repo.Import(layout, "localhost/bootc-test")
	if err == nil {
		fmt.Println(digest)
	}
	return err
}

// poison writes the other archive into the object of the layer's stream, so that all that
// refers to the stream stays as it is.
func poison(dir, diffID string) error {
	repo := &testcomposefs.Repo{Dir: dir, Algorithm: composefs.SHA512}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	content := bytes.Repeat([]byte("poison"), 100)
	err := w.WriteHeader(&tar.Header{Name: "poison", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	parts, err := repo.Split(&archive)
	if err != nil {
		return err
	}
	path, err := filepath.EvalSymlinks(filepath.Join(dir, "streams", composefs.LayerPrefix+diffID))
	if err != nil {
		return err
	}
	size := int64(0)
	for _, p := range parts {
		size += int64(len(p.Inline)) + p.Size
	}
	return os.WriteFile(path, repo.Encode(composefs.LayerType, size, nil, parts), 0o644)
}
