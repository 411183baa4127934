package view

import (
	"fmt"
	"strings"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

type pruneJSON struct {
	Kind        string     `json:"kind"`
	Driver      string     `json:"driver,omitempty"`
	Name        string     `json:"name"`
	WorkspaceID string     `json:"workspaceId,omitempty"`
	Reason      string     `json:"reason"`
	Bytes       int64      `json:"bytes,omitempty"`
	Removed     bool       `json:"removed"`
	Error       *errorJSON `json:"error,omitempty"`
}

func pruneOf(i *apipb.PruneItem) pruneJSON {
	out := pruneJSON{
		Kind: i.GetKind(), Driver: i.GetDriver(), Name: i.GetName(), WorkspaceID: i.GetWorkspaceId(),
		Reason: i.GetReason(), Bytes: i.GetBytes(), Removed: i.GetRemoved(),
	}
	if e := i.GetError(); e != nil {
		out.Error = new(errorOf(failure(e)))
	}
	return out
}

// Prunable shows what would be removed.
func (v *View) Prunable(r *apipb.PruneResponse) error {
	if v.JSON {
		return v.pruneValue(r)
	}
	for _, warning := range r.GetWarnings() {
		v.Notice("warning: " + warning)
	}
	if len(r.GetItems()) == 0 {
		return v.Text("nothing to remove")
	}
	rows := [][]string{{"KIND", "NAME", "DRIVER", "SIZE", "WHY"}}
	for _, i := range r.GetItems() {
		rows = append(rows, []string{i.GetKind(), shortName(i.GetName()), i.GetDriver(), size(i.GetBytes()), i.GetReason()})
	}
	return v.table(rows)
}

// Pruned shows what was removed.
func (v *View) Pruned(r *apipb.PruneResponse) error {
	if v.JSON {
		return v.pruneValue(r)
	}
	for _, i := range r.GetItems() {
		if e := i.GetError(); e != nil {
			v.Failure(failure(e))
			continue
		}
		if err := v.Text(clean("removed " + i.GetKind() + " " + shortName(i.GetName()))); err != nil {
			return err
		}
	}
	return nil
}

func (v *View) pruneValue(r *apipb.PruneResponse) error {
	return v.Value(map[string]any{"items": each(r.GetItems(), pruneOf), "warnings": list(r.GetWarnings())})
}

// Ask puts a question to the person at the terminal.
func (v *View) Ask(question string) {
	_, _ = fmt.Fprint(v.Err, "sero: "+clean(question)+" [y/N] ")
}

type diskJSON struct {
	Kind       string   `json:"kind"`
	Driver     string   `json:"driver"`
	Name       string   `json:"name"`
	Workspaces []string `json:"workspaces"`
	Bytes      *int64   `json:"bytes,omitempty"`
	InUse      bool     `json:"inUse"`
}

func diskOf(i *apipb.DiskItem) diskJSON {
	return diskJSON{
		Kind: i.GetKind(), Driver: i.GetDriver(), Name: i.GetName(), Workspaces: list(i.GetWorkspaceIds()), Bytes: i.Bytes, InUse: i.GetInUse(),
	}
}

// DiskUsage shows what takes room.
func (v *View) DiskUsage(r *apipb.DiskUsageResponse) error {
	if v.JSON {
		return v.Value(map[string]any{"items": each(r.GetItems(), diskOf), "warnings": list(r.GetWarnings())})
	}
	for _, warning := range r.GetWarnings() {
		v.Notice("warning: " + warning)
	}
	if len(r.GetItems()) == 0 {
		return v.Text("no sandboxes and no images")
	}
	rows := [][]string{{"KIND", "NAME", "DRIVER", "SIZE", "IN USE", "WORKSPACES"}}
	for _, i := range r.GetItems() {
		used := ""
		if i.GetInUse() {
			used = "yes"
		}
		rows = append(rows, []string{i.GetKind(), shortName(i.GetName()), i.GetDriver(), size(i.GetBytes()), used, strings.Join(i.GetWorkspaceIds(), ",")})
	}
	return v.table(rows)
}

// size is a number of bytes as people read it; empty for one that is not known.
func size(bytes int64) string {
	switch {
	case bytes <= 0:
		return ""
	case bytes < 1e6:
		return fmt.Sprintf("%.1f kB", float64(bytes)/1e3)
	case bytes < 1e9:
		return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
	default:
		return fmt.Sprintf("%.1f GB", float64(bytes)/1e9)
	}
}

// shortName is as much of a digest as tells it apart, and any other name whole.
func shortName(name string) string {
	if digest, ok := strings.CutPrefix(name, "sha256:"); ok && len(digest) > 12 {
		return "sha256:" + digest[:12]
	}
	return name
}
