// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

const (
	// labelReference is the directory whose labels by the policy bootc gives the files of its
	// store, and labelStamp is the file that says that it has (crates/lib/src/podstorage.rs).
	labelReference = "/var/lib/containers/storage"
	labelStamp     = ".bootc_labeled"
	labelAttribute = "security.selinux"
	// maxSample bounds the files whose labels are looked at, labelBatch and maxArguments the
	// paths of one command and their length in bytes.
	maxSample    = 400
	labelBatch   = 2000
	maxArguments = 256 << 10
)

// labels reports files of the bootc store with other SELinux labels than bootc gives them,
// by a sample. matchpathcon(8) prints what the policy says.
func (ex *examination) labels() []Problem {
	if !rooted.Exists(ex.root, "sys/fs/selinux/enforce") {
		return nil
	}
	dir, err := ex.survey.Store.Open()
	if err != nil {
		return nil
	}
	defer dir.Close()
	program, err := wrapper.LookPath("matchpathcon", ex.Env)
	if err != nil {
		return one(health.Finding{
			Rule: health.LabelsUnread, Severity: health.Information, Where: ex.survey.Store.Path(),
			What: "SELinux labels were not compared: matchpathcon is not installed",
		})
	}
	sample := sampleOf(dir)
	wrong, first := 0, ""
	err = ex.compare(ex.ctx, program, dir, sample, func(name, _ string) error {
		if wrong++; first == "" {
			first = name
		}
		return nil
	})
	if err != nil {
		return unread(fmt.Errorf("compare SELinux labels: %w", err))
	}
	if wrong == 0 {
		return nil
	}
	return []Problem{{
		Finding: health.Finding{
			Rule: health.LabelWrong, Severity: health.Failing, Where: filepath.Join(ex.survey.Store.Path(), first),
			What: fmt.Sprintf("has another SELinux label than the policy has for %s; so have %d of %d files of a sample", path.Join(labelReference, first), wrong, len(sample)),
			Why:  "containers of these images fail to load libraries", Fix: ex.command("doctor", "--fix"),
		},
		Action: "give the files of the bootc-owned store the SELinux labels that they should have, where they have others",
		Apply:  func(ctx context.Context) error { return ex.relabel(ctx, program) },
	}}
}

// sampleOf are files of a store, relative to it: those at its top, and of each layer the
// directory and some of its files.
func sampleOf(dir *os.File) (sample []string) {
	add := func(below string, most int) []string {
		names, _ := rooted.Names(dir, below) // what is missing has no label
		for i, name := range names {
			if names[i] = path.Join(below, name); i < most && len(sample) < maxSample {
				sample = append(sample, names[i])
			}
		}
		return names
	}
	for _, top := range add(".", maxSample) {
		if !strings.HasPrefix(top, "overlay") {
			continue
		}
		for _, in := range add(top, maxSample/8) {
			if top == "overlay" {
				add(in, 3)
				add(path.Join(in, "diff"), 3)
			}
		}
	}
	return sample
}

// compare calls wrong with each of the files of a store that has another type than the policy
// gives it, and with the label that it should have.
func (ex *examination) compare(ctx context.Context, program string, dir *os.File, files []string, wrong func(name, label string) error) error {
	of := map[string][]string{}
	for _, name := range files {
		kind, err := kindOf(dir, name)
		if err != nil {
			return err
		}
		if kind != "" {
			of[kind] = append(of[kind], name)
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(of)) {
		for files := of[kind]; len(files) > 0; {
			batch := files[:batchOf(files)]
			files = files[len(batch):]
			labels, err := ex.matchpathcon(ctx, program, kind, batch)
			if err != nil {
				return err
			}
			if err := differing(dir, batch, labels, wrong); err != nil {
				return err
			}
		}
	}
	return nil
}

// kindOf is what matchpathcon calls the kind of a file, "" for one that is gone.
func kindOf(dir *os.File, name string) (string, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", &fs.PathError{Op: "stat", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	kinds := map[uint32]string{
		unix.S_IFDIR: "dir", unix.S_IFLNK: "lnk_file", unix.S_IFCHR: "chr_file", unix.S_IFBLK: "blk_file", unix.S_IFIFO: "pipe", unix.S_IFSOCK: "sock_file",
	}
	return cmp.Or(kinds[st.Mode&unix.S_IFMT], "file"), nil
}

