// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// numbers has the words that GLib prints before numbers, and which of them are signed.
func numbers() map[byte]string {
	return map[byte]string{'n': "int16 ", 'q': "uint16 ", 'i': "", 'u': "uint32 ", 'x': "int64 ", 't': "uint64 ", 'h': "handle "}
}

// format writes a value as "ostree show --raw" does, which takes all numbers for big endian.
func (v Value) format(b *strings.Builder, typed bool) error {
	if word, ok := numbers()[v.kind.code]; ok {
		if typed {
			b.WriteString(word)
		}
		n, err := v.bigEndian()
		if unused := 64 - 8*v.kind.size; strings.ContainsRune("nixh", rune(v.kind.code)) {
			b.WriteString(strconv.FormatInt(int64(n<<unused)>>unused, 10))
		} else {
			b.WriteString(strconv.FormatUint(n, 10))
		}
		return err
	}
	switch v.kind.code {
	case 'b':
		b.WriteString(strconv.FormatBool(v.data[0] == 1))
	case 'y':
		if typed {
			b.WriteString("byte ")
		}
		fmt.Fprintf(b, "0x%02x", v.data[0])
	case 's', 'o', 'g':
		if typed {
			b.WriteString(map[byte]string{'o': "objectpath ", 'g': "signature "}[v.kind.code])
		}
		s, err := zeroTerminated(v.data)
		b.WriteString(quoteVariant(s))
		return err
	case 'v':
		inner, err := v.inner()
		if err != nil {
			return err
		}
		b.WriteByte('<')
		err = inner.format(b, true)
		b.WriteByte('>')
		return err
	case 'a':
		return v.printArray(b, typed)
	case '(', '{':
		return v.printTuple(b, typed)
	default:
		return errors.New("not known to the test: " + v.kind.text)
	}
	return nil
}

func (v Value) printArray(b *strings.Builder, typed bool) error {
	if v.kind.of[0].code == 'y' {
		if s, err := zeroTerminated(v.data); err == nil {
			quote := "'"
			if strings.Contains(s, "'") {
				quote = `"`
			}
			b.WriteString("b" + quote + escapeBytes(s) + quote)
			return nil
		}
	}
	elements, err := v.elements()
	if err != nil {
		return err
	}
	dict := v.kind.of[0].code == '{'
	ends := "[]"
	if dict {
		ends = "{}"
	}
	if len(elements) == 0 && typed {
		b.WriteString("@" + v.kind.text + " ")
	}
	b.WriteByte(ends[0])
	for i, element := range elements {
		if i > 0 {
			b.WriteString(", ")
		}
		if dict {
			pair, err := element.members()
			if err == nil {
				err = pair[0].format(b, typed)
			}
			b.WriteString(": ")
			if err == nil {
				err = pair[1].format(b, typed)
			}
			if err != nil {
				return err
			}
		} else if err := element.format(b, typed); err != nil {
			return err
		}
		typed = false
	}
	b.WriteByte(ends[1])
	return nil
}

func (v Value) printTuple(b *strings.Builder, typed bool) error {
	members, err := v.members()
	if err != nil {
		return err
	}
	b.WriteByte('(')
	for i, member := range members {
		if i > 0 {
			b.WriteString(", ")
		}
		if err := member.format(b, typed); err != nil {
			return err
		}
	}
	if len(members) == 1 {
		b.WriteByte(',')
	}
	b.WriteByte(')')
	return nil
}

