// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package clonejob hands the copy of an image between two stores to the private
// program bootc-podman-store, and reads its answers. That program is apart because
// it needs the whole storage library, which is slow to start.
package clonejob

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Job is what bootc-podman-store is to do, as JSON on its standard input.
type Job struct {
	// OSTree, if not nil, is an image that Destination gets in place of that of Source.
	OSTree *OSTree `json:"ostree,omitempty"`
	// Composefs, if not nil, is one in a composefs repository.
	Composefs *Composefs `json:"composefs,omitempty"`
	// Registry, if not nil, says that the image of OSTree is not copied but served to podman,
	// until SIGTERM.
	Registry *Registry `json:"registry,omitempty"`
	// Pull, if not nil, is all there is to do.
	Pull *Pull `json:"pull,omitempty"`
	// Source has the image, Destination gets it.
	Source      Store `json:"source"`
	Destination Store `json:"destination"`
	// Image is the ID of the image in the source.
	Image string `json:"image"`
	// Blobs, if any, are what the lowest layers of the image are in a manifest that is
	// to be pulled: podman looks for layers by the digests of blobs. Only these layers
	// are copied, with an image of the ID LentImage, which has no names.
	Blobs []Blob `json:"blobs,omitempty"`
	// Documents, if not nil, are those of the image that the destination gets, whose layers
	// are Blobs: it has its own ID and Names, and Source may be the same store.
	Documents *Documents `json:"documents,omitempty"`
	// Names are what the image is called in the destination besides the names that
	// it has there already; other images lose them.
	Names []string `json:"names"`
	// Verify says how the copy is compared with its digests.
	Verify Verify `json:"verify"`
	// Workers is how many files are copied at a time, 0 for a good number.
	Workers int `json:"workers,omitempty"`
	// Care, if not nil, is what is done to Destination in place of a copy.
	Care *Care `json:"care,omitempty"`
}

// Care is what doctor has done to a store. Opening the store already removes what killed
// processes left there: incomplete layers, staged ones, and unfinished images.
type Care struct {
	// Check has the storage library check the store: it makes the archives of all layers
	// again. The answer is Result.Problems.
	Check bool `json:"check,omitempty"`
	// Names are taken from their images, whatever they are.
	Names []string `json:"names,omitempty"`
	// Layers are the IDs of directories to remove if they have no record.
	Layers []string `json:"layers,omitempty"`
	// Composefs, if not "", is the sysroot of a composefs repository: its layers are
	// compared with their diff IDs, which Problems have, and Destination is not opened.
	Composefs string `json:"composefs,omitempty"`
}

// Problem is what is found wrong with a layer or an image.
type Problem struct {
	// Layer and Image are IDs, one of them "".
	Layer   string `json:"layer,omitempty"`
	Image   string `json:"image,omitempty"`
	Message string `json:"message"`
}

// Blob is a layer in a manifest, as in the OCI image specification.
type Blob struct {
	MediaType string `json:"media_type"`
	Digest    string `json:"digest"`
	// Size is in bytes.
	Size int64 `json:"size"`
}

// Documents are the manifest and the configuration of an image, byte for byte.
type Documents struct {
	Manifest []byte `json:"manifest"`
	Config   []byte `json:"config"`
}

// Lent is the annotation of the manifest of an image that is in a store only while
// another is pulled.
const Lent = "io.bootc-podman.lent"

// Unfinished is what the name of an image begins with that does not have its own names
// yet. Once no clone is at work on it, the next one removes the image.
const Unfinished = "localhost/bootc-podman-unfinished:"

// LentImage is the ID of the image that a store gets of the lowest layers of an image.
func LentImage(image string, layers int) string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "bootc-podman: the lowest %d layers of %s", layers, image)))
}

// OSTree is an image in an ostree repository. It is exported.
type OSTree struct {
	// Sysroot is the sysroot of the repository, in the mount namespace of the program.
	Sysroot string `json:"sysroot"`
	// Commit is the checksum of the commit made of the image.
	Commit string `json:"commit"`
}

// Composefs is an image in a composefs repository. Its layers are archives whose files are
// objects, so it keeps its manifest digest.
type Composefs struct {
	// Sysroot is the sysroot of the repository, in the mount namespace of the program.
	Sysroot string `json:"sysroot"`
	// Digest is that of the image's manifest.
	Digest string `json:"digest"`
}

