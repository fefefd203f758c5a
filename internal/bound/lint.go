// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package bound checks the images that are bound to deployments: whether bootc can read,
// pull and keep them, and whether they are there.
package bound

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/ini"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// LintFinding is a finding about a unit of bound-images.d.
type LintFinding struct {
	health.Finding
	// File is the quadlet, or where there is none, the entry of bound-images.d. It begins
	// with the root directory as it was given.
	File string `json:"file"`
	// Line counts from 1; 0 is the whole file.
	Line int `json:"line"`
	// Replacement is what Line has to be, "" where that is not known.
	Replacement string `json:"replacement"`
}

// LintReport is what Lint finds. Its JSON form is described by
// docs/bound-lint-v1.schema.json.
type LintReport struct {
	// Units is the number of entries in bound-images.d.
	Units    int           `json:"units"`
	Findings []LintFinding `json:"findings"`
}

// Lint checks the bound images of the root directory root: that of an image in the making,
// of a deployment, or "/". It reads files below root only. An error says that
// bound-images.d could not be read; the findings are about the rest.
func Lint(root string) (LintReport, error) {
	report := LintReport{Findings: []LintFinding{}}
	dir, err := rooted.OpenRoot(root)
	if err != nil {
		return report, fmt.Errorf("open root directory: %w", err)
	}
	defer dir.Close()
	abs, err := filepath.Abs(root)
	if err != nil {
		return report, fmt.Errorf("open root directory: %w", err)
	}
	units, err := host.BoundUnits(dir)
	report.Units = len(units)
	l := linter{root: root, abs: abs, dir: dir, report: &report}
	for _, u := range units {
		l.unit(u)
	}
	return report, err
}

// What follows from several findings.
const (
	noBoundImages = "bootc reads no bound image of this root, and its upgrade, list and cleanup fail"
	pulledDeleted = "bootc pulls the image, and deletes it in the cleanup of the same upgrade"
)

type linter struct {
	// root is as it was given, abs from "/".
	root, abs string
	dir       *os.File
	report    *LintReport
}

// unitLinter is linter at work on one unit.
type unitLinter struct {
	*linter
	host.BoundUnit
	file string
	// bootc and podman are the entries as each of them reads the unit.
	bootc, podman []ini.Entry
}

func (l *unitLinter) find(rule health.Rule, severity health.Severity, line int, replacement, why, format string, args ...any) {
	where := l.file
	if line > 0 {
		where = fmt.Sprintf("%s:%d", l.file, line)
	}
	l.report.Findings = append(l.report.Findings, LintFinding{
		Finding: health.Finding{Rule: rule, Severity: severity, Where: where, What: fmt.Sprintf(format, args...), Why: why},
		File:    l.file, Line: line, Replacement: replacement,
	})
}

// unit checks one unit.
func (l *linter) unit(unit host.BoundUnit) {
	u := &unitLinter{linter: l, BoundUnit: unit}
	u.file = u.resolve(unit)
	if unit.Err != nil {
		u.unreadByBootc()
	}
	if unit.Section == "" || unit.Data == nil {
		return
	}
	u.bootc, u.podman = ini.TiniEntries(unit.Data), ini.UnitEntries(unit.Data)
	if unit.Err == nil || errors.Is(unit.Err, host.ErrAuthFile) {
		u.image()
	}
	if unit.Section == "Container" {
		u.container()
	}
}

// resolve returns the path of the file that an entry leads to, that of the entry where
// there is none.
func (l *linter) resolve(u host.BoundUnit) string {
	entry := filepath.Join(host.BoundImagesDir, u.Unit)
	if u.Data != nil {
		if f, err := rooted.Open(l.dir, entry, unix.O_PATH); err == nil {
			defer f.Close()
			target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
			root, errRoot := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", l.dir.Fd()))
			if rel, errRel := filepath.Rel(root, target); err == nil && errRoot == nil && errRel == nil && filepath.IsLocal(rel) {
				entry = rel
			}
		}
	}
	return filepath.Join(l.root, entry)
}

