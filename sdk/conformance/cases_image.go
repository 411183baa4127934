package conformance

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/driverpb"
)

func imageCases() []Case {
	pull, build := []driver.Capability{driver.CapImagePull}, []driver.Capability{driver.CapImageBuild}
	remove, list := []driver.Capability{driver.CapImageRemove}, []driver.Capability{driver.CapImageList}
	return engine([]Case{
		{
			ID: "IMAGE-1", Group: "images", Run: imageLocal, Needs: pull,
			Must: "EnsureImage of a local image gives its reference and digest, with an unknown policy too",
		},
		{
			ID: "IMAGE-2", Group: "images", Run: imageNever, Needs: pull,
			Must: "EnsureImage of an image that is missing is IMAGE_NOT_FOUND when it may not be pulled",
		},
		{
			ID: "IMAGE-3", Group: "images", Run: imagePull, Needs: pull,
			Must: "EnsureImage pulls a missing image and reports its progress",
		},
		{
			ID: "IMAGE-4", Group: "images", Run: imageBuild, Needs: slices.Concat(build, remove),
			Must: "BuildImage builds and tags an image and reports its progress",
		},
		{
			ID: "IMAGE-5", Group: "images", Run: imageBuildFails, Needs: build,
			Must: "a build that fails is IMAGE_BUILD_FAILED and tells the line",
		},
		{
			ID: "IMAGE-6", Group: "images", Run: imageRemoveAbsent, Needs: remove,
			Must: "RemoveImage of an absent image succeeds",
		},
		{
			ID: "IMAGE-7", Group: "images", Run: imageInUse, Needs: slices.Concat(remove, build),
			Must: "RemoveImage of an image that a sandbox needs is IMAGE_IN_USE",
		},
		{
			ID: "IMAGE-8", Group: "images", Run: imageList, Needs: slices.Concat(list, build, remove),
			Must: "ListImages gives the images that carry all the labels asked for, ordered by reference",
		},
	})
}

// localImage skips the case when the profile's image is not on this machine.
func (s *Session) localImage(t T) string {
	t.Helper()
	ref := s.r.c.Profile.Image
	if !s.declares(driver.CapImagePull) {
		return ref
	}
	_, err := s.Driver(t).EnsureImage(s.Ctx, ref, driver.PullNever, func(driver.Progress) {})
	if driver.ReasonOf(err) == driver.ImageNotFound {
		t.Skipf("the image %s is not here", ref)
	}
	return ref
}

func imageLocal(t T, s *Session) {
	ref := s.localImage(t)
	image, err := s.Driver(t).EnsureImage(s.Ctx, ref, driver.PullMissing, func(driver.Progress) {})
	s.OK(t, "EnsureImage", err)
	if image.Reference != ref || !strings.HasPrefix(image.Digest, "sha256:") {
		t.Errorf("it gives %+v", image)
	}
	r := s.Wire(t)
	stream, err := r.EnsureImage(s.Ctx, &driverpb.EnsureImageRequest{Reference: ref, Policy: driverpb.PullPolicy(77)})
	if err == nil {
		_, err = stream.Recv()
	}
	s.OK(t, "EnsureImage with a policy from the future", err)
}

func imageNever(t T, s *Session) {
	_, err := s.Driver(t).EnsureImage(s.Ctx, "sero-conformance-"+s.r.nonce+":absent", driver.PullNever, func(driver.Progress) {})
	s.Fails(t, "EnsureImage", err, driver.ImageNotFound)
}

func imagePull(t T, s *Session) {
	ref := s.r.c.Profile.PullImage
	if ref == "" {
		t.Skipf("the profile names no image to pull (pullImage)")
	}
	steps := 0
	image, err := s.Driver(t).EnsureImage(s.Ctx, ref, driver.PullAlways, func(driver.Progress) { steps++ })
	s.OK(t, "EnsureImage", err)
	if image.Reference != ref || steps == 0 {
		t.Errorf("it gives %+v, with %d reports of progress", image, steps)
	}
}