// batchOf is how many of the files fit into one command line.
func batchOf(files []string) int {
	size := 0
	for i, name := range files {
		if size += len(labelReference) + len(name) + 2; i == labelBatch || i > 0 && size > maxArguments {
			return i
		}
	}
	return len(files)
}

// matchpathcon returns the labels of files of a kind by the policy. Without -m the program
// would look at the files of podman's own store, without -N translate levels for people.
func (ex *examination) matchpathcon(ctx context.Context, program, kind string, files []string) ([]string, error) {
	args := []string{"matchpathcon", "-n", "-N", "-m", kind}
	for _, name := range files {
		args = append(args, path.Join(labelReference, name))
	}
	out, err := ex.Runner.Output(ctx, wrapper.Cmd{Path: program, Args: args, Env: ex.Env})
	if err != nil {
		return nil, err
	}
	labels := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(labels) != len(files) {
		return nil, fmt.Errorf("matchpathcon printed %d lines for %d paths", len(labels), len(files))
	}
	return labels, nil
}

// differing calls wrong with each of the files that has another type than in its label.
func differing(dir *os.File, files, labels []string, wrong func(name, label string) error) error {
	for i, name := range files {
		label := strings.TrimSpace(labels[i])
		have, err := labelOf(dir, name)
		if errors.Is(err, fs.ErrNotExist) || typeOf(label) == "" { // <<none>>
			continue
		}
		if err != nil {
			return err
		}
		if typeOf(have) != typeOf(label) {
			if err := wrong(name, label); err != nil {
				return err
			}
		}
	}
	return nil
}

// typeOf is the type in a label, USER:ROLE:TYPE:LEVEL, which alone matters here.
func typeOf(label string) string {
	fields := strings.SplitN(label, ":", 4)
	if len(fields) < 3 {
		return ""
	}
	return fields[2]
}

// inDir is the path of a file below an open directory, for system calls that take no
// descriptor. The directory itself is "."; without it, the link in /proc would be meant.
func inDir(dir *os.File, name string) string {
	return "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + name
}

// labelOf is the label of a file, "" for none.
func labelOf(dir *os.File, name string) (string, error) {
	label := make([]byte, 4096)
	n, err := unix.Lgetxattr(inDir(dir, name), labelAttribute, label)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return "", nil
	}
	if err != nil {
		return "", &fs.PathError{Op: "getxattr", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return strings.TrimRight(string(label[:n]), "\x00"), nil
}

// relabel gives all files of the bootc store their labels, where they have others, and
// refreshes bootc's stamp.
func (ex *examination) relabel(ctx context.Context, program string) error {
	return wrapper.Change(ex.survey.Store, func(phys *os.File) error {
		dir, err := rooted.Open(phys, ex.storePath(), unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer dir.Close()
		files := []string{labelStamp}
		stamp, err := os.OpenFile(inDir(dir, labelStamp), os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
		if err != nil {
			return err
		}
		if err := stamp.Close(); err != nil {
			return err
		}
		err = fs.WalkDir(os.DirFS(inDir(dir, "")), ".", func(name string, _ fs.DirEntry, err error) error {
			if err == nil {
				files = append(files, name)
			}
			return ignoreMissing(err)
		})
		if err != nil {
			return err
		}
		if err := ex.compare(ctx, program, dir, files, func(name, label string) error {
			return ignoreMissing(unix.Lsetxattr(inDir(dir, name), labelAttribute, []byte(label), 0))
		}); err != nil {
			return err
		}
		return dir.Sync()
	})
}