// unreadByBootc reports why bootc cannot read the unit.
func (l *unitLinter) unreadByBootc() {
	fail := func(rule health.Rule, line int, replacement, format string, args ...any) {
		l.find(rule, health.Failing, line, replacement, noBoundImages, format, args...)
	}
	err := l.Err
	var bad *ini.LineError
	switch {
	case errors.Is(err, host.ErrUnitName):
		fail(health.BoundUnitName, 0, "", "%v", err)
	case errors.Is(err, host.ErrNotLink):
		fail(health.BoundNotLink, 0, "", "%v", err)
	case errors.Is(err, host.ErrUnitType):
		fail(health.BoundUnitType, 0, "", "%v", err)
	case errors.Is(err, fs.ErrPermission):
		l.find(health.Unreadable, health.Unknown, 0, "", "", "%v", err)
	case errors.As(err, &bad):
		if line, whole := continued(l.Data, bad.Line); line > 0 {
			fail(health.BoundContinuedLine, line, whole, "bootc does not join lines that end with a backslash")
			return
		}
		fail(health.BoundSyntax, bad.Line, "", "%v", errors.Unwrap(bad))
	case errors.Is(err, host.ErrNoImage):
		fail(health.BoundNoImage, 0, "", "%v", err)
	case errors.Is(err, host.ErrAuthFile):
		fail(health.BoundAuthFile, l.lineOf(ini.TiniEntries(l.Data), "AuthFile"), "", "%v", err)
	case errors.Is(err, host.ErrSpecifier), errors.Is(err, host.ErrLonePercent):
		fail(health.BoundSpecifier, l.lineOf(ini.TiniEntries(l.Data), "Image"), "", "%v", err)
	default:
		fail(health.BoundDangling, 0, "", "leads to no file that can be read: %v", err)
	}
}