// Registry is a registry of one image on the loopback interface.
type Registry struct {
	// Tag is the tag of the image in it.
	Tag string `json:"tag"`
	// Password is what requests have in the header "Authorization: Basic".
	Password string `json:"password"`
}

// Serving is what a registry has, as soon as it listens.
type Serving struct {
	// Address is HOST:PORT.
	Address        string `json:"address"`
	ManifestDigest string `json:"manifest_digest"`
	Layers         []Blob `json:"layers"`
}

// Pull is a pull by podman's service, without a second try.
type Pull struct {
	// Socket is where the service listens, soon perhaps: the program waits as long as the
	// directory is there.
	Socket    string `json:"socket"`
	Reference string `json:"reference"`
	// Credentials are the header X-Registry-Config.
	Credentials string `json:"credentials"`
}

// PullReport is a line of the answer to /libpod/images/pull, ImagePullReport in
// podman's pkg/domain/entities/types. Progress is there since podman 5.9.
type PullReport struct {
	Stream   string        `json:"stream"`
	Error    string        `json:"error"`
	ID       string        `json:"id"`
	Progress *BlobProgress `json:"pullProgress"`
}

// BlobProgress is how far a blob is: Status is "pulling", "success" or "skipped".
// Total is not known when it is not positive.
type BlobProgress struct {
	Status  string `json:"status"`
	Current int64  `json:"current"`
	Total   int64  `json:"total"`
	Digest  string `json:"progressComponentID"`
}

// Store says how a containers-storage is opened.
type Store struct {
	// GraphRoot and RunRoot are paths in the mount namespace of the program.
	GraphRoot string `json:"graph_root"`
	RunRoot   string `json:"run_root"`
	// Driver is the name of the storage driver, "overlay" or one that is refused.
	Driver string `json:"driver"`
	// Options are driver options in the form of podman --storage-opt.
	Options []string `json:"options,omitempty"`
	// ImageStore is the directory of the images if that is not the graph root.
	ImageStore string `json:"image_store,omitempty"`
}

// BootcStore is the bootc-owned store, for a program in its mount namespace (see
// wrapper.Session).
func BootcStore(c storageconf.Config) Store {
	return Store{
		GraphRoot: storageconf.GraphRoot, RunRoot: storageconf.RunRoot, Driver: c.Driver,
		Options: c.DriverOptions(), ImageStore: c.ImageStore,
	}
}

// DefaultStore is podman's own store.
func DefaultStore(d storageconf.DefaultStore) Store {
	return Store{GraphRoot: d.GraphRoot, RunRoot: d.RunRoot, Driver: d.Driver, Options: d.Options, ImageStore: d.ImageStore}
}

// Verify is how thoroughly a copy is looked at.
type Verify string

// The values of Verify.
const (
	// VerifyNone trusts the source.
	VerifyNone Verify = "none"
	// VerifyMetadata compares the digests of manifests and configuration with their
	// names, the layers with those in the configuration, and each entry of a layer with
	// its header in the layer's archive, all but the contents of files.
	VerifyMetadata Verify = "metadata"
	// VerifyFull makes each copied layer's archive again and compares its digest, too.
	VerifyFull Verify = "full"
)

// Progress is how far one layer is.
type Progress struct {
	// Layer is the index of the layer, of Layers, lowest first.
	Layer  int `json:"layer"`
	Layers int `json:"layers"`
	// DiffID is the digest of the layer's uncompressed archive, Size its size in bytes.
	DiffID string `json:"diff_id"`
	Size   int64  `json:"size"`
	// Files and Bytes are how much is copied: entries of directories, and the bytes
	// of regular files.
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
	// Shared reports that the destination has the layer already; Done that nothing is
	// left to do for it.
	Shared bool `json:"shared,omitempty"`
	Done   bool `json:"done,omitempty"`
}

// Result is what was done.
type Result struct {
	// Image is the ID of the image in the destination, Digests its manifests'.
	Image   string   `json:"image"`
	Digests []string `json:"digests"`
	// Layers are those of the image, lowest first.
	Layers []Layer `json:"layers"`
	// Problems are those of Care.
	Problems []Problem `json:"problems,omitempty"`
}