// build makes an image that ends with the case.
func (s *Session) build(t T, tag string, labels map[string]string) (driver.Image, int) {
	t.Helper()
	dir := s.r.dir()
	// The tag makes it an image of its own, from its first layer on: cases run at
	// the same time, and what one removes another must not build on.
	text := fmt.Sprintf("FROM %s\nLABEL conf.tag=%s\nLABEL conf.run=%s\n", s.localImage(t), tag, s.r.nonce)
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	steps := 0
	d := s.Driver(t)
	image, err := d.BuildImage(s.Ctx, driver.BuildSpec{Tag: tag, ContextDir: dir, Labels: labels}, func(driver.Progress) { steps++ })
	if err != nil {
		t.Fatalf("BuildImage: %v", err)
	}
	t.Cleanup(func() { _ = d.RemoveImage(s.Ctx, tag, true) })
	return image, steps
}

func imageBuild(t T, s *Session) {
	tag := "sero-conformance-" + s.r.nonce + ":built"
	image, steps := s.build(t, tag, map[string]string{"conf.extra": "yes"})
	if image.Reference != tag || image.Digest == "" || steps == 0 {
		t.Errorf("it gives %+v, with %d reports of progress", image, steps)
	}
	if image.Labels["conf.extra"] != "yes" || image.Labels["conf.run"] != s.r.nonce {
		t.Errorf("its labels are %v", image.Labels)
	}
}

func imageBuildFails(t T, s *Session) {
	dir := s.r.dir()
	text := fmt.Sprintf("FROM %s\nNONSENSE here\n", s.localImage(t))
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	_, err := s.Driver(t).BuildImage(s.Ctx, driver.BuildSpec{Tag: "sero-conformance:fails", ContextDir: dir}, func(driver.Progress) {})
	s.Fails(t, "BuildImage", err, driver.ImageBuildFailed)
	if e := driver.AsError(err); e != nil && !strings.Contains(e.Message, "NONSENSE") {
		t.Errorf("the message is %q", e.Message)
	}
}

func imageRemoveAbsent(t T, s *Session) {
	s.OK(t, "RemoveImage", s.Driver(t).RemoveImage(s.Ctx, "sero-conformance-"+s.r.nonce+":absent", false))
}

func imageInUse(t T, s *Session) {
	tag := "sero-conformance-" + s.r.nonce + ":used"
	s.build(t, tag, nil)
	d, spec := s.Driver(t), s.Spec(t)
	spec.Image = tag
	s.Create(t, d, spec)
	s.Fails(t, "RemoveImage", d.RemoveImage(s.Ctx, tag, false), driver.ImageInUse)
}

func imageList(t T, s *Session) {
	var want []string
	for _, name := range []string{"zulu", "alpha", "mike"} {
		tag := "sero-conformance-" + s.r.nonce + ":" + name
		s.build(t, tag, map[string]string{"conf.list": s.r.nonce})
		want = append(want, tag)
	}
	s.build(t, "sero-conformance-"+s.r.nonce+":other", nil)
	images, err := s.Driver(t).ListImages(s.Ctx, map[string]string{"conf.list": s.r.nonce, "conf.run": s.r.nonce})
	s.OK(t, "ListImages", err)
	var got []string
	for _, image := range images {
		got = append(got, image.Reference)
	}
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("it gives %v, want %v", got, want)
	}
}