// continued returns the line at which the continued line begins that includes line number,
// and the whole of it; 0 where no backslash ends the line before.
func continued(data []byte, number int) (first int, whole string) {
	lines := bytes.Split(data, []byte("\n"))
	goesOn := func(i int) bool {
		return i >= 0 && i < len(lines) && bytes.HasSuffix(bytes.TrimRight(lines[i], "\r"), []byte(`\`))
	}
	i := number - 1
	for goesOn(i - 1) {
		i--
	}
	if i == number-1 {
		return 0, ""
	}
	first = i + 1
	for ; i < len(lines); i++ {
		text := strings.TrimRight(string(lines[i]), "\r")
		part := strings.TrimSuffix(text, `\`)
		if whole != "" {
			part = strings.TrimLeft(part, " \t")
		}
		if whole += part; !goesOn(i) {
			break
		}
	}
	return first, whole
}

// last returns the last entry of a key in the unit's section.
func (l *unitLinter) last(entries []ini.Entry, key string) (last ini.Entry, found bool) {
	for _, e := range entries {
		if e.Section == l.Section && e.Key == key {
			last, found = e, true
		}
	}
	return last, found
}

func (l *unitLinter) lineOf(entries []ini.Entry, key string) int {
	e, _ := l.last(entries, key)
	return e.Line
}

// image checks the name of the image.
func (l *unitLinter) image() {
	entry, _ := l.last(l.bootc, "Image")
	if l.Image == "" {
		l.find(health.BoundNoImage, health.Failing, entry.Line, "", "bootc fails to pull an image without a name, at every upgrade", "Image is empty")
		return
	}
	for _, e := range l.bootc {
		if e.Section == l.Section && e.Key == "Image" && e.Value != entry.Value {
			l.find(health.BoundRepeated, health.Risk, e.Line, "", "", "Image is given again in line %d, which counts", entry.Line)
		}
	}
	name, line := l.Image, entry.Line
	if podman, ok := l.last(l.podman, "Image"); ok && strings.Trim(podman.Value, `"`) != strings.Trim(entry.Value, `"`) {
		l.differs(entry, podman)
		if podman.Line != entry.Line {
			line = 0 // a replacement there changes another key for podman
		}
	}
	if bare := strings.Trim(name, `"'`); bare != name {
		l.find(health.BoundQuoted, health.Failing, line, l.replacement(line, bare), "bootc fails to pull the image", "bootc keeps the quotes in %s", name)
		return
	}
	if l.Section == "Container" && (strings.HasSuffix(name, ".image") || strings.HasSuffix(name, ".build")) {
		l.reference(name, line)
		return
	}
	l.name(name, line)
}

// differs reports that podman reads another image than bootc.
func (l *unitLinter) differs(bootc, podman ini.Entry) {
	if rest, ok := strings.CutPrefix(podman.Value, bootc.Value); ok && podman.Line == bootc.Line {
		if rest = strings.TrimSpace(rest); rest[0] == '#' || rest[0] == ';' {
			l.find(health.BoundComment, health.Failing, bootc.Line, l.replacement(bootc.Line, l.Image), "podman fails to run the image",
				"podman reads no comment within a line: its image is %q", podman.Value)
			return
		}
	}
	l.find(health.BoundValueDiffers, health.Failing, bootc.Line, "", "what bootc pulls is not what podman runs", "bootc reads the image %q, podman %q", bootc.Value, podman.Value)
}

// replacement returns the line that names the image as podman stores it, "" where that is
// not known.
func (l *unitLinter) replacement(line int, name string) string {
	stored, err := storedName(strings.TrimPrefix(name, "docker://"), l.shortNames)
	if line == 0 || err != nil {
		return ""
	}
	return "Image=" + stored
}

// reference reports the name of another unit in the place of an image's.
func (l *unitLinter) reference(name string, line int) {
	replacement := ""
	if data, err := rooted.ReadFile(l.dir, l.beside(name), maxUnit); err == nil && strings.HasSuffix(name, ".image") {
		for _, e := range ini.TiniEntries(data) {
			if e.Section == "Image" && e.Key == "Image" {
				replacement = l.replacement(line, e.Value)
			}
		}
	}
	l.find(health.BoundUnitReference, health.Failing, line, replacement, "bootc pulls an image of that name; bind the unit itself, or the image by its name", "bootc takes the unit %q for an image", name)
}

// maxUnit bounds what is read of a unit, in bytes.
const maxUnit = 1 << 20

// beside returns the path below the root of another unit in the directory of this one.
func (l *unitLinter) beside(name string) string {
	rel, err := filepath.Rel(l.root, filepath.Join(filepath.Dir(l.file), name))
	if err != nil {
		return name
	}
	return rel
}

func (l *linter) shortNames() (cstorage.ShortNames, error) {
	return cstorage.ReadShortNames(l.abs)
}

// transports are the prefixes by which podman takes a name for something else than a
// repository on a registry.
func transports() []string {
	return []string{"docker://", "oci:", "oci-archive:", "dir:", "docker-archive:", "docker-daemon:", "containers-storage:"}
}

// name checks a name without quotes.
func (l *unitLinter) name(name string, line int) {
	if i := slices.IndexFunc(transports(), func(t string) bool { return strings.HasPrefix(name, t) }); i >= 0 {
		l.find(health.BoundTransport, health.Failing, line, l.replacement(line, name), pulledDeleted, "bootc's cleanup does not recognise %q, which has a transport", name)
		return
	}
	n, err := cstorage.ParseStorable(name)
	if err != nil {
		l.find(health.BoundInvalidName, health.Failing, line, "", "bootc fails to pull the image", "%v", err)
		return
	}
	replacement := l.replacement(line, name)
	unrecognised := func(rule health.Rule, what string) {
		l.find(rule, health.Failing, line, replacement, pulledDeleted, "bootc's cleanup does not recognise %q, which %s", name, what)
	}
	switch {
	case n.Tag != "" && n.Digest != "":
		unrecognised(health.BoundTagAndDigest, "has a tag and a digest: podman stores it without the tag")
	case n.Tag == "" && n.Digest == "":
		unrecognised(health.BoundUntagged, "has no tag: podman stores it with one")
	}
	if !strings.HasPrefix(name, n.Repository()) {
		unrecognised(health.BoundShortName, "is short for another: podman stores it in full")
	}
	if n.Digest == "" && (n.Tag == "" || n.Tag == "latest") {
		l.find(health.BoundMovingTag, health.Risk, line, "", "hosts run different images: bootc does not pull a name again that its store has", "the tag latest moves")
	}
}

// storedName returns the name by which podman stores an image that it pulls by name: with
// registry, and with either tag or digest.
func storedName(name string, short func() (cstorage.ShortNames, error)) (string, error) {
	n, err := cstorage.ParseStorable(name)
	if err != nil {
		return "", err
	}
	n = n.Stored()
	if !cstorage.IsShort(name) {
		return n.String(), nil
	}
	// podman pulls a short name from its alias, else from a registry of its configuration.
	names, err := short()
	if err != nil {
		return "", err
	}
	repository, _, _ := strings.Cut(name, "@")
	if i := strings.LastIndex(repository, ":"); i >= 0 {
		repository = repository[:i]
	}
	full := n
	switch alias := names.Aliases[repository]; {
	case alias != "":
		full, err = cstorage.ParseStorable(alias)
	case len(names.Registries) > 0:
		full, err = cstorage.ParseStorable(strings.TrimRight(names.Registries[0], "/") + "/" + repository)
	}
	full.Tag, full.Digest = n.Tag, n.Digest
	return full.String(), err
}

// container checks what podman does with a bound .container.
func (l *unitLinter) container() {
	if e, ok := l.last(l.podman, "AuthFile"); ok {
		l.find(health.BoundAuthFile, health.Failing, e.Line, "", "podman's generator makes no service of it", "AuthFile is no key of a container, and bootc ignores it")
	}
	for _, again := range [][2]string{{"Pull", "always"}, {"Pull", "newer"}, {"AutoUpdate", "registry"}} {
		if e, ok := l.last(l.podman, again[0]); ok && e.Value == again[1] {
			l.find(health.BoundPulledAnew, health.Risk, e.Line, "", "that image runs in the place of the bound one", "%s=%s makes podman pull another image of the name into its own store", e.Key, e.Value)
		}
	}
	l.storageOptions()
}

// bootcStorage is the path of the bootc store for podman.
const bootcStorage = "/usr/lib/bootc/storage"

// storageOptions checks that podman looks for images in the bootc store, and keeps the
// host's own options.
func (l *unitLinter) storageOptions() {
	for _, e := range l.podman {
		if strings.HasPrefix(e.Key, "Environment") && (e.Key == "EnvironmentFile" || strings.Contains(e.Value, "CONTAINERS_STORAGE_CONF=") || strings.Contains(e.Value, storageconf.EnvStorageOpts+"=")) {
			return
		}
	}
	configured, err := storageconf.ReadDefaultStore(l.abs)
	if err != nil {
		l.find(health.Unreadable, health.Unknown, 0, "", "", "%v", err)
		return
	}
	var given []string
	var at ini.Entry
	for _, e := range l.podman {
		if e.Section == "Container" && e.Key == "GlobalArgs" {
			if options := storageOpts(e.Value); options != nil {
				given, at = append(given, options...), e
			}
		}
	}
	if at.Line == 0 {
		if !slices.ContainsFunc(configured.Options, isBootcStore) {
			line := globalArgs("", append([]string{"additionalimagestore=" + bootcStorage}, configured.Options...))
			l.find(health.BoundStoreUnseen, health.Risk, 0, "", "podman pulls the image once more into its own store; add "+line, "podman does not look into the bootc store")
		}
		return
	}
	lost := slices.DeleteFunc(slices.Clone(configured.Options), func(option string) bool { return hasOption(given, option) })
	if len(lost) > 0 {
		l.find(health.BoundGlobalArgs, health.Risk, at.Line, globalArgs(at.Value, lost), "", "--storage-opt drops the options of storage.conf: %s", strings.Join(lost, " "))
	}
	if !slices.ContainsFunc(given, isBootcStore) {
		l.find(health.BoundStoreUnseen, health.Risk, at.Line, globalArgs(at.Value, append([]string{"additionalimagestore=" + bootcStorage}, lost...)),
			"podman pulls the image once more into its own store", "podman does not look into the bootc store")
	}
}

// storageOpts returns the values of --storage-opt in a value of GlobalArgs.
func storageOpts(args string) (options []string) {
	words := strings.Fields(args)
	for i := 0; i < len(words); i++ {
		word := strings.Trim(words[i], `"'`)
		value, ok := strings.CutPrefix(word, "--storage-opt=")
		if word == "--storage-opt" && i+1 < len(words) {
			i++
			value, ok = strings.Trim(words[i], `"'`), true
		}
		if ok {
			options = append(options, value)
		}
	}
	return options
}

// globalArgs returns a line with more storage options.
func globalArgs(value string, options []string) string {
	words := []string{value}
	if value == "" {
		words = nil
	}
	for _, option := range options {
		words = append(words, "--storage-opt="+option)
	}
	return "GlobalArgs=" + strings.Join(words, " ")
}

// splitOption returns a driver option's name without the driver, and its value.
func splitOption(option string) (key, value string) {
	key, value, _ = strings.Cut(option, "=")
	if _, name, ok := strings.Cut(key, "."); ok {
		key = name
	}
	if key == "additionalimagestore" {
		key = "imagestore"
	}
	return key, value
}

// hasOption reports whether options have one of the name of option; of image stores,
// which may be several, also of its value.
func hasOption(options []string, option string) bool {
	key, value := splitOption(option)
	return slices.ContainsFunc(options, func(other string) bool {
		k, v := splitOption(other)
		return k == key && (key != "imagestore" || v == value)
	})
}

func isBootcStore(option string) bool {
	key, value := splitOption(option)
	return key == "imagestore" && strings.HasSuffix(filepath.Clean(value), "/bootc/storage")
}