// quoteVariant quotes as GLib prints strings, for characters that it takes for printable as
// strconv does.
func quoteVariant(s string) string {
	quote := '\''
	if strings.Contains(s, "'") {
		quote = '"'
	}
	var b strings.Builder
	b.WriteRune(quote)
	for _, c := range s {
		i := strings.IndexRune("\a\b\f\n\r\t\v", c)
		switch {
		case c == quote || c == '\\':
			b.WriteString(`\` + string(c))
		case strconv.IsPrint(c):
			b.WriteRune(c)
		case i >= 0:
			b.WriteString(`\` + "abfnrtv"[i:i+1])
		case c < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			fmt.Fprintf(&b, `\U%08x`, c)
		}
	}
	b.WriteRune(quote)
	return b.String()
}

// escapeBytes is g_strescape.
func escapeBytes(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		i := strings.IndexByte("\b\f\n\r\t\v", c)
		switch {
		case c == '\\' || c == '"':
			b.WriteString(`\` + string(c))
		case i >= 0:
			b.WriteString(`\` + "bfnrtv"[i:i+1])
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// show returns what "ostree show --raw" prints of a commit.
func (s *scratch) show(repo *Repo, sum Checksum) string {
	s.Helper()
	data, err := os.ReadFile(s.object(sum, "commit"))
	s.ok(err)
	var b strings.Builder
	fmt.Fprintf(&b, "commit %s\n", sum)
	s.ok(Value{kind: commitKind(), data: data}.format(&b, true))
	// What the program uses is the same.
	commit, err := repo.Commit(sum)
	s.ok(err)
	_, rest, _ := strings.Cut(b.String(), "}, ")
	want := fmt.Sprintf("%s, %s, uint64 %d, ", quoteVariant(commit.Subject), quoteVariant(commit.Body), commit.Time)
	if !strings.Contains(rest, want) {
		s.Errorf("commit %s: %q is not in %q", sum, want, b.String())
	}
	return b.String()
}

// list returns what "ostree ls -R -C -X" prints of a directory, without its own line.
func (s *scratch) list(b *strings.Builder, repo *Repo, name string, dir TreeDir) {
	s.Helper()
	meta, err := repo.DirMeta(dir.Meta)
	s.ok(err)
	line := func(kind byte, mode, uid, gid uint32, size int64, sums string, xattrs []Xattr, name string) {
		fmt.Fprintf(b, "%c0%04o %d %d %6d %s { ", kind, mode&^unix.S_IFMT, uid, gid, size, sums)
		s.ok(Value{kind: mustKind("a(ayay)"), data: packXattrs(xattrs)}.format(b, true))
		fmt.Fprintf(b, " } %s\n", name)
	}
	line('d', meta.Mode, meta.UID, meta.GID, 0, dir.Tree.String()+" "+dir.Meta.String(), meta.Xattrs, name)
	tree, err := repo.Tree(dir.Tree)
	s.ok(err)
	for _, f := range tree.Files {
		file, err := repo.OpenFile(f.File, true)
		s.ok(err)
		kind, name := byte('-'), path.Join(name, f.Name)
		if file.Mode&unix.S_IFMT == unix.S_IFLNK {
			kind, name = 'l', name+" -> "+file.Target
		} else {
			_, err = io.Copy(io.Discard, file) // compares it with its checksum
		}
		line(kind, file.Mode, file.UID, file.GID, file.Size, f.File.String(), file.Xattrs, name)
		s.ok(err, file.Close())
	}
	for _, d := range tree.Dirs {
		s.list(b, repo, path.Join(name, d.Name), d)
	}
}

// generator makes random trees, metadata and refs.
type generator struct {
	*rand.Rand
	*scratch
}

func (g generator) pick(from ...string) string { return from[g.IntN(len(from))] }

func (g generator) words(most int) string {
	var b strings.Builder
	for range g.IntN(most + 1) {
		b.WriteString(g.pick("a", "B", "7", " ", "'", `"`, `\`, "\n", "\t", "é", "漢", "<>", "{}", "()", "%s", strings.Repeat("x", 300)))
	}
	return b.String()
}

// variant returns a value in the text format of GVariant and its type.
func (g generator) variant(depth int) (text, kind string) {
	n := 14
	if depth == 0 {
		n = 9
	}
	switch g.IntN(n) {
	case 0:
		return quoteVariant(g.words(6)), "s"
	case 1:
		return fmt.Sprint("uint32 ", g.Uint32()), "u"
	case 2:
		return fmt.Sprint("int64 ", int64(g.Uint64())), "x"
	case 3:
		return fmt.Sprint("byte ", g.IntN(256)), "y"
	case 4:
		return fmt.Sprint(g.IntN(2) == 0), "b"
	case 5:
		return fmt.Sprint("uint16 ", g.IntN(1<<16)), "q"
	case 6:
		return fmt.Sprint("int16 ", g.IntN(1<<16)-1<<15), "n"
	case 7:
		return "objectpath '/a/b'", "o"
	case 8:
		return g.pick("@ay []", "b'text'", `b"it's \\ \"quoted\" \001\377"`, "[byte 1, 2, 0]", "[byte 0]"), "ay"
	case 9:
		inner, _ := g.variant(depth - 1)
		return "<" + inner + ">", "v"
	case 10:
		inner, kind := g.variant(depth - 1)
		if g.IntN(4) == 0 {
			return "@a" + kind + " []", "a" + kind
		}
		return "[" + strings.Join(slices.Repeat([]string{inner}, 1+g.IntN(3)), ", ") + "]", "a" + kind
	case 11:
		text, kind := "@a{sv} {", "a{sv}"
		for i := range g.IntN(4) {
			inner, _ := g.variant(depth - 1)
			text += fmt.Sprintf("%s%s: <%s>", strings.Repeat(", ", min(1, i)), quoteVariant(g.words(3)), inner)
		}
		return text + "}", kind
	default:
		first, kind := g.variant(depth - 1)
		text := first + ","
		for i := range g.IntN(3) {
			inner, k := g.variant(depth - 1)
			text, kind = text+strings.Repeat(",", min(1, i))+" "+inner, kind+k
		}
		return "(" + text + ")", "(" + kind + ")"
	}
}

// grow puts files into a directory. Where the repository keeps them, it has owners and
// attributes.
func (g generator) grow(dir string, depth int, owned bool) {
	g.Helper()
	for range g.IntN(5) {
		name := filepath.Join(dir, cmp.Or(strings.NewReplacer("/", "", "\n", "").Replace(g.words(4)), "f"))
		if len(filepath.Base(name)) > 250 {
			continue
		}
		if _, err := os.Lstat(name); err == nil {
			continue
		}
		switch g.IntN(4) {
		case 0:
			g.ok(os.Symlink(g.pick("target", "/etc/x", "../"+strings.Repeat("y/", 200)), name))
			if owned {
				g.ok(os.Lchown(name, g.IntN(70000), g.IntN(70000)))
			}
			continue
		case 1:
			g.ok(os.Mkdir(name, 0o755))
			if depth > 0 {
				g.grow(name, depth-1, owned)
			}
		default:
			g.ok(os.WriteFile(name, []byte(g.words(9)), 0o644))
		}
		if owned {
			g.ok(os.Chown(name, g.IntN(70000), g.IntN(70000)), unix.Chmod(name, uint32(0o400|g.IntN(0o7777))))
			for range g.IntN(3) {
				g.ok(unix.Setxattr(name, "user."+g.pick("a", "b", "long"+strings.Repeat("n", 100)), []byte("v"+g.words(3)), 0))
			}
		}
	}
}

// commitRandom commits a random tree.
func (g generator) commitRandom(owned bool, parents []string) string {
	g.Helper()
	entries, err := os.ReadDir(g.tree)
	g.ok(err)
	for _, entry := range entries {
		g.ok(os.RemoveAll(filepath.Join(g.tree, entry.Name())))
	}
	g.grow(g.tree, 2, owned)
	args := []string{"--subject=" + g.words(5), "--body=" + g.words(8), fmt.Sprintf("--timestamp=@%d", g.IntN(1<<33))}
	if len(parents) > 0 && g.IntN(2) == 0 {
		args = append(args, "--parent="+g.pick(parents...))
	}
	for i := range g.IntN(5) {
		text, _ := g.variant(3)
		args = append(args, fmt.Sprintf("--add-metadata=key%d%s=%s", i, g.pick("", ".x", strings.Repeat("k", 300)), text))
	}
	return g.commit(args...)
}

// TestRandomCommitsAreReadAsOSTreeShowsThem compares as many commits as
// $BOOTC_PODMAN_RANDOM_COMMITS says, by default a few.
func TestRandomCommitsAreReadAsOSTreeShowsThem(t *testing.T) {
	count, err := strconv.Atoi(os.Getenv("BOOTC_PODMAN_RANDOM_COMMITS"))
	if err != nil {
		if count = 40; testing.Short() {
			count = 8
		}
	}
	for part, mode := range []string{"bare", "bare", "bare-user-only", "archive"} {
		t.Run(fmt.Sprint(part, "-", mode), func(t *testing.T) {
			t.Parallel()
			s := newScratch(t, mode)
			s.ostree("config", "set", "core.fsync", "false")
			g := generator{rand.New(rand.NewPCG(14, uint64(part))), s}
			repo := s.open()
			var commits []string
			for range count / 4 {
				checksum := g.commitRandom(mode == "bare", commits)
				commits = append(commits, checksum)
				if got, want := s.show(repo, parse(t, checksum)), s.ostree("show", "--raw", checksum); got != want {
					t.Fatalf("show %s: got\n%s\nwant\n%s", checksum, got, want)
				}
				if mode == "bare" {
					var b strings.Builder
					s.list(&b, repo, "/", repo.root(t, checksum))
					if want := s.ostree("ls", "-R", "-C", "-X", checksum); strings.TrimSuffix(b.String(), "\n") != want {
						t.Fatalf("ls %s: got\n%s\nwant\n%s", checksum, b.String(), want)
					}
				}
			}
			g.compareRefs(repo, commits)
		})
	}
}

// compareRefs makes refs of all kinds and compares what they resolve to.
func (g generator) compareRefs(repo *Repo, commits []string) {
	g.Helper()
	part := func() string {
		return g.pick("r", "os", "stable", "x86_64", "a-b", "_3A_", "1.2", "UPPER", "\u00e9", "\u6f22", "\u00bd") + strconv.Itoa(g.IntN(9))
	}
	revs := []string{"missing", "a/missing", "r1:missing", "none:missing", "r1/missing", strings.Repeat("1", 64), "", "/", "a//b", "-x", ".x", "a/.x", "a b", ":", "r1:", "a:b:c", "\xff", "\u203fa"}
	for _, commit := range commits {
		ref := part()
		for range g.IntN(3) {
			ref += "/" + part()
		}
		if g.IntN(3) == 0 {
			remote := g.pick("r1", "r2")
			revs = append(revs, ref, remote+"/"+ref)
			ref = remote + ":" + ref
		}
		revs = append(revs, ref, commit)
		if _, err := g.try("refs", "--create="+ref, commit); err == nil && !strings.Contains(ref, ":") && g.IntN(4) == 0 {
			alias := "alias/" + part() + "/" + part()
			_, _ = g.try("refs", "--alias", "--create="+alias, ref)
			revs = append(revs, alias)
		}
	}
	for _, rev := range revs {
		want, wantErr := g.try("rev-parse", "--", rev)
		got, err := repo.Resolve(rev)
		if (err == nil) != (wantErr == nil) || err == nil && got.String() != want {
			g.Errorf("%q: got %s, %v, want %s, %v", rev, got, err, want, wantErr)
		}
	}
	for _, prefix := range []string{"alias", "os1", "stable3", "r1:", "r2:os1", "none", "none:"} {
		want, _ := g.try("refs", "--list", prefix)
		refs, err := repo.Refs(prefix)
		g.ok(err)
		var names []string
		for _, ref := range refs {
			names = append(names, ref.Name)
			if ref.Err != nil {
				g.Errorf("%s: %v", ref.Name, ref.Err)
			}
		}
		// The program puts "./" before those of a remote.
		wanted := strings.Fields(strings.ReplaceAll(want, ":./", ":"))
		slices.Sort(wanted)
		if !slices.Equal(names, wanted) {
			g.Errorf("refs %q: got %q, want %q", prefix, names, wanted)
		}
	}
}

func TestRefsHasWhatIsDamaged(t *testing.T) {
	s := newScratch(t, "bare-user-only")
	commit := s.commit()
	for name, content := range map[string]string{
		"good": commit + "\n", "dir/nested/deep": commit, "blanks": commit + " \t\r\n\n", "empty": "", "short": commit[1:] + "\n",
		"upper": strings.ToUpper(commit) + "\n", "before": " " + commit, "not-utf8": "\xff", "two": commit + "\n" + commit + "\n",
		".hidden": commit, "a b": commit, "dir/.rsync": "x", "-dash": commit,
	} {
		s.write("refs/heads/p/"+name, content)
	}
	heads := filepath.Join(s.repo, "refs/heads/p")
	s.ok(os.Symlink("../p/good", heads+"/alias"), os.Symlink("gone", heads+"/dangling"), os.Symlink("/etc/passwd", heads+"/outside"),
		os.Symlink("dir", heads+"/to-dir"), os.Symlink("loop", heads+"/loop"), unix.Mkfifo(heads+"/fifo", 0o644))
	refs, err := s.open().Refs("p")
	s.ok(err)
	got := map[string]string{}
	for _, ref := range refs {
		got[strings.TrimPrefix(ref.Name, "p/")] = ref.Commit.String()
		if ref.Err != nil {
			got[strings.TrimPrefix(ref.Name, "p/")] = ""
		}
		if isLink := slices.Contains([]string{"p/dangling", "p/outside"}, ref.Name); errors.Is(ref.Err, errLink) != isLink {
			t.Errorf("%s: got %v", ref.Name, ref.Err)
		}
	}
	for _, name := range []string{"good", "dir/nested/deep", "blanks", "alias"} {
		if got[name] != commit {
			t.Errorf("%s: got %q", name, got[name])
		}
		if rev, err := s.try("rev-parse", "p/"+name); rev != commit {
			t.Errorf("%s: ostree has %q, %v", name, rev, err)
		}
		delete(got, name)
	}
	for _, name := range []string{"empty", "short", "upper", "before", "not-utf8", "two", "dangling", "outside", "to-dir", "loop"} {
		if sum, listed := got[name]; !listed || sum != "" {
			t.Errorf("%s: got %t, %q", name, listed, sum)
		}
		delete(got, name)
	}
	if len(got) != 0 {
		t.Errorf("got also %q", got)
	}
}

func TestMissingCommitsAreToldApart(t *testing.T) {
	s := newScratch(t, "bare-user-only")
	s.ostree("config", "set", "core.tombstone-commits", "true")
	deleted, partial := s.commit("--subject=1"), s.commit("--subject=2")
	s.ostree("prune", "--delete-commit="+deleted)
	s.write("state/"+partial+".commitpartial", "")
	repo := s.open()
	if _, err := repo.Commit(parse(t, deleted)); !errors.Is(err, ErrDeleted) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("deleted: got %v", err)
	}
	if _, err := repo.Commit(parse(t, strings.Repeat("1", 64))); errors.Is(err, ErrDeleted) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: got %v", err)
	}
	// As for ostree show.
	s.ostree("show", partial)
	commit, err := repo.Commit(parse(t, partial))
	s.ok(err)
	s.ok(os.Remove(s.object(commit.Root.Tree, "dirtree")))
	if _, err := repo.Tree(commit.Root.Tree); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("partial: got %v", err)
	}
}

// BenchmarkRefs lists 10,000 refs in directories of a hundred.
func BenchmarkRefs(b *testing.B) {
	s := newScratch(b, "bare-user-only")
	commit := s.commit()
	for i := range 10_000 {
		s.write(fmt.Sprintf("refs/heads/ostree/%02d/ref%d", i%100, i), commit+"\n")
	}
	repo := s.open()
	for b.Loop() {
		refs, err := repo.Refs("ostree")
		if err != nil || len(refs) != 10_000 || refs[0].Commit.String() != commit {
			b.Fatal(len(refs), err)
		}
	}
}