func mountCases() []Case {
	bind, ro := []driver.Capability{driver.CapMountBind}, []driver.Capability{driver.CapMountBind, driver.CapMountRO}
	return engine([]Case{
		{
			ID: "MOUNT-1", Group: "mounts", Run: mountBind, Needs: bind,
			Must: "a mount shows the host's files inside, and what is written inside to the host",
		},
		{
			ID: "MOUNT-2", Group: "mounts", Run: mountReadOnly, Needs: ro,
			Must: "a write to a read-only mount fails, and the host's file is as it was",
		},
		{
			ID: "MOUNT-3", Group: "mounts", Run: mountMissing, Needs: bind,
			Must: "a mount source that is missing is MOUNT_DENIED and is not created",
		},
		{
			ID: "WORK-1", Group: "mounts", Run: workspaceShown,
			Must: "commands find the workspace's files in the sandbox's workspace directory, and the host sees what they write there",
		},
		{
			ID: "LIMIT-1", Group: "mounts", Run: limitMemory, Needs: []driver.Capability{driver.CapLimitMemory},
			Must: "a memory limit is in force",
		},
		{
			ID: "LIMIT-2", Group: "mounts", Run: limitCPU, Needs: []driver.Capability{driver.CapLimitCPU},
			Must: "a limit of processors is in force",
		},
		{
			ID: "LIMIT-3", Group: "mounts", Run: limitProcesses, Needs: []driver.Capability{driver.CapLimitProcs},
			Must: "a limit of processes is in force, and without one in the spec that of 16384",
		},
		{
			ID: "LIMIT-4", Group: "mounts", Run: sharedMemory, Needs: []driver.Capability{driver.CapSharedMemory},
			Must: "/dev/shm has the size that is asked for, or it is UNSUPPORTED, as by an engine that is too old, and nothing is made",
		},
	})
}

func (s *Session) extraMount(t T, readOnly bool) (spec driver.SandboxSpec, host string) {
	t.Helper()
	host = s.r.dir()
	if err := os.Chmod(host, 0o777); err != nil { //nolint:gosec // a sandbox's user may be another
		t.Fatalf("%v", err)
	}
	if err := os.WriteFile(filepath.Join(host, "from-host"), []byte("host"), 0o666); err != nil { //nolint:gosec // as above
		t.Fatalf("%v", err)
	}
	spec = s.Spec(t)
	spec.Mounts = append(spec.Mounts, driver.Mount{Source: host, Target: "/conf-mount", ReadOnly: readOnly})
	return spec, host
}

func mountBind(t T, s *Session) {
	spec, host := s.extraMount(t, false)
	id := s.runningOn(t, s.Driver(t), spec).ID
	if got := s.Out(t, id, "cat /conf-mount/from-host"); got != "host" {
		t.Errorf("inside the file holds %q", got)
	}
	s.Out(t, id, "printf inside >/conf-mount/from-inside")
	if data, err := os.ReadFile(filepath.Join(host, "from-inside")); string(data) != "inside" {
		t.Errorf("on the host the file holds %q (%v)", data, err)
	}
}

func mountReadOnly(t T, s *Session) {
	spec, host := s.extraMount(t, true)
	id := s.runningOn(t, s.Driver(t), spec).ID
	if got := s.Out(t, id, "cat /conf-mount/from-host"); got != "host" {
		t.Errorf("inside the file holds %q", got)
	}
	for _, script := range []string{"echo x >>/conf-mount/from-host", "touch /conf-mount/new"} {
		if o := s.Sh(t, id, script); o.Err != nil || o.ShellCode() == 0 {
			t.Errorf("%s succeeded (error %v)", script, o.Err)
		}
	}
	data, err := os.ReadFile(filepath.Join(host, "from-host"))
	if string(data) != "host" || fileExists(filepath.Join(host, "new")) {
		t.Errorf("on the host the file holds %q (%v)", data, err)
	}
}

func mountMissing(t T, s *Session) {
	d, spec := s.Driver(t), s.Spec(t)
	missing := filepath.Join(s.r.base, "missing-"+spec.ID)
	spec.Mounts = append(spec.Mounts, driver.Mount{Source: missing, Target: "/conf-missing"})
	s.willRemove(t, d, spec.ID)
	_, err := d.Create(s.Ctx, spec)
	s.Fails(t, "Create", err, driver.MountDenied)
	if fileExists(missing) {
		t.Errorf("it has created %s", missing)
	}
	_, err = d.Get(s.Ctx, spec.ID)
	s.Fails(t, "Get afterwards", err, driver.NotFound)
}

