package workspace

import (
	"context"
	"slices"
	"sync"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// stock is what one driver has of ours.
type stock struct {
	name      string
	driver    driver.Driver
	sandboxes []driver.Sandbox // of this installation, by id
	images    []driver.Image   // all that it has
	err       error
}

// inventory asks every driver whose sandboxes may outlive it, and those that
// workspaces use, what they have of ours. Those that cannot be asked are left
// out, with a line each unless there is nothing to ask.
func (m *Manager) inventory(ctx context.Context) ([]stock, []string) {
	var names []string
	if m.options.Lasting != nil {
		names = m.options.Lasting()
	}
	used := map[string]bool{}
	for _, e := range m.entries() {
		if choice := e.snapshot().Choice; choice.Actual != "" && !choice.HostMode {
			used[choice.Actual] = true
			names = append(names, choice.Actual)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	stocks := make([]stock, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { stocks[i] = m.takeStock(ctx, name) })
	}
	all.Wait()
	var warnings []string
	stocks = slices.DeleteFunc(stocks, func(s stock) bool {
		reason := driver.ReasonOf(s.err)
		nothing := nothingToAsk[reason] || reason == driver.EngineNotRunning && !used[s.name]
		if s.err != nil && !nothing {
			warnings = append(warnings, "driver "+s.name+" could not be asked: "+driver.AsError(s.err).Message)
		}
		return s.err != nil
	})
	return stocks, warnings
}

// nothingToAsk are the reasons of drivers that can have nothing of ours now.
var nothingToAsk = map[driver.Reason]bool{
	driver.EngineNotInstalled: true, driver.DriverNotFound: true, driver.DriverIncompatible: true, driver.Unsupported: true,
}

func (m *Manager) takeStock(ctx context.Context, name string) stock {
	s := stock{name: name}
	s.err = m.call(ctx, name, func(ctx context.Context) (err error) {
		if s.sandboxes, err = m.listOurs(ctx, name); err != nil {
			return err
		}
		m.adoptAll(name, s.sandboxes) // before anybody judges what is needed
		if s.driver, err = m.options.Drivers.Driver(ctx, name); err != nil {
			return err
		}
		images, err := driver.ImageListerOf(s.driver)
		if err != nil {
			return nil //nolint:nilerr // a driver need not have images
		}
		s.images, err = images.ListImages(ctx, nil)
		return err
	})
	return s
}

// users are the workspaces whose sandboxes are made from an image.
func (s stock) users(image driver.Image) []string {
	var ids []string
	for _, sandbox := range s.sandboxes {
		if sandbox.ImageDigest == image.Digest || sandbox.ImageDigest == "" && sandbox.Image == image.Reference {
			ids = append(ids, sandbox.Labels[driver.LabelWorkspaceID])
		}
	}
	return ids
}

// built tells whether this installation built an image. Labels alone are no
// proof where somebody remembers: what others build upon an image of ours has them
// too.
func (m *Manager) built(image driver.Image) bool {
	if m.options.Images != nil {
		return m.options.Images.Built(image)
	}
	return image.Labels[driver.LabelManaged] == "true" && image.Labels[driver.LabelInstallation] == m.options.Installation
}

// DiskItem is one thing that takes room.
type DiskItem struct {
	Kind       string // "sandbox" or "image"
	Driver     string
	Name       string // as the runtime knows it
	Workspaces []string
	Bytes      int64 // on top of its image for a sandbox; 0: the driver cannot tell
	InUse      bool  // the sandbox runs, or a sandbox needs the image
}

// DiskUsage tells what takes room: our sandboxes, and the images that we built or
// that our sandboxes are made from. warnings are about drivers that could not be
// asked, one line each.
func (m *Manager) DiskUsage(ctx context.Context) (items []DiskItem, warnings []string) {
	stocks, warnings := m.inventory(ctx)
	for _, s := range stocks {
		for _, sandbox := range s.sandboxes {
			items = append(items, DiskItem{
				Kind: "sandbox", Driver: s.name, Name: sandbox.ID, Workspaces: []string{sandbox.Labels[driver.LabelWorkspaceID]},
				InUse: sandbox.State == driver.SandboxRunning || sandbox.State == driver.SandboxPaused,
			})
		}
		for _, image := range s.images {
			if users := s.users(image); len(users) > 0 || m.built(image) {
				items = append(items, DiskItem{
					Kind: "image", Driver: s.name, Name: nameOf(image), Workspaces: users, Bytes: image.SizeBytes, InUse: len(users) > 0,
				})
			}
		}
	}
	return items, warnings
}

// nameOf is what an image is removed by: its reference, or its digest once a
// newer one has taken the reference.
func nameOf(image driver.Image) string {
	if superseded(image) {
		return image.Digest
	}
	return image.Reference
}

// superseded tells whether an image has lost its name to a newer one.
func superseded(image driver.Image) bool {
	return image.Reference == "" || image.Reference == image.Digest || image.Reference == "<none>:<none>"
}
