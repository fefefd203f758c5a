// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkDedupOfAHost measures a run over a repository and both stores, of 20,000 files and
// 1 GB each, against reading the files of both stores once, and the run after it.
func BenchmarkDedupOfAHost(b *testing.B) {
	for _, fstype := range []string{"xfs", "btrfs"} {
		b.Run(fstype, func(b *testing.B) {
			var read, first, second time.Duration
			for range b.N {
				b.StopTimer()
				m := newMachine(b, mountNew(b, fstype))
				m.store(bootcStore, "b 1")
				m.store(podmanStore, "a 1")
				from := m.layer(bootcStore, "b")
				for i := range 20_000 {
					write(b, fmt.Sprintf("%s/usr/%d/%d", from, i%200, i), random(uint64(i), 200+i%1000*100))
				}
				m.repository(from)
				run(b, "cp", "-a", "--reflink=never", from+"/.", m.layer(podmanStore, "a"))
				m.forget()
				read += measure(func() { readAll(b, from); readAll(b, m.layer(podmanStore, "a")) })
				m.forget()
				b.StartTimer()
				first += measure(func() { m.run(m.hostOptions()) })
				b.StopTimer()
				second += measure(func() { m.run(m.hostOptions()) })
				run(b, "umount", m.dir)
			}
			for name, took := range map[string]time.Duration{"read": read, "first": first, "second": second} {
				b.ReportMetric(float64(took.Milliseconds())/float64(b.N), name+"-ms")
			}
		})
	}
}

// forget makes the kernel read the files from the disk again.
func (m machine) forget() {
	m.t.Helper()
	run(m.t, "umount", m.dir)
	run(m.t, "mount", "-o", "loop", filepath.Join(filepath.Dir(m.dir), "image"), m.dir)
}

func measure(do func()) time.Duration {
	start := time.Now()
	do()
	return time.Since(start)
}

func readAll(b *testing.B, dir string) {
	b.Helper()
	must(b, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		must(b, err)
		defer f.Close()
		_, err = io.Copy(io.Discard, f)
		return err
	}))
}