func workspaceShown(t T, s *Session) {
	d, spec := s.Driver(t), s.Spec(t)
	if err := os.WriteFile(filepath.Join(spec.WorkspaceDir, "from-host"), []byte("host"), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	sb := s.runningOn(t, d, spec)
	if got := s.Out(t, sb.ID, "cat "+sb.WorkspaceDir+"/from-host"); got != "host" {
		t.Errorf("inside the file holds %q", got)
	}
	s.Out(t, sb.ID, "printf inside >from-inside")
	if data, err := os.ReadFile(filepath.Join(spec.WorkspaceDir, "from-inside")); string(data) != "inside" {
		t.Errorf("on the host the file holds %q (%v)", data, err)
	}
}

// limitMemory looks at what the sandbox is told: its control group, or all the
// memory of its virtual machine.
func limitMemory(t T, s *Session) {
	const limit = 300 << 20
	spec := s.Spec(t)
	spec.Resources.MemoryBytes = limit
	id := s.runningOn(t, s.Driver(t), spec).ID
	told := strings.Fields(s.Sh(t, id, "cat /sys/fs/cgroup/memory.max || cat /sys/fs/cgroup/memory/memory.limit_in_bytes").Out)
	if len(told) > 0 && told[0] == strconv.Itoa(limit) {
		return
	}
	info := s.Sh(t, id, "cat /proc/meminfo").Out
	var kib int64
	_, _ = fmt.Sscanf(info, "MemTotal: %d kB", &kib)
	if kib == 0 || kib<<10 > limit+limit/8 {
		t.Errorf("the control group says %v, the machine %d KiB, want %d KiB", told, kib, limit>>10)
	}
}

func limitProcesses(t T, s *Session) {
	for asked, want := range map[int64]string{0: strconv.Itoa(driver.DefaultProcesses), 300: "300"} {
		spec := s.Spec(t)
		spec.Resources.Processes = asked
		id := s.runningOn(t, s.Driver(t), spec).ID
		told := s.Sh(t, id, "cat /sys/fs/cgroup/pids.max || cat /sys/fs/cgroup/pids/pids.max").Out
		if got := strings.TrimSpace(told); got != want {
			t.Errorf("where %d are asked for the control group says %s, want %s", asked, cmp.Or(got, "nothing"), want)
		}
	}
}

func sharedMemory(t T, s *Session) {
	d, spec := s.Driver(t), s.Spec(t)
	spec.Resources.SharedMemoryBytes = 300 << 20
	s.willRemove(t, d, spec.ID)
	_, err := d.Create(s.Ctx, spec)
	if driver.ReasonOf(err) == driver.Unsupported {
		_, err = d.Get(s.Ctx, spec.ID)
		s.Fails(t, "Get afterwards", err, driver.NotFound)
		return
	}
	s.OK(t, "Create", err)
	id := s.runningOn(t, d, spec).ID
	mounts := s.Sh(t, id, "cat /proc/mounts").Out
	for line := range strings.Lines(mounts) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == "/dev/shm" && slices.Contains(strings.Split(f[3], ","), "size=307200k") {
			return
		}
	}
	t.Errorf("there is no /dev/shm of 300 MiB: %s", mounts)
}

func limitCPU(t T, s *Session) {
	spec := s.Spec(t)
	spec.Resources.CPUs = 1
	id := s.runningOn(t, s.Driver(t), spec).ID
	var quota, period int
	if _, err := fmt.Sscan(s.Sh(t, id, "cat /sys/fs/cgroup/cpu.max").Out, &quota, &period); err == nil && quota == period {
		return
	}
	const old = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us"
	if _, err := fmt.Sscan(s.Sh(t, id, old).Out, &quota, &period); err == nil && quota == period {
		return
	}
	if got := strings.TrimSpace(s.Sh(t, id, "nproc").Out); got != "1" {
		t.Errorf("the control group says %d/%d, nproc says %s, want 1", quota, period, cmp.Or(got, "nothing"))
	}
}