// Layer is a layer of a copied image.
type Layer struct {
	ID     string `json:"id"`
	DiffID string `json:"diff_id"`
	// Shared reports that the destination had the layer; the numbers are 0 then.
	Shared bool `json:"shared,omitempty"`
	// Files and Bytes are as in Progress. Copied are those of the bytes that do not
	// share extents with the source.
	Files  int64 `json:"files"`
	Bytes  int64 `json:"bytes"`
	Copied int64 `json:"copied"`
}

// Kind is what went wrong, for the caller to decide what to do about it.
type Kind string

// The kinds of failures, each with the error that Run returns for it.
const (
	Unsupported Kind = "unsupported"  // ErrUnsupported
	NotFound    Kind = "not-found"    // ErrNotFound
	Changed     Kind = "changed"      // ErrChanged
	NotVerified Kind = "not-verified" // ErrNotVerified
	Damaged     Kind = "damaged"      // ErrDamaged
	NoSpace     Kind = "no-space"     // ErrNoSpace
	NoService   Kind = "no-service"   // ErrNoService
	Canceled    Kind = "canceled"     // context.Canceled
	Failed      Kind = "failed"
)

var (
	// ErrUnsupported says that the stores or the image are of a form that only podman
	// can copy. Nothing was changed.
	ErrUnsupported = errors.New("cannot be cloned")
	// ErrNotFound says that the source does not have the image.
	ErrNotFound = errors.New("no such image")
	// ErrChanged says that layers were removed from a store meanwhile, at every try.
	ErrChanged = errors.New("removed meanwhile")
	// ErrNotVerified says that the source is damaged. The destination did not get the
	// image.
	ErrNotVerified = errors.New("not verified")
	// ErrDamaged says that the destination has records of layers without their files, or
	// with others, and that images or containers use them. podman would trust the
	// records, so it does not help to copy with podman.
	ErrDamaged = errors.New("destination is damaged")
	// ErrNoSpace says that the destination's filesystem is full.
	ErrNoSpace = errors.New("no space left")
	// ErrNoService says that podman's service could not be used.
	ErrNoService = errors.New("podman's service does not answer")
)

// Unsupportedf returns an error that wraps ErrUnsupported: the caller copies with podman.
func Unsupportedf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, args...))
}

// Gone returns ErrChanged for an error of reading what another process has removed, lock
// or not, and any other error as it is.
func Gone(err error) error {
	if rooted.IsOneOf(err, unix.ENOENT, unix.ESTALE) {
		return ErrChanged
	}
	return err
}

var kinds = map[Kind]error{
	Unsupported: ErrUnsupported, NotFound: ErrNotFound, Changed: ErrChanged, NotVerified: ErrNotVerified, Damaged: ErrDamaged,
	NoSpace: ErrNoSpace, NoService: ErrNoService,
}

// Failure is an error of bootc-podman-store.
type Failure struct {
	Kind    Kind   `json:"kind"`
	Message string `json:"message"`
}

func (f *Failure) Error() string { return f.Message }

// Unwrap is the error of the failure's kind.
func (f *Failure) Unwrap() error { return kinds[f.Kind] }

// Answer is a line of the program's standard output. One of its fields is set; the
// last line has a Result or a Failure.
type Answer struct {
	Progress *Progress `json:"progress,omitempty"`
	Serving  *Serving  `json:"serving,omitempty"`
	// Pulling is of the lines of podman's service.
	Pulling *PullReport `json:"pulling,omitempty"`
	Result  *Result     `json:"result,omitempty"`
	Failure *Failure    `json:"failure,omitempty"`
}

// ReadJob reads a job from the program's standard input.
func ReadJob(r io.Reader) (job Job, err error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&job); err != nil {
		return job, fmt.Errorf("read job: %w", err)
	}
	if len(job.Blobs) > 0 && (len(job.Names) > 0 && job.Documents == nil || job.OSTree != nil || job.Composefs != nil) {
		return job, fmt.Errorf("read job: %d blobs, for names or of a repository", len(job.Blobs))
	}
	for _, name := range job.Names {
		if stored, err := cstorage.ParseStorable(name); err != nil {
			return job, fmt.Errorf("read job: %w", err)
		} else if stored.String() != name || (stored.Tag == "") == (stored.Digest == "") {
			return job, fmt.Errorf("read job: image name %q is not complete", name)
		}
	}
	switch job.Verify {
	case VerifyNone, VerifyMetadata, VerifyFull:
		return job, nil
	}
	return job, fmt.Errorf("read job: unknown kind of verification %q", job.Verify)
}
