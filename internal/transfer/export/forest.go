// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/ostree"
)

// treeReaders is how many directories are read at a time: where nothing is in memory,
// each is a wait for the disk.
const treeReaders = 16

// forest has the directories of commits by their objects. What cannot be read is not in
// it, and is an error only when it is read.
type forest struct {
	repo  *host.Repo
	mu    sync.Mutex
	trees map[ostree.Checksum]ostree.Tree
}

func newForest(repo *host.Repo) *forest {
	return &forest{repo: repo, trees: map[ostree.Checksum]ostree.Tree{}}
}

// read reads all directories of commits, one that several of them have once, until ctx
// ends. Other methods must not be called meanwhile.
func (f *forest) read(ctx context.Context, commits ...string) {
	next := map[ostree.Checksum]bool{}
	for _, commit := range commits {
		if root, err := f.repo.CommitTree(commit); err == nil {
			next[root.Tree] = true
		}
	}
	for len(next) > 0 && ctx.Err() == nil {
		next = f.readLevel(next)
	}
}

// readLevel reads directories, and returns those in them that are not in the forest.
func (f *forest) readLevel(level map[ostree.Checksum]bool) (below map[ostree.Checksum]bool) {
	below = map[ostree.Checksum]bool{}
	var group errgroup.Group
	group.SetLimit(treeReaders)
	for sum := range level {
		group.Go(func() error {
			tree, err := f.repo.Tree(sum)
			if err != nil {
				return nil
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			f.trees[sum] = tree
			for _, d := range tree.Dirs {
				below[d.Tree] = true
			}
			return nil
		})
	}
	_ = group.Wait() // never one
	for sum := range below {
		if _, have := f.trees[sum]; have {
			delete(below, sum)
		}
	}
	return below
}

// tree returns a directory. Errors are those of ostree.Repo.Tree.
func (f *forest) tree(sum ostree.Checksum) (ostree.Tree, error) {
	if tree, ok := f.trees[sum]; ok {
		return tree, nil
	}
	return f.repo.Tree(sum)
}
