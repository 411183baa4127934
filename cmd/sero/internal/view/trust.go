package view

import "github.com/sero-labs/sero-runtime/core/api/apipb"

type trustJSON struct {
	WorkspaceID string          `json:"workspaceId"`
	File        string          `json:"file"`
	Trusted     bool            `json:"trusted"`
	Items       []trustItemJSON `json:"items"`
}

type trustItemJSON struct {
	Field string `json:"field"`
	Kind  string `json:"kind"`
	Text  string `json:"text"`
}

// Trust shows what a sero.json asks of this machine.
func (v *View) Trust(t *apipb.Trust) error {
	if v.JSON {
		return v.Value(trustJSON{
			WorkspaceID: t.GetWorkspaceId(), File: t.GetFile(), Trusted: t.GetTrusted(),
			Items: each(t.GetItems(), func(i *apipb.TrustItem) trustItemJSON {
				return trustItemJSON{Field: i.GetField(), Kind: i.GetKind(), Text: i.GetText()}
			}),
		})
	}
	title := t.GetFile() + " asks this of the machine; it is not allowed, and left out"
	switch {
	case len(t.GetItems()) == 0:
		title = t.GetFile() + " asks nothing of the machine"
	case t.GetTrusted():
		title = t.GetFile() + " is trusted, until it changes"
	}
	var list []field
	for _, i := range t.GetItems() {
		list = append(list, field{i.GetField(), i.GetText()})
	}
	return v.fields(title, list)
}
